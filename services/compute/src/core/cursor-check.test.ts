/**
 * Goal: looking for a cursor ends when its shard does.
 * Method: a shard on a log in memory that answers when a test lets it.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { LogDescription } from '@freshet/log/log.ts';
import { afterEach, expect, it, vi } from 'vitest';
import { append, insert, removeRigs, rigWithView } from '../testing/following.ts';
import { findCursor } from './cursor-check.ts';

afterEach(removeRigs);

it('ends with the shard, also one that fails while the log is asked', async () => {
  const rig = await rigWithView();
  await append(rig, [insert(1)]);
  const { shard, log } = rig;
  let fail: (error: Error) => void = () => undefined;
  const answer = new Promise<LogDescription>((_resolve, reject) => {
    fail = reject;
  });
  const ask = vi.spyOn(log, 'describe').mockReturnValue(answer);
  const cursor = { shard: 0, logId: shard.logId, position: 9, recordCrc: 0, views: [] };
  let ended: unknown;
  findCursor(shard, cursor, new AbortController().signal).catch((error: unknown) => {
    ended = error;
  });
  expect(ask).toHaveBeenCalledTimes(1);
  const failure = new Error('the shard stopped');
  shard.fail(failure);
  fail(new Error('the log is away'));
  for (let i = 0; i < 10; i++) await turn();
  expect(ended).toBe(failure);
});
