/**
 * What keeps a running shard safe from its own disk: a checkpoint every so often, and a scrub now and then.
 *
 * Owns when either is done, and their pace. Both read all state of a commit from a snapshot, apart from folding, one
 * checkpoint and one scrub at a time in the process; and both compare what they read with what was committed, so damage that no reader
 * meets is found at the latest with the next checkpoint, and never becomes one. Does not own what is done about damage: it
 * ends the life of the shard (shard-host.ts).
 *
 *     idle ──interval, somebody asks──▶ checkpoint: snapshot ▶ file ▶ read back ▶ named ──▶ idle
 *       └───start, interval───────────▶ scrub: blocks of the files ▶ states of a snapshot ──┘
 */
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { CheckpointInfo, ShardCheckpoints } from './checkpoint.ts';
import type { Gate } from './gate.ts';
import type { KeySet } from './key-set.ts';
import type { Shard } from './shard.ts';
import type { StateSnapshot } from './shard-storage.ts';
import { Wake } from './wake.ts';

export interface UpkeepLimits {
  readonly checkpointIntervalMs: number;
  readonly scrubIntervalMs: number;
  /** What a scrub reads a second, at most. */
  readonly scrubBytesPerSecond: number;
  /** One checkpoint at a time in the process. */
  readonly gate: Gate;
  /** One scrub at a time in the process; they are slow on purpose, and hold up no checkpoint of another shard. */
  readonly scrubGate: Gate;
}

interface UpkeepOptions {
  readonly checkpoints: ShardCheckpoints;
  readonly conditions: ConditionBoard;
  readonly upkeep: UpkeepLimits;
  readonly onCheckpoint: () => void;
  readonly onScrubbed: (atUs: number) => void;
}

/** The first scrub begins so long after the shard came up, in milliseconds: what came with the start is read first. */
const FIRST_SCRUB_MS = 30_000;
/** After a checkpoint that failed, milliseconds. */
const RETRY_MS = 60_000;
/** A shard in which only log time moves takes one checkpoint in so many intervals, so that its log can be trimmed. */
const IDLE_INTERVALS = 6;
/** A scrub sleeps when it is so far ahead of its pace, in milliseconds. */
const PACE_MS = 20;

export class ShardUpkeep {
  readonly #shard: Shard;
  readonly #options: UpkeepOptions;
  readonly #wake = new Wake();
  #asked: { resolve: (info: CheckpointInfo) => void; reject: (error: unknown) => void }[] = [];
  #ended = false;
  #idleIntervals = 0;
  /** What the state was at the last checkpoint. */
  #seen = '';

  constructor(shard: Shard, options: UpkeepOptions) {
    this.#shard = shard;
    this.#options = options;
  }

  /** Takes a checkpoint now, with others that ask meanwhile. Rejects with what keeps it from being taken. */
  takeCheckpoint(): Promise<CheckpointInfo> {
    return new Promise((resolve, reject) => {
      if (this.#ended) reject(this.#stopping());
      else this.#asked.push({ resolve, reject });
      this.#wake.set();
    });
  }

  /** The life is over: nobody who asked is left waiting. */
  end(): void {
    this.#ended = true;
    for (const { reject } of this.#asked.splice(0)) reject(this.#stopping());
  }

  /** Runs until the signal aborts. Throws DATA_DAMAGED when the shard's store is. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#shard.options;
    const { checkpointIntervalMs, scrubIntervalMs, gate, scrubGate } = this.#options.upkeep;
    const forget = this.#wake.onAbort(signal);
    const soon = (ms: number): number => clock.monotonicUs() + ms * 1000;
    let checkpointAtUs = soon(checkpointIntervalMs);
    let scrubAtUs = soon(Math.min(FIRST_SCRUB_MS, scrubIntervalMs));
    try {
      while (!signal.aborted) {
        const waitUs = Math.min(checkpointAtUs, scrubAtUs) - clock.monotonicUs();
        if (waitUs > 0 && this.#asked.length === 0) await this.#wake.waitFor(Math.ceil(waitUs / 1000), clock);
        if (signal.aborted) return;
        const nowUs = clock.monotonicUs();
        if (this.#asked.length > 0 || nowUs >= checkpointAtUs) {
          const isFine = this.#isIdle() || (await gate.run(() => this.#checkpoint(signal), signal));
          checkpointAtUs = soon(isFine ? checkpointIntervalMs : Math.min(RETRY_MS, checkpointIntervalMs));
        } else if (nowUs >= scrubAtUs) {
          await scrubGate.run(() => this.#scrub(signal), signal);
          scrubAtUs = soon(scrubIntervalMs);
        }
      }
    } finally {
      forget();
    }
  }

  /** Whether nothing but log time moved since the last checkpoint, and that not for long. */
  #isIdle(): boolean {
    if (this.#asked.length > 0) return false;
    const { committed, keySets } = this.#shard.options.storage;
    if (committed === undefined || committed.position === 0) return true;
    if (this.#seen !== markOf(keySets, this.#shard.generation)) return false;
    if (this.#options.checkpoints.list[0]?.position === committed.position) return true;
    this.#idleIntervals += 1;
    return this.#idleIntervals < IDLE_INTERVALS;
  }

  /** False when it was not to be had for now. */
  async #checkpoint(signal: AbortSignal): Promise<boolean> {
    const { storage, logger, clock } = this.#shard.options;
    const { checkpoints, conditions, onCheckpoint } = this.#options;
    const id = `shard/${this.#shard.shard}/checkpoint`;
    const asked = this.#asked.splice(0);
    const beganUs = clock.monotonicUs();
    let snapshot: StateSnapshot | undefined;
    try {
      snapshot = await this.#shard.snapshot();
      if (snapshot === undefined) throw new FreshetError('UNAVAILABLE', `shard ${this.#shard.shard} has no log yet`);
      const info = await checkpoints.take(snapshot, signal);
      this.#seen = markOf(snapshot.keySets, this.#shard.generation);
      this.#idleIntervals = 0;
      conditions.clear(id);
      const seconds = (clock.monotonicUs() - beganUs) / 1_000_000;
      const { shard, position, states, bytes } = info;
      logger.info('took a checkpoint', { shard, position, states, bytes, seconds });
      onCheckpoint();
      for (const { resolve } of asked) resolve(info);
      return true;
    } catch (error) {
      for (const { reject } of asked) reject(isAbort(error) ? this.#stopping() : error);
      if (storage.damage !== undefined) throw storage.damage;
      if (!isFreshetError(error)) throw error;
      const { code, message, remedy, place } = error;
      if (code !== 'UNAVAILABLE') conditions.raise(id, { code, message, remedy, place }, 'warning');
      return false;
    } finally {
      await snapshot?.close();
    }
  }

  async #scrub(signal: AbortSignal): Promise<void> {
    const { storage, logger, clock } = this.#shard.options;
    const beganUs = clock.monotonicUs();
    const pause = this.#pace(signal);
    try {
      let bytes = await storage.scrub(pause);
      const snapshot = await this.#shard.snapshot();
      if (snapshot === undefined) return;
      try {
        for await (const some of snapshot.states) {
          const read = some.reduce((sum, [, key, state]) => sum + key.length + state.length, 0);
          bytes += read;
          await pause(read);
        }
      } finally {
        await snapshot.close();
      }
      const seconds = (clock.monotonicUs() - beganUs) / 1_000_000;
      logger.info('scrubbed a shard', { shard: this.#shard.shard, bytes, seconds });
      this.#options.onScrubbed(clock.nowUs());
    } catch (error) {
      if (storage.damage !== undefined) throw storage.damage;
      if (!isFreshetError(error)) throw error;
      // What cannot be read now is not known to be damaged; the next scrub reads it again.
      logger.warn('a scrub could not be done', { shard: this.#shard.shard, error: error.message });
    }
  }

  /** What holds a scrub back to its pace. */
  #pace(signal: AbortSignal): (bytes: number) => Promise<void> {
    const { clock, yieldNow } = this.#shard.options;
    const { scrubBytesPerSecond } = this.#options.upkeep;
    const beganUs = clock.monotonicUs();
    let done = 0;
    return async (bytes) => {
      signal.throwIfAborted();
      done += bytes;
      const aheadMs = (done / scrubBytesPerSecond) * 1000 - (clock.monotonicUs() - beganUs) / 1000;
      if (aheadMs > PACE_MS) await clock.sleep(aheadMs, signal);
      else await yieldNow();
    };
  }

  #stopping(): FreshetError {
    return new FreshetError('UNAVAILABLE', `shard ${this.#shard.shard} is stopping`);
  }
}

/** Equal for equal state, whatever the log time. */
function markOf(keySets: ReadonlyMap<string, KeySet>, generation: number): string {
  const sets = [...keySets].map(([instance, { keys, digest }]) => `${instance}:${keys}:${digest}`);
  return `${generation} ${sets.sort().join(' ')}`;
}
