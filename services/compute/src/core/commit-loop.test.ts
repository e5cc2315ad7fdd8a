/**
 * Goal: a disk that takes no writes is waited for, whichever write it was that it did not take.
 * Method: the loop over a shard made up, whose commits are fine and whose clearing is not.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { runCommits } from './commit-loop.ts';
import type { Shard } from './shard.ts';
import { Wake } from './wake.ts';

it('waits for the disk when what dropped views left cannot be deleted', async () => {
  const full = new FreshetError('DISK_FULL', 'the disk is full');
  const waited: unknown[] = [];
  const commitWanted = new Wake();
  commitWanted.set();
  const shard = {
    commitWanted,
    views: { epoch: 0 },
    needsCommit: () => true,
    commit: () => Promise.resolve(),
    askCommit: () => undefined,
    options: {
      clock: new VirtualClock(),
      limits: { commitIntervalMs: 1_000 },
      storage: { committed: { position: 1 }, damage: undefined, clearDropped: () => Promise.reject(full) },
      yieldNow: () => Promise.resolve(),
      waitForDisk: (error: unknown) => {
        waited.push(error);
        return Promise.resolve();
      },
    },
  } as unknown as Shard;
  await expect(runCommits(shard, new AbortController().signal)).rejects.toBe(full);
  expect(waited).toEqual([full]);
});
