/**
 * An ordered key-value store on a disk, as this project needs one: batches that are wholly there or not at all, reads
 * that are checked, scans over a snapshot.
 *
 * Owns the interface. LevelDB is level-store.ts; memory-store.ts is the one that tests crash and damage at will; both
 * pass store-contract-suite.ts. What lies under which key is the business of each service.
 *
 * Promise: what a read returns is what was written under that very key, or it throws DATA_DAMAGED. A crash may take away
 * the newest batches that were not synced, never one in the middle; should the disk break that promise, each owner has
 * a chain or a digest of its own to notice, because a value that is not there cannot have a wrong checksum.
 */
import type { FreshetError } from '@freshet/kit/errors.ts';

/** Keys from gte (or after gt) up to, not including, lt; in byte order. */
export interface KeyRange {
  readonly gte?: Uint8Array | undefined;
  readonly gt?: Uint8Array | undefined;
  readonly lt: Uint8Array;
}

export type Entry = readonly [key: Buffer, value: Buffer];

export interface EntriesOptions {
  /** About how many bytes are read ahead. Default 64 KiB. */
  readonly readAheadBytes?: number | undefined;
  /** Told of a damaged value, which is then left out. Without it damage throws. */
  readonly onDamage?: ((key: Buffer, error: FreshetError) => void) | undefined;
}

/** A scan over the store as it was when the scan began. Must be closed. */
export interface Entries {
  /** Up to so many entries; none at the end. With onDamage fewer may come before the end, but never none. */
  next(count: number): Promise<readonly Entry[]>;
  /**
   * Throws when the disk refused something that lies within what was scanned so far, of which entries may be missing then. Who
   * stops before the end asks before believing that nothing lies between two entries; the end itself is told only when
   * all was read. There is no next() after it.
   */
  confirm(): Promise<void>;
  close(): Promise<void>;
}

/** Writes that take effect together. */
export interface WriteBatch {
  put(key: Uint8Array, value: Uint8Array): void;
  /** As put, with the key in two parts, the second with a character per byte: one allocation for all of it. */
  putUnder(prefix: Uint8Array, key: string, value: Uint8Array): void;
  delete(key: Uint8Array): void;
  /**
   * Resolves when the batch is written: durable against a crash of the process, and with `sync` of the machine. After a
   * failed write the store takes no more: what lies on the disk is known again only once it was opened anew.
   */
  write(options: { readonly sync: boolean }): Promise<void>;
}

export interface KeyValueStore {
  /** For messages. */
  readonly location: string;
  /** The first damage that was met; what was read before it was right. */
  readonly damage: FreshetError | undefined;
  /** The value, without waiting: for a fold, which cannot wait. Throws DATA_DAMAGED. */
  getSync(key: Uint8Array): Buffer | undefined;
  get(key: Uint8Array): Promise<Buffer | undefined>;
  batch(): WriteBatch;
  entries(range: KeyRange, options?: EntriesOptions): Entries;
  /** The first `limit` keys of the range as they are now; their values are not looked at. */
  keys(range: KeyRange, limit: number): Promise<Buffer[]>;
  /** Deletes up to `limit` keys of a range, not all at once; resolves with how many there were. */
  clear(range: KeyRange, limit: number): Promise<number>;
  /**
   * Checks the files against their own checksums, a piece at a time; resolves with the bytes read. Throws DATA_DAMAGED.
   * Finds what checksums of values cannot: a block that no longer says which keys it has. `pause` is awaited after each
   * piece with its length, so that a scrub in the background takes a bounded share of the disk.
   */
  scrub(pause: (bytes: number) => Promise<void>): Promise<number>;
  close(): Promise<void>;
}

export interface StoreOptions {
  /** What the store is, in messages: "the shard". */
  readonly what: string;
  /** What becomes of damage, or what to do about it. */
  readonly remedy: string;
  /** Bytes of blocks kept in memory. Default 8 MiB. */
  readonly blockCacheBytes?: number | undefined;
  /** Bytes of writes in memory before they become a table. Default 8 MiB. */
  readonly writeBufferBytes?: number | undefined;
  /**
   * Opens also a store whose files the scrub finds damaged, and tells it by `damage`: for an owner who takes out of it
   * what digests of his own prove, and leaves the rest.
   */
  readonly salvage?: boolean | undefined;
}

/** Where stores lie. */
export interface Stores {
  /**
   * Opens a directory, making it when it is not there. Its files are scrubbed first. Throws STORE_LOCKED when another
   * process has it, DATA_DAMAGED when it cannot be trusted, DISK_FULL and its like, INVALID_CONFIG.
   */
  open(directory: string, options: StoreOptions): Promise<KeyValueStore>;
  /**
   * Rewrites a closed store, so that nothing is left in its files of what was deleted or replaced: LevelDB keeps that until
   * it happens to come by. `keys` are those of which nothing may be left but what a read would return. Takes about as long
   * as reading and writing the store once. Throws as open() does.
   */
  compact(directory: string, options: StoreOptions, keys: readonly Uint8Array[]): Promise<void>;
  /** Puts a closed store out of the way, under a name that it returns; the oldest and the two newest are kept. */
  setAside(directory: string): Promise<string>;
}
