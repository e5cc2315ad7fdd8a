/**
 * For tests: a disk in memory that remembers every batch that was written to it, so that it can be made again as it was
 * after any of them, or as if one of them had never been; and that fails a write on demand, before or after it is done.
 */
import type { KeyValueStore, StoreOptions, Stores, WriteBatch } from '@freshet/store/key-value-store.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';

/** A key, a character per byte, and its value; undefined: deleted. */
type Operation = readonly [key: string, value: Buffer | undefined];

export class JournaledStores implements Stores {
  readonly disk = new MemoryDisk();
  /** Every batch, oldest first. */
  readonly batches: (readonly Operation[])[] = [];
  #failing: { readonly at: 'before' | 'after'; skip: number } | undefined;

  async open(directory: string, options: StoreOptions): Promise<KeyValueStore> {
    return journaled(await this.disk.open(directory, options), this);
  }

  compact(directory: string, options: StoreOptions): Promise<void> {
    return this.disk.compact(directory, options);
  }

  setAside(directory: string): Promise<string> {
    // What was written to it is no longer what a disk made again should have.
    this.batches.length = 0;
    return this.disk.setAside(directory);
  }

  /** Has a write fail, after so many that do not. */
  fail(at: 'before' | 'after', skip: number): void {
    this.#failing = { at, skip };
  }

  async write(operations: readonly Operation[], write: () => Promise<unknown>): Promise<void> {
    const failing = this.#failing !== undefined && this.#failing.skip-- === 0 ? this.#failing.at : undefined;
    if (failing !== undefined) this.#failing = undefined;
    if (failing === 'before') throw new Error('no room');
    await write();
    this.batches.push(operations);
    if (failing === 'after') throw new Error('no answer');
  }
}

/** A disk on which those batches were written. */
export async function diskOf(directory: string, batches: readonly (readonly Operation[])[]): Promise<MemoryDisk> {
  const disk = new MemoryDisk();
  const store = await disk.open(directory, { what: 'the store', remedy: '' });
  for (const operations of batches) {
    const batch = store.batch();
    for (const [key, value] of operations) {
      if (value === undefined) batch.delete(Buffer.from(key, 'latin1'));
      else batch.put(Buffer.from(key, 'latin1'), value);
    }
    await batch.write({ sync: true });
  }
  await store.close();
  return disk;
}

function journaled(store: KeyValueStore, stores: JournaledStores): KeyValueStore {
  let broken: unknown;
  const write = async (operations: readonly Operation[], run: () => Promise<unknown>): Promise<void> => {
    if (broken !== undefined) throw broken;
    try {
      await stores.write(operations, run);
    } catch (error) {
      broken = error;
      throw error;
    }
  };
  return {
    get location() {
      return store.location;
    },
    get damage() {
      return store.damage;
    },
    getSync: (key) => store.getSync(key),
    get: (key) => store.get(key),
    entries: (range, options) => store.entries(range, options),
    keys: (range, limit) => store.keys(range, limit),
    scrub: (pause) => store.scrub(pause),
    close: () => store.close(),
    batch: () => journaledBatch(store.batch(), write),
    async clear(range, limit) {
      const keys = await store.keys(range, limit);
      const operations = keys.map((key): Operation => [key.toString('latin1'), undefined]);
      if (keys.length > 0) await write(operations, () => store.clear(range, limit));
      return keys.length;
    },
  };
}

function journaledBatch(
  batch: WriteBatch,
  write: (operations: readonly Operation[], run: () => Promise<unknown>) => Promise<void>,
): WriteBatch {
  const operations: Operation[] = [];
  const text = (key: Uint8Array): string => Buffer.from(key).toString('latin1');
  return {
    put(key, value) {
      operations.push([text(key), Buffer.from(value)]);
      batch.put(key, value);
    },
    putUnder(prefix, key, value) {
      operations.push([text(prefix) + key, Buffer.from(value)]);
      batch.putUnder(prefix, key, value);
    },
    delete(key) {
      operations.push([text(key), undefined]);
      batch.delete(key);
    },
    write: (options) => write(operations, () => batch.write(options)),
  };
}
