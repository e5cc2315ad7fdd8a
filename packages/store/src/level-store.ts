/**
 * KeyValueStore over LevelDB (classic-level).
 *
 * Owns opening, sealing and unsealing values, and turning LevelDB's failures into ours. Does not own what lies under
 * which key.
 *
 * LevelDB as built here verifies no checksum on read, ends the process where damaged bytes break its assertions, skips
 * damaged parts of its log in silence, and begins an empty database where the file that names its state is gone. So: the
 * files are scrubbed before it opens them, every value has a checksum, and files without a CURRENT are damage. After a
 * failed write its log may have a torn record in the middle, which recovery would skip with all that follows: the store
 * then takes no further writes. A scan goes on behind a table that cannot be opened, and LevelDB says so only at its end:
 * what stops before asks (confirm).
 */
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type DirectoryLock, lockDirectory } from '@freshet/kit/directory-lock.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { ClassicLevel } from 'classic-level';
import { asidesToRemove, nextAside } from './aside.ts';
import type {
  Entries,
  EntriesOptions,
  Entry,
  KeyRange,
  KeyValueStore,
  StoreOptions,
  Stores,
  WriteBatch,
} from './key-value-store.ts';
import { type FileFault, scrubDirectory } from './level-scrub.ts';
import { type SealedEntry, sealEntry, sealUnder, unseal } from './sealed-value.ts';

type Db = ClassicLevel<Buffer, Buffer>;
type Snapshot = ReturnType<Db['snapshot']>;

const MIB = 2 ** 20;
const READ_AHEAD_BYTES = 64 * 1024;
/** Entries taken from LevelDB at once. */
const CHUNK = 250;
/** Keys that are only counted: a page's at once. */
const COUNTED = 1_000;
const NO_PAUSE = (): Promise<void> => Promise.resolve();

export const levelStores: Stores = {
  async open(directory, options) {
    const lock = await lockStore(directory, options);
    try {
      const damage = await inspect(directory, options);
      return new LevelStore(await openLevel(directory, options), options, lock, damage);
    } catch (error) {
      await lock.release();
      throw error;
    }
  },

  async compact(directory, options, keys) {
    const lock = await lockStore(directory, options);
    try {
      await inspect(directory, options);
      await rewrite(directory, options, keys);
    } finally {
      await lock.release();
    }
  },

  async setAside(directory) {
    const parent = dirname(directory);
    try {
      const names = await readdir(parent);
      const aside = nextAside(basename(directory), names);
      await rename(directory, join(parent, aside));
      for (const old of asidesToRemove(basename(directory), [...names, aside])) {
        await rm(join(parent, old), { recursive: true, force: true });
      }
      return join(parent, aside);
    } catch (error) {
      throw diskError(error, parent) ?? error;
    }
  },
};

/**
 * Makes the directory and locks it. LevelDB has a lock of its own, but what it opens it also changes: damage must be
 * found before, and by one process at a time.
 */
async function lockStore(directory: string, options: StoreOptions): Promise<DirectoryLock> {
  const owner = join(directory, 'owner');
  try {
    await mkdir(owner, { recursive: true });
  } catch (error) {
    throw diskError(error, directory) ?? error;
  }
  return lockDirectory(owner, options.what);
}

/** Looks through the files; returns damage that the owner lives with, once the files are such that LevelDB can. */
async function inspect(directory: string, options: StoreOptions): Promise<FreshetError | undefined> {
  const faults = [...(await stateFaults(directory))];
  faults.push(...(await scrubDirectory(directory, { isOpen: false, pause: NO_PAUSE })).faults);
  const [first] = faults;
  if (first === undefined) return undefined;
  const error = damaged(options, directory, `${first.file}: ${first.what}`);
  if (options.salvage !== true) throw error;
  await salvage(directory, faults);
  return error;
}

/** Whether the files that name the database's state are there; LevelDB begins an empty one where they are not. */
async function stateFaults(directory: string): Promise<readonly FileFault[]> {
  try {
    const files = await readdir(directory);
    if (!files.includes('CURRENT')) {
      const isNew = !files.some((file) => /^(MANIFEST-\d+|\d+\.(ldb|sst|log))$/.test(file));
      return isNew ? [] : [{ file: 'CURRENT', what: 'it is gone, and with it what the state is' }];
    }
    const named = await readFile(join(directory, 'CURRENT'), 'latin1');
    const isNamed = /^MANIFEST-\d+\n$/.test(named) && files.includes(named.trimEnd());
    return isNamed ? [] : [{ file: 'CURRENT', what: 'it names no state that is there' }];
  } catch (error) {
    throw diskError(error, directory) ?? error;
  }
}

/**
 * Takes damaged files away and has LevelDB make a database of the others. It must never read a damaged table: it does
 * not check what it reads, and ends the process where that breaks its own assertions.
 */
async function salvage(directory: string, faults: readonly FileFault[]): Promise<void> {
  const lost = join(directory, 'lost');
  try {
    await mkdir(lost, { recursive: true });
    for (const { file } of faults) if (/\.(ldb|sst)$/.test(file)) await takeAway(directory, file, lost);
    await ClassicLevel.repair(directory);
  } catch (error) {
    throw diskError(error, directory) ?? error;
  }
}

/** Moves a file, unless it is gone: an earlier salvage may have come no further than this. */
async function takeAway(directory: string, file: string, to: string): Promise<void> {
  try {
    await rename(join(directory, file), join(to, file));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

async function openLevel(directory: string, options: StoreOptions): Promise<Db> {
  const db: Db = new ClassicLevel<Buffer, Buffer>(directory, {
    keyEncoding: 'buffer',
    valueEncoding: 'buffer',
    createIfMissing: true,
    compression: true,
    cacheSize: options.blockCacheBytes ?? 8 * MIB,
    writeBufferSize: options.writeBufferBytes ?? 8 * MIB,
  });
  try {
    await db.open();
    return db;
  } catch (error) {
    throw openFailure(error, directory, options);
  }
}

/** Sorts after every key of ours. */
const LAST_KEY = Buffer.of(0xff);

/**
 * Each key is written once more as it is, so that some table above the deepest level spans it and its older versions, and
 * the compaction comes through them all; with LAST_KEY, so that the places that LevelDB notes in its manifest as where it
 * stopped are that key. The manifest also names the first and last keys of tables that are no more, and LevelDB's own log
 * what was compacted: opened again it writes the one anew and moves the other away.
 */
async function rewrite(directory: string, options: StoreOptions, keys: readonly Uint8Array[]): Promise<void> {
  try {
    const db = await openLevel(directory, options);
    try {
      const batch = db.batch().put(LAST_KEY, sealEntry(LAST_KEY, Buffer.alloc(0)).value);
      for (const key of keys.map(asBuffer)) {
        const value = await db.get(key);
        if (value === undefined) batch.del(key);
        else batch.put(key, value);
      }
      await batch.write({ sync: true });
      await db.compactRange(Buffer.of(0), LAST_KEY);
    } finally {
      await db.close();
    }
    await (await openLevel(directory, options)).close();
    await rm(join(directory, 'LOG.old'), { force: true });
  } catch (error) {
    throw diskError(error, directory) ?? error;
  }
}

class LevelStore implements KeyValueStore {
  readonly #db: Db;
  readonly #options: StoreOptions;
  readonly #lock: DirectoryLock;
  #damage: FreshetError | undefined;
  #broken: FreshetError | undefined;

  constructor(db: Db, options: StoreOptions, lock: DirectoryLock, damage: FreshetError | undefined) {
    this.#db = db;
    this.#options = options;
    this.#lock = lock;
    this.#damage = damage;
  }

  get location(): string {
    return this.#db.location;
  }

  get damage(): FreshetError | undefined {
    return this.#damage;
  }

  getSync(key: Uint8Array): Buffer | undefined {
    const name = asBuffer(key);
    let sealed: Buffer | undefined;
    try {
      sealed = this.#db.getSync(name);
    } catch (error) {
      throw this.#readFailure(error);
    }
    return sealed === undefined ? undefined : this.#unsealed(name, sealed);
  }

  async get(key: Uint8Array): Promise<Buffer | undefined> {
    const name = asBuffer(key);
    let sealed: Buffer | undefined;
    try {
      sealed = await this.#db.get(name);
    } catch (error) {
      throw this.#readFailure(error);
    }
    return sealed === undefined ? undefined : this.#unsealed(name, sealed);
  }

  batch(): WriteBatch {
    const batch = this.#db.batch();
    const put = ({ key, value }: SealedEntry): void => {
      batch.put(key, value);
    };
    return {
      put: (key, value) => put(sealEntry(key, value)),
      putUnder: (prefix, key, value) => put(sealUnder(prefix, key, value)),
      delete: (key) => {
        batch.del(asBuffer(key));
      },
      write: (options) => this.#writing(() => batch.write(options)),
    };
  }

  entries(range: KeyRange, options: EntriesOptions = {}): Entries {
    const snapshot = this.#db.snapshot();
    const iterator = this.#db.iterator({
      ...bounds(range),
      highWaterMarkBytes: options.readAheadBytes ?? READ_AHEAD_BYTES,
      fillCache: false,
      snapshot,
    });
    let count = 0;
    let last: Buffer | undefined;
    return {
      next: async (wanted) => {
        const found: Entry[] = [];
        while (found.length === 0) {
          const some = await iterator.nextv(Math.min(wanted, CHUNK)).catch((error: unknown) => {
            throw this.#readFailure(error);
          });
          if (some.length === 0) break;
          count += some.length;
          last = some.at(-1)?.[0];
          for (const [key, sealed] of some) {
            const value = this.#scanned(key, sealed, options.onDamage);
            if (value !== undefined) found.push([key, value]);
          }
        }
        return found;
      },
      confirm: () => this.#confirm(range, last, count, snapshot),
      close: async () => {
        await iterator.close();
        await snapshot.close();
      },
    };
  }

  async keys(range: KeyRange, limit: number): Promise<Buffer[]> {
    const snapshot = this.#db.snapshot();
    try {
      const found = await this.#db.keys({ ...bounds(range), limit, fillCache: false, snapshot }).all();
      if (found.length === limit) await this.#confirm(range, found.at(-1), limit, snapshot);
      return found;
    } catch (error) {
      throw this.#readFailure(error);
    } finally {
      await snapshot.close();
    }
  }

  /** LevelDB tells what it could not read at the end of what it was asked for: so it is asked for what was found, and no more. */
  async #confirm(range: KeyRange, last: Buffer | undefined, count: number, snapshot: Snapshot): Promise<void> {
    if (last === undefined) return;
    const keys = this.#db.keys({ ...bounds(range), lte: last, fillCache: false, snapshot });
    let there = 0;
    try {
      for (let some = await keys.nextv(COUNTED); some.length > 0; some = await keys.nextv(COUNTED)) {
        there += some.length;
      }
    } catch (error) {
      throw this.#readFailure(error);
    } finally {
      await keys.close();
    }
    if (there === count) return;
    throw new FreshetError('DISK_FAILED', `${this.#options.what} could not be read for a moment`, {
      place: this.location,
      remedy: 'nothing needs to be done: it is read again; if it says so often, look at open files and the kernel log',
    });
  }

  async clear(range: KeyRange, limit: number): Promise<number> {
    const names = await this.keys(range, limit);
    if (names.length > 0) await this.#writing(() => this.#db.batch(names.map((key) => ({ type: 'del', key }))));
    return names.length;
  }

  async scrub(pause: (bytes: number) => Promise<void>): Promise<number> {
    const { bytes, faults } = await scrubDirectory(this.location, { isOpen: true, pause });
    const [fault] = faults;
    if (fault !== undefined) throw this.#damaged(`${fault.file}: ${fault.what}`);
    return bytes;
  }

  async close(): Promise<void> {
    try {
      await this.#db.close();
    } finally {
      await this.#lock.release();
    }
  }

  async #writing(write: () => Promise<void>): Promise<void> {
    if (this.#broken !== undefined) throw this.#broken;
    try {
      await write();
    } catch (error) {
      this.#broken =
        diskError(error, this.location) ??
        new FreshetError('DISK_FAILED', `${this.#options.what} cannot be written: ${causeOf(error).message}`, {
          place: this.location,
          cause: error,
        });
      throw this.#broken;
    }
  }

  #scanned(key: Buffer, sealed: Buffer, onDamage: EntriesOptions['onDamage']): Buffer | undefined {
    const value = unseal(key, sealed);
    if (value !== undefined) return value;
    const error = this.#damaged(`the value of key ${key.toString('hex')} is not what was written`);
    if (onDamage === undefined) throw error;
    onDamage(key, error);
    return undefined;
  }

  #unsealed(key: Buffer, sealed: Buffer): Buffer {
    const value = unseal(key, sealed);
    if (value === undefined) throw this.#damaged(`the value of key ${key.toString('hex')} is not what was written`);
    return value;
  }

  #damaged(what: string): FreshetError {
    const error = damaged(this.#options, this.location, what);
    this.#damage ??= error;
    return error;
  }

  #readFailure(error: unknown): unknown {
    // A table that was cut short may also be an "invalid argument" to LevelDB.
    if (isCorruption(error) || this.#damage !== undefined) return this.#damaged(causeOf(error).message);
    return diskError(error, this.location) ?? error;
  }
}

function bounds(range: KeyRange): { gte?: Buffer; gt?: Buffer; lt: Buffer } {
  const { gte, gt, lt } = range;
  return {
    ...(gte === undefined ? {} : { gte: asBuffer(gte) }),
    ...(gt === undefined ? {} : { gt: asBuffer(gt) }),
    lt: asBuffer(lt),
  };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

function damaged(options: StoreOptions, place: string, what: string, cause?: unknown): FreshetError {
  return new FreshetError('DATA_DAMAGED', `${options.what} is damaged: ${what}`, {
    place,
    remedy: options.remedy,
    cause,
  });
}

/** classic-level wraps LevelDB's error in one that says only that the database is not open. */
function causeOf(error: unknown): Error {
  if (error instanceof Error) return error.cause instanceof Error ? error.cause : error;
  return new Error(String(error));
}

function codeOf(error: unknown): string | undefined {
  return (causeOf(error) as NodeJS.ErrnoException).code;
}

function isCorruption(error: unknown): boolean {
  return (
    codeOf(error) === 'LEVEL_CORRUPTION' || /corruption|not an sstable|missing files/i.test(causeOf(error).message)
  );
}

function openFailure(error: unknown, directory: string, options: StoreOptions): unknown {
  if (codeOf(error) === 'LEVEL_LOCKED') {
    return new FreshetError('STORE_LOCKED', `another process has ${options.what} open`, {
      place: directory,
      remedy: 'stop the other process, or give this one another --data-dir',
      cause: error,
    });
  }
  // The directory is there: a file that is not is one that CURRENT or the manifest names.
  const isMissing = /No such file or directory/i.test(causeOf(error).message);
  if (isMissing || isCorruption(error)) return damaged(options, directory, causeOf(error).message, error);
  return (
    diskError(error, directory) ??
    new FreshetError('INVALID_CONFIG', `${options.what} cannot be opened: ${causeOf(error).message}`, {
      place: directory,
      remedy: 'look at what the directory is, and who may use it',
      cause: error,
    })
  );
}
