/**
 * How soon something that was lost may be read anew: at once the first time, later and later while it is lost again before it
 * has lived for a while. Reading a database or a table costs the source, and what ends it each time (a slot that is invalidated
 * during each snapshot, a table whose catalog and stream disagree) is not mended by doing it again.
 *
 *     lost, read anew ──▶ lost, 5 s ──▶ lost, 10 s ──▶ … ──▶ lost, 10 min        from half of each delay to the whole at random
 *       ▲                    │ lived for 10 min
 *       └────────────────────┘
 *
 * Time lived counts from alive(): reading may take hours. Kept in memory: a process that starts anew begins at once. Bounded by
 * what may be lost, the routes of a database and its history. Pure: time and chance are arguments.
 */
import { FreshetError } from '@freshet/kit/errors.ts';

const FIRST_US = 5_000_000;
const MAX_US = 600_000_000;
const LIVED_US = 600_000_000;

/** A route, or the history that all of them follow. */
export type Rebuilt = number | 'history';

interface Kept {
  /** How often in a row it was lost. */
  readonly count: number;
  readonly dueUs: number;
  readonly aliveUs: number | undefined;
  /** Which generation of it was lost; undefined: it has none. */
  readonly generation: number | undefined;
  /** Why it was lost. */
  readonly why: string;
}

export interface LostAt {
  readonly nowUs: number;
  readonly generation?: number | undefined;
}

export class RebuildPace {
  readonly #random: () => number;
  readonly #kept = new Map<Rebuilt, Kept>();

  /** `random` gives numbers in [0, 1). */
  constructor(random: () => number) {
    this.#random = random;
  }

  /**
   * It was lost, and is to be read anew when it is due. Times are of a clock that never goes back. A generation is lost once,
   * however often that is found: what is to be saved of it may have to be tried again.
   */
  lost(what: Rebuilt, why: string, { nowUs, generation }: LostAt): void {
    const was = this.#kept.get(what);
    if (was !== undefined && generation !== undefined && was.generation === generation) return;
    const hasLived = was?.aliveUs !== undefined && nowUs - was.aliveUs >= LIVED_US;
    const count = was === undefined || hasLived ? 1 : was.count + 1;
    const ceilingUs = count === 1 ? 0 : Math.min(MAX_US, FIRST_US * 2 ** Math.min(count - 2, 20));
    const dueUs = nowUs + ceilingUs / 2 + (this.#random() * ceilingUs) / 2;
    this.#kept.set(what, { count, dueUs, aliveUs: undefined, generation, why });
  }

  /** It was read, and lives from now on. */
  alive(what: Rebuilt, nowUs: number): void {
    const was = this.#kept.get(what);
    if (was !== undefined && was.aliveUs === undefined) this.#kept.set(what, { ...was, aliveUs: nowUs });
  }

  /** Why it is not read anew yet, and when it is; undefined: it may be. */
  waits(what: Rebuilt, nowUs: number): FreshetError | undefined {
    const kept = this.#kept.get(what);
    if (kept === undefined || kept.dueUs <= nowUs) return undefined;
    const seconds = Math.ceil((kept.dueUs - nowUs) / 1_000_000);
    const code = what === 'history' ? 'SLOT_LOST' : 'SOURCE_NOT_READY';
    return new FreshetError(code, `${kept.why}; it was lost ${kept.count} times in a row`, {
      remedy:
        `It is read anew in ${seconds} s, and later each time that it does not last ${LIVED_US / 60_000_000} minutes. ` +
        (what === 'history'
          ? 'Find what ends the slot: mind max_slot_wal_keep_size and idle_replication_slot_timeout, which must outlast a snapshot.'
          : 'Find what changes the table while it is read.'),
    });
  }
}
