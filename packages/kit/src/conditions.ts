/**
 * What is not as it should be in this process, for as long as it is so: disk full, a shard halted, a copy being healed.
 * A service has one board; whoever notices raises, whoever sees it over clears, and the status message lists it, so
 * that `freshet status` and `freshet doctor` show every condition of every service without knowing any by name.
 *
 * Owns: the conditions that hold, since when, and the log line at each change. Does not own: what a process does about
 * them, nor its health; a condition is told, it changes nothing.
 *
 * R4: bounded. A board holds at most HELD_MAX conditions with texts of at most TEXT_MAX characters and lists at most
 * LISTED_MAX of them, the worst; that some are missing is a condition itself.
 */
import { create } from '@bufbuild/protobuf';
import { type Condition, ConditionSchema, Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import type { Clock } from './clock.ts';
import type { ErrorCode } from './error-codes.ts';
import type { Logger, LogLevel } from './logger.ts';

const HELD_MAX = 1_000;
const LISTED_MAX = 200;
const TEXT_MAX = 2_000;
/** The id under which a board tells that it does not show everything. */
const MORE = 'conditions/more';

/** What a condition says; a FreshetError is one. */
export interface ConditionText {
  readonly code: ErrorCode;
  /** What is wrong, in a sentence. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string | undefined;
  /** Where. */
  readonly place?: string | undefined;
}

export interface ConditionBoardOptions {
  /** Dates the conditions. */
  readonly clock: Pick<Clock, 'nowUs'>;
  /** Takes one line when a condition begins, when it becomes another, and when it ends. */
  readonly log: Logger;
}

/** How much a condition matters: see freshet.type.v1.Severity. */
export type ConditionSeverity = 'note' | 'warning' | 'problem';

const SEVERITY: Readonly<Record<ConditionSeverity, Severity>> = {
  note: Severity.NOTE,
  warning: Severity.WARNING,
  problem: Severity.PROBLEM,
};
const LEVEL: Readonly<Record<ConditionSeverity, LogLevel>> = { note: 'info', warning: 'warn', problem: 'error' };

export class ConditionBoard {
  readonly #clock: Pick<Clock, 'nowUs'>;
  readonly #log: Logger;
  readonly #held = new Map<string, Condition>();
  /** Set when a condition could not be held; who clears it later cannot tell which it was, so it stays. */
  #refusedSinceUs: number | undefined;

  constructor({ clock, log }: ConditionBoardOptions) {
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Says that the condition holds. `id` names it in this process: "shard/3/damaged"; raised again, it keeps its
   * beginning and takes the new text. The log hears of it when it begins and when its code, severity or place changes,
   * not of each new wording, so that a text with numbers in it may be raised as often as it changes.
   */
  raise(id: string, text: ConditionText, severity: ConditionSeverity = 'warning'): void {
    const was = this.#held.get(id);
    const place = text.place ?? '';
    const known = was?.code === text.code && was.severity === SEVERITY[severity] && was.place === cut(place);
    if (!known) {
      const fields = {
        condition: id,
        code: text.code,
        ...(place && { place }),
        ...(text.remedy && { remedy: text.remedy }),
      };
      this.#log[LEVEL[severity]](text.message, fields);
    }
    if (was === undefined && this.#held.size >= HELD_MAX) {
      this.#refusedSinceUs ??= this.#clock.nowUs();
      return;
    }
    const condition = create(ConditionSchema, {
      id,
      code: text.code,
      message: cut(text.message),
      remedy: cut(text.remedy ?? ''),
      place: cut(place),
      sinceUs: was?.sinceUs ?? BigInt(this.#clock.nowUs()),
      severity: SEVERITY[severity],
    });
    this.#held.set(id, condition);
  }

  /** Says that the condition is over; nothing happens when it did not hold. */
  clear(id: string): void {
    const was = this.#held.get(id);
    if (was === undefined) return;
    this.#held.delete(id);
    const heldMs = Math.round((this.#clock.nowUs() - Number(was.sinceUs)) / 1000);
    this.#log.info('over', { condition: id, code: was.code, was: was.message, heldMs });
  }

  /** Clears every condition whose id begins so: "shard/3/", when the shard is no longer ours. */
  clearUnder(prefix: string): void {
    for (const id of [...this.#held.keys()]) if (id.startsWith(prefix)) this.clear(id);
  }

  /** Whether the condition holds. */
  has(id: string): boolean {
    return this.#held.has(id);
  }

  /** The conditions that hold, by id ascending, for a status message; of too many, the worst and of those the oldest. */
  list(): Condition[] {
    const worstFirst = [...this.#held.values()].sort(
      (a, b) => b.severity - a.severity || Number(a.sinceUs - b.sinceUs) || (a.id < b.id ? -1 : 1),
    );
    const some = this.#refusedSinceUs !== undefined || worstFirst.length > LISTED_MAX;
    const listed = some ? [...worstFirst.slice(0, LISTED_MAX - 1), this.#more(worstFirst.length)] : worstFirst;
    return listed.sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  #more(held: number): Condition {
    const lost = this.#refusedSinceUs === undefined ? '' : ', and there were more than can be kept';
    return create(ConditionSchema, {
      id: MORE,
      code: 'LIMIT_EXCEEDED' satisfies ErrorCode,
      message: `${held} conditions hold${lost}; the worst are shown`,
      remedy: 'the log of the process has a line for each',
      sinceUs: BigInt(this.#refusedSinceUs ?? this.#clock.nowUs()),
      severity: Severity.WARNING,
    });
  }
}

function cut(text: string): string {
  return text.length <= TEXT_MAX ? text : text.slice(0, TEXT_MAX);
}
