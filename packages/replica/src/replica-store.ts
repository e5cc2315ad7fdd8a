/**
 * A replica's disk: one store with rows, cursors and definitions, so that a node that starts serves at once, whatever it
 * can reach.
 *
 * Owns: opening, loading, and writing what differs; coming back after a write that failed; making the store anew.
 * Does not own: what is known (replica-state.ts), when the disk is written (disk-keeper.ts).
 *
 * Invariants: R1 (a shard's rows and its cursor agree at every moment: copy-writer.ts); R3 (which copies are served
 * changes in one batch). Whatever the disk does, memory stays as it is, and what memory has is right: it was proven when
 * it was loaded, or came from upstream. So damage to the disk of a replica that runs is mended from memory; only damage
 * that is found when it starts costs the copies that it touches.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  StoredDefinitionsSchema,
  StoredReplicaSchema,
  StoredShardSchema,
} from '@freshet/gen/freshet/serve/v1/storage_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { KeyRange, KeyValueStore, StoreOptions, Stores, WriteBatch } from '@freshet/store/key-value-store.ts';
import { CopyWriter } from './copy-writer.ts';
import { loadReplica } from './replica-loader.ts';
import { type DiscardedCopy, ReplicaState } from './replica-state.ts';
import type { ShardCopy } from './shard-copy.ts';
import { DEFINITIONS_KEY, FORMAT, REPLICA_KEY, shardKey, tableRange } from './storage-keys.ts';

const OPTIONS: StoreOptions = {
  what: "the replica's store",
  remedy: 'nothing: what is lost comes again from upstream',
  writeBufferBytes: 16 * 1024 * 1024,
  salvage: true,
};

const BATCH_BYTES = 1024 * 1024;
/** Keys cleared at once. */
const CLEAR_KEYS = 10_000;

export interface ReplicaStoreOptions {
  readonly stores: Stores;
  readonly directory: string;
  /** Told what was damaged, in a sentence, and what came of it. */
  readonly onDamage: (what: string) => void;
  /** About how many bytes of rows are written at once. Default 1 MiB. */
  readonly batchBytes?: number | undefined;
}

/** Keys and tables on the disk that are nobody's; their numbers are nobody else's either. */
interface Useless {
  readonly keys: readonly Buffer[];
  readonly tables: readonly number[];
}

const NOTHING_USELESS: Useless = { keys: [], tables: [] };

export class ReplicaStore {
  readonly #options: ReplicaStoreOptions;
  /** Undefined: it is to be opened. */
  #store: KeyValueStore | undefined;
  /** What is stored of each copy. */
  readonly #writers = new Map<ShardCopy, CopyWriter>();
  /** The copy whose write failed. */
  #doubtful: CopyWriter | undefined;
  /** Found by load(), and not removed yet. */
  #useless = NOTHING_USELESS;

  private constructor(options: ReplicaStoreOptions) {
    this.#options = options;
  }

  /**
   * Opens the directory. A store that cannot be opened for damage is put aside, and an empty one begun. Throws
   * STORE_LOCKED when another process has it, and whatever the disk does not allow.
   */
  static async open(options: ReplicaStoreOptions): Promise<ReplicaStore> {
    const store = new ReplicaStore(options);
    await store.#open();
    return store;
  }

  async close(): Promise<void> {
    const store = this.#store;
    this.#store = undefined;
    await store?.close();
  }

  /** Reads everything; once, after it was opened. What is damaged is left out. Throws INVALID_CONFIG for another format. */
  async load(): Promise<ReplicaState> {
    const store = must(this.#store, 'an open store');
    try {
      const { state, copies, losses, keysToDelete, tablesToClear } = await loadReplica(store);
      for (const loss of losses) this.#options.onDamage(loss);
      for (const [copy, record] of copies) this.#writer(copy).loaded(record);
      const { damage } = store;
      if (damage === undefined) await this.#removeAtLoad(store, { keys: keysToDelete, tables: tablesToClear });
      else await this.renew(state, damage.message);
      return state;
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      const state = new ReplicaState();
      await this.renew(state, error.message);
      return state;
    }
  }

  /** A disk that takes no writes is no reason not to serve: what load() found of no use is removed when it does. */
  async #removeAtLoad(store: KeyValueStore, useless: Useless): Promise<void> {
    this.#useless = useless;
    try {
      await this.#removeUseless(store);
    } catch {
      await this.#abandon();
    }
  }

  /** Throws what the disk says. */
  async #removeUseless(store: KeyValueStore): Promise<void> {
    if (this.#useless === NOTHING_USELESS) return;
    const { keys, tables } = this.#useless;
    // Records first: rows that no record names are nobody's, but a record without its rows is a loss.
    const batch = store.batch();
    for (const key of keys) batch.delete(key);
    if (keys.length > 0) await batch.write({ sync: false });
    for (const table of tables) await clear(store, tableRange(table));
    this.#useless = NOTHING_USELESS;
  }

  /** Puts the store aside and begins an empty one; all of memory is to be written. */
  async renew(state: ReplicaState, why: string): Promise<void> {
    const { stores, directory, onDamage } = this.#options;
    await this.#abandon();
    this.#forgetAll(state);
    const aside = await stores.setAside(directory);
    onDamage(`${why}; the store was put aside as ${aside}, and is written anew`);
    await this.#open();
  }

  /** See Stores.compact. The store is closed for it; the next write opens it again. Not while one is under way. */
  async compact(keys: readonly Uint8Array[]): Promise<void> {
    const { stores, directory } = this.#options;
    await this.#abandon();
    await stores.compact(directory, OPTIONS, keys);
  }

  /** As KeyValueStore.scrub; nothing while the store is not open. */
  async scrub(pause: (bytes: number) => Promise<void>): Promise<number> {
    return (await this.#store?.scrub(pause)) ?? 0;
  }

  /**
   * Writes what differs from the disk. One call at a time. What could not be written stays marked as different; the
   * next call opens the store anew first. `onBatch` is called after each batch.
   */
  async flush(state: ReplicaState, onBatch: () => void = () => {}): Promise<void> {
    await this.#reopen(state);
    const live = new Set(state.copies());
    for (const copy of this.#writers.keys()) if (!live.has(copy)) this.#writers.delete(copy);
    const copies = [...live].map((copy) => this.#writer(copy)).filter(({ differs }) => differs);
    const { discardedTables, discardedCopies } = state;
    state.discardedTables = [];
    state.discardedCopies = [];
    // What is said to be served is what it was when the copies were taken: it is never ahead of their rows on disk.
    const about = takeAbout(state);
    const retiring = [...live].flatMap((copy) => copy.retiring.map((table) => ({ copy, table })));
    try {
      const store = must(this.#store, 'an open store');
      await this.#removeUseless(store);
      for (const writer of copies) {
        this.#doubtful = writer;
        await writer.write(store, this.#options.batchBytes ?? BATCH_BYTES, onBatch);
        this.#doubtful = undefined;
      }
      if (about !== undefined) await about(store.batch()).write({ sync: false });
      // What took their place is on the disk in all shards now.
      for (const { copy, table } of retiring) {
        copy.retiring = copy.retiring.filter((other) => other !== table);
        copy.dirty = true;
        state.discardedTables.push(table.number);
      }
      // Copies first: the record of one may still list a table that is to go by itself.
      for (const copy of discardedCopies) await this.#discard(store, copy);
      for (const table of discardedTables) await clear(store, tableRange(table));
    } catch (error) {
      state.discardedTables.push(...discardedTables);
      state.discardedCopies.push(...discardedCopies);
      if (about !== undefined) {
        state.servedDirty = true;
        state.setsDirty = true;
      }
      await this.#abandon();
      throw error;
    }
  }

  /** What lies on the disk is known again only once it was opened anew. */
  async #abandon(): Promise<void> {
    await this.close().catch(() => undefined);
  }

  async #open(): Promise<void> {
    const { stores, directory, onDamage } = this.#options;
    try {
      this.#store = await stores.open(directory, OPTIONS);
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      const aside = await stores.setAside(directory);
      onDamage(`${error.message}; the store was put aside as ${aside}, and is built anew`);
      this.#store = await stores.open(directory, OPTIONS);
    }
  }

  /** After a failed write: opens the store, and finds out whether the write is there. */
  async #reopen(state: ReplicaState): Promise<void> {
    if (this.#store !== undefined) return;
    const { stores, directory } = this.#options;
    try {
      this.#store = await stores.open(directory, OPTIONS);
      if (this.#store.damage !== undefined) throw this.#store.damage;
      await this.#resolve(this.#store);
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) {
        await this.#abandon();
        throw error;
      }
      await this.renew(state, error.message);
    }
  }

  async #resolve(store: KeyValueStore): Promise<void> {
    const writer = this.#doubtful;
    if (writer === undefined) return;
    const key = shardKey(writer.copy.shard, writer.copy.copy);
    const bytes = await store.get(key);
    const known = writer.resolve(bytes === undefined ? undefined : fromBinary(StoredShardSchema, bytes));
    if (!known) {
      const batch = store.batch();
      batch.delete(key);
      await batch.write({ sync: false });
      for (const { number } of [...writer.copy.everyTable(), ...writer.copy.retiring])
        await clear(store, tableRange(number));
      writer.forget();
    }
    this.#doubtful = undefined;
  }

  #forgetAll(state: ReplicaState): void {
    this.#doubtful = undefined;
    this.#useless = NOTHING_USELESS;
    for (const copy of state.copies()) this.#writer(copy).forget();
    state.servedDirty = true;
    state.setsDirty = true;
    state.discardedTables = [];
    state.discardedCopies = [];
  }

  async #discard(store: KeyValueStore, { shard, copy, tables }: DiscardedCopy): Promise<void> {
    const batch = store.batch();
    batch.delete(shardKey(shard, copy));
    await batch.write({ sync: false });
    for (const table of tables) await clear(store, tableRange(table));
  }

  #writer(copy: ShardCopy): CopyWriter {
    let writer = this.#writers.get(copy);
    if (writer === undefined) {
      writer = new CopyWriter(copy);
      this.#writers.set(copy, writer);
    }
    return writer;
  }
}

async function clear(store: KeyValueStore, range: KeyRange): Promise<void> {
  while ((await store.clear(range, CLEAR_KEYS)) === CLEAR_KEYS);
}

/** Puts the records about the whole replica into a batch, if they differ from the disk. */
function takeAbout(state: ReplicaState): ((batch: WriteBatch) => WriteBatch) | undefined {
  if (!state.servedDirty && !state.setsDirty) return undefined;
  const replica = create(StoredReplicaSchema, {
    format: FORMAT,
    shardCount: state.shardCount,
    // Only what has rows on the disk: a copy that is listed and is not there was lost.
    served: [...state.shards.values()]
      .filter(({ served }) => served.whole)
      .map(({ served }) => ({ shard: served.shard, copy: served.copy })),
    healing: state.healing,
  });
  const definitions = create(StoredDefinitionsSchema, { sets: [...state.sets] });
  state.servedDirty = false;
  state.setsDirty = false;
  return (batch) => {
    batch.put(REPLICA_KEY, toBinary(StoredReplicaSchema, replica));
    batch.put(DEFINITIONS_KEY, toBinary(StoredDefinitionsSchema, definitions));
    return batch;
  };
}
