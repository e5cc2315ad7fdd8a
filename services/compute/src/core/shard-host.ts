/**
 * The shards of a node: opens them, runs their loops, and starts one anew whose state cannot be used.
 *
 * Owns which shards run. Does not own what a shard does. A shard's state is derived from the log, so state of another
 * log, or damaged state, is put aside (not deleted: a wrong --log is then undone by moving it back) and the shard folds
 * from the log's beginning. What else breaks a shard ends the process: it is a fault of ours or of the machine.
 */
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { runBuilds } from './build-loop.ts';
import { runCommits } from './commit-loop.ts';
import { runLive } from './live-loop.ts';
import { Shard, type ShardOptions } from './shard.ts';
import type { ShardStorage } from './shard-storage.ts';

export interface ShardHostOptions extends Omit<ShardOptions, 'shard' | 'storage'> {
  readonly openStorage: (shard: number) => Promise<ShardStorage>;
  /** Puts a shard's storage out of the way; says where it is. */
  readonly setAside: (shard: number) => Promise<string>;
}

/** How long to wait before a shard whose log does not reach back is tried again, in milliseconds. */
const HALTED_MS = 5_000;

export class ShardHost {
  readonly #options: ShardHostOptions;
  readonly #shards = new Map<number, Shard>();
  #onOpen: () => void = () => undefined;

  constructor(options: ShardHostOptions) {
    this.#options = options;
  }

  /** The shards that run, by number ascending. */
  get shards(): readonly Shard[] {
    return [...this.#shards.values()].sort((a, b) => a.shard - b.shard);
  }

  /** A shard; undefined when it does not run here (now). */
  shard(number: number): Shard | undefined {
    return this.#shards.get(number);
  }

  /**
   * Runs the shards until the signal aborts; then commits each once more and closes it. `onOpen` is called once all are
   * open and can be followed.
   */
  async run(numbers: readonly number[], signal: AbortSignal, onOpen: () => void = () => undefined): Promise<void> {
    this.#onOpen = () => {
      if (this.#shards.size < numbers.length) return;
      this.#onOpen = () => undefined;
      onOpen();
    };
    const stop = new AbortController();
    const onAbort = (): void => stop.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const running = numbers.map((number) => this.#keep(number, stop.signal));
      try {
        await Promise.all(running);
      } finally {
        stop.abort(new DOMException('another shard failed', 'AbortError'));
        await Promise.allSettled(running);
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #keep(number: number, signal: AbortSignal): Promise<void> {
    const { logger, clock } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#once(number, signal);
      } catch (error) {
        if (isFreshetError(error, 'OFFSET_OUT_OF_RANGE')) {
          logger.error('a shard is halted', { shard: number, error: error.message, remedy: error.remedy });
          await clock.sleep(HALTED_MS, signal).catch(() => undefined);
        } else if (isFreshetError(error, 'WRONG_LOG', 'DATA_DAMAGED')) {
          const aside = await this.#options.setAside(number);
          logger.warn('a shard starts anew', { shard: number, reason: error.message, aside });
        } else {
          throw error;
        }
      }
    }
  }

  /** One life of a shard. Returns when the signal aborts; throws why it cannot go on. */
  async #once(number: number, signal: AbortSignal): Promise<void> {
    const { openStorage, ...options } = this.#options;
    const storage = await openStorage(number);
    try {
      const shard = new Shard({ ...options, shard: number, storage });
      this.#shards.set(number, shard);
      this.#onOpen();
      try {
        await runLoops(shard, signal);
        if (shard.needsCommit(true)) await shard.commit();
      } finally {
        this.#shards.delete(number);
        shard.fail(new FreshetError('UNAVAILABLE', `shard ${number} is restarting`));
      }
    } finally {
      await storage.close();
    }
  }
}

/** Runs a shard's loops until the signal aborts or one of them throws. */
export async function runLoops(shard: Shard, signal: AbortSignal): Promise<void> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  let failure: unknown;
  const guard = async (loop: Promise<void>): Promise<void> => {
    try {
      await loop;
    } catch (error) {
      if (!stop.signal.aborted || !isAbort(error)) failure ??= error;
    } finally {
      stop.abort(new DOMException('a loop of the shard ended', 'AbortError'));
      // Whoever waits for a commit or for room must see the end.
      shard.stopped();
    }
  };
  try {
    await Promise.all([runLive, runBuilds, runCommits].map((run) => guard(run(shard, stop.signal))));
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  if (failure !== undefined) throw failure;
}
