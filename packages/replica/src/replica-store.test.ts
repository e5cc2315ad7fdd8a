/**
 * Goal: what a replica finds on its disk is what it wrote, and damage costs one shard and never an answer.
 * Method: replicas written, then opened again as they are, with bytes changed, rows missing or rows that are old, and with
 * writes that fail, on a disk in memory.
 */
import { fromBinary } from '@bufbuild/protobuf';
import type { ShardCursor } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { StoredShardSchema } from '@freshet/gen/freshet/serve/v1/storage_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { CopyWriter } from './copy-writer.ts';
import { countView, definitions, keysOf, ModelShard, viewId } from './replica.testing.ts';
import { ReplicaState } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { decodeRow, encodeRow, rowKey, rowPrefix, shardKey } from './storage-keys.ts';
import { NOT_READABLE_US } from './view-table.ts';

const SHARDS = 2;
const DIRECTORY = 'replica';
let disk: MemoryDisk;
let damage: string[];

beforeEach(() => {
  disk = new MemoryDisk();
  damage = [];
});

function open(): Promise<ReplicaStore> {
  return ReplicaStore.open({ stores: disk, directory: DIRECTORY, onDamage: (what) => damage.push(what) });
}

/** The keys of rows on the disk. */
function rowKeys(): string[] {
  return disk.keysOf(DIRECTORY).filter((key) => key.startsWith('r'));
}

function flipped(value: Buffer): Buffer {
  value[value.length >> 1]! ^= 1;
  return value;
}

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
  const store = await open();
  const state = await store.load();
  change(state);
  await store.flush(state);
  await store.close();
}

async function read(): Promise<ReplicaState> {
  const store = await open();
  try {
    const state = await store.load();
    await store.flush(state);
    return state;
  } finally {
    await store.close();
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

  it('R3: tells from the disk how far its rows go beyond their cursor, of frames that came while it wrote, too', async () => {
    const upstream = model(0, 9, 6);
    const [a, b, ...later] = upstream.records.splice(2);
    const state = new ReplicaState();
    state.learnShardCount(1);
    state.define(definitions(1, [countView(1)]));
    bootstrap(state, upstream);
    const copy = must(state.shards.get(0)).served;
    upstream.records.push(must(a), must(b));
    // Of a round in several frames the first: it does not move the cursor.
    const [first, second] = upstream.changed(2, 4, 4);
    const cursor = { ...upstream.cursor(2), aheadPosition: 4n, aheadCrc: 4 };
    state.apply(upstream.frame(2, cursor, [must(first)]));
    expect(state.cursor(0)).toMatchObject({ position: 2n, aheadPosition: 4n, aheadCrc: 4 });
    const store = await disk.open(DIRECTORY, { what: 'a replica', remedy: 'none' });
    const stored = async (): Promise<ShardCursor | undefined> =>
      fromBinary(StoredShardSchema, must(await store.get(shardKey(0, copy.copy)))).cursor;
    let batches = 0;
    await new CopyWriter(copy).write(store, 1, () => {
      if (++batches !== 2) return;
      state.apply(upstream.frame(2, upstream.cursor(4), [must(second)]));
      upstream.records.push(...later);
      state.apply(upstream.frame(4, upstream.cursor(6), upstream.changed(4, 6, 6)));
    });
    expect(await stored()).toMatchObject({ position: 2n, aheadPosition: 6n, aheadCrc: 6 });
    expect(state.cursor(0)).toMatchObject({ position: 6n, aheadPosition: 0n });
    await store.close();
  });

  it('R3: goes on from the disk with how far its rows go beyond their cursor', async () => {
    await write((state) => {
      served(state);
      const upstream = model(0, 9, 6);
      const [row] = upstream.changed(4, 6, 6);
      state.apply(upstream.frame(4, { ...upstream.cursor(4), aheadPosition: 6n, aheadCrc: 6 }, [must(row)]));
    });
    expect((await read()).cursor(0)).toMatchObject({ position: 4n, aheadPosition: 6n, aheadCrc: 6 });
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
    expect(rowKeys()).toHaveLength(12);
  });

  it.each([
    ['a flipped bit', (key: string) => disk.damage(DIRECTORY, key, flipped)],
    ['a row that is gone, by the blocks', (key: string) => disk.lose(DIRECTORY, key, true)],
    ['a row that is gone without a trace', (key: string) => disk.lose(DIRECTORY, key, false)],
  ])(
    'R3: %s costs its shard alone: its keys cannot be read, all others can, until it has come again',
    async (_what, harm) => {
      await write(served);
      harm(rowKeys()[0]!);
      let state = await read();
      const [lost] = state.healing;
      expect(state.healing).toHaveLength(1);
      expect(damage.length).toBeGreaterThan(0);
      const tables = (): readonly number[] =>
        state.catalog.services.get('all')!.outputs[0]!.view.tables.map((table) => table.completeThroughUs);
      expect(tables()[lost!]).toBe(NOT_READABLE_US);
      expect(tables()[1 - lost!]).toBe(4000);
      expect(state.rowCount).toBe(4);
      // Also when it is started again before it was healed.
      state = await read();
      expect(state.healing).toEqual([lost]);
      await write((s) => bootstrap(s, model(lost!, 9)));
      damage = [];
      state = await read();
      expect(state.healing).toEqual([]);
      expect(tables()).toEqual([4000, 4000]);
      expect(damage).toEqual([]);
    },
  );

  it('R1: a row that is older than the cursor it goes with is noticed', async () => {
    await write(served);
    const [key] = rowKeys();
    let old = Buffer.alloc(0);
    disk.damage(DIRECTORY, key!, (value) => {
      old = Buffer.from(value);
      return value;
    });
    await write((state) => {
      const { shard } = [...state.shards.values()].find(({ served: { tables } }) =>
        [...tables.values()].some((table) => key!.startsWith(rowPrefix(table.number).toString('latin1'))),
      )!.served;
      const source = model(shard, 9);
      source.records.push(source.records[0]!);
      for (const frame of source.live(4, 5)) expect(state.apply(frame)).toMatchObject({ outcome: 'applied' });
    });
    expect((await read()).healing).toEqual([]);
    // The disk brings back the row as it was before: same number of rows, every checksum right.
    const loses = rowKeys().filter((k) => disk.damage(DIRECTORY, k, (v) => (k === key ? Buffer.from(old) : v)));
    expect(loses).toContain(key);
    expect((await read()).healing).toHaveLength(1);
  });

  it('a record of a shard that is gone without a trace is noticed', async () => {
    await write(served);
    const records = disk.keysOf(DIRECTORY).filter((key) => key.startsWith('s'));
    disk.lose(DIRECTORY, records[1]!, false);
    const state = await read();
    expect(state.healing).toEqual([1]);
    expect(rowKeys()).toHaveLength(4);
  });

  it.each([
    ['definitions', 'd'],
    ['its own record', 'm'],
  ])('damage to %s does not keep it from starting, and upstream mends it', async (_what, key) => {
    await write(served);
    disk.damage(DIRECTORY, key, flipped);
    expect((await read()).catalog.services.size).toBe(0);
    expect(damage.length).toBeGreaterThan(0);
    await write((state) => {
      state.learnShardCount(SHARDS);
      state.define(definitions(1, [countView(1)]));
    });
    // The rows were not lost.
    expect((await read()).catalog.services.size).toBe(1);
  });

  it.each([
    ['whose number of shards is known', 's'],
    ['whose own record is damaged too', 'sm'],
  ])('R3: a damaged key that names no shard keeps nothing from taking over, in a replica %s', async (_what, harmed) => {
    await write(served);
    const store = await disk.open(DIRECTORY, { what: 'the store', remedy: '' });
    const batch = store.batch();
    batch.put(shardKey(5, 1), Buffer.from('no record'));
    await batch.write({ sync: true });
    await store.close();
    disk.damage(DIRECTORY, shardKey(5, 1).toString('latin1'), flipped);
    if (harmed.includes('m')) disk.damage(DIRECTORY, 'm', flipped);
    const state = await read();
    expect(damage.length).toBeGreaterThan(0);
    state.learnShardCount(SHARDS);
    expect(state.healing).toEqual([]);
    // The mesh was built anew: all shards of the other log are there, and it is served.
    bootstrap(state, model(0, 8));
    bootstrap(state, model(1, 8));
    expect([...state.shards.values()].map(({ served: copy }) => copy.logId)).toEqual([viewId(8), viewId(8)]);
  });

  it('rows of tables that nobody names are cleared', async () => {
    await write(served);
    const store = await disk.open(DIRECTORY, { what: 'the store', remedy: '' });
    const batch = store.batch();
    batch.put(rowKey(999, 'x'), Buffer.from('y'));
    await batch.write({ sync: true });
    await store.close();
    expect(rowKeys()).toHaveLength(9);
    await read();
    expect(rowKeys()).toHaveLength(8);
  });

  it('a second process is told that the directory is taken', async () => {
    const store = await open();
    await expect(open()).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await store.close();
  });

  it('a row keeps its version and bytes, and any changed bit changes its digest', () => {
    const key = rowKey(3, '\x01\xffabc');
    for (const version of [0, 127, 128, 2 ** 31, 2 ** 53 - 1]) {
      const { value, digest } = encodeRow(rowPrefix(3), '\x01\xffabc', version, '\x00\xffrow');
      const copy = Buffer.from(value);
      expect(decodeRow(key, copy)).toEqual({ version, bytes: '\x00\xffrow', digest });
      for (let bit = 0; bit < copy.length * 8; bit++) {
        const bad = Buffer.from(copy);
        bad[bit >> 3]! ^= 1 << (bit & 7);
        let seen: number | undefined;
        try {
          seen = decodeRow(key, bad).digest;
        } catch (error) {
          expect(isFreshetError(error, 'DATA_DAMAGED')).toBe(true);
        }
        expect(seen).not.toBe(digest);
      }
    }
  });
});

it('removes what is nobody’s as soon as the disk takes writes, when it took none at the start', async () => {
  let isFull = false;
  disk = new MemoryDisk({
    before: ({ kind }) =>
      isFull && (kind === 'write' || kind === 'clear')
        ? Promise.reject(new FreshetError('DISK_FULL', 'the disk is full'))
        : Promise.resolve(),
  });
  await write(served);
  // A row of a table that no record names, as a write leaves that did not come to its end.
  const raw = await disk.open(DIRECTORY, { what: 'the replica', remedy: 'none' });
  const batch = raw.batch();
  batch.put(rowKey(77, 'somebody'), Buffer.from('a row of nobody'));
  await batch.write({ sync: true });
  await raw.close();
  const before = rowKeys().length;
  isFull = true;
  const store = await open();
  const state = await store.load();
  await expect(store.flush(state)).rejects.toMatchObject({ code: 'DISK_FULL' });
  expect(rowKeys()).toHaveLength(before);
  isFull = false;
  await store.flush(state);
  expect(rowKeys()).toHaveLength(before - 1);
  await store.close();
  expect(damage).toEqual([]);
});
