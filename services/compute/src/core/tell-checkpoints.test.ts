/**
 * Goal: L2, what is told of checkpoints never lets the log go that a shard needs.
 * Method: a host of two shards made up, and a keeper that answers by hand; that a shard's reading waits for it is in
 * shard-host.test.ts, with a real host.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import type { CheckpointInfo } from './checkpoint.ts';
import type { NodeUpkeep } from './node-upkeep.ts';
import type { Shard } from './shard.ts';
import type { ShardSource } from './shard-source.ts';
import { CheckpointTeller, type LogKeeper, type NeededFrom } from './tell-checkpoints.ts';
import { Wake } from './wake.ts';

const LOG = '11'.repeat(16);
const taken = (position: number): CheckpointInfo => ({ position, logId: LOG }) as CheckpointInfo;

function hostOf(positions: readonly number[], checkpoints: readonly (readonly number[])[]): NodeUpkeep & ShardSource {
  const shards = positions.map((position, shard) => ({ shard, position, logId: LOG }) as Shard);
  return {
    shards,
    numbers: positions.map((_, shard) => shard),
    shard: (number: number) => shards[number],
    checkpoints: (number: number) => (checkpoints[number] ?? []).map(taken),
  } as unknown as NodeUpkeep & ShardSource;
}

function tellerOf(host: NodeUpkeep & ShardSource, source: LogKeeper, clock = new VirtualClock()): CheckpointTeller {
  return new CheckpointTeller({ host: () => host, source, node: 'n', clock, log: silentLogger });
}

async function told(host: NodeUpkeep & ShardSource): Promise<readonly NeededFrom[]> {
  const stop = new AbortController();
  let needed: readonly NeededFrom[] = [];
  const source = {
    noteCheckpoints: (_node: string, _log: string, some: readonly NeededFrom[]): Promise<void> => {
      needed = some;
      stop.abort();
      return Promise.resolve();
    },
  };
  await tellerOf(host, source).run(new Wake(), stop.signal);
  return needed;
}

it('L2: tells the oldest checkpoint of each shard, and 0 of one without', async () => {
  expect(await told(hostOf([9, 9], [[8, 6, 4], []]))).toEqual([
    { shard: 0, position: 4 },
    { shard: 1, position: 0 },
  ]);
});

it('L2: a checkpoint that is further than its shard does not count: it may be of another history', async () => {
  expect(await told(hostOf([5, 3], [[8, 4], [8]]))).toEqual([
    { shard: 0, position: 4 },
    { shard: 1, position: 0 },
  ]);
});

it('L2: a node is known soon after it knows its log, whatever it folds by then', async () => {
  const host = hostOf([9], [[]]);
  const [shard] = host.shards as unknown as { logId: string }[];
  if (shard !== undefined) shard.logId = '';
  const stop = new AbortController();
  const clock = new VirtualClock();
  let toldAtUs: number | undefined;
  const source = {
    noteCheckpoints: (): Promise<void> => {
      toldAtUs = clock.monotonicUs();
      return Promise.resolve();
    },
  };
  const telling = tellerOf(host, source, clock).run(new Wake(), stop.signal);
  await clock.advance(50_000);
  if (shard !== undefined) shard.logId = LOG;
  const knownAtUs = clock.monotonicUs();
  await clock.advance(10_000_000);
  stop.abort();
  await telling;
  expect((toldAtUs ?? Infinity) - knownAtUs).toBeLessThanOrEqual(200_000);
});

describe('before a partition is read', () => {
  it('L2: shards that begin together tell together, and each waits for the answer', async () => {
    let calls = 0;
    const answered = Promise.withResolvers<void>();
    const source = {
      noteCheckpoints: (): Promise<void> => {
        calls += 1;
        return answered.promise;
      },
    };
    const teller = tellerOf(hostOf([9, 9], [[8], []]), source);
    const { signal } = new AbortController();
    let ready = 0;
    const both = [1, 2].map(() => teller.beforeReading(LOG, signal).then(() => ready++));
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect([calls, ready]).toEqual([1, 0]);
    answered.resolve();
    await Promise.all(both);
    await teller.beforeReading(LOG, signal);
    expect([calls, ready]).toEqual([2, 2]);
  });

  it('a keeper that answers and takes no word holds up no reading; one that cannot be reached does', async () => {
    let code: 'DISK_FULL' | 'UNAVAILABLE' = 'DISK_FULL';
    const source = { noteCheckpoints: () => Promise.reject(new FreshetError(code, 'not now')) };
    const teller = tellerOf(hostOf([9], [[8]]), source);
    const { signal } = new AbortController();
    await teller.beforeReading(LOG, signal);
    code = 'UNAVAILABLE';
    await expect(teller.beforeReading(LOG, signal)).rejects.toMatchObject({ code });
    await expect(teller.beforeReading(LOG, AbortSignal.abort(new Error('stopping')))).rejects.toThrow('stopping');
  });

  it('L2: a word that is under way does not speak for a shard that lost its checkpoints since', async () => {
    const told: (number | undefined)[] = [];
    const answers: (() => void)[] = [];
    const source: LogKeeper = {
      noteCheckpoints: (_node, _log, needed) => {
        told.push(needed[1]?.position);
        return new Promise((resolve) => answers.push(resolve));
      },
    };
    let host = hostOf([9, 9], [[8], [8]]);
    const options = { source, node: 'n', clock: new VirtualClock(), log: silentLogger };
    const teller = new CheckpointTeller({ host: () => host, ...options });
    const { signal } = new AbortController();
    const first = teller.beforeReading(LOG, signal);
    for (let i = 0; i < 10; i++) await Promise.resolve();
    host = hostOf([9, 0], [[8], []]);
    let isReady = false;
    const second = teller.beforeReading(LOG, signal).then(() => {
      isReady = true;
    });
    answers[0]?.();
    await first;
    for (let i = 0; i < 10; i++) await Promise.resolve();
    expect([told, isReady]).toEqual([[8, 0], false]);
    answers[1]?.();
    await second;
  });

  it('L2: no word has come to a keeper that did not answer in time, nor one that was broken off for another shard', async () => {
    let end: (error: FreshetError) => void = () => undefined;
    const source = { noteCheckpoints: () => new Promise<void>((_, reject) => (end = reject)) };
    const teller = tellerOf(hostOf([9, 9], [[8], [8]]), source);
    for (const code of ['DEADLINE_EXCEEDED', 'CANCELLED'] as const) {
      const stop = new AbortController();
      const both = [stop.signal, new AbortController().signal].map((signal) => teller.beforeReading(LOG, signal));
      const outcomes = Promise.allSettled(both);
      for (let i = 0; i < 10; i++) await Promise.resolve();
      stop.abort(new Error('stopping'));
      end(new FreshetError(code, 'not now'));
      expect(await outcomes).toMatchObject([
        { status: 'rejected', reason: { message: 'stopping' } },
        { status: 'rejected', reason: { code: 'UNAVAILABLE' } },
      ]);
    }
  });
});
