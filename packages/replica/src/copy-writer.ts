/**
 * Writes what differs of one copy of a shard, in batches of bounded size.
 *
 * Owns the batches and the record that goes with each. Does not own the store's life (replica-store.ts).
 *
 * Invariants: R1. The record that a batch carries says exactly which rows the disk has once the batch is there: their
 * number and their digest. The cursor in it is the old one until the last batch, which has the cursor as it was when the
 * write began, and by then every row that differed is there, as it was then or newer. So the disk is at each moment
 * complete at the cursor that it has, or newer, and how much newer the record says (R3). R4: a batch is bounded, however many rows differ.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { type ShardCursor, ShardCursorSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type StoredShard, StoredShardSchema } from '@freshet/gen/freshet/serve/v1/storage_pb.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import type { KeyValueStore, WriteBatch } from '@freshet/store/key-value-store.ts';
import { type RowKey, rowKeyText } from './row-key.ts';
import { cursorWithAhead, type ShardCopy } from './shard-copy.ts';
import { encodeRow, rowKey, rowPrefix, shardKey } from './storage-keys.ts';
import type { TakenKeys, ViewTable } from './view-table.ts';

/** What a record says, but for rows and digests, which are the tables' own. */
interface Header {
  readonly cursor: ShardCursor;
  readonly completeThroughUs: number;
  readonly definitionsGeneration: bigint;
  readonly tables: readonly { readonly table: ViewTable; readonly completeThroughUs: number }[];
}

export class CopyWriter {
  readonly copy: ShardCopy;
  #stored: Header;
  /** Of the record that the disk has; 0: it has none. */
  #revision = 0;
  /** The batch that failed, until it is known whether the disk has it. */
  #doubtful: Batch | undefined;

  constructor(copy: ShardCopy) {
    this.copy = copy;
    const cursor = create(ShardCursorSchema, { shard: copy.shard });
    this.#stored = { cursor, completeThroughUs: 0, definitionsGeneration: 0n, tables: [] };
  }

  /** Takes what the disk was found to have. */
  loaded(record: StoredShard): void {
    this.#stored = headerOf(this.copy);
    this.#revision = Number(record.revision);
  }

  /** Whether something is to be written. Only what is whole ever is: half a copy could not be used. */
  get differs(): boolean {
    if (!this.copy.whole) return false;
    if (this.copy.dirty) return true;
    for (const table of this.copy.everyTable()) {
      if (table.whole && (table.unwritten || table.dirty.size > 0)) return true;
    }
    return false;
  }

  /**
   * Writes what differs now, in batches of about so many bytes; `onBatch` is called after each. What could not be written
   * still differs.
   */
  async write(store: KeyValueStore, batchBytes: number, onBatch: () => void): Promise<void> {
    const current = headerOf(this.copy);
    const taken = current.tables.map(({ table }) => ({ table, keys: table.takeDirty() }));
    const header = { ...current, tables: [...current.tables, ...this.#retiring()] };
    this.copy.dirty = false;
    try {
      let batch = new Batch(store);
      for (const { table, keys } of taken) {
        const prefix = rowPrefix(table.number);
        for (const key of table.keysOf(keys)) {
          batch.add(table, prefix, key);
          if (batch.bytes < batchBytes) continue;
          await this.#end(batch, this.#stored);
          onBatch();
          batch = new Batch(store);
        }
      }
      await this.#end(batch, header);
    } catch (error) {
      this.#giveBack(taken);
      throw error;
    }
    onBatch();
  }

  /** Tables that are read no more and are still needed on the disk, as it has them: they are written no more. */
  #retiring(): Header['tables'] {
    return this.#stored.tables.filter(({ table }) => this.copy.retiring.includes(table));
  }

  /** Finds out whether the disk has the batch that failed, from the record that it has. False: it has neither state. */
  resolve(record: StoredShard | undefined): boolean {
    const batch = this.#doubtful;
    if (batch === undefined) return true;
    this.#doubtful = undefined;
    const revision = Number(record?.revision ?? 0n);
    if (revision === this.#revision + 1) this.#revision = revision;
    else if (revision === this.#revision) batch.undo();
    else return false;
    // Which header the record has does not matter: the next write has one of its own, and rows are counted by table.
    return true;
  }

  /** The disk has nothing of the copy. */
  forget(): void {
    this.#doubtful = undefined;
    this.#revision = 0;
    this.#stored = { ...this.#stored, cursor: create(ShardCursorSchema, { shard: this.copy.shard }), tables: [] };
    this.copy.retiring = [];
    for (const table of this.copy.everyTable()) table.forgetStored();
    this.copy.dirty = true;
  }

  async #end(batch: Batch, header: Header): Promise<void> {
    const record = create(StoredShardSchema, {
      cursor: cursorWithAhead(header.cursor, this.copy.reach),
      completeThroughUs: BigInt(header.completeThroughUs),
      definitionsGeneration: header.definitionsGeneration,
      revision: BigInt(this.#revision + 1),
      tables: header.tables.map(({ table, completeThroughUs }) => ({
        table: table.number,
        viewId: fromHex(table.viewId),
        whole: true,
        completeThroughUs: BigInt(completeThroughUs),
        rows: BigInt(table.storedRows),
        digest: table.storedDigest,
        generation: table.generation,
      })),
    });
    this.#doubtful = batch;
    await batch.write(shardKey(this.copy.shard, this.copy.copy), toBinary(StoredShardSchema, record));
    this.#doubtful = undefined;
    this.#revision += 1;
    this.#stored = header;
  }

  #giveBack(taken: readonly { readonly table: ViewTable; readonly keys: TakenKeys }[]): void {
    this.copy.dirty = true;
    for (const { table, keys } of taken) table.redirty(keys);
  }
}

/** Rows that are written together. The tables count them as stored when they are added. */
class Batch {
  readonly #batch: WriteBatch;
  readonly #before: { readonly table: ViewTable; readonly key: RowKey; readonly digest: number }[] = [];
  bytes = 0;

  constructor(store: KeyValueStore) {
    this.#batch = store.batch();
  }

  add(table: ViewTable, prefix: Buffer, key: RowKey): void {
    const row = table.rows.get(key);
    const before = table.storedUnder(key);
    const text = rowKeyText(key);
    if (row === undefined) {
      if (before === 0) return;
      this.#batch.delete(rowKey(table.number, text));
      table.store(key, undefined, 0);
      this.bytes += prefix.length + text.length;
    } else {
      const { value, digest } = encodeRow(prefix, text, row.version, row.bytes);
      this.#batch.putUnder(prefix, text, value);
      table.store(key, row, digest);
      this.bytes += prefix.length + text.length + value.length;
    }
    this.#before.push({ table, key, digest: before });
  }

  write(key: Buffer, record: Uint8Array): Promise<void> {
    this.#batch.put(key, record);
    return this.#batch.write({ sync: false });
  }

  /** The disk does not have it. */
  undo(): void {
    for (const { table, key, digest } of this.#before.toReversed()) table.store(key, table.rows.get(key), digest);
  }
}

function headerOf(copy: ShardCopy): Header {
  return {
    cursor: copy.cursor,
    completeThroughUs: copy.completeThroughUs,
    definitionsGeneration: copy.definitionsGeneration,
    tables: [...copy.everyTable()]
      .filter(({ whole }) => whole)
      .map((table) => ({ table, completeThroughUs: table.completeThroughUs })),
  };
}
