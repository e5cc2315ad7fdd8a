/**
 * Goal: a store gives back exactly what was committed, in one piece, or says that it cannot; never anything else.
 * Method: real LevelDB in temporary directories; damage is done through a second handle on the same database, where a
 * bit flip, a lost commit or a foreign value can be placed exactly.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { sealEntry } from '@freshet/store/sealed-value.ts';
import { ClassicLevel } from 'classic-level';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { FoldCommit } from '../core/fold-port.ts';
import type { Commit } from '../core/shard-storage.ts';
import { ShardStore, type ShardStoreOptions } from './shard-store.ts';

const VIEW_A = 'aa'.repeat(16);
const VIEW_B = 'ff'.repeat(16);
const A = `${VIEW_A}00000001`;
const B = `${VIEW_B}ffffffff`;

let root: string;
let directory: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'freshet-store-'));
  directory = join(root, 'shards', '3');
});

afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

/** A state's version is its first byte. */
const options: ShardStoreOptions = {
  stores: levelStores,
  get directory() {
    return directory;
  },
  shard: 3,
  yieldNow: () => turn(),
  versionOf: (state) => state[0] ?? 0,
};
const open = (): Promise<ShardStore> => ShardStore.open(options);

function commitAt(position: number, instances: readonly string[] = [A, B]): Commit {
  return {
    logId: '0f'.repeat(16),
    position,
    logTimeUs: position * 1_000 - 5,
    recordCrc: position * 7,
    foldMeta: Uint8Array.of(position),
    instances: instances.map((instance) => ({ instance, complete: true, journaledFrom: 1 })),
    begunAt: 0,
    erasedBelow: 0,
  };
}

/** `replaced` is the text that the store has under the key. */
function taken(puts: readonly (readonly [string, string, string | undefined, replaced?: string])[]): FoldCommit {
  const changed = new Map<string, Set<string>>();
  for (const [instance, key] of puts) {
    const keys = changed.get(instance.slice(0, 32)) ?? new Set();
    changed.set(instance.slice(0, 32), keys.add(key));
  }
  return {
    puts: puts.map(([instance, key, text, replaced]) => [
      instance,
      key,
      text === undefined ? undefined : Buffer.from(text),
      replaced?.charCodeAt(0) ?? -1,
    ]),
    meta: new Uint8Array(0),
    changed,
  };
}

async function fill(commits: number): Promise<void> {
  const store = await open();
  for (let i = 1; i <= commits; i++) await store.commit(commitAt(i * 10), taken([[A, `key ${i}`, `state ${i}`]]), []);
  await store.close();
}

/** Changes stored bytes behind the store's back. */
async function tamper(change: (db: ClassicLevel<Buffer, Buffer>) => Promise<void>): Promise<void> {
  const db = new ClassicLevel<Buffer, Buffer>(directory, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
  await db.open();
  await change(db);
  await db.close();
}

async function keysFrom(db: ClassicLevel<Buffer, Buffer>, letter: string): Promise<Buffer[]> {
  return db.keys({ gte: Buffer.from(letter), lt: Buffer.from(`${letter}\xff`, 'latin1') }).all();
}

async function expectDamage(work: () => Promise<unknown>, message: RegExp): Promise<void> {
  const error: unknown = await work().then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(isFreshetError(error, 'DATA_DAMAGED'), String(error)).toBe(true);
  expect((error as Error).message).toMatch(message);
}

describe('ShardStore', () => {
  it('F3: gives back after reopening what was committed, and nothing else', async () => {
    let store = await open();
    expect(store.committed).toBeUndefined();
    await store.commit(
      commitAt(10),
      taken([
        [A, 'x', 'one'],
        [A, 'y', 'two'],
        [B, 'x', 'three'],
      ]),
      [],
    );
    await store.commit(
      commitAt(20),
      taken([
        [A, 'x', undefined, 'one'],
        [A, 'y', 'four', 'two'],
      ]),
      [],
    );
    await store.close();
    store = await open();
    expect({ ...store.committed, foldMeta: Uint8Array.from(store.committed?.foldMeta ?? []) }).toEqual(commitAt(20));
    expect(store.load(A, 'x')).toBeUndefined();
    expect(Buffer.from(store.load(A, 'y') ?? []).toString()).toBe('four');
    expect(Buffer.from(store.load(B, 'x') ?? []).toString()).toBe('three');
    expect(store.journal.slots.map(({ from, to, logTimeUs }) => [from, to, logTimeUs])).toEqual([
      [0, 10, 9_995],
      [10, 20, 19_995],
    ]);
    const slot = store.journal.find(0);
    expect(slot && store.readJournal(slot)).toEqual({
      recordCrc: 70,
      changed: new Map([
        [VIEW_A, new Set(['x', 'y'])],
        [VIEW_B, new Set(['x'])],
      ]),
    });
    await store.close();
  });

  it('pages an instance in key order, whatever is beside it', async () => {
    const store = await open();
    const keys = Array.from({ length: 700 }, (_, i) => String.fromCharCode(1 + (i % 250), i >> 2, i & 255));
    await store.commit(commitAt(10), taken([...keys.map((key) => [A, key, 'a'] as const), [B, 'k', 'b']]), []);
    const seen: string[] = [];
    for (let after: string | undefined, last = false; !last; ) {
      const page = await store.page(A, after, { rows: 97, bytes: 1 << 20 });
      expect(page.entries.length).toBeLessThanOrEqual(97);
      seen.push(...page.entries.map(([key]) => key));
      after = seen.at(-1);
      last = page.last;
    }
    expect(seen).toEqual([...new Set(keys)].sort());
    // The greatest instance there can be ends as well.
    expect((await store.page(B, undefined, { rows: 10, bytes: 100 })).entries.map(([key]) => key)).toEqual(['k']);
    await store.close();
  });

  it('bounds a page in bytes', async () => {
    const store = await open();
    const big = 'x'.repeat(10_000);
    await store.commit(commitAt(10), taken(Array.from({ length: 2_000 }, (_, i) => [A, `k${i}`, big] as const)), []);
    const page = await store.page(A, undefined, { rows: 2_000, bytes: 50_000 });
    expect(page.entries.length).toBeLessThanOrEqual(250);
    expect(page.last).toBe(false);
    await store.close();
  });

  it('R3: gives no page of which the disk refused a part', async () => {
    // What LevelDB leaves out of a scan then is shown by packages/store's few-files.test.ts.
    let isRefused = false;
    const refused = (): Promise<never> =>
      Promise.reject(new FreshetError('TOO_MANY_OPEN_FILES', 'no descriptor is left'));
    const stores: Stores = {
      ...levelStores,
      open: async (...args) => {
        const store = await levelStores.open(...args);
        const entries = store.entries.bind(store);
        store.entries = (...range) => {
          const scan = entries(...range);
          return isRefused ? { ...scan, confirm: refused } : scan;
        };
        return store;
      },
    };
    const store = await ShardStore.open({ ...options, directory, stores });
    await store.commit(commitAt(10), taken(['a', 'b', 'c'].map((key) => [A, key, 'state'] as const)), []);
    const limits = { rows: 2, bytes: 50_000 };
    expect((await store.page(A, undefined, limits)).entries.map(([key]) => key)).toEqual(['a', 'b']);
    isRefused = true;
    await expect(store.page(A, undefined, limits)).rejects.toMatchObject({ code: 'TOO_MANY_OPEN_FILES' });
    await store.close();
  });

  it('deletes the state of instances that the last commit does not name, and nothing else', async () => {
    const store = await open();
    const old = `${VIEW_A}00000000`;
    const many = Array.from({ length: 6_000 }, (_, i) => [old, `k${i}`, 'old'] as const);
    await store.commit(commitAt(10, [old, B]), taken([...many, [B, 'k', 'b']]), []);
    await store.commit(commitAt(20, [A, B]), taken([[A, 'k1', 'new']]), []);
    expect(await store.clearDropped()).toBe(true);
    expect(await store.clearDropped()).toBe(false);
    const { states, close } = store.snapshot();
    const left = [];
    for await (const some of states) for (const [instance, key] of some) left.push([instance, key]);
    await close();
    expect(left).toEqual([
      [A, 'k1'],
      [B, 'k'],
    ]);
    await store.close();
  });

  it('removes journal entries with the commit that drops them', async () => {
    let store = await open();
    for (let i = 1; i <= 5; i++) {
      const dropped = store.journal.expired(i * 10_000, { ageUs: 20_000, bytes: 1 << 20 });
      await store.commit(commitAt(i * 10), taken([[A, 'k', 's']]), dropped);
    }
    const slots = store.journal.slots;
    expect(slots[0]?.from).toBe(30);
    await store.close();
    store = await open();
    expect(store.journal.slots).toEqual(slots);
    await store.close();
  });

  it('commits at a position again when only builds went on', async () => {
    let store = await open();
    await store.commit(commitAt(10), taken([]), []);
    await store.commit({ ...commitAt(10), foldMeta: Uint8Array.of(99) }, taken([[A, 'k', 's']]), []);
    await store.close();
    store = await open();
    expect([...(store.committed?.foldMeta ?? [])]).toEqual([99]);
    expect(store.journal.slots).toHaveLength(1);
    await store.close();
  });

  it('refuses a second process', async () => {
    const store = await open();
    await expect(open()).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await store.close();
  });

  it('notices a flipped bit in any stored value', async () => {
    await fill(2);
    for (const letter of ['s', 'j', 'c']) {
      for (const bit of [0, 9, 23]) {
        await tamper(async (db) => {
          const [key] = letter === 'c' ? [Buffer.from('c')] : await keysFrom(db, letter);
          const value = Buffer.from((await db.get(key ?? Buffer.of())) ?? []);
          value[bit >> 3] = (value[bit >> 3] ?? 0) ^ (1 << (bit & 7));
          await db.put(key ?? Buffer.of(), value);
        });
        await expectDamage(async () => {
          const store = await open();
          try {
            store.load(A, 'key 1');
          } finally {
            expect(store.damage === undefined).toBe(false);
            await store.close();
          }
        }, /is not what was written|is missing from the middle|chain|cannot be decoded/);
        await rm(directory, { recursive: true, force: true });
        await fill(2);
      }
    }
  });

  it('notices a value that belongs to another key', async () => {
    await fill(2);
    await tamper(async (db) => {
      const [first, second] = await keysFrom(db, 's');
      await db.put(first ?? Buffer.of(), (await db.get(second ?? Buffer.of())) ?? Buffer.of());
    });
    const store = await open();
    await expectDamage(async () => store.load(A, 'key 1'), /is not what was written/);
    await store.close();
  });

  it('notices a commit that is missing from the middle', async () => {
    await fill(5);
    await tamper(async (db) => {
      const keys = await keysFrom(db, 'j');
      await db.del(keys[2] ?? Buffer.of());
    });
    await expectDamage(open, /gap/);
  });

  it('notices that commits are missing at the end, and state without a commit', async () => {
    await fill(3);
    await tamper(async (db) => {
      const keys = await keysFrom(db, 'j');
      await db.del(keys[2] ?? Buffer.of());
    });
    await expectDamage(open, /does not end at the commit/);
    await tamper((db) => db.del(Buffer.from('c')));
    await expectDamage(open, /no commit record/);
  });

  it('notices an entry of another chain', async () => {
    await fill(3);
    const keep: Buffer[] = [];
    await tamper(async (db) => {
      const [, key] = await keysFrom(db, 'j');
      keep.push(key ?? Buffer.of(), (await db.get(key ?? Buffer.of())) ?? Buffer.of());
    });
    await rm(directory, { recursive: true });
    const store = await open();
    await store.commit(commitAt(10), taken([[A, 'other', 'history']]), []);
    await store.commit(commitAt(20), taken([[A, 'key 2', 'state 2']]), []);
    await store.commit(commitAt(30), taken([[A, 'key 3', 'state 3']]), []);
    await store.close();
    const [key = Buffer.of(), value = Buffer.of()] = keep;
    await tamper((db) => db.put(key, value));
    await expectDamage(open, /of another history/);
  });

  it('notices a missing commit that moved no position', async () => {
    const store = await open();
    await store.commit(commitAt(10), taken([[A, 'k1', 'a']]), []);
    await store.commit(commitAt(10), taken([[A, 'k2', 'b']]), []);
    await store.commit(commitAt(20), taken([[A, 'k3', 'c']]), []);
    await store.close();
    await tamper(async (db) => {
      const [, second] = await keysFrom(db, 'h');
      await db.del(second ?? Buffer.of());
    });
    await expectDamage(open, /missing from the middle/);
  });

  it('notices keys that vanished, came back or went back, once all state is read', async () => {
    const read = async (): Promise<number> => {
      const store = await open();
      const { states, close } = store.snapshot();
      let count = 0;
      try {
        for await (const some of states) count += some.length;
      } finally {
        await close();
        await store.close();
      }
      return count;
    };
    const store = await open();
    await store.commit(
      commitAt(10),
      taken([
        [A, 'k1', 'a'],
        [A, 'k2', 'b'],
      ]),
      [],
    );
    await store.close();
    let before: (readonly [Buffer, Buffer])[] = [];
    await tamper(async (db) => {
      before = await db.iterator({ gte: Buffer.from('s'), lt: Buffer.from('t') }).all();
    });
    const again = await open();
    await again.commit(
      commitAt(20),
      taken([
        [A, 'k1', 'c', 'a'],
        [A, 'k2', undefined, 'b'],
      ]),
      [],
    );
    await again.close();
    expect(await read()).toBe(1);
    const [first, second] = before;
    await tamper((db) => db.put(first?.[0] ?? Buffer.of(), first?.[1] ?? Buffer.of()));
    await expectDamage(read, /other versions/);
    await tamper((db) => db.put(second?.[0] ?? Buffer.of(), second?.[1] ?? Buffer.of()));
    await expectDamage(read, /2 keys, not 1/);
    await tamper((db) => db.clear({ gte: Buffer.from('s'), lt: Buffer.from('t') }));
    await expectDamage(read, /0 keys, not 1/);
  });

  it('takes what an unfinished restore left for nothing', async () => {
    await (await open()).close();
    await tamper(async (db) => {
      await db.put(Buffer.from('r'), sealEntry(Buffer.from('r'), Buffer.of()).value);
      await db.put(Buffer.from('some state'), Buffer.from('half'));
    });
    const store = await open();
    expect(store.committed).toBeUndefined();
    await store.close();
    await tamper(async (db) => expect(await db.keys().all()).toEqual([]));
  });
});
