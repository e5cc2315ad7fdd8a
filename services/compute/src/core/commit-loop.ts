/**
 * Commits a shard every so often, apart from folding: one commit at a time, begun by time, by bytes, or because somebody
 * waits for one.
 *
 * A shard in which only log time moves is committed ten times less often: after a restart it folds a few more ticks.
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Shard } from './shard.ts';
import type { Commit } from './shard-storage.ts';

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
  try {
    while (!signal.aborted) {
      await shard.commitWanted.waitFor(limits.commitIntervalMs, clock);
      // Followers may meet damage that folding does not: the state is not to be used any longer either way.
      if (storage.damage !== undefined) throw storage.damage;
      intervals += 1;
      if (signal.aborted || !shard.needsCommit(intervals >= IDLE_INTERVALS)) continue;
      intervals = 0;
      // Who asks while the commit is written may mean more than it drops.
      const asked = shard.clearingAsked;
      const before = storage.committed;
      await writing(shard, signal, () => shard.commit());
      clearing ||= asked > shard.cleared || drops(before, storage.committed);
      // What instances that are over leave behind goes a piece at a time, so that commits stay short.
      if (clearing) clearing = await writing(shard, signal, () => storage.clearDropped());
      if (clearing) shard.askCommit();
      else shard.cleared = asked;
      await yieldNow();
    }
  } finally {
    forget();
  }
}

/** Whether a commit does not name an instance that the one before did; also where its view is there as before, and built anew. */
function drops(before: Commit | undefined, next: Commit | undefined): boolean {
  const named = new Set(next?.instances.map(({ instance }) => instance));
  return before?.instances.some(({ instance }) => !named.has(instance)) === true;
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
