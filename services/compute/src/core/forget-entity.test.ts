/**
 * Goal: after an entity was erased and forgotten, no file of the node holds a byte of its key or its values; every other
 * key's row is what it was, at the same version; and the shard goes on. Method: a host with the real engine and a real
 * LevelDB over a log in memory, with commits, checkpoints, a store set aside, and a restart; every file is searched. The
 * marker is the key and a value; LevelDB's compression leaves random letters as they are.
 */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import {
  COLUMNS,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  type,
  view,
  viewHex,
} from '@freshet/engine/testing/plans.testing.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { encodeTick } from '@freshet/log/record-writer.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createEngineFold, ENGINE_FORMAT } from '../io/engine.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { testStorage } from '../testing/test-storage.ts';
import { Gate } from './gate.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost } from './shard-host.ts';

const MARKER = 'QZXWVKJHGFQPLMNB';
const OTHER = 'SOMEBODYELSE';
const V1 = viewHex(1);
const TEXTS = view([feature('all', 'count', '', LIFETIME), feature('last', 'last', 's', LIFETIME)]);

let root: string;
let log: MemoryLog;
let stop: AbortController;
let sequence = 0;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'freshet-forget-'));
  log = createMemoryLog({ partitions: 1, clock: systemClock });
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await log.close();
  rmSync(root, { recursive: true });
});

const keyOf = (name: string): Uint8Array => encodeKey([Kind.STRING], [name]);

function event(name: string, text: string): Uint8Array {
  return encodeRecord({
    case: 'change',
    value: {
      route: 1,
      generation: 1,
      lane: 2,
      sequence: { major: BigInt(++sequence) },
      operation: Operation.INSERT,
      entityKey: keyOf(name),
      contractVersion: 1,
      row: COLUMNS.map((column) => valueToProto(type(column.kind), column.name === 's' ? text : null)),
    },
  });
}

function hostOf(reader: LogReader = log): ShardHost {
  return new ShardHost({
    log: reader,
    ...testStorage(root, systemClock, { format: ENGINE_FORMAT }),
    createFold: createEngineFold,
    createDigest: ENGINE_FORMAT.createDigest,
    clock: systemClock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: { ...RIG_LIMITS, commitIntervalMs: 20, cacheBytes: 2_000 },
    pages: new Gate(2),
    passPace: new PassPace(),
  });
}

function filesWith(text: string): string[] {
  const files = readdirSync(root, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath, entry.name)).filter((path) => readFileSync(path).includes(text));
}

async function folded(host: ShardHost): Promise<void> {
  const { partitions } = await log.describe();
  while ((host.shard(0)?.position ?? 0) < (partitions[0]?.end ?? 0)) await turn();
}

function rowOf(host: ShardHost, name: string): string | undefined {
  const row = host.shard(0)?.row(V1, keyString(keyOf(name)));
  return row === undefined ? undefined : `${row.version} ${Buffer.from(row.bytes).toString('hex')}`;
}

it('leaves nothing of the entity in any file, and everybody else as they were', async () => {
  await log.append(0, [
    encodeRecord({ case: 'definitions', value: definitions(1, [TEXTS]) }),
    encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
    encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
  ]);
  const host = hostOf();
  const running = host.run([0], stop.signal);
  for (let round = 0; round < 5; round++) {
    const others = Array.from({ length: 40 }, (_, i) => event(`${OTHER}${(i * 7 + round) % 60}`, `${OTHER}${round}`));
    await log.append(0, [...others, event(MARKER, `${MARKER}-${round}`)]);
    await folded(host);
    await host.takeCheckpoint(0);
  }
  const before = Array.from({ length: 60 }, (_, i) => rowOf(host, `${OTHER}${i}`));
  expect(filesWith(MARKER).length).toBeGreaterThan(3);
  mkdirSync(join(root, 'shards', '0.aside-0001'), { recursive: true });
  writeFileSync(join(root, 'shards', '0.aside-0001', 'x.ldb'), MARKER);
  const { firstOffset: offset } = await log.append(0, [
    encodeRecord({ case: 'erase', value: { entity: 'user', entityKey: keyOf(MARKER), routes: [1], eraseId: 'e' } }),
  ]);
  const ticking = setInterval(() => void log.append(0, [encodeTick()]).catch(() => undefined), 50);
  const request = { logId: log.logId, shard: 0, offset, key: keyString(keyOf(MARKER)) };
  try {
    const first = await host.forget({ ...request, setAside: false }, stop.signal);
    expect(first).toMatchObject({ laterViews: [], setAside: [join(root, 'shards', '0.aside-0001')] });
    expect(first.checkpointsRemoved).toBeGreaterThan(0);
    expect(filesWith(MARKER)).toEqual([join(root, 'shards', '0.aside-0001', 'x.ldb')]);
    while (host.shard(0) === undefined) await turn();
    await folded(host);
    expect(rowOf(host, MARKER)).toBeUndefined();
    expect(Array.from({ length: 60 }, (_, i) => rowOf(host, `${OTHER}${i}`))).toEqual(before);
    // It goes on: the entity comes back as a new one, and forgetting it again says so.
    await log.append(0, [event(MARKER, 'after')]);
    await folded(host);
    const again = await host.forget({ ...request, setAside: true }, stop.signal);
    expect(again).toMatchObject({ laterViews: [V1], setAsideRemoved: true });
    expect(filesWith(`${MARKER}-`)).toEqual([]);
    expect(readdirSync(join(root, 'shards'))).toEqual(['0']);
  } finally {
    clearInterval(ticking);
  }
  stop.abort();
  await running;
  expect(filesWith(`${MARKER}-`)).toEqual([]);
}, 30_000);

it('does not wait for a build that cannot go on, in which nothing of the entity is', async () => {
  await log.append(0, [
    encodeRecord({ case: 'definitions', value: definitions(1, [TEXTS]) }),
    encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
    encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
    event(MARKER, MARKER),
  ]);
  const host = hostOf();
  const running = host.run([0], stop.signal);
  await folded(host);
  await log.trim(0, 3);
  const later = view([feature('last', 'last', 's', LIFETIME)], { id: 2 });
  await log.append(0, [encodeRecord({ case: 'definitions', value: definitions(2, [TEXTS, later]) })]);
  while (host.shard(0)?.lostBuilds.length !== 1) await turn();
  const { firstOffset: offset } = await log.append(0, [
    encodeRecord({ case: 'erase', value: { entity: 'user', entityKey: keyOf(MARKER), routes: [1], eraseId: 'e' } }),
  ]);
  const ticking = setInterval(() => void log.append(0, [encodeTick()]).catch(() => undefined), 50);
  try {
    const request = { logId: log.logId, shard: 0, offset, key: keyString(keyOf(MARKER)), setAside: true };
    expect(await host.forget(request, stop.signal)).toMatchObject({ laterViews: [] });
    expect(filesWith(MARKER)).toEqual([]);
  } finally {
    clearInterval(ticking);
  }
  stop.abort();
  await running;
}, 30_000);

it('leaves nothing of the entity in what a build had stored that was given up', async () => {
  await log.append(0, [
    encodeRecord({ case: 'definitions', value: definitions(1, [TEXTS]) }),
    encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
    encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
    event(MARKER, MARKER),
    ...Array.from({ length: 10 }, (_, i) => event(`${OTHER}${i}`, OTHER)),
  ]);
  const trimmed = Promise.withResolvers<void>();
  const host = hostOf({
    describe: (signal) => log.describe(signal),
    read: async function* (partition, from, signal) {
      for await (const batch of log.read(partition, from, signal)) {
        // The build's: it comes as far as the entity's row.
        if (from !== 1) yield batch;
        else {
          yield { ...batch, entries: batch.entries.filter(({ offset }) => offset < 5) };
          await trimmed.promise;
          throw new FreshetError('OFFSET_OUT_OF_RANGE', 'the log was trimmed');
        }
      }
    },
  });
  const running = host.run([0], stop.signal);
  await folded(host);
  const later = view([feature('last', 'last', 's', LIFETIME)], { id: 2 });
  await log.append(0, [encodeRecord({ case: 'definitions', value: definitions(2, [TEXTS, later]) })]);
  while (host.shard(0)?.fold.builds()[0]?.position !== 5) await turn();
  await host.takeCheckpoint(0);
  await log.trim(0, 10);
  trimmed.resolve();
  while (host.shard(0)?.lostBuilds.length !== 1) await turn();
  const { firstOffset: offset } = await log.append(0, [
    encodeRecord({ case: 'erase', value: { entity: 'user', entityKey: keyOf(MARKER), routes: [1], eraseId: 'e' } }),
  ]);
  const ticking = setInterval(() => void log.append(0, [encodeTick()]).catch(() => undefined), 50);
  try {
    const request = { logId: log.logId, shard: 0, offset, key: keyString(keyOf(MARKER)), setAside: true };
    expect(await host.forget(request, stop.signal)).toMatchObject({ laterViews: [] });
    expect(filesWith(MARKER)).toEqual([]);
  } finally {
    clearInterval(ticking);
  }
  stop.abort();
  await running;
}, 30_000);

it('touches nothing for an entity that was not erased there', async () => {
  const { firstOffset } = await log.append(0, [
    encodeRecord({ case: 'definitions', value: definitions(1, [TEXTS]) }),
    encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
    event(MARKER, 'kept'),
    encodeRecord({ case: 'erase', value: { entity: 'user', entityKey: keyOf(OTHER), routes: [1], eraseId: 'e' } }),
  ]);
  const host = hostOf();
  const running = host.run([0], stop.signal);
  await log.append(0, [encodeTick()]);
  await folded(host);
  const { position } = await host.takeCheckpoint(0);
  const before = filesWith(MARKER);
  expect(before.length).toBeGreaterThan(1);
  const request = { logId: log.logId, shard: 0, key: keyString(keyOf(MARKER)), setAside: true };
  // A change, an erase of somebody else, a tick.
  for (const offset of [2, 3, 4].map((i) => firstOffset + i)) {
    await expect(host.forget({ ...request, offset }, stop.signal)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  }
  expect(filesWith(MARKER)).toEqual(before);
  expect(position).toBeGreaterThan(firstOffset);
  stop.abort();
  await running;
});

it('says what keeps it from being done', async () => {
  const host = hostOf();
  const late = AbortSignal.timeout(200);
  await expect(host.forget({ logId: log.logId, shard: 0, offset: 0, key: 'k', setAside: false }, late)).rejects.toThrow(
    'does not run here',
  );
  const running = host.run([0], stop.signal);
  await log.append(0, [encodeTick()]);
  await folded(host);
  const other = { logId: 'ab'.repeat(16), shard: 0, offset: 99, key: 'k', setAside: false };
  await expect(host.forget(other, stop.signal)).rejects.toMatchObject({ code: 'WRONG_LOG' });
  await expect(
    host.forget({ ...other, logId: log.logId }, AbortSignal.timeout(150)),
    'a record that is not folded yet',
  ).rejects.toThrow();
  stop.abort();
  await running;
});
