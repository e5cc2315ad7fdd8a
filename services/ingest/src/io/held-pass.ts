/**
 * One release of held rows on its way: what is held, from a row on, brought to the log in order as the lane of releases, or
 * passed over when it is discarded.
 *
 * Owns how far it is, and what of it is not durable yet. Does not own what is released when (held-releases.ts), nor what a
 * released row is (core/release.ts).
 * Limit: two of `BATCH_BYTES` in memory, beside what the pipeline may; policy: waits; gauge: the pipeline's.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { AppendPipeline } from '../core/append-pipeline.ts';
import { Batch } from '../core/batch.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import { isHeldOf } from '../core/held-index.ts';
import type { LiveRoute } from '../core/live-route.ts';
import { laterLsn } from '../core/lsn.ts';
import { comparePlaces, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import { type Blocked, releaseEntry } from '../core/release.ts';
import { withHoles } from '../core/source-state.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import type { Loan } from './quarantine-loans.ts';
import type { SourceStore } from './source-store.ts';

export const BATCH_BYTES = 256 * 1024;

/** The stream beside which rows are released. */
export interface HeldStream {
  readonly stream: ChangeStream;
  readonly pipeline: Pick<AppendPipeline, 'push' | 'drained' | 'until'>;
  /** The position beyond which nothing may be acknowledged now; undefined: anything may. */
  readonly holdAt: () => bigint | undefined;
}

/** The row at which a release stopped. */
export type StoppedAt = Blocked & { readonly place: RowPlace };

export interface HeldPassOptions {
  readonly quarantine: QuarantineFile;
  readonly store: SourceStore;
  readonly clock: Clock;
  readonly beside: HeldStream;
  readonly live: LiveRoute;
  readonly lane: number;
  /** Discarded rather than brought to the log. */
  readonly discards: boolean;
  /** Where to begin: behind this row, and where in the file. */
  readonly place: RowPlace | undefined;
  readonly offset: number;
  /** Told of each row. */
  readonly onRow: (count: number) => void;
}

export class HeldPass {
  readonly #options: HeldPassOptions;
  /** The newest row that was handled, and where to go on behind it. */
  #place: RowPlace | undefined;
  #offset: number;
  #rewrites: number;
  #count = 0;
  #isEarly = false;
  /** What of it is with the pipeline and not durable yet. */
  #bytes = 0;
  #batches = 0;

  constructor(options: HeldPassOptions) {
    this.#options = options;
    this.#place = options.place;
    this.#offset = options.offset;
    this.#rewrites = options.quarantine.rewrites;
  }

  get live(): LiveRoute {
    return this.#options.live;
  }

  get lane(): number {
    return this.#options.lane;
  }

  get beside(): HeldStream {
    return this.#options.beside;
  }

  /** The newest row that was handled; undefined: none was. */
  get place(): RowPlace | undefined {
    return this.#place;
  }

  /** Rows that were handled. */
  get count(): number {
    return this.#count;
  }

  /** Whether it stopped before a row because others that are before it may yet come. */
  get isEarly(): boolean {
    return this.#isEarly;
  }

  /** Resolves when all that was brought is durable. */
  durable(signal: AbortSignal): Promise<void> {
    return this.beside.pipeline.until(() => this.#batches === 0, signal);
  }

  /**
   * Brings what is held, from where it is on, to the log; resolves at its end, or with the row that may not be released. `endLsn`:
   * all commits that end there or before are in the file by now, whether they are acknowledged or not.
   */
  async goOn(signal: AbortSignal, endLsn = 0n): Promise<StoppedAt | undefined> {
    const { quarantine } = this.#options;
    for (;;) {
      const blocked = await this.#once(signal, endLsn);
      // Rewritten while it was read: the end that was come to may not be the file's.
      if (blocked !== undefined || this.#rewrites === quarantine.rewrites) return blocked;
    }
  }

  async #once(signal: AbortSignal, endLsn: bigint): Promise<StoppedAt | undefined> {
    const { quarantine, store, clock, live, lane, discards, beside, onRow } = this.#options;
    const { number, generation } = live.route;
    const isMine = isHeldOf(number, generation);
    if (this.#rewrites !== quarantine.rewrites) {
      this.#rewrites = quarantine.rewrites;
      this.#offset = quarantine.heldOf(number, generation)?.offset ?? 0;
    }
    this.#isEarly = false;
    const { stream } = beside;
    let batch = new Batch();
    let loan = quarantine.loans.begin();
    try {
      for await (const { entry, next } of quarantine.entries(this.#offset)) {
        signal.throwIfAborted();
        // This is of the file of before: what was erased since is in it, and must not come to the log.
        if (this.#rewrites !== quarantine.rewrites) break;
        const isNew = this.#place === undefined || comparePlaces(entry, this.#place) > 0;
        if (isMine(entry) && isNew) {
          // What was lost before it comes again until then, and would be taken for released.
          this.#isEarly = entry.ahead === true && laterLsn(store.state.acknowledgedLsn, endLsn) <= entry.major;
          if (this.#isEarly) break;
          const unchanged = stream.unchanged.bind(stream);
          const values = stream.valuesOf(number);
          const settings = { lane, nowUs: clock.nowUs(), values, unchanged, batch };
          const why = discards ? undefined : releaseEntry(live, entry, settings);
          if (why !== undefined) {
            await this.#push(batch, loan);
            return { ...why, place: placeOf(entry) };
          }
          this.#place = placeOf(entry);
          this.#count += 1;
          onRow(this.#count);
        }
        this.#offset = next;
        if (batch.bytes < BATCH_BYTES) continue;
        await this.#push(batch, loan);
        batch = new Batch();
        loan = quarantine.loans.begin();
        // Not for room of the stream's: that may wait for the room in the file that this release makes.
        await beside.pipeline.until(() => this.#bytes < BATCH_BYTES, signal);
      }
      await this.#push(batch, loan);
      return undefined;
    } catch (error) {
      // Of a batch that the pipeline has, the pipeline ends it.
      loan.end();
      throw error;
    }
  }

  /** Hands a batch over, and with it the loan of its rows. */
  async #push(batch: Batch, loan: Loan): Promise<void> {
    const { stream, pipeline } = this.beside;
    // Before what lacks them is in the log, as in the stream.
    const saved = stream.unsavedHoles();
    if (saved !== undefined) {
      await this.#options.store.update((state) => withHoles(state, stream.holes));
      saved();
    }
    const { bytes } = batch;
    this.#bytes += bytes;
    this.#batches += 1;
    batch.isApart = true;
    const durable = (): void => {
      this.#bytes -= bytes;
      this.#batches -= 1;
      loan.end();
    };
    pipeline.push(batch, durable, () => loan.end());
  }
}

function placeOf({ route, generation, lane, major, minor, part }: QuarantineEntry): RowPlace {
  return { route, generation, lane, major, minor, part };
}
