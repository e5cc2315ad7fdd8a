/**
 * Keeps a replica's disk as memory is: writes what differs, now and then looks for damage, and comes back from a disk
 * that fails.
 *
 * Owns: when. Does not own: what is written and how (replica-store.ts).
 *
 *     writing ──a write fails──▶ memory alone: following and reading go on ──opened anew, written──▶ writing
 *        └── damage is found ──▶ the store is put aside and written anew from memory
 *
 * Invariant R4: followers wait while much waits for the disk. While the disk fails they do not: what is to be written is
 * then bounded by the rows there are.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { ReplicaState } from './replica-state.ts';
import type { ReplicaStore } from './replica-store.ts';

// The disk is written before its time when this much waits for it: it bounds the pause that a write's encoding makes.
const FLUSH_BYTES = 1024 * 1024;
// Followers wait for the disk when this much waits for it.
const PRESSURE_BYTES = 4 * 1024 * 1024;
const RETRY_MS_FIRST = 1_000;
// Each try opens the store, which reads all of its files.
const RETRY_MS_MAX = 30_000;
export const DISK_CONDITION = 'replica/disk';

export interface DiskKeeperOptions {
  readonly store: ReplicaStore;
  readonly state: ReplicaState;
  readonly clock: Clock;
  readonly log: Logger;
  readonly conditions: ConditionBoard;
  readonly flushIntervalMs: number;
  /** How often the store's files are looked through; 0: never. */
  readonly scrubIntervalMs: number;
  /** How many bytes of them a second. */
  readonly scrubBytesPerS: number;
}

export class DiskKeeper {
  readonly #options: DiskKeeperOptions;
  readonly #stop = new AbortController();
  #wake = new AbortController();
  #waiting: (() => void)[] = [];
  #retryMs = 0;
  #turn: Promise<void> = Promise.resolve();
  readonly #loops: Promise<unknown>;

  constructor(options: DiskKeeperOptions) {
    this.#options = options;
    this.#loops = Promise.all([this.#flushLoop(), this.#scrubLoop()]);
  }

  /** Resolves when so little waits for the disk that more may come; undefined: at once. */
  pressure(): Promise<void> | undefined {
    const bytes = this.#dirtyBytes;
    if (bytes < FLUSH_BYTES) return undefined;
    if (this.#retryMs === 0) this.#wake.abort();
    if (bytes < PRESSURE_BYTES || this.#retryMs > 0 || this.#stop.signal.aborted) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** Writes what is not on disk yet. Throws what the disk says. */
  flush(): Promise<void> {
    const { store, state } = this.#options;
    return this.#alone(() => store.flush(state, () => this.#relieve()));
  }

  /**
   * Writes what is not on disk yet, and then the store's files anew, so that nothing is left in them of what was deleted or
   * replaced; of the keys not even in what LevelDB keeps for itself. Throws what the disk says.
   */
  rewrite(keys: () => readonly Uint8Array[]): Promise<void> {
    const { store, state } = this.#options;
    return this.#alone(async () => {
      const before = keys();
      await store.flush(state, () => this.#relieve());
      // Tables that others took the place of on the disk only now.
      if (state.discardedTables.length > 0) await store.flush(state, () => this.#relieve());
      await store.compact([...before, ...keys()]);
    });
  }

  /** Looks through the store's files; what is damaged is written anew. Throws what the disk says. */
  async scrub(): Promise<void> {
    const { store, state, clock, scrubBytesPerS } = this.#options;
    const { signal } = this.#stop;
    try {
      await store.scrub((bytes) => clock.sleep((bytes / scrubBytesPerS) * 1000, signal));
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      await this.#alone(() => store.renew(state, error.message));
      await this.flush();
    }
  }

  /** Stops, and writes what is left. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#wake.abort();
    await this.#loops;
    await this.flush();
  }

  get #dirtyBytes(): number {
    let bytes = 0;
    for (const copy of this.#options.state.copies()) for (const table of copy.everyTable()) bytes += table.dirtyBytes;
    return bytes;
  }

  /** One write at a time. */
  #alone(write: () => Promise<void>): Promise<void> {
    const turn = this.#turn.catch(() => undefined).then(write);
    this.#turn = turn;
    return turn;
  }

  #relieve(): void {
    if (this.#retryMs === 0 && this.#dirtyBytes >= PRESSURE_BYTES) return;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  async #flushLoop(): Promise<void> {
    const { clock, flushIntervalMs } = this.#options;
    while (!this.#stop.signal.aborted) {
      this.#wake = new AbortController();
      const isUrgent = this.#retryMs === 0 && this.#dirtyBytes >= FLUSH_BYTES;
      if (!isUrgent)
        await clock.sleep(Math.max(flushIntervalMs, this.#retryMs), this.#wake.signal).catch(() => undefined);
      if (this.#stop.signal.aborted) break;
      try {
        await this.flush();
        this.#succeeded();
      } catch (error) {
        this.#failed(error);
      }
      this.#relieve();
    }
    this.#retryMs = RETRY_MS_FIRST;
    this.#relieve();
  }

  #succeeded(): void {
    this.#retryMs = 0;
    this.#options.conditions.clear(DISK_CONDITION);
  }

  #failed(error: unknown): void {
    const { code, message, remedy, place } = toFreshetError(error);
    this.#retryMs = Math.min(RETRY_MS_MAX, Math.max(RETRY_MS_FIRST, this.#retryMs * 2));
    const text = `the replica cannot be written to disk: ${message}; it follows and serves from memory`;
    this.#options.conditions.raise(DISK_CONDITION, { code, message: text, remedy, place }, 'problem');
    if (code === 'INTERNAL') this.#options.log.error('writing the replica failed', { error });
  }

  async #scrubLoop(): Promise<void> {
    const { clock, scrubIntervalMs, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted && scrubIntervalMs > 0) {
      await clock.sleep(scrubIntervalMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.scrub();
      } catch (error) {
        if (!signal.aborted) log.warn("the replica's files could not be looked through", { error });
      }
    }
  }
}
