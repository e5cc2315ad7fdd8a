/**
 * A replica's disk: one LevelDB with rows, cursors and definitions, so that a node that starts serves at once, whatever
 * it can reach.
 *
 * Owns: loading, and writing what differs. Does not own: what is known (replica-state.ts).
 *
 * Invariants: R1 (a shard's rows and its cursor are written in one batch: a crash loses the newest, never the
 * agreement of the two); R3 (which copies are served changes in one batch). A table whose rows are damaged or do not
 * add up takes its shard's copy with it: the copy starts again from nothing, and nothing else does.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ShardCursorSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  StoredDefinitionsSchema,
  StoredReplicaSchema,
  type StoredShard,
  StoredShardSchema,
} from '@freshet/gen/freshet/serve/v1/storage_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { fromHex, toHex } from '@freshet/kit/hex.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { ClassicLevel } from 'classic-level';
import { ReplicaState } from './replica-state.ts';
import { type RowKey, rowKeyOfText, rowKeyText } from './row-key.ts';
import type { ShardCopy } from './shard-copy.ts';
import {
  DEFINITIONS_KEY,
  FORMAT,
  keyOfRow,
  REPLICA_KEY,
  ROWS_RANGE,
  rowKey,
  rowParts,
  rowValue,
  SHARDS_RANGE,
  seal,
  shardKey,
  shardOfKey,
  tableOfRow,
  tableRange,
  unseal,
} from './storage-keys.ts';
import type { ViewTable } from './view-table.ts';

type Db = ClassicLevel<Buffer, Buffer>;
type Operation = { type: 'put'; key: Buffer; value: Buffer } | { type: 'del'; key: Buffer };

const LOAD_CHUNK_ROWS = 1000;

export class ReplicaStore {
  readonly #db: Db;
  readonly #log: Logger;

  private constructor(db: Db, log: Logger) {
    this.#db = db;
    this.#log = log;
  }

  /** Opens the directory. Throws STORE_LOCKED when another process has it, DATA_DAMAGED when it is no replica's. */
  static async open(directory: string, log: Logger): Promise<ReplicaStore> {
    const db: Db = new ClassicLevel<Buffer, Buffer>(directory, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      createIfMissing: true,
      compression: true,
      writeBufferSize: 16 * 1024 * 1024,
      cacheSize: 8 * 1024 * 1024,
    });
    try {
      await db.open();
    } catch (cause) {
      const { code } = (cause as { cause?: { code?: string } }).cause ?? {};
      if (code !== 'LEVEL_LOCKED')
        throw new FreshetError('DATA_DAMAGED', `the replica in ${directory} cannot be opened`, {
          cause,
          place: directory,
          remedy: 'move the directory away: the replica is built anew from upstream',
        });
      throw new FreshetError('STORE_LOCKED', `another process has ${directory} open`, { cause, place: directory });
    }
    return new ReplicaStore(db, log);
  }

  close(): Promise<void> {
    return this.#db.close();
  }

  /** Reads everything. What is damaged is left out, and cleared from the disk. */
  async load(): Promise<ReplicaState> {
    const state = new ReplicaState();
    const served = await this.#loadReplica(state);
    await this.#loadDefinitions(state);
    const copies = await this.#loadShards(state, served);
    await this.#loadRows(state, copies);
    for (const shard of state.shards.values()) state.dropUnfinished(shard);
    state.settle();
    return state;
  }

  async #loadReplica(state: ReplicaState): Promise<ReadonlyMap<number, number>> {
    const bytes = await this.#intact(REPLICA_KEY, 'which rows it serves; they are built anew');
    if (bytes === undefined) return new Map();
    const stored = fromBinary(StoredReplicaSchema, bytes);
    if (stored.format !== FORMAT) {
      throw new FreshetError(
        'DATA_DAMAGED',
        `the replica's store has format ${stored.format}, this is format ${FORMAT}`,
        {
          remedy: 'run the version that wrote it, or move the directory away: the replica is built anew from upstream',
        },
      );
    }
    state.shardCount = stored.shardCount;
    return new Map(stored.served.map(({ shard, copy }) => [shard, copy]));
  }

  async #loadDefinitions(state: ReplicaState): Promise<void> {
    const bytes = await this.#intact(
      DEFINITIONS_KEY,
      'its definitions; it serves nothing until the registry tells them',
    );
    if (bytes !== undefined) state.sets = fromBinary(StoredDefinitionsSchema, bytes).sets;
  }

  /** The value of a key; undefined when there is none, or when it is damaged: all of it comes again from upstream. */
  async #intact(key: Buffer, lost: string): Promise<Uint8Array | undefined> {
    const value = await this.#db.get(key);
    if (value === undefined) return undefined;
    try {
      return unseal(key, value);
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      this.#log.warn(`the replica has lost on disk ${lost}`, { error });
      await this.#db.del(key);
      return undefined;
    }
  }

  async #loadShards(state: ReplicaState, served: ReadonlyMap<number, number>): Promise<Map<ShardCopy, StoredShard>> {
    const found = new Map<ShardCopy, StoredShard>();
    for (const [key, value] of await this.#db.iterator(SHARDS_RANGE).all()) {
      const { shard, copy } = shardOfKey(key);
      state.reserveNumbers(0, copy);
      try {
        const stored = fromBinary(StoredShardSchema, unseal(key, value));
        const shardCopy = state.newCopy(shard, '', copy);
        shardCopy.restore(stored.cursor ?? create(ShardCursorSchema, { shard }), Number(stored.completeThroughUs));
        shardCopy.definitionsGeneration = stored.definitionsGeneration;
        found.set(shardCopy, stored);
      } catch (error) {
        this.#log.warn('the replica has lost a shard on disk; it is built anew', { shard, error });
        await this.#db.del(key);
      }
    }
    for (const [copy, stored] of found) {
      for (const t of stored.tables) state.reserveNumbers(t.table, 0);
      const shard = state.shards.get(copy.shard) ?? state.newShard(copy.shard);
      if (served.get(copy.shard) === copy.copy) shard.served = copy;
      else shard.incoming = copy;
    }
    return found;
  }

  /** Fills the copies' tables in one scan over all rows. */
  async #loadRows(state: ReplicaState, copies: ReadonlyMap<ShardCopy, StoredShard>): Promise<void> {
    const tables = new Map<number, { table: ViewTable; copy: ShardCopy }>();
    for (const [copy, stored] of copies) {
      for (const t of stored.tables) tables.set(t.table, { table: copy.loadTable(toHex(t.viewId), t.table), copy });
    }
    const damaged = new Map<ShardCopy, unknown>();
    const orphans = new Set<number>();
    const iterator = this.#db.iterator(ROWS_RANGE);
    try {
      for (;;) {
        const chunk = await iterator.nextv(LOAD_CHUNK_ROWS);
        if (chunk.length === 0) break;
        for (const [key, value] of chunk) {
          const found = tables.get(tableOfRow(key));
          if (found === undefined) orphans.add(tableOfRow(key));
          else loadRow(found.table, key, value, (error) => damaged.set(found.copy, error));
        }
      }
    } finally {
      await iterator.close();
    }
    for (const [copy, stored] of copies) {
      for (const t of stored.tables) {
        const table = copy.table(toHex(t.viewId));
        if (table.rows.size === Number(t.rows)) {
          table.whole = t.whole;
          table.completeThroughUs = Number(t.completeThroughUs);
        } else if (!damaged.has(copy)) damaged.set(copy, `${table.rows.size} rows of ${t.rows} are there`);
      }
    }
    await this.#clearDamaged(state, damaged, orphans);
  }

  async #clearDamaged(
    state: ReplicaState,
    damaged: ReadonlyMap<ShardCopy, unknown>,
    orphans: ReadonlySet<number>,
  ): Promise<void> {
    for (const table of orphans) {
      state.reserveNumbers(table, 0);
      await this.#db.clear(tableRange(table));
    }
    for (const [copy, error] of damaged) {
      this.#log.warn('the replica has lost rows on disk; the shard is built anew', { shard: copy.shard, error });
      const shard = state.shards.get(copy.shard);
      if (shard?.incoming === copy) shard.incoming = undefined;
      else if (shard !== undefined) {
        shard.served = state.newCopy(copy.shard, '');
        state.servedDirty = true;
      }
      await this.#discardCopy(copy);
    }
  }

  async #discardCopy(copy: ShardCopy): Promise<void> {
    await this.#db.del(shardKey(copy.shard, copy.copy));
    for (const table of copy.tables.values()) await this.#db.clear(tableRange(table.number));
  }

  /** Writes what differs from the disk. One call at a time. What could not be written stays marked as different. */
  async flush(state: ReplicaState): Promise<void> {
    const copies = [...state.copies()].filter(differs);
    const discardedTables = state.discardedTables;
    const discardedCopies = state.discardedCopies;
    state.discardedTables = [];
    state.discardedCopies = [];
    // What is said to be served is what it was when the copies were taken: it is never ahead of their rows on disk.
    const about = takeAbout(state);
    try {
      for (const copy of copies) await this.#flushCopy(copy);
      if (about.length > 0) await this.#db.batch(about);
      for (const table of discardedTables) await this.#db.clear(tableRange(table.number));
      for (const copy of discardedCopies) await this.#discardCopy(copy);
    } catch (error) {
      state.discardedTables.push(...discardedTables);
      state.discardedCopies.push(...discardedCopies);
      if (about.length > 0) {
        state.servedDirty = true;
        state.setsDirty = true;
      }
      throw error;
    }
  }

  async #flushCopy(copy: ShardCopy): Promise<void> {
    const operations: Operation[] = [];
    const taken: { table: ViewTable; keys: ReadonlySet<RowKey> }[] = [];
    for (const table of copy.tables.values()) {
      if (table.dirty.size === 0) continue;
      const keys = table.takeDirty();
      taken.push({ table, keys });
      for (const dirty of keys) operations.push(operationFor(table, dirty));
    }
    const key = shardKey(copy.shard, copy.copy);
    operations.push({ type: 'put', key, value: seal(key, toBinary(StoredShardSchema, storedShard(copy))) });
    copy.dirty = false;
    try {
      await this.#db.batch(operations);
    } catch (error) {
      copy.dirty = true;
      for (const { table, keys } of taken) table.redirty(keys);
      throw error;
    }
  }
}

/** The records about the whole replica, if they differ from the disk. */
function takeAbout(state: ReplicaState): Operation[] {
  if (!state.servedDirty && !state.setsDirty) return [];
  const replica = create(StoredReplicaSchema, {
    format: FORMAT,
    shardCount: state.shardCount,
    served: [...state.shards.values()].map(({ served }) => ({ shard: served.shard, copy: served.copy })),
  });
  const definitions = create(StoredDefinitionsSchema, { sets: [...state.sets] });
  state.servedDirty = false;
  state.setsDirty = false;
  return [
    { type: 'put', key: REPLICA_KEY, value: seal(REPLICA_KEY, toBinary(StoredReplicaSchema, replica)) },
    { type: 'put', key: DEFINITIONS_KEY, value: seal(DEFINITIONS_KEY, toBinary(StoredDefinitionsSchema, definitions)) },
  ];
}

function differs(copy: ShardCopy): boolean {
  if (copy.dirty) return true;
  for (const table of copy.tables.values()) if (table.dirty.size > 0) return true;
  return false;
}

function operationFor(table: ViewTable, dirty: RowKey): Operation {
  const key = rowKey(table.number, rowKeyText(dirty));
  const row = table.rows.get(dirty);
  return row === undefined ? { type: 'del', key } : { type: 'put', key, value: rowValue(key, row.version, row.bytes) };
}

function storedShard(copy: ShardCopy): StoredShard {
  return create(StoredShardSchema, {
    cursor: copy.cursor,
    completeThroughUs: BigInt(copy.completeThroughUs),
    definitionsGeneration: copy.definitionsGeneration,
    tables: [...copy.tables.values()].map((table) => ({
      table: table.number,
      viewId: fromHex(table.viewId),
      whole: table.whole,
      completeThroughUs: BigInt(table.completeThroughUs),
      rows: BigInt(table.rows.size),
    })),
  });
}

function loadRow(table: ViewTable, key: Buffer, value: Buffer, onDamage: (error: unknown) => void): void {
  try {
    const { version, bytes } = rowParts(key, value);
    table.load(rowKeyOfText(keyOfRow(key)), version, bytes);
  } catch (error) {
    if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
    onDamage(error);
  }
}
