/**
 * Goal: what a schema store acknowledged is there, and damage is told. Method: one contract for LevelDB, the disk in memory
 * and the fake; crashes at every step of a write; flipped bytes and lost records on real files.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { levelStores } from '@freshet/store/level-store.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { afterAll, describe, expect, it } from 'vitest';
import type { SchemaStore } from '../core/subjects/schema-store.ts';
import { MemorySchemaStore } from '../testing/memory-schema-store.ts';
import { LevelSchemaStore } from './schema-store.ts';

const home = mkdtempSync(join(tmpdir(), 'freshet-schemas-'));
afterAll(() => rmSync(home, { recursive: true }));
let made = 0;

interface Place {
  open(): Promise<SchemaStore & { close?(): Promise<void> }>;
}

const PLACES: Readonly<Record<string, () => Place>> = {
  LevelDB: () => {
    const directory = join(home, String(made++));
    return { open: () => LevelSchemaStore.open(levelStores, directory) };
  },
  'a disk in memory': () => {
    const disk = new MemoryDisk();
    return { open: () => LevelSchemaStore.open(disk, 'schemas') };
  },
  'the fake': () => {
    const store = new MemorySchemaStore();
    return { open: async () => store };
  },
};

const sorted = async (store: SchemaStore): Promise<unknown[]> =>
  (await store.load()).map(({ key, value }) => `${key}=${value}`).sort();

describe.each(Object.keys(PLACES))('a schema store in %s', (name) => {
  it('gives what was written, after it was opened anew too', async () => {
    const place = PLACES[name]!();
    let store = await place.open();
    expect(await store.load()).toEqual([]);
    await store.write([
      { key: 'a', value: '1' },
      { key: 'b', value: 'ä"\n' },
    ]);
    await store.write([
      { key: 'a', value: undefined },
      { key: 'c', value: '3' },
      { key: 'c', value: '4' },
      { key: 'none', value: undefined },
    ]);
    const expected = ['b=ä"\n', 'c=4'];
    expect(await sorted(store)).toEqual(expected);
    await store.close?.();
    store = await place.open();
    expect(await sorted(store)).toEqual(expected);
    await store.close?.();
  });
});

it('keeps every acknowledged write, whole, wherever the machine dies', async () => {
  for (let die = 0; die < 14; die++) {
    let steps = 0;
    const disk: MemoryDisk = new MemoryDisk({
      before: async ({ kind }) => {
        if ((kind === 'write' || kind === 'sync') && steps++ === die) throw new Error('the machine died');
      },
    });
    const store = await LevelSchemaStore.open(disk, 'schemas');
    await store.load();
    let acknowledged = 0;
    try {
      for (let n = 1; n <= 5; n++) {
        await store.write([
          { key: 'n', value: String(n) },
          { key: `row ${n}`, value: 'x' },
        ]);
        acknowledged = n;
      }
    } catch {
      // The rest is what the next life finds.
    }
    disk.crash(() => 0);
    steps = Number.NEGATIVE_INFINITY;
    const records = new Map((await (await LevelSchemaStore.open(disk, 'schemas')).load()).map((r) => [r.key, r.value]));
    const n = Number(records.get('n') ?? 0);
    expect(n).toBeGreaterThanOrEqual(acknowledged);
    expect(n).toBeLessThanOrEqual(acknowledged + 1);
    expect(records.size).toBe(n === 0 ? 0 : n + 1);
  }
});

it('takes writes again after one that failed, once it was loaded', async () => {
  let isFull = false;
  const disk = new MemoryDisk({
    before: async ({ kind }) => {
      if (isFull && (kind === 'write' || kind === 'sync')) throw new Error('no room');
    },
  });
  const store = await LevelSchemaStore.open(disk, 'schemas');
  await store.load();
  isFull = true;
  await expect(store.write([{ key: 'a', value: '1' }])).rejects.toThrow();
  isFull = false;
  await store.load();
  await store.write([{ key: 'a', value: '2' }]);
  expect(await store.load()).toEqual([{ key: 'a', value: '2' }]);
});

it('tells damage: a flipped byte anywhere in its log, and a record that is not there', async () => {
  const directory = join(home, 'damaged');
  const store = await LevelSchemaStore.open(levelStores, directory);
  await store.load();
  for (let n = 0; n < 5; n++) await store.write([{ key: `row ${n}`, value: 'y'.repeat(40) }]);
  const before = await sorted(store);
  await store.close();
  const log = join(directory, readdirSync(directory).find((file) => file.endsWith('.log'))!);
  const bytes = readFileSync(log);
  let told = 0;
  for (let at = 0; at < bytes.length; at += 37) {
    const damaged = Buffer.from(bytes);
    damaged[at]! ^= 0x10;
    writeFileSync(log, damaged);
    const opened = LevelSchemaStore.open(levelStores, directory);
    const found = await opened
      .then(async (each) => {
        try {
          return await sorted(each);
        } finally {
          await each.close();
        }
      })
      .catch((error: unknown) => error);
    if (found instanceof Error) {
      expect(found).toMatchObject({ code: 'DATA_DAMAGED' });
      told++;
    } else expect(found).toEqual(before);
    // LevelDB may have moved what it recovered: put everything back.
    rmSync(directory, { recursive: true });
    const anew = await LevelSchemaStore.open(levelStores, directory);
    await anew.load();
    for (let n = 0; n < 5; n++) await anew.write([{ key: `row ${n}`, value: 'y'.repeat(40) }]);
    await anew.close();
  }
  expect(told).toBeGreaterThan(5);

  const raw = await levelStores.open(directory, { what: 'a store', remedy: 'none' });
  const batch = raw.batch();
  batch.delete(Buffer.from('r/row 3'));
  await batch.write({ sync: true });
  await raw.close();
  const lost = await LevelSchemaStore.open(levelStores, directory);
  await expect(lost.load()).rejects.toThrow(/there are 4 records, and there were 5/);
  await lost.close();
});
