/**
 * Goal: LevelDB as a store keeps the contract, and no damage to its files is taken for data. Method: the contract suite;
 * then stores with several tables and a log, damaged in every way at random places: what opens and reads without a
 * word has every value right and every key there. FRESHET_FUZZ_RUNS=10: ten times as many.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { LOG_BLOCK_BYTES, LogScan, NamedTables, tableFault } from './level-files.ts';
import { scrubDirectory } from './level-scrub.ts';
import { levelStores } from './level-store.ts';
import { storeContractSuite } from './store-contract-suite.ts';

const root = mkdtempSync(join(tmpdir(), 'freshet-store-'));
let next = 0;
const directory = (): string => join(root, `store-${next++}`);

afterAll(() => rmSync(root, { recursive: true, force: true }));

storeContractSuite('LevelDB', async () => ({ stores: levelStores, directory: directory() }));

const OPTIONS = { what: 'the store', remedy: 'none', writeBufferBytes: 64 * 1024 };
const KEYS = 4000;
const keyOf = (i: number): Buffer => Buffer.from(`key-${String(i).padStart(6, '0')}`);
const contentOf = (i: number): Buffer => Buffer.from(`${i} `.repeat(1 + (i % 20)));

/** The numbers of the tables that a closed store is made of. */
function namedIn(at: string): number[] {
  const manifest = readdirSync(at).find((name) => name.startsWith('MANIFEST')) as string;
  const named = new NamedTables();
  new LogScan((record) => named.take(record)).push(readFileSync(join(at, manifest)));
  return [...(named.numbers ?? [])];
}

function tablesIn(at: string): string[] {
  return readdirSync(at).filter((name) => name.endsWith('.ldb'));
}

/** A store of several tables with something left in its log, and nothing of a compaction that closing it cut short. */
async function filled(): Promise<string> {
  const at = await written();
  const named = namedIn(at);
  for (const table of tablesIn(at)) if (!named.includes(Number.parseInt(table, 10))) rmSync(join(at, table));
  return at;
}

async function written(): Promise<string> {
  const at = directory();
  const store = await levelStores.open(at, OPTIONS);
  for (let from = 0; from < KEYS; from += 100) {
    const batch = store.batch();
    for (let i = from; i < from + 100; i++) batch.put(keyOf(i), contentOf(i));
    await batch.write({ sync: false });
  }
  await store.close();
  return at;
}

/** What is wrong with a log that is given in pieces of so many blocks. */
function logFault(file: Buffer, blocks = 1000, records: string[] = []): string | undefined {
  const scan = new LogScan((record) => records.push(record.toString('hex')));
  for (let from = 0; from < file.length; from += blocks * LOG_BLOCK_BYTES) {
    // Overwritten afterwards, as a buffer that is read into again and again.
    const piece = Buffer.from(file.subarray(from, from + blocks * LOG_BLOCK_BYTES));
    scan.push(piece);
    piece.fill(0xdb);
  }
  return scan.fault;
}

type Damage = (file: Buffer, at: number) => Buffer;

const DAMAGES: Readonly<Record<string, Damage>> = {
  flip: (file, at) => {
    file[at] = (file[at] as number) ^ (1 << (at % 8));
    return file;
  },
  zero: (file, at) => file.fill(0, at, Math.min(file.length, at + 64)),
  garbage: (file, at) => file.fill('garbage ', at, Math.min(file.length, at + 64)),
  truncate: (file, at) => file.subarray(0, at),
};

/** Reads everything; says what was wrong without a word, if anything. */
async function readAll(at: string): Promise<'announced' | 'right' | { missing: number; wrong: number }> {
  let missing = 0;
  let wrong = 0;
  try {
    const store = await levelStores.open(at, OPTIONS);
    try {
      for (let i = 0; i < KEYS; i++) {
        const value = store.getSync(keyOf(i));
        if (value === undefined) missing++;
        else if (!value.equals(contentOf(i))) wrong++;
      }
    } finally {
      await store.close();
    }
  } catch (error) {
    if (isFreshetError(error, 'DATA_DAMAGED')) return 'announced';
    throw error;
  }
  return missing + wrong === 0 ? 'right' : { missing, wrong };
}

describe('damage to the files of a LevelDB', () => {
  it('never shows as a wrong value, and a table with a damaged byte never opens', async () => {
    const good = await filled();
    const files = readdirSync(good).filter((file) => /\.(ldb|log)$|^MANIFEST/.test(file));
    expect(files.filter((file) => file.endsWith('.ldb')).length).toBeGreaterThan(1);
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...files),
        fc.constantFrom(...Object.keys(DAMAGES)),
        fc.double({ min: 0, max: 0.999999, noNaN: true }),
        async (file, kind, where) => {
          const at = directory();
          cpSync(good, at, { recursive: true });
          const before = readFileSync(join(at, file));
          const after = (DAMAGES[kind] as Damage)(Buffer.from(before), Math.floor(where * before.length));
          writeFileSync(join(at, file), after);
          const found = await readAll(at);
          rmSync(at, { recursive: true, force: true });
          if (after.equals(before) || found === 'announced' || found === 'right') return;
          expect(found.wrong).toBe(0);
          // A tail that is gone is what a crash leaves too: who owns the store tells by its chain.
          expect(file.endsWith('.ldb')).toBe(false);
        },
      ),
      fuzzParameters(200),
    );
  });

  it('is salvaged on request: what opens has nothing wrong in it, and says what it was', async () => {
    const good = await filled();
    const tables = readdirSync(good).filter((file) => file.endsWith('.ldb'));
    for (const [number, file] of [...tables, 'CURRENT'].entries()) {
      const at = directory();
      cpSync(good, at, { recursive: true });
      const content = readFileSync(join(at, file));
      writeFileSync(join(at, file), content.fill(0xa5, number, Math.min(content.length, number + 3000)));
      const store = await levelStores.open(at, { ...OPTIONS, salvage: true });
      expect(store.damage?.message).toContain(file);
      let found = 0;
      for (let i = 0; i < KEYS; i++) {
        const value = store.getSync(keyOf(i));
        if (value !== undefined) {
          found++;
          expect(value.equals(contentOf(i))).toBe(true);
        }
      }
      expect(found).toBeGreaterThan(0);
      await store.close();
    }
  });

  it('is salvaged also when a table is gone, as after a salvage that a crash cut short', async () => {
    const at = await filled();
    const [table = '', ...others] = readdirSync(at).filter((file) => file.endsWith('.ldb'));
    expect(others.length).toBeGreaterThan(0);
    rmSync(join(at, table));
    await expect(levelStores.open(at, OPTIONS)).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
      message: expect.stringContaining(table),
    });
    const store = await levelStores.open(at, { ...OPTIONS, salvage: true });
    expect(store.damage?.message).toContain(table);
    const found = Array.from({ length: KEYS }, (_, i) => store.getSync(keyOf(i))?.equals(contentOf(i)));
    expect(found).not.toContain(false);
    expect(found).toContain(true);
    await store.close();
    const again = await levelStores.open(at, OPTIONS);
    expect(again.damage).toBeUndefined();
    await again.close();
  });

  it('is not found in a table that a compaction began and never named', async () => {
    const at = await filled();
    const table = readdirSync(at).find((file) => file.endsWith('.ldb')) as string;
    writeFileSync(join(at, '900000.ldb'), readFileSync(join(at, table)).subarray(0, 500));
    expect(await readAll(at)).toBe('right');
  });

  it('is told when the file that names the state is gone', async () => {
    const at = await filled();
    rmSync(join(at, 'CURRENT'));
    await expect(levelStores.open(at, OPTIONS)).rejects.toThrow('CURRENT');
  });

  it('is found in a table while the store is open', async () => {
    const at = await filled();
    const store = await levelStores.open(at, OPTIONS);
    const table = join(at, readdirSync(at).find((file) => file.endsWith('.ldb')) as string);
    const content = readFileSync(table);
    content[100] = (content[100] as number) ^ 4;
    writeFileSync(table, content);
    await expect(store.scrub(async () => undefined)).rejects.toThrow('checksum');
    expect(store.damage?.code).toBe('DATA_DAMAGED');
    await store.close();
  });
});

describe('the formats', () => {
  it('finds every single flipped bit of a table', async () => {
    const at = await filled();
    const file = readdirSync(at).find((name) => name.endsWith('.ldb')) as string;
    const content = readFileSync(join(at, file));
    expect(tableFault(content)).toBeUndefined();
    fc.assert(
      fc.property(fc.nat(content.length * 8 - 1), (bit) => {
        const flipped = Buffer.from(content);
        flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
        // The footer has padding between its handles and the magic number, which means nothing.
        return tableFault(flipped) !== undefined || bit >> 3 >= content.length - 48;
      }),
      { numRuns: 500 },
    );
  });

  it('names exactly the tables that the database has', async () => {
    const at = await written();
    const there = tablesIn(at).map((name) => Number.parseInt(name, 10));
    const named = namedIn(at);
    expect(named.filter((number) => !there.includes(number))).toEqual([]);
    // Beside them lies at most what a compaction had made when closing the store cut it short.
    expect(there.filter((number) => !named.includes(number)).length).toBeLessThanOrEqual(1);
    expect(named.length).toBeGreaterThan(1);
  });

  it('says the same of a log, whole or damaged, in however small pieces it is read', async () => {
    const at = directory();
    const store = await levelStores.open(at, { ...OPTIONS, writeBufferBytes: 16 * 2 ** 20 });
    for (let from = 0; from < 3; from++) {
      const batch = store.batch();
      for (let i = 0; i < 800; i++) batch.put(keyOf(i), Buffer.alloc(60, i));
      await batch.write({ sync: false });
    }
    await store.close();
    const file = readdirSync(at).find((name) => name.endsWith('.log')) as string;
    const content = readFileSync(join(at, file));
    expect(content.length).toBeGreaterThan(5 * LOG_BLOCK_BYTES);
    const damage = fc.option(fc.tuple(fc.nat(content.length - 1), fc.integer({ min: 1, max: 70_000 })), {
      nil: undefined,
    });
    fc.assert(
      fc.property(damage, fc.integer({ min: 1, max: 5 }), (hole, blocks) => {
        const damaged = Buffer.from(content);
        if (hole !== undefined) damaged.fill(0, hole[0], Math.min(damaged.length, hole[0] + hole[1]));
        const [whole, inPieces]: string[][] = [[], []];
        expect(logFault(damaged, blocks, inPieces)).toBe(logFault(damaged, 1000, whole));
        expect(inPieces).toEqual(whole);
        if (hole === undefined) expect(whole).toHaveLength(3);
      }),
      { numRuns: 100 },
    );
  });

  it('takes a manifest of any length', async () => {
    const at = await filled();
    const manifest = join(at, readdirSync(at).find((name) => name.startsWith('MANIFEST')) as string);
    // What is beyond its end is as a crash leaves it; most of it is a hole, which takes no room.
    truncateSync(manifest, 260 * 1024 * 1024);
    const { faults } = await scrubDirectory(at, { isOpen: false, pause: () => Promise.resolve() });
    expect(faults).toEqual([]);
  });

  it('takes a torn tail of a log for a crash, and a hole for damage', async () => {
    const at = await filled();
    const file = readdirSync(at).find((name) => name.endsWith('.log')) as string;
    const content = readFileSync(join(at, file));
    expect(content.length).toBeGreaterThan(3000);
    expect(logFault(content)).toBeUndefined();
    expect(logFault(content.subarray(0, content.length - 100))).toBeUndefined();
    const holed = Buffer.from(content).fill(0, 50, 90);
    expect(logFault(holed)).toContain('whole ones behind');
    truncateSync(join(at, file), content.length - 100);
    expect(await readAll(at)).toMatchObject({ wrong: 0 });
  });
});
