/**
 * Reads a replica's store: everything that can be proven, and what cannot.
 *
 * Owns: telling whole copies of shards from damaged ones. Does not own: the writing (copy-writer.ts), what becomes of
 * what was lost (replica-state.ts, replica-store.ts).
 *
 * Invariants: R1, R3. A copy counts only if its record is intact and every table has as many rows as the record says,
 * with the digest that it says: so neither a row that is missing nor one that is older than its cursor gets in. What is
 * damaged takes its shard's copy with it, and nothing else.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import { ShardCursorSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  StoredDefinitionsSchema,
  type StoredReplica,
  StoredReplicaSchema,
  type StoredShard,
  StoredShardSchema,
  type StoredTable,
} from '@freshet/gen/freshet/serve/v1/storage_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { Entry, KeyValueStore } from '@freshet/store/key-value-store.ts';
import { ReplicaState } from './replica-state.ts';
import { rowKeyOfText } from './row-key.ts';
import type { ShardCopy } from './shard-copy.ts';
import {
  DEFINITIONS_KEY,
  decodeRow,
  FORMAT,
  keyOfRow,
  REPLICA_KEY,
  ROWS_RANGE,
  rowPrefix,
  SHARDS_RANGE,
  shardKey,
  shardOfKey,
  tableOfRow,
  tableRange,
} from './storage-keys.ts';
import type { ViewTable } from './view-table.ts';

const ROWS_AT_ONCE = 1000;

/** What was found. */
export interface Loaded {
  readonly state: ReplicaState;
  /** The copies that are whole, with their records. */
  readonly copies: ReadonlyMap<ShardCopy, StoredShard>;
  /** What was lost, in a sentence each. */
  readonly losses: readonly string[];
  /** Keys that nothing refers to any more. */
  readonly keysToDelete: readonly Buffer[];
  readonly tablesToClear: readonly number[];
}

/** Reads everything. Throws INVALID_CONFIG for another format, DATA_DAMAGED when it cannot even be listed. */
export async function loadReplica(store: KeyValueStore): Promise<Loaded> {
  return new Loader(store).load();
}

class Loader {
  readonly #store: KeyValueStore;
  readonly #state = new ReplicaState();
  readonly #copies = new Map<ShardCopy, StoredShard>();
  readonly #losses: string[] = [];
  readonly #keysToDelete: Buffer[] = [];
  readonly #tablesToClear: number[] = [];

  constructor(store: KeyValueStore) {
    this.#store = store;
  }

  async load(): Promise<Loaded> {
    const replica = await this.#loadReplica();
    await this.#loadDefinitions();
    const damaged = await this.#loadRecords();
    await this.#loadRows();
    // A damaged store is put aside as a whole.
    if (this.#store.damage === undefined) await this.#findOrphans();
    this.#place(replica, damaged);
    this.#state.settle();
    return {
      state: this.#state,
      copies: this.#copies,
      losses: this.#losses,
      keysToDelete: this.#keysToDelete,
      tablesToClear: this.#tablesToClear,
    };
  }

  async #loadReplica(): Promise<StoredReplica | undefined> {
    const bytes = await this.#intact(REPLICA_KEY, 'which rows it serves');
    if (bytes === undefined) return undefined;
    const stored = fromBinary(StoredReplicaSchema, bytes);
    if (stored.format !== FORMAT) {
      throw new FreshetError(
        'INVALID_CONFIG',
        `the replica's store has format ${stored.format}, this is format ${FORMAT}`,
        {
          place: this.#store.location,
          remedy: 'run the version that wrote it, or move the directory away: the replica is built anew from upstream',
        },
      );
    }
    this.#state.shardCount = stored.shardCount;
    return stored;
  }

  async #loadDefinitions(): Promise<void> {
    const bytes = await this.#intact(
      DEFINITIONS_KEY,
      'its definitions; it serves nothing until the registry tells them',
    );
    if (bytes !== undefined) this.#state.sets = fromBinary(StoredDefinitionsSchema, bytes).sets;
  }

  /** The value of a key; undefined when there is none, or when it is damaged. */
  async #intact(key: Buffer, what: string): Promise<Buffer | undefined> {
    try {
      return await this.#store.get(key);
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      this.#losses.push(`the replica lost ${what}`);
      this.#state.servedDirty = true;
      this.#state.setsDirty = true;
      return undefined;
    }
  }

  /** Makes the copies that have a record; returns the shards of records that are damaged. */
  async #loadRecords(): Promise<ReadonlySet<number>> {
    const damaged = new Set<number>();
    const note = (key: Buffer): void => {
      const { shard, copy } = shardOfKey(key);
      damaged.add(shard);
      // Nobody else is to have the number: the key may be deleted late.
      this.#state.reserveNumbers(0, copy);
      this.#keysToDelete.push(key);
    };
    for await (const records of scan(this.#store, SHARDS_RANGE, note)) {
      for (const record of records) this.#loadRecord(record);
    }
    return damaged;
  }

  #loadRecord([key, value]: Entry): void {
    const { shard, copy } = shardOfKey(key);
    this.#state.reserveNumbers(0, copy);
    const stored = fromBinary(StoredShardSchema, value);
    for (const { table } of stored.tables) this.#state.reserveNumbers(table, 0);
    // The beginning of a copy's first write, whose end is not there.
    if ((stored.cursor?.position ?? 0n) === 0n) {
      this.#keysToDelete.push(key);
      return;
    }
    const shardCopy = this.#state.newCopy(shard, '', copy);
    shardCopy.restore(stored.cursor ?? create(ShardCursorSchema, { shard }), Number(stored.completeThroughUs));
    shardCopy.definitionsGeneration = stored.definitionsGeneration;
    this.#copies.set(shardCopy, stored);
  }

  async #loadRows(): Promise<void> {
    for (const [copy, stored] of [...this.#copies]) {
      for (const record of stored.tables) {
        const why = await this.#loadTable(
          copy.loadTable(toHex(record.viewId), record.table, record.generation),
          record,
        );
        if (why === undefined) continue;
        this.#lose(copy, stored, `the replica lost rows of shard ${copy.shard}: ${why}`);
        break;
      }
    }
  }

  /** Fills a table; returns what is wrong with it. */
  async #loadTable(table: ViewTable, record: StoredTable): Promise<string | undefined> {
    let why: string | undefined;
    try {
      const note = (_key: Buffer, error: FreshetError): void => {
        why ??= error.message;
      };
      for await (const rows of scan(this.#store, tableRange(table.number), note)) {
        for (const [key, value] of rows) {
          const { version, bytes, digest } = decodeRow(key, value);
          table.load(rowKeyOfText(keyOfRow(key)), version, bytes, digest);
        }
      }
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      why ??= error.message;
    }
    if (why !== undefined) return why;
    if (table.storedRows !== Number(record.rows)) return `${table.storedRows} rows of ${record.rows} are there`;
    if (table.storedDigest !== record.digest) return 'its rows are not those that its cursor goes with';
    table.whole = true;
    table.unwritten = false;
    table.completeThroughUs = Number(record.completeThroughUs);
    return undefined;
  }

  #lose(copy: ShardCopy, stored: StoredShard, loss: string): void {
    this.#losses.push(loss);
    this.#drop(copy, stored);
  }

  #drop(copy: ShardCopy, stored: StoredShard): void {
    this.#copies.delete(copy);
    this.#keysToDelete.push(shardKey(copy.shard, copy.copy));
    for (const { table } of stored.tables) this.#tablesToClear.push(table);
  }

  /** Rows of tables that no record names: of writes that did not come to their end, or removals that did not. */
  async #findOrphans(): Promise<void> {
    const known = new Set(this.#tablesToClear);
    for (const stored of this.#copies.values()) for (const { table } of stored.tables) known.add(table);
    for (let from: Buffer = ROWS_RANGE.gte; ; ) {
      const [key] = await this.#store.keys({ gte: from, lt: ROWS_RANGE.lt }, 1);
      if (key === undefined) return;
      const table = tableOfRow(key);
      this.#state.reserveNumbers(table, 0);
      if (!known.has(table)) this.#tablesToClear.push(table);
      from = rowPrefix(table + 1);
    }
  }

  /** Says which copies are served, and which shards have lost what was. */
  #place(replica: StoredReplica | undefined, damaged: ReadonlySet<number>): void {
    const state = this.#state;
    const served = new Map(replica?.served.map(({ shard, copy }) => [shard, copy]));
    for (const [copy, stored] of [...this.#copies]) {
      const shard = state.shards.get(copy.shard) ?? state.newShard(copy.shard);
      if (served.get(copy.shard) === copy.copy) shard.served = copy;
      else if (shard.incoming === undefined) shard.incoming = copy;
      else this.#drop(copy, stored);
    }
    const lost = new Set(replica?.healing ?? []);
    for (const shard of served.keys()) lost.add(shard);
    for (const shard of damaged) lost.add(shard);
    for (const number of lost) {
      // The number is of a damaged key, and may be no shard's: the shard that it was is among those served.
      if (state.shardCount > 0 && number >= state.shardCount) continue;
      const shard = state.shards.get(number) ?? state.newShard(number);
      // One that came again from upstream may still lack what the others are read by; settling tells.
      if (!shard.served.whole || replica?.healing.includes(number)) state.lose(shard);
    }
    if (replica !== undefined && state.healing.length === replica.healing.length) state.servedDirty = false;
  }
}

type OnDamage = (key: Buffer, error: FreshetError) => void;

/** The entries of a range, some at a time. */
async function* scan(
  store: KeyValueStore,
  range: { readonly gte: Uint8Array; readonly lt: Uint8Array },
  onDamage: OnDamage,
): AsyncGenerator<readonly Entry[]> {
  const entries = store.entries(range, { onDamage });
  try {
    for (;;) {
      const some = await entries.next(ROWS_AT_ONCE);
      if (some.length === 0) return;
      yield some;
    }
  } finally {
    await entries.close();
  }
}
