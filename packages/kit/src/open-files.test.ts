/** Goal: file descriptors that run out are told before, at, and no longer after. Method: a virtual clock, stated counts. */
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { ConditionBoard } from './conditions.ts';
import { silentLogger } from './logger.ts';
import { watchOpenFiles } from './open-files.ts';

it('raises with the share that is in use, and clears', async () => {
  const clock = new VirtualClock();
  const conditions = new ConditionBoard({ clock, log: silentLogger });
  const stop = new AbortController();
  let used = 10;
  const watching = watchOpenFiles({ conditions, clock, signal: stop.signal, read: async () => ({ used, limit: 100 }) });
  const told = async (count: number): Promise<string[]> => {
    used = count;
    await clock.advance(10_000_000);
    return conditions.list().map(({ message, severity }) => `${severity} ${message}`);
  };
  expect(await told(79)).toEqual([]);
  expect(await told(80)).toEqual(['2 80 of 100 file descriptors are in use']);
  expect(await told(100)).toEqual(['3 100 of 100 file descriptors are in use']);
  expect(await told(20)).toEqual([]);
  stop.abort();
  await watching;
});

it('knows those of this process, where the system tells', async () => {
  const clock = new VirtualClock();
  const conditions = new ConditionBoard({ clock, log: silentLogger });
  const stop = new AbortController();
  const watching = watchOpenFiles({ conditions, clock, signal: stop.signal });
  stop.abort();
  await watching;
  expect(conditions.list()).toEqual([]);
});
