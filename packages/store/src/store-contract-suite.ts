/**
 * What every KeyValueStore does, LevelDB and the one in memory alike: the promises of key-value-store.ts, one test each.
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import { afterEach, describe, expect, it } from 'vitest';
import type { KeyRange, KeyValueStore, StoreOptions, Stores } from './key-value-store.ts';

const OPTIONS: StoreOptions = { what: 'the test store', remedy: 'none' };
const key = (text: string): Buffer => Buffer.from(text, 'latin1');
const ALL = { gte: key(''), lt: Buffer.from([0xff]) };

export function storeContractSuite(name: string, make: () => Promise<{ stores: Stores; directory: string }>): void {
  describe(`KeyValueStore: ${name}`, () => {
    const open: KeyValueStore[] = [];
    const reopen = async (stores: Stores, directory: string): Promise<KeyValueStore> => {
      const store = await stores.open(directory, OPTIONS);
      open.push(store);
      return store;
    };
    const fresh = async (): Promise<{ stores: Stores; directory: string; store: KeyValueStore }> => {
      const { stores, directory } = await make();
      return { stores, directory, store: await reopen(stores, directory) };
    };
    const put = async (store: KeyValueStore, entries: Record<string, string>, sync = false): Promise<void> => {
      const batch = store.batch();
      for (const [name, value] of Object.entries(entries)) batch.put(key(name), key(value));
      await batch.write({ sync });
    };
    const texts = async (store: KeyValueStore, range: KeyRange = ALL): Promise<string[]> => {
      const entries = store.entries(range);
      const found: string[] = [];
      for (let some = await entries.next(2); some.length > 0; some = await entries.next(2)) {
        found.push(...some.map(([k, v]) => `${k.toString('latin1')}=${v.toString('latin1')}`));
      }
      await entries.close();
      return found;
    };

    afterEach(async () => {
      await Promise.all(open.splice(0).map((store) => store.close()));
    });

    it('reads what was written, now and after it was closed', async () => {
      const { stores, directory, store } = await fresh();
      await put(store, { b: '2', a: '1', '': 'no key' });
      expect(store.getSync(key('a'))?.toString()).toBe('1');
      expect((await store.get(key('b')))?.toString()).toBe('2');
      expect(store.getSync(key('c'))).toBeUndefined();
      await store.close();
      const again = await reopen(stores, directory);
      expect(again.getSync(key('a'))?.toString()).toBe('1');
      expect(await texts(again)).toEqual(['=no key', 'a=1', 'b=2']);
    });

    it('writes a batch as a whole, the last word on a key wins, and deletes', async () => {
      const { store } = await fresh();
      const batch = store.batch();
      batch.put(key('a'), key('1'));
      batch.putUnder(key('p/'), 'ÿ', key('under'));
      batch.delete(key('a'));
      batch.put(key('b'), key(''));
      expect(store.getSync(key('b'))).toBeUndefined();
      await batch.write({ sync: true });
      expect(await texts(store)).toEqual(['b=', 'p/ÿ=under']);
    });

    it('scans a range in byte order as it was when the scan began', async () => {
      const { store } = await fresh();
      await put(store, { a: '1', b: '2', c: '3', é: '4', 'c\0': '5' });
      expect(await texts(store, { gte: key('b'), lt: key('é') })).toEqual(['b=2', 'c=3', 'c\0=5']);
      const entries = store.entries({ gt: key('a'), lt: Buffer.from([0xff]) });
      await put(store, { b: 'later', d: 'later' });
      const seen = [...(await entries.next(10)), ...(await entries.next(10))];
      expect(seen.map(([, value]) => value.toString())).toEqual(['2', '3', '5', '4']);
      await entries.close();
      const some = store.entries({ gte: key('a'), lt: key('é') });
      await store.clear({ gte: key('b'), lt: key('c') }, 1);
      expect((await some.next(3)).map(([name]) => name.toString())).toEqual(['a', 'b', 'c']);
      await some.confirm();
      await some.close();
      expect((await store.keys({ gte: key('c'), lt: key('d') }, 2)).map(String)).toEqual(['c', 'c\0']);
      await put(store, { b: 'again' });
      expect((await store.keys({ gte: key('b'), lt: key('d') }, 2)).map(String)).toEqual(['b', 'c']);
    });

    it('clears a range a piece at a time', async () => {
      const { store } = await fresh();
      await put(store, { a: '1', b: '2', c: '3', d: '4' });
      expect(await store.clear({ gte: key('a'), lt: key('d') }, 2)).toBe(2);
      expect(await store.clear({ gte: key('a'), lt: key('d') }, 2)).toBe(1);
      expect(await store.clear({ gte: key('a'), lt: key('d') }, 2)).toBe(0);
      expect(await texts(store)).toEqual(['d=4']);
    });

    it('is open once, and lets go when it is closed', async () => {
      const { stores, directory, store } = await fresh();
      const second = await stores.open(directory, OPTIONS).catch((error: unknown) => error);
      expect(isFreshetError(second, 'STORE_LOCKED')).toBe(true);
      await store.close();
      await (await reopen(stores, directory)).close();
    });

    it('scrubs to its end when nothing is wrong', async () => {
      const { store } = await fresh();
      await put(store, { a: 'x'.repeat(1000) }, true);
      let pieces = 0;
      expect(await store.scrub(async () => void pieces++)).toBeGreaterThanOrEqual(0);
      expect(store.damage).toBeUndefined();
    });

    it('is put aside under a new name each time; the first and the two newest are kept', async () => {
      const { stores, directory } = await make();
      const names: string[] = [];
      for (let time = 0; time < 5; time++) {
        const store = await stores.open(directory, OPTIONS);
        expect(store.getSync(key('time'))).toBeUndefined();
        await put(store, { time: String(time) });
        await store.close();
        names.push(await stores.setAside(directory));
      }
      expect(new Set(names).size).toBe(5);
      for (const [time, kept] of [
        [0, true],
        [1, false],
        [2, false],
        [3, true],
        [4, true],
      ] as const) {
        const store = await reopen(stores, names[time] as string);
        expect(store.getSync(key('time'))?.toString()).toBe(kept ? String(time) : undefined);
      }
    });
  });
}
