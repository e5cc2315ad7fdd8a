/**
 * Tells the log's keeper from where on this node may have to read again: before each reading of a partition, after each
 * checkpoint, and every minute.
 *
 *     the log is the shard's ▶ told ▶ read from the shard's position on
 *
 * Owns what is told: of each shard that is meant to run here the oldest verified checkpoint of the log that is kept, so
 * that each of them stays of use; 0, which keeps the whole partition, without one. L2: nothing is told of a log before a
 * shard of this node was seen to fold it, and a shard reads nothing of it before it was told: what a node has begun to
 * read stays for it, whoever else allows it away. A keeper that cannot be reached cannot be read either; one that answers, and
 * does not take the word (its disk is full, it trims nothing), holds up no reading, and is told again.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { ErrorCode } from '@freshet/kit/error-codes.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { neededFrom } from './checkpoint.ts';
import type { NodeUpkeep } from './node-upkeep.ts';
import type { ShardSource } from './shard-source.ts';
import type { Wake } from './wake.ts';

/** The records of a partition from a position on. */
export interface NeededFrom {
  readonly shard: number;
  readonly position: number;
}

/** Who keeps the log. */
export interface LogKeeper {
  /** One attempt: throws UNAVAILABLE and its like; UNIMPLEMENTED when it trims nothing. */
  noteCheckpoints(node: string, logId: string, needed: readonly NeededFrom[], signal: AbortSignal): Promise<void>;
}

export interface TellerOptions {
  readonly host: () => NodeUpkeep & ShardSource;
  readonly source: LogKeeper;
  readonly node: string;
  readonly clock: Clock;
  readonly log: Logger;
}

const EVERY_MS = 60_000;
const RETRY_MS = 5_000;
/** The word may have come to nobody. */
const UNANSWERED: ReadonlySet<ErrorCode> = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED']);
/** Between looks whether a shard knows its log by now: the log is not kept for a node that it has not heard of. */
const LOOK_MS = 100;

export class CheckpointTeller {
  readonly #options: TellerOptions;
  /**
   * The word that is to come next, by log: shards that begin to read together tell together. One that is under way says what was
   * needed when it was begun: a shard may have lost its checkpoints since.
   */
  readonly #next = new Map<string, Promise<FreshetError | undefined>>();

  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: TellerOptions) {
    this.#options = options;
  }

  /** Tells, once, for a shard that is about to read that log. Throws UNAVAILABLE, and the signal's reason. */
  async beforeReading(logId: string, signal: AbortSignal): Promise<void> {
    let telling = this.#next.get(logId);
    if (telling === undefined) {
      telling = this.#tell(logId, signal, () => this.#next.delete(logId));
      this.#next.set(logId, telling);
    }
    const error = await telling;
    signal.throwIfAborted();
    if (error === undefined || !UNANSWERED.has(error.code)) return;
    // It may be another shard's end that it was broken off for: this one tries again, whatever the code.
    const { message, remedy, place } = error;
    throw new FreshetError('UNAVAILABLE', message, { remedy, place, cause: error });
  }

  /** Runs until the signal aborts. Never throws: who cannot be told keeps the log, and is told again. `taken`: a checkpoint was. */
  async run(taken: Wake, signal: AbortSignal): Promise<void> {
    const { host, clock } = this.#options;
    const forget = taken.onAbort(signal);
    try {
      while (!signal.aborted) {
        let waitMs = LOOK_MS;
        const logId = host().shards.find((shard) => shard.logId !== '')?.logId;
        if (logId !== undefined) waitMs = (await this.#tell(logId, signal)) === undefined ? EVERY_MS : RETRY_MS;
        if (!signal.aborted) await taken.waitFor(waitMs, clock);
      }
    } finally {
      forget();
    }
  }

  /** One attempt, after the one before: an older word must not come behind a newer one. Why it was not taken, if it was not. */
  #tell(logId: string, signal: AbortSignal, onBegun?: () => void): Promise<FreshetError | undefined> {
    const turn = this.#turn.then(() => {
      onBegun?.();
      return this.#tellNow(logId, signal);
    });
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  /** One that ends with the shard whose it was is as one that reached nobody. */
  async #tellNow(logId: string, signal: AbortSignal): Promise<FreshetError | undefined> {
    const { host, source, node, log } = this.#options;
    try {
      await source.noteCheckpoints(node, logId, neededBy(host(), logId), signal);
      return undefined;
    } catch (error) {
      if (!isFreshetError(error) && !isAbort(error)) throw error;
      const message = error instanceof Error ? error.message : '';
      if (!signal.aborted) log.debug('the log was not told of checkpoints', { error: message });
      return isFreshetError(error) ? error : new FreshetError('UNAVAILABLE', message);
    }
  }
}

/** A checkpoint that is further than its shard does not count: it may be of a history that the log no longer has. */
function neededBy(host: NodeUpkeep & ShardSource, logId: string): NeededFrom[] {
  return host.numbers.map((shard) => {
    const reached = host.shard(shard)?.position ?? Infinity;
    const some = host.checkpoints(shard).filter(({ position }) => position <= reached);
    return { shard, position: neededFrom(some, logId) };
  });
}
