/**
 * Goal: what a replica finds on its disk is what it wrote, and damage costs one shard and never an answer.
 * Method: replicas written, then opened again as they are, with bytes changed, or with rows missing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@freshet/kit/logger.ts';
import { ClassicLevel } from 'classic-level';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { countView, definitions, keysOf, ModelShard, viewId } from './replica.testing.ts';
import type { ReplicaState } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { DEFINITIONS_KEY, REPLICA_KEY, ROWS_RANGE, rowKey, rowParts, rowValue, tableOfRow } from './storage-keys.ts';

const SHARDS = 2;
let directory = '';

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'replica-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function model(shard: number, log: number, rows = 4): ModelShard {
  const made = new ModelShard(shard, log, [1]);
  for (const key of keysOf(shard, SHARDS, rows)) made.records.push({ view: 1, key, drops: false });
  return made;
}

function bootstrap(state: ReplicaState, from: ModelShard, frames = Number.POSITIVE_INFINITY): void {
  for (const frame of [...from.pass(from.cursor(0), from.end, 2)].slice(0, frames)) {
    const applied = state.apply(frame);
    expect(applied.outcome).toBe('applied');
    if (applied.outcome === 'applied' && applied.rest !== undefined) Array.from(applied.rest);
  }
}

async function write(change: (state: ReplicaState) => void): Promise<void> {
  const store = await ReplicaStore.open(directory, silentLogger);
  const state = await store.load();
  change(state);
  await store.flush(state);
  await store.close();
}

async function read(): Promise<ReplicaState> {
  const store = await ReplicaStore.open(directory, silentLogger);
  try {
    const state = await store.load();
    await store.flush(state);
    return state;
  } finally {
    await store.close();
  }
}

async function onDisk<T>(use: (db: ClassicLevel<Buffer, Buffer>) => Promise<T>): Promise<T> {
  const db = new ClassicLevel<Buffer, Buffer>(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  await db.open();
  try {
    return await use(db);
  } finally {
    await db.close();
  }
}

function served(state: ReplicaState): void {
  state.learnShardCount(SHARDS);
  state.define(definitions(1, [countView(1)]));
  bootstrap(state, model(0, 9));
  bootstrap(state, model(1, 9));
}

describe('a replica on disk', () => {
  it('R1: serves at once what it had, from the cursors it had', async () => {
    await write(served);
    const state = await read();
    expect(state.shardCount).toBe(SHARDS);
    expect(state.knownGeneration).toBe(1n);
    expect(state.catalog.services.get('all')?.generation).toBe(1n);
    expect(state.rowCount).toBe(8);
    expect(state.cursor(0)).toMatchObject({ position: 4n, recordCrc: 4, shard: 0 });
    expect(state.shards.get(1)?.served.completeThroughUs).toBe(4000);
  });

  it('R3: half a bootstrap of another log is forgotten, a whole shard of it is kept beside', async () => {
    await write(served);
    await write((state) => bootstrap(state, model(0, 8, 6), 2));
    let state = await read();
    expect(state.shards.get(0)?.incoming).toBeUndefined();
    await write((s) => bootstrap(s, model(0, 8, 6)));
    state = await read();
    expect(state.shards.get(0)?.served.logId).toBe(viewId(9));
    expect(state.shards.get(0)?.incoming?.position).toBe(6);
    await write((s) => bootstrap(s, model(1, 8, 6)));
    state = await read();
    expect([...state.shards.values()].map((shard) => shard.served.logId)).toEqual([viewId(8), viewId(8)]);
    expect(state.catalog.services.has('all')).toBe(true);
    // Nothing of the old log is left on the disk.
    expect(await onDisk((db) => db.keys(ROWS_RANGE).all())).toHaveLength(12);
  });

  it('a shard with a damaged row starts again from nothing; the other shards serve on', async () => {
    await write(served);
    await onDisk(async (db) => {
      const [first] = await db.iterator(ROWS_RANGE).all();
      const [key, value] = first!;
      value[value.length - 1]! ^= 1;
      await db.put(key, value);
    });
    const state = await read();
    const positions = [...state.shards.values()].map((shard) => shard.served.position).sort((a, b) => a - b);
    expect(positions).toEqual([0, 4]);
    expect(state.catalog.services.size).toBe(0);
    const lost = [...state.shards.values()].find((shard) => shard.served.position === 0)!.served.shard;
    await write((s) => bootstrap(s, model(lost, 9)));
    expect((await read()).catalog.services.size).toBe(1);
  });

  it('a shard with a missing row starts again, too', async () => {
    await write(served);
    await onDisk(async (db) => {
      const [first] = await db.iterator(ROWS_RANGE).all();
      await db.del(first![0]);
    });
    expect([...(await read()).shards.values()].map((shard) => shard.served.position).sort((a, b) => a - b)).toEqual([
      0, 4,
    ]);
  });

  it.each([
    ['definitions', DEFINITIONS_KEY],
    ['its own record', REPLICA_KEY],
  ])('damage to %s does not keep it from starting, and upstream mends it', async (_what, key) => {
    await write(served);
    await onDisk(async (db) => {
      const value = (await db.get(key))!;
      value[value.length - 1]! ^= 1;
      await db.put(key, value);
    });
    expect((await read()).catalog.services.size).toBe(0);
    await write((state) => {
      state.learnShardCount(SHARDS);
      state.define(definitions(1, [countView(1)]));
      for (let shard = 0; shard < SHARDS; shard++) bootstrap(state, model(shard, 9));
    });
    expect((await read()).catalog.services.size).toBe(1);
  });

  it('rows of tables that nobody names are cleared', async () => {
    await write(served);
    const key = rowKey(999, 'x');
    await onDisk((db) => db.put(key, rowValue(key, 1, 'y')));
    await read();
    const tables = await onDisk(async (db) => (await db.keys(ROWS_RANGE).all()).map(tableOfRow));
    expect(tables).not.toContain(999);
    expect(tables).toHaveLength(8);
  });

  it('a second process is told that the directory is taken', async () => {
    const store = await ReplicaStore.open(directory, silentLogger);
    await expect(ReplicaStore.open(directory, silentLogger)).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await store.close();
  });

  it('a row keeps its version and bytes, and any changed bit is noticed', () => {
    const key = rowKey(3, '\x01\xffabc');
    for (const version of [0, 127, 128, 2 ** 31, 2 ** 53 - 1]) {
      const value = rowValue(key, version, '\x00\xffrow');
      expect(rowParts(key, value)).toEqual({ version, bytes: '\x00\xffrow' });
      for (let bit = 0; bit < value.length * 8; bit++) {
        const bad = Buffer.from(value);
        bad[bit >> 3]! ^= 1 << (bit & 7);
        expect(() => rowParts(key, bad)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
      }
    }
  });
});
