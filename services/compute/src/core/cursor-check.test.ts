/**
 * Goal: looking for a cursor ends when its shard does, or when that is where its log ends.
 * Method: a shard on a log in memory that answers when a test lets it, and what it lets it.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
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
  fail(new FreshetError('UNAVAILABLE', 'the log is away'));
  for (let i = 0; i < 10; i++) await turn();
  expect(ended).toBe(failure);
});

it('R2: does not have a subscriber with more than the log begin anew before the shard is where the log ends', async () => {
  const rig = await rigWithView();
  await append(rig, [insert(1)]);
  const { shard, log } = rig;
  const description = await log.describe();
  const { start } = must(description.partitions[0]);
  const { position } = shard;
  // The shard folds again what the log has, and is not there yet.
  const behind = { ...description, partitions: [{ ...must(description.partitions[0]), start, end: position + 2 }] };
  const ask = vi.spyOn(log, 'describe').mockResolvedValue(behind);
  const cursor = { shard: 0, logId: shard.logId, position: position + 7, recordCrc: 0, views: [] };
  let found: unknown;
  void findCursor(shard, cursor, new AbortController().signal).then((answer) => {
    found = answer;
  });
  for (const id of [2, 3]) {
    for (let i = 0; i < 10; i++) await turn();
    expect(found).toBeUndefined();
    await rig.clock.advance(1_000_000);
    await log.append(0, [insert(id)]);
    while (shard.position < position + id - 1) await turn();
  }
  for (let i = 0; i < 10; i++) await turn();
  expect(ask).toHaveBeenCalledTimes(3);
  expect(found).toBe('of another history');
});
