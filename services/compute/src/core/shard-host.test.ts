/**
 * Goal: a shard whose state cannot be used starts anew by itself, and a host stops cleanly.
 * Method: a host over real stores and logs in memory that are exchanged or damaged between two runs.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { SubscribeChangesRequestSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { ClassicLevel } from 'classic-level';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { shardDirectory } from '../io/node-storage.ts';
import { computeHandlers } from '../rpc/handlers.ts';
import {
  changeRecord,
  createCountingDigest,
  createCountingFold,
  definitionsRecord,
  viewId,
} from '../testing/counting-fold.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { testStorage } from '../testing/test-storage.ts';
import { Gate } from './gate.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost, type ShardHostOptions } from './shard-host.ts';

let root: string;
let aside: string[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'freshet-host-'));
  aside = [];
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

function hostOf(log: LogReader, more: Partial<ShardHostOptions> = {}): ShardHost {
  const storage = testStorage(root, systemClock);
  return new ShardHost({
    log,
    ...storage,
    ...more,
    setAside: async (shard) => {
      const where = await storage.setAside(shard);
      aside.push(where);
      return where;
    },
    createFold: createCountingFold,
    createDigest: createCountingDigest,
    clock: systemClock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: RIG_LIMITS,
    pages: new Gate(2),
    passPace: new PassPace(),
  });
}

async function filledLog(logId: string, keys: readonly number[]): Promise<MemoryLog> {
  const log = createMemoryLog({ partitions: 2, clock: systemClock, logId });
  for (const partition of [0, 1]) {
    await log.append(partition, [
      definitionsRecord(1, [{ n: 0, route: 0 }]),
      ...keys.map((n) => changeRecord(0, keyBytes(int64KeyString(n)))),
    ]);
  }
  return log;
}

/** Runs a host until both shards are at the position; returns what `look` sees then. */
async function running<T>(log: LogReader, position: number, look: (host: ShardHost) => T): Promise<T> {
  const host = hostOf(log);
  const stop = new AbortController();
  const run = host.run([0, 1], stop.signal);
  const isThere = (): boolean =>
    host.shards.length === 2 && host.shards.every((s) => s.position === position && s.fold.builds().length === 0);
  try {
    while (!isThere()) await Promise.race([turn(), run]);
    return look(host);
  } finally {
    stop.abort();
    await run;
  }
}

function keysOf(host: ShardHost, of: readonly number[]): number[] {
  return of.filter((n) => host.shard(0)?.row(viewId(0), int64KeyString(n)) !== undefined);
}

async function damageStates(directory: string): Promise<void> {
  const db = new ClassicLevel<Buffer, Buffer>(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  for await (const [key, value] of db.iterator({ gte: Buffer.from('s'), lt: Buffer.from('t') })) {
    value[0] = (value[0] ?? 0) ^ 1;
    await db.put(key, value);
  }
  await db.close();
}

describe('ShardHost', () => {
  it('F3: commits when it stops and goes on from there', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    await running(log, 3, () => undefined);
    const store = await testStorage(root, systemClock).openStorage(1);
    expect(store.committed?.position).toBe(3);
    await store.close();
    await log.append(0, [changeRecord(0, keyBytes(int64KeyString(9)))]);
    await log.append(1, [changeRecord(0, keyBytes(int64KeyString(9)))]);
    expect(await running(log, 4, (host) => keysOf(host, [1, 2, 9]))).toEqual([1, 2, 9]);
    expect(aside).toEqual([]);
  });

  it('R3: puts the state of another log aside and folds the new one', async () => {
    await running(await filledLog('11'.repeat(16), [1, 2, 3]), 4, () => undefined);
    const other = await filledLog('22'.repeat(16), [3, 4]);
    expect(await running(other, 3, (host) => keysOf(host, [1, 2, 3, 4]))).toEqual([3, 4]);
    expect(aside).toHaveLength(2);
  });

  it('L2: folds nothing of a log before its keeper was told, at each reading', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    const told: string[] = [];
    const answered = Promise.withResolvers<void>();
    const beforeReading = (logId: string): Promise<void> => {
      told.push(logId);
      return answered.promise;
    };
    const host = hostOf(log, { beforeReading });
    const stop = new AbortController();
    const run = host.run([0, 1], stop.signal);
    try {
      while (told.length < 2) await turn();
      // A turn is enough for a batch: an unheld shard would be at its end by now.
      for (let i = 0; i < 50; i++) await turn();
      expect(host.shards.map(({ position }) => position)).toEqual([0, 0]);
      answered.resolve();
      while (host.shards.some(({ position }) => position < 3)) await turn();
      expect(told).toEqual([log.logId, log.logId]);
    } finally {
      stop.abort();
      await run;
    }
  });

  it('F3: puts state aside that is ahead of a log that lost records', async () => {
    await running(await filledLog('11'.repeat(16), [1, 2, 3]), 4, () => undefined);
    expect(await running(await filledLog('11'.repeat(16), [1]), 2, (host) => keysOf(host, [1, 2, 3]))).toEqual([1]);
  });

  it('R3: puts state aside whose last record the log does not have, though its id is the same', async () => {
    await running(await filledLog('11'.repeat(16), [1, 2]), 3, () => undefined);
    const restored = await filledLog('11'.repeat(16), [1, 8, 9]);
    expect(await running(restored, 4, (host) => keysOf(host, [1, 2, 8, 9]))).toEqual([1, 8, 9]);
    expect(aside).toHaveLength(2);
  });

  it('puts damaged state aside, and only that', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    await running(log, 3, () => undefined);
    const db = new ClassicLevel<string, Buffer>(shardDirectory(root, 0), { valueEncoding: 'buffer' });
    await db.put('c', Buffer.from('not a commit record'));
    await db.close();
    expect(await running(log, 3, (host) => keysOf(host, [1, 2]))).toEqual([1, 2]);
    expect(aside).toEqual([`${shardDirectory(root, 0)}.aside-0001`]);
  });

  it('puts state aside whose damage a follower meets, who is told and goes on when it is made anew', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    await running(log, 3, () => undefined);
    await damageStates(shardDirectory(root, 0));
    const host = hostOf(log);
    const stop = new AbortController();
    const run = host.run([0], stop.signal);
    while (host.shard(0) === undefined) await turn();
    const handlers = computeHandlers(host, { clock: systemClock, yieldNow: () => turn(), partitions: 1 });
    const request = create(SubscribeChangesRequestSchema, { shards: [{ shard: 0 }] });
    const told: (string | undefined)[] = [];
    for await (const frame of handlers.subscribeChanges(request, { signal: stop.signal, peer: '' })) {
      if (frame.unavailable !== undefined) told.push(frame.unavailable.code);
      if (frame.cursor?.position === 3n) break;
    }
    expect(told[0]).toBe('DATA_DAMAGED');
    expect(aside).toHaveLength(1);
    stop.abort();
    await run;
  });

  it('puts state aside whose damage shows only when a key is needed', async () => {
    const log = await filledLog('11'.repeat(16), [1, 2]);
    await running(log, 3, () => undefined);
    await damageStates(shardDirectory(root, 0));
    for (const partition of [0, 1]) await log.append(partition, [changeRecord(0, keyBytes(int64KeyString(1)))]);
    const count = await running(log, 4, (host) =>
      Buffer.from(host.shard(0)?.row(viewId(0), int64KeyString(1))?.bytes ?? []).toString(),
    );
    expect(count.trim()).toBe('2@3');
    expect(aside).toEqual([`${shardDirectory(root, 0)}.aside-0001`]);
  });

  it('ends when a fault is not one of state', async () => {
    const log = await filledLog('11'.repeat(16), [1]);
    const broken: LogReader = {
      describe: () =>
        Promise.resolve({
          logId: '11'.repeat(16),
          partitions: [
            { start: 0, end: 1 },
            { start: 0, end: 1 },
          ],
        }),
      read: () => {
        throw new TypeError('a fault of ours');
      },
    };
    await expect(hostOf(broken).run([0, 1], new AbortController().signal)).rejects.toThrow('a fault of ours');
    await log.close();
  });
});
