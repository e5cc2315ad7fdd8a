/**
 * Runs the loops of one life of a shard side by side: the first that ends, ends all.
 *
 * Owns that they end together and which failure counts. Does not own what they do, nor the next life (shard-host.ts).
 */
import { isAbort } from '@freshet/kit/errors.ts';
import { runBuilds } from './build-loop.ts';
import { runCommits } from './commit-loop.ts';
import { runLive } from './live-loop.ts';
import type { Shard } from './shard.ts';
import { runSweeps } from './sweep-loop.ts';

/** A loop of a shard: runs until the signal aborts. */
export type ShardLoop = (shard: Shard, signal: AbortSignal) => Promise<void>;

/** Runs a shard's loops, and more of them, until the signal aborts or one of them throws. */
export async function runLoops(shard: Shard, signal: AbortSignal, more: readonly ShardLoop[] = []): Promise<void> {
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
    await Promise.all(
      [runLive, runBuilds, runCommits, runSweeps, ...more].map((run) => guard(run(shard, stop.signal))),
    );
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
  if (failure !== undefined) throw failure;
}
