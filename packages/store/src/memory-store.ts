/**
 * KeyValueStore in memory, over a disk that outlives it: for tests and the simulator, which crash it, tear its newest
 * batches off, flip bits and fill it up. Passes the same contract suite as LevelDB.
 *
 * Owns what LevelDB promises and breaks: batches are whole; a crash of the process loses nothing that was written, a
 * crash of the machine may lose the newest unsynced batches, and a lying disk may lose one in the middle. What the
 * checksums of LevelDB's own blocks find there, a scrub finds here by a mark that damage leaves behind (see lose()).
 */
import { assert } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
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
import { type SealedEntry, sealEntry, sealUnder, unseal } from './sealed-value.ts';

type Operation = readonly [key: string, value: Buffer | undefined];

/** What is about to be done, before it is: the hook may wait, fail, or never return (a crash). */
export interface StoreStep {
  readonly directory: string;
  readonly kind: 'open' | 'get' | 'scan' | 'write' | 'sync' | 'clear' | 'scrub' | 'close' | 'aside';
}

export interface MemoryDiskOptions {
  /** Awaited before everything that waits; throws what the operation then fails with. */
  readonly before?: ((step: StoreStep) => Promise<void>) | undefined;
}

interface Files {
  /** What is durable: the batches up to the last synced one. */
  readonly durable: Map<string, Buffer>;
  /** Written since, oldest first: a crash of the machine may take the last of them away. */
  unsynced: (readonly Operation[])[];
  /** What all of these make. */
  readonly now: Map<string, Buffer>;
  /** What the newest write of a key replaced. */
  readonly replaced: Map<string, Buffer>;
  /** The keys of `now` in order; undefined when they are to be sorted again. */
  order: string[] | undefined;
  /** Damage that LevelDB's block checksums would show. */
  fault: string | undefined;
  lockedBy: object | undefined;
}

/** A disk with any number of stores on it. */
export class MemoryDisk implements Stores {
  readonly #before: (step: StoreStep) => Promise<void>;
  readonly #stores = new Map<string, Files>();
  /** Handles of an earlier life of the machine are dead. */
  #life = {};
  /** Whether a sync says that all is well and does nothing. */
  lies = false;

  constructor(options: MemoryDiskOptions = {}) {
    this.#before = options.before ?? (() => Promise.resolve());
  }

  async open(directory: string, options: StoreOptions): Promise<KeyValueStore> {
    const life = this.#life;
    await this.#before({ directory, kind: 'open' });
    this.#alive(life);
    let files = this.#stores.get(directory);
    if (files === undefined) {
      files = {
        durable: new Map(),
        unsynced: [],
        now: new Map(),
        replaced: new Map(),
        order: undefined,
        fault: undefined,
        lockedBy: undefined,
      };
      this.#stores.set(directory, files);
    }
    if (files.lockedBy !== undefined) {
      throw new FreshetError('STORE_LOCKED', `another process has ${options.what} open`, { place: directory });
    }
    const damage = files.fault === undefined ? undefined : damaged(options, directory, files.fault);
    if (damage !== undefined && options.salvage !== true) throw damage;
    const store = new MemoryStore({
      directory,
      options,
      files,
      damage,
      step: async (kind) => {
        this.#alive(life);
        await this.#before({ directory, kind });
        this.#alive(life);
      },
      alive: () => this.#alive(life),
      lies: () => this.lies,
    });
    files.lockedBy = store;
    return store;
  }

  /** As LevelDB's: what there is is written anew, and durable; of what was deleted or replaced no file is left. */
  async compact(directory: string, options: StoreOptions): Promise<void> {
    const life = this.#life;
    await this.#before({ directory, kind: 'write' });
    await this.#before({ directory, kind: 'sync' });
    this.#alive(life);
    const files = this.#stores.get(directory);
    assert(files?.lockedBy === undefined, 'only a closed store is rewritten');
    if (files?.fault !== undefined && options.salvage !== true) throw damaged(options, directory, files.fault);
    if (files === undefined || this.lies) return;
    files.durable.clear();
    for (const [key, value] of files.now) files.durable.set(key, value);
    files.unsynced = [];
    files.replaced.clear();
  }

  async setAside(directory: string): Promise<string> {
    const life = this.#life;
    await this.#before({ directory, kind: 'aside' });
    this.#alive(life);
    const names = [...this.#stores.keys()];
    const aside = nextAside(directory, names);
    const files = this.#stores.get(directory);
    assert(files !== undefined && files.lockedBy === undefined, 'only a closed store is set aside');
    this.#stores.delete(directory);
    this.#stores.set(aside, files);
    for (const old of asidesToRemove(directory, [...names, aside])) this.#stores.delete(old);
    return aside;
  }

  /** The process dies: all it wrote is there. Open stores are no longer locked, and their handles are dead. */
  kill(): void {
    this.#life = {};
    for (const files of this.#stores.values()) files.lockedBy = undefined;
  }

  /**
   * The machine dies: of each store's unsynced batches as many are kept as `keep` says of their number, the oldest first.
   * Returns how many were lost.
   */
  crash(keep: (unsynced: number) => number): number {
    this.kill();
    let lost = 0;
    for (const files of this.#stores.values()) {
      const kept = files.unsynced.slice(0, keep(files.unsynced.length));
      lost += files.unsynced.length - kept.length;
      for (const batch of kept) apply(files.durable, batch);
      files.unsynced = [];
      files.now.clear();
      for (const [key, value] of files.durable) files.now.set(key, value);
      files.order = undefined;
    }
    return lost;
  }

  /** Removes a closed store: one that was set aside. */
  async remove(directory: string): Promise<void> {
    const life = this.#life;
    await this.#before({ directory, kind: 'clear' });
    this.#alive(life);
    assert(this.#stores.get(directory)?.lockedBy === undefined, 'only a closed store is removed');
    this.#stores.delete(directory);
  }

  /** Whether a store has the text, a character per byte, in a key or a value: now, or (`anywhere`) when the power goes. */
  holds(directory: string, text: string, anywhere: boolean): boolean {
    const files = this.#stores.get(directory);
    if (files === undefined) return false;
    const batches = anywhere ? [files.now, files.durable, ...files.unsynced] : [files.now];
    for (const batch of batches) {
      for (const [key, value] of batch)
        if (key.includes(text) || value?.includes(text, 0, 'latin1') === true) return true;
    }
    return false;
  }

  /** The stores there are. */
  get directories(): string[] {
    return [...this.#stores.keys()];
  }

  /** The keys of a store in order, a character per byte. */
  keysOf(directory: string): readonly string[] {
    const files = this.#stores.get(directory);
    return files === undefined ? [] : ordered(files);
  }

  /** Changes stored bytes: a bit that flipped, or a value cut short. False when the key is not there. */
  damage(directory: string, key: string, change: (sealed: Buffer) => Buffer): boolean {
    const files = this.#stores.get(directory);
    const value = files?.now.get(key);
    if (files === undefined || value === undefined) return false;
    const changed = change(Buffer.from(value));
    files.now.set(key, changed);
    files.durable.set(key, changed);
    return true;
  }

  /**
   * Loses a key without a trace in any value, as a damaged block index does. `shows`: whether block checksums tell, which
   * they do unless the disk brought back an older, whole file.
   */
  lose(directory: string, key: string, shows: boolean): boolean {
    const files = this.#stores.get(directory);
    if (files === undefined || !files.now.delete(key)) return false;
    files.durable.delete(key);
    files.order = undefined;
    if (shows) files.fault ??= 'a block does not agree with its checksum';
    return true;
  }

  /** Brings back what a key had before: an older, whole file. False when it was written but once. */
  revert(directory: string, key: string): boolean {
    const files = this.#stores.get(directory);
    const before = files?.replaced.get(key);
    if (files === undefined || before === undefined || !files.now.has(key)) return false;
    files.now.set(key, before);
    files.durable.set(key, before);
    return true;
  }

  #alive(life: object): void {
    if (life !== this.#life) throw new FreshetError('UNAVAILABLE', 'the process that had the store is dead');
  }
}

class MemoryStore implements KeyValueStore {
  readonly location: string;
  readonly #options: StoreOptions;
  readonly #files: Files;
  readonly #step: (kind: StoreStep['kind']) => Promise<void>;
  readonly #alive: () => void;
  readonly #lies: () => boolean;
  #damage: FreshetError | undefined;
  #broken: unknown;
  #closed = false;

  constructor(options: {
    readonly directory: string;
    readonly options: StoreOptions;
    readonly files: Files;
    readonly damage: FreshetError | undefined;
    readonly step: (kind: StoreStep['kind']) => Promise<void>;
    readonly alive: () => void;
    readonly lies: () => boolean;
  }) {
    this.location = options.directory;
    this.#options = options.options;
    this.#files = options.files;
    this.#damage = options.damage;
    this.#step = options.step;
    this.#alive = options.alive;
    this.#lies = options.lies;
  }

  get damage(): FreshetError | undefined {
    return this.#damage;
  }

  getSync(key: Uint8Array): Buffer | undefined {
    this.#check();
    this.#alive();
    const sealed = this.#files.now.get(text(key));
    return sealed === undefined ? undefined : this.#unsealed(key, sealed);
  }

  async get(key: Uint8Array): Promise<Buffer | undefined> {
    this.#check();
    await this.#step('get');
    return this.getSync(key);
  }

  batch(): WriteBatch {
    this.#check();
    const operations: Operation[] = [];
    const put = ({ key, value }: SealedEntry): void => {
      operations.push([text(key), value]);
    };
    return {
      put: (key, value) => put(sealEntry(key, value)),
      putUnder: (prefix, key, value) => put(sealUnder(prefix, key, value)),
      delete: (key) => {
        operations.push([text(key), undefined]);
      },
      write: (options) => this.#write(operations, options.sync),
    };
  }

  entries(range: KeyRange, options: EntriesOptions = {}): Entries {
    this.#check();
    const found = this.#range(range);
    let at = 0;
    return {
      next: async (count) => {
        this.#check();
        await this.#step('scan');
        const some: Entry[] = [];
        while (some.length === 0 && at < found.length) {
          for (const end = Math.min(found.length, at + count); at < end; at++) {
            const [key, sealed] = found[at] as Entry;
            const value = this.#scanned(key, sealed, options.onDamage);
            if (value !== undefined) some.push([key, value]);
          }
        }
        return some;
      },
      confirm: () => Promise.resolve(),
      close: () => Promise.resolve(),
    };
  }

  async keys(range: KeyRange, limit: number): Promise<Buffer[]> {
    this.#check();
    await this.#step('scan');
    return this.#range(range, limit).map(([key]) => key);
  }

  async clear(range: KeyRange, limit: number): Promise<number> {
    const names = await this.keys(range, limit);
    await this.#step('clear');
    await this.#write(
      names.map((key) => [text(key), undefined]),
      false,
    );
    return names.length;
  }

  async scrub(pause: (bytes: number) => Promise<void>): Promise<number> {
    this.#check();
    await this.#step('scrub');
    if (this.#files.fault !== undefined) throw this.#damaged(this.#files.fault);
    let bytes = 0;
    for (const value of this.#files.now.values()) bytes += value.length;
    await pause(bytes);
    return bytes;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    // A handle of a dead process holds no lock.
    if (this.#files.lockedBy !== this) return;
    await this.#step('close');
    this.#files.lockedBy = undefined;
  }

  async #write(operations: readonly Operation[], sync: boolean): Promise<void> {
    this.#check();
    if (this.#broken !== undefined) throw this.#broken;
    try {
      await this.#step('write');
      const { now, unsynced, durable, replaced } = this.#files;
      for (const [key] of operations) {
        const before = now.get(key);
        if (before !== undefined) replaced.set(key, before);
      }
      if (apply(now, operations)) this.#files.order = undefined;
      unsynced.push(operations);
      if (!sync) return;
      await this.#step('sync');
      if (this.#lies()) return;
      for (const batch of this.#files.unsynced) apply(durable, batch);
      this.#files.unsynced = [];
    } catch (error) {
      this.#broken = error;
      throw error;
    }
  }

  #range(range: KeyRange, limit = Number.POSITIVE_INFINITY): Entry[] {
    const { now } = this.#files;
    const order = ordered(this.#files);
    const [gt, gte, lt] = [range.gt, range.gte, range.lt].map((key) => (key === undefined ? undefined : text(key)));
    const found: Entry[] = [];
    for (let at = firstFrom(order, gt ?? gte ?? ''); at < order.length && found.length < limit; at++) {
      const key = order[at] as string;
      if (key >= (lt as string)) break;
      if (key !== gt) found.push([Buffer.from(key, 'latin1'), now.get(key) as Buffer]);
    }
    return found;
  }

  #scanned(key: Buffer, sealed: Buffer, onDamage: EntriesOptions['onDamage']): Buffer | undefined {
    try {
      return this.#unsealed(key, sealed);
    } catch (error) {
      if (onDamage === undefined) throw error;
      onDamage(key, error as FreshetError);
      return undefined;
    }
  }

  #unsealed(key: Uint8Array, sealed: Buffer): Buffer {
    const value = unseal(key, sealed);
    if (value !== undefined) return Buffer.from(value);
    throw this.#damaged(`the value of key ${Buffer.from(key).toString('hex')} is not what was written`);
  }

  #damaged(what: string): FreshetError {
    const error = damaged(this.#options, this.location, what);
    this.#damage ??= error;
    return error;
  }

  #check(): void {
    if (this.#closed) throw new FreshetError('UNAVAILABLE', `${this.#options.what} is closed`);
  }
}

/** Returns whether there are other keys now. */
function apply(target: Map<string, Buffer>, operations: readonly Operation[]): boolean {
  let isOther = false;
  for (const [key, value] of operations) {
    if (value === undefined) isOther = target.delete(key) || isOther;
    else {
      isOther ||= !target.has(key);
      target.set(key, value);
    }
  }
  return isOther;
}

function ordered(files: Files): readonly string[] {
  files.order ??= [...files.now.keys()].sort();
  return files.order;
}

/** The index of the first key that is not below. */
function firstFrom(order: readonly string[], key: string): number {
  let low = 0;
  let high = order.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((order[middle] as string) < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function text(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

function damaged(options: StoreOptions, place: string, what: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `${options.what} is damaged: ${what}`, { place, remedy: options.remedy });
}
