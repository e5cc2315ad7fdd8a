/**
 * The Schema Registry's records in LevelDB.
 *
 *     "r/" + key    the record's value, as text
 *     "ledger"      how many records there are, how many writes there were, and the XOR of the records' checksums
 *     "written"     the number of the last write, put after it by itself and not synced
 *
 * Each write is one synced batch with the ledger in it. The store's own checksums show a value that changed; the ledger
 * shows records that are not there, which have no checksum that could be wrong. "written" comes after the batch so that the
 * batch is not the last record of LevelDB's log: a damaged last one looks like one that a crash cut off.
 *
 * Owns bytes at rest and noticing damage at open. Does not own what records mean (core/subjects/records.ts).
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import type { KeyValueStore, StoreOptions, Stores } from '@freshet/store/key-value-store.ts';
import type { RecordText } from '../core/subjects/records.ts';
import type { SchemaStore } from '../core/subjects/schema-store.ts';

const LEDGER = Buffer.from('ledger');
const WRITTEN = Buffer.from('written');
const FIRST = Buffer.from('r/');
const END = Buffer.from('r0');
const LEDGER_BYTES = 20;
const SCAN_ENTRIES = 1_000;

const OPTIONS: StoreOptions = {
  what: "the Schema Registry's store",
  remedy: 'restore the directory from a copy, or start with an empty one and import an export into it',
};

export class LevelSchemaStore implements SchemaStore {
  readonly #stores: Stores;
  readonly #directory: string;
  #store: KeyValueStore;
  #isBroken = false;
  /** The checksum of each record that is stored. */
  #sums = new Map<string, number>();
  #digest = 0;
  #writes = 0n;

  private constructor(stores: Stores, directory: string, store: KeyValueStore) {
    this.#stores = stores;
    this.#directory = directory;
    this.#store = store;
  }

  /** Opens the store, making it when it is not there. Throws STORE_LOCKED, DATA_DAMAGED, or what the disk says. */
  static async open(stores: Stores, directory: string): Promise<LevelSchemaStore> {
    return new LevelSchemaStore(stores, directory, await stores.open(directory, OPTIONS));
  }

  async load(): Promise<readonly RecordText[]> {
    if (this.#isBroken) {
      await this.#store.close();
      this.#store = await this.#stores.open(this.#directory, OPTIONS);
      this.#isBroken = false;
    }
    const records: RecordText[] = [];
    const sums = new Map<string, number>();
    let digest = 0;
    const scan = this.#store.entries({ gte: FIRST, lt: END });
    try {
      for (let entries = await scan.next(SCAN_ENTRIES); entries.length > 0; entries = await scan.next(SCAN_ENTRIES)) {
        for (const [key, value] of entries) {
          const record = { key: key.toString('utf8', FIRST.length), value: value.toString() };
          const sum = sumOf(record.key, record.value);
          sums.set(record.key, sum);
          digest ^= sum;
          records.push(record);
        }
      }
    } finally {
      await scan.close();
    }
    await this.#check(records.length, digest >>> 0);
    this.#sums = sums;
    this.#digest = digest >>> 0;
    return records;
  }

  async write(records: readonly RecordText[]): Promise<void> {
    const batch = this.#store.batch();
    const sums = new Map<string, number | undefined>();
    let digest = this.#digest;
    for (const { key, value } of records) {
      digest ^= sums.has(key) ? (sums.get(key) ?? 0) : (this.#sums.get(key) ?? 0);
      sums.set(key, value === undefined ? undefined : sumOf(key, value));
      digest ^= sums.get(key) ?? 0;
      const bytes = Buffer.from(`r/${key}`);
      if (value === undefined) batch.delete(bytes);
      else batch.put(bytes, Buffer.from(value));
    }
    let count = this.#sums.size;
    for (const [key, sum] of sums) count += (sum === undefined ? 0 : 1) - (this.#sums.has(key) ? 1 : 0);
    const writes = this.#writes + 1n;
    batch.put(LEDGER, ledger(count, writes, digest >>> 0));
    try {
      await batch.write({ sync: true });
    } catch (error) {
      this.#isBroken = true;
      throw error;
    }
    this.#digest = digest >>> 0;
    this.#writes = writes;
    for (const [key, sum] of sums) {
      if (sum === undefined) this.#sums.delete(key);
      else this.#sums.set(key, sum);
    }
    const after = this.#store.batch();
    after.put(WRITTEN, number(writes));
    // The records are durable without it. That it fails is told by the next write, which finds the same disk.
    await after.write({ sync: false }).catch(() => {
      this.#isBroken = true;
    });
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  async #check(count: number, digest: number): Promise<void> {
    const stored = await this.#store.get(LEDGER);
    const written = (await this.#store.get(WRITTEN))?.readBigUInt64BE() ?? 0n;
    if (stored !== undefined && stored.length !== LEDGER_BYTES) throw this.#damaged('its ledger is of another length');
    const expected = {
      count: stored?.readUInt32BE(0) ?? 0,
      writes: stored?.readBigUInt64BE(4) ?? 0n,
      digest: stored?.readUInt32BE(12) ?? 0,
    };
    if (written > expected.writes)
      throw this.#damaged(`there were ${written} writes, and only ${expected.writes} are there`);
    if (expected.count !== count) throw this.#damaged(`there are ${count} records, and there were ${expected.count}`);
    if (expected.digest !== digest) throw this.#damaged('its records are not those that were written');
    this.#writes = expected.writes;
  }

  #damaged(message: string): FreshetError {
    return new FreshetError('DATA_DAMAGED', `${OPTIONS.what} is damaged: ${message}`, {
      remedy: OPTIONS.remedy,
      place: this.#directory,
    });
  }
}

function sumOf(key: string, value: string): number {
  const bytes = Buffer.from(`${key}\0${value}`);
  return crc32c(bytes, 0, bytes.length);
}

function ledger(count: number, writes: bigint, digest: number): Buffer {
  const bytes = Buffer.alloc(LEDGER_BYTES);
  bytes.writeUInt32BE(count, 0);
  bytes.writeBigUInt64BE(writes, 4);
  bytes.writeUInt32BE(digest, 12);
  return bytes;
}

function number(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}
