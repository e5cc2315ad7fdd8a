/**
 * Releases of rows that were put aside alone, when somebody asks for it, beside the stream that goes on:
 *
 *     number saved ──▶ rows judged again, in the order of the file ──▶ what passes noted in its entry ──▶ brought to the log ──▶ out
 *                                                                        (one rewriting)          (lane 4)     (one rewriting)
 *
 * An entry that is released has its record in it, bytes, partition and place in the lane, before anything of the release is
 * in the log. So a crash decides nothing anew: whatever rules, clock and contracts say by then, the same records are brought
 * again, and shards skip what they have (F3). What still may not pass stays as it was. The stream never stands still for it:
 * these rows wait for none, and none waits for them.
 *
 * A row whose commit may come again stays: without its entry nothing would tell then that it was put aside.
 *
 * Rows of mutable sources are not released (core/release-alone.ts); once their table was read anew they are superseded.
 *
 * Owns what was asked for and how it stands. Does not own what a released row is, nor the file.
 * Limit: per route two of `BATCH_BYTES` in memory, beside what the pipeline may; policy: waits; gauge: the pipeline's. Entries
 * that are released are larger by their records until they are out.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { isAloneOf } from '../core/alone-index.ts';
import { Batch } from '../core/batch.ts';
import type { LiveRoute } from '../core/live-route.ts';
import { placeName, type QuarantineEntry } from '../core/quarantine.ts';
import type { Blocked } from '../core/release.ts';
import { type AloneRequest, judgeAlone } from '../core/release-alone.ts';
import { isMutable, type Route, SLOT_LANE } from '../core/route.ts';
import { withRoutes } from '../core/source-state.ts';
import { BATCH_BYTES, type HeldStream } from './held-pass.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import type { Loan } from './quarantine-loans.ts';
import type { SourceStore } from './source-store.ts';

const WAIT_MS = 500;

export interface AloneReleasesOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly quarantine: QuarantineFile;
  readonly store: SourceStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly conditions: ConditionBoard;
}

/** How a release of rows that were put aside alone stands. */
export interface AloneProgress {
  readonly released: number;
  /** Rows that it was asked for and that stay. */
  readonly left: number;
  /** Why the first of them does. */
  readonly why: Blocked | undefined;
  readonly isDone: boolean;
}

interface Asked extends AloneRequest {
  /** What the file says of it; undefined: the rows are not judged yet. */
  judged?: Omit<AloneProgress, 'isDone'>;
}

const NONE: AloneProgress = { released: 0, left: 0, why: undefined, isDone: true };

export class AloneReleases {
  readonly #options: AloneReleasesOptions;
  readonly #asked = new Map<number, Asked>();
  /** By route, how the newest release of this process stands. */
  readonly #progress = new Map<number, AloneProgress>();

  constructor(options: AloneReleasesOptions) {
    this.#options = options;
  }

  /** Asks that rows of a route are judged again, and released if they may be. */
  ask(live: LiveRoute, request: AloneRequest): void {
    const { number, generation } = live.route;
    if (!this.#options.quarantine.alone.some((rows) => rows.route === number && rows.generation <= generation)) {
      this.#progress.delete(number);
      return;
    }
    this.#progress.set(number, { ...NONE, isDone: false });
    this.#asked.set(number, { ...request });
  }

  progress({ route }: LiveRoute): AloneProgress {
    return this.#progress.get(route.number) ?? NONE;
  }

  /** Does what is to be done of a route now. Throws what the log failed with. */
  async look(live: LiveRoute, beside: HeldStream, signal: AbortSignal): Promise<void> {
    const { conditions, name } = this.#options;
    const { number } = live.route;
    const id = `source/${name}/release-alone/${number}`;
    try {
      await this.#supersede(live);
      // Of a life before, or of a release that was cut short.
      await this.#bring(live, beside, signal);
      const request = this.#asked.get(number);
      if (request !== undefined) await this.#release(live, request, beside, signal);
      if (conditions.has(id)) conditions.clear(id);
    } catch (error) {
      // A full disk, a damaged line: told, and tried again.
      if (signal.aborted || !isFreshetError(error, 'DISK_FULL', 'DATA_DAMAGED')) throw error;
      conditions.raise(id, error);
    }
  }

  async #release(live: LiveRoute, request: Asked, beside: HeldStream, signal: AbortSignal): Promise<void> {
    const { logger } = this.#options;
    const { number: route } = live.route;
    if (request.judged === undefined) {
      if (!isMutable(live.route)) await this.#acknowledged(live, beside, signal);
      request.judged = await this.#judge(live, request);
      await this.#bring(live, beside, signal);
    }
    const { judged } = request;
    // Unless it was asked for once more meanwhile: that one is not done.
    if (this.#asked.get(route) === request) {
      this.#asked.delete(route);
      this.#progress.set(route, { ...judged, isDone: true });
    }
    const { released, left, why } = judged;
    logger.info('rows that were put aside alone were released', { route, released, left, why: why?.detail });
  }

  /** Waits until the rows that are there now come no more, if that is a matter of moments. */
  async #acknowledged({ route }: LiveRoute, { holdAt }: HeldStream, signal: AbortSignal): Promise<void> {
    const { quarantine, store, clock } = this.#options;
    const newest = quarantine.aloneOf(route.number, route.generation)?.newestMajor ?? 0n;
    // A build holds acknowledgements back, and so does a file that has no room.
    while (store.state.acknowledgedLsn <= newest && holdAt() === undefined && !quarantine.isFull)
      await clock.sleep(WAIT_MS, signal);
  }

  /** Judges the rows, and notes in the file what of them goes to the log. */
  async #judge(live: LiveRoute, request: AloneRequest): Promise<Omit<AloneProgress, 'isDone'>> {
    const { quarantine, store, clock } = this.#options;
    const { number } = live.route;
    const isMeant = meant(live.route, request);
    const release = (store.state.routes.find(({ route }) => route === number)?.aloneRelease ?? 0) + 1;
    // Never used again, whatever becomes of this one.
    await store.update((state) => {
      const known = state.routes.find(({ route }) => route === number);
      return known === undefined ? state : withRoutes(state, [{ ...known, aloneRelease: release }]);
    });
    const { acknowledgedLsn } = store.state;
    const nowUs = clock.nowUs();
    let [released, left, why]: [number, number, Blocked | undefined] = [0, 0, undefined];
    await quarantine.rewrite((entry) => {
      if (!isMeant(entry)) return entry;
      // Also what a release had noted when the table was read anew: nobody brings it any more.
      if (entry.generation < live.route.generation) {
        left += 1;
        why ??= OF_BEFORE;
        return entry;
      }
      if (entry.releasing !== undefined) return entry;
      const mayCome = entry.lane === SLOT_LANE && entry.major >= acknowledgedLsn;
      const judged = mayCome
        ? MAY_COME
        : judgeAlone(live, entry, request.ignoresRules, { release, row: released, nowUs });
      if ('record' in judged) {
        released += 1;
        return { ...entry, releasing: judged };
      }
      left += 1;
      why ??= judged;
      return entry;
    });
    return { released, left, why };
  }

  /** Brings what is noted to the log, and takes it out of the file once it is durable. */
  async #bring(live: LiveRoute, beside: HeldStream, signal: AbortSignal): Promise<void> {
    const { quarantine } = this.#options;
    const isMine = isAloneOf(live.route.number, live.route.generation);
    if ((quarantine.aloneOf(live.route.number, live.route.generation)?.releasing ?? 0) === 0) return;
    for (let rewrites: number | undefined; rewrites !== quarantine.rewrites; ) {
      // Rewritten while it was read: the end that was come to may not be the file's.
      rewrites = quarantine.rewrites;
      await this.#bringOnce(live, beside, signal);
    }
    await quarantine.remove((entry) => entry.releasing !== undefined && isMine(entry));
  }

  async #bringOnce({ route }: LiveRoute, { pipeline }: HeldStream, signal: AbortSignal): Promise<void> {
    const { quarantine } = this.#options;
    const isMine = isAloneOf(route.number, route.generation);
    const { rewrites } = quarantine;
    let bytes = 0;
    const push = (batch: Batch, loan: Loan): void => {
      const size = batch.bytes;
      bytes += size;
      batch.isApart = true;
      const durable = (): void => {
        bytes -= size;
        loan.end();
      };
      pipeline.push(batch, durable, () => loan.end());
    };
    let batch = new Batch();
    let loan = quarantine.loans.begin();
    try {
      for await (const { entry } of quarantine.entries()) {
        signal.throwIfAborted();
        // This is of the file of before: what was erased since is in it, and must not come to the log.
        if (rewrites !== quarantine.rewrites) break;
        if (entry.releasing === undefined || !isMine(entry)) continue;
        addReleased(batch, entry.releasing, route.partitions);
        if (batch.bytes < BATCH_BYTES) continue;
        push(batch, loan);
        batch = new Batch();
        loan = quarantine.loans.begin();
        // Not for room of the stream's: that may wait for the room in the file that this release makes.
        await pipeline.until(() => bytes < BATCH_BYTES, signal);
      }
      push(batch, loan);
    } catch (error) {
      // Of a batch that the pipeline has, the pipeline ends it.
      loan.end();
      throw error;
    }
    await pipeline.until(() => bytes === 0, signal);
  }

  /** What was put aside of a mutable source before its table was read anew: the snapshot has what became of it. */
  async #supersede({ route }: LiveRoute): Promise<void> {
    const { quarantine, logger } = this.#options;
    if (!isMutable(route)) return;
    for (const { route: number, generation } of quarantine.alone) {
      if (number !== route.number || generation >= route.generation) continue;
      const rows = await quarantine.remove(isAloneOf(number, generation));
      logger.warn('rows that were put aside alone were superseded: the table was read anew', {
        route: number,
        was: generation,
        rows,
        generation: route.generation,
      });
    }
  }
}

const MAY_COME: Blocked = {
  reason: 'behind',
  detail:
    'its commit is not acknowledged yet, so that it may come again; ask again in a moment, or when the build is done',
};

const OF_BEFORE: Blocked = {
  reason: 'behind',
  detail:
    'it came before its table was read anew, and what the table had of it is folded since; drop it by its id ' +
    '(freshet quarantine list, discard --id)',
};

/** Those of generations before are told of, and stay. */
function meant(route: Route, { reasons, ids }: AloneRequest): (entry: QuarantineEntry) => boolean {
  return (entry) =>
    entry.held === undefined &&
    entry.route === route.number &&
    entry.generation <= route.generation &&
    (reasons.size === 0 || reasons.has(entry.reason)) &&
    (ids.size === 0 || ids.has(placeName(entry)));
}

function addReleased(
  batch: Batch,
  { partition, record }: NonNullable<QuarantineEntry['releasing']>,
  partitions: number,
): void {
  const bytes = Buffer.from(record, 'base64');
  if (partition !== undefined) batch.addRecord(partition, bytes);
  else for (let one = 0; one < partitions; one++) batch.addRecord(one, bytes);
}
