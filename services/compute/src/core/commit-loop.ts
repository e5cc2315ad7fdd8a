/**
 * Commits a shard every so often, apart from folding: one commit at a time, begun by time, by bytes, or because somebody
 * waits for one.
 *
 * A shard in which only log time moves is committed ten times less often: after a restart it folds a few more ticks.
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Shard } from './shard.ts';

const IDLE_INTERVALS = 10;

/** What a disk says when it may take writes again later. */
const DISK_ERRORS = ['DISK_FULL', 'DISK_READ_ONLY', 'DISK_FAILED', 'TOO_MANY_OPEN_FILES'] as const;

/**
 * Runs until the signal aborts. Throws when a commit could not be written, but only once the disk takes writes again: the
 * shard then goes back to its last commit, and until then it is served as it is.
 */
export async function runCommits(shard: Shard, signal: AbortSignal): Promise<void> {
  const { clock, limits, storage, yieldNow } = shard.options;
  const forget = shard.commitWanted.onAbort(signal);
  let intervals = 0;
  let clearing = storage.committed !== undefined;
  let epoch = shard.views.epoch;
  try {
    while (!signal.aborted) {
      await shard.commitWanted.waitFor(limits.commitIntervalMs, clock);
      // Followers may meet damage that folding does not: the state is not to be used any longer either way.
      if (storage.damage !== undefined) throw storage.damage;
      intervals += 1;
      if (signal.aborted || !shard.needsCommit(intervals >= IDLE_INTERVALS)) continue;
      intervals = 0;
      clearing ||= epoch !== shard.views.epoch;
      epoch = shard.views.epoch;
      await writing(shard, signal, () => shard.commit());
      // What dropped views leave behind goes a piece at a time, so that commits stay short.
      if (clearing) clearing = await writing(shard, signal, () => storage.clearDropped());
      if (clearing) shard.askCommit();
      await yieldNow();
    }
  } finally {
    forget();
  }
}

/** Writes; when the disk does not take it, throws only once it may. */
async function writing<T>(shard: Shard, signal: AbortSignal, write: () => Promise<T>): Promise<T> {
  try {
    return await write();
  } catch (error) {
    if (isFreshetError(error, ...DISK_ERRORS)) await shard.options.waitForDisk?.(error, signal);
    throw error;
  }
}
