/**
 * A shard's state, journal and commit record in one LevelDB.
 *
 * Owns the layout (store-keys.ts, storage.proto), checksums and the chain. Does not own what state means, nor when to
 * commit. The only write path is commit(), one batch; clearDropped() deletes what no commit refers to any more.
 *
 * Batches are not synced: the log is durable and not trimmed above a commit, so a commit that a power cut takes away is
 * folded again, to the same rows at the same versions (F1).
 *
 * Invariants: what is read is what was written, else DATA_DAMAGED: every value has a CRC32C over key and value (LevelDB
 * verifies none by itself here), and a chain over the commits shows at open if one is missing in the middle, which
 * LevelDB's recovery does not tell.
 */
import { createHash } from 'node:crypto';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setImmediate as yieldNow } from 'node:timers/promises';
import { assert } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import { ClassicLevel } from 'classic-level';
import type { FoldCommit } from '../core/fold-port.ts';
import { JournalIndex, type JournalSlot } from '../core/journal-index.ts';
import type { Commit, ShardStorage, StatePage, StateSnapshot, StoredChanges } from '../core/shard-storage.ts';
import { decodeCommit, encodeCommit, FORMAT } from './commit-codec.ts';
import { CHAIN_BYTES, CHAIN_FIELD_BYTES, decodeJournalEntry, encodeJournalEntry } from './journal-codec.ts';
import {
  afterInstance,
  COMMIT_KEY,
  entityKeyOf,
  instanceOf,
  JOURNAL_RANGE,
  journalKey,
  journalSlot,
  STATE_RANGE,
  StateKeys,
} from './store-keys.ts';

const CRC_BYTES = 4;

/** How many puts go into a batch before other work gets a turn. */
const PUTS_PER_TURN = 500;
/** How many keys one clearDropped deletes. */
const CLEAR_KEYS = 5_000;
/** How much of the journal's end is verified at open: what LevelDB's own log may have lost (two write buffers), and more. */
const CHAIN_CHECK_BYTES = 32 * 1024 * 1024;

type Db = ClassicLevel<Buffer, Buffer>;

export interface ShardStoreOptions {
  readonly directory: string;
  readonly shard: number;
  /** LevelDB's block cache, in bytes. */
  readonly blockCacheBytes?: number | undefined;
}

/** Puts a shard's store out of the way, in place of one put there before, so that the shard starts anew. */
export async function setAside(directory: string): Promise<string> {
  const aside = `${directory}.aside`;
  await rm(aside, { recursive: true, force: true });
  await rename(directory, aside);
  return aside;
}

export class ShardStore implements ShardStorage {
  readonly #db: Db;
  readonly #shard: number;
  readonly #keys = new StateKeys();
  readonly journal = new JournalIndex();
  #chain: Buffer = Buffer.alloc(CHAIN_BYTES);
  #committed: Commit | undefined;
  #damage: FreshetError | undefined;
  #committing = false;
  #scratch = Buffer.allocUnsafe(4096);

  private constructor(db: Db, shard: number) {
    this.#db = db;
    this.#shard = shard;
  }

  /** Opens or makes the store. Throws STORE_LOCKED when another process has it, DATA_DAMAGED when it cannot be trusted. */
  static async open(options: ShardStoreOptions): Promise<ShardStore> {
    await mkdir(dirname(options.directory), { recursive: true });
    const db: Db = new ClassicLevel<Buffer, Buffer>(options.directory, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      compression: true,
      cacheSize: options.blockCacheBytes ?? 8 * 1024 * 1024,
      writeBufferSize: 8 * 1024 * 1024,
    });
    try {
      await db.open();
    } catch (error) {
      throw openFailure(error, options.directory);
    }
    const store = new ShardStore(db, options.shard);
    try {
      await store.#load();
    } catch (error) {
      await db.close();
      throw error;
    }
    return store;
  }

  get committed(): Commit | undefined {
    return this.#committed;
  }

  get damage(): Error | undefined {
    return this.#damage;
  }

  load(instance: string, key: string): Uint8Array | undefined {
    const name = this.#keys.key(instance, key);
    const stored = this.#db.getSync(name);
    return stored === undefined ? undefined : this.#verified(name, stored);
  }

  async commit(next: Commit, taken: FoldCommit, dropped: readonly JournalSlot[]): Promise<void> {
    assert(!this.#committing, 'one commit at a time');
    const from = this.#committed?.position ?? 0;
    assert(next.position >= from, 'F3: a commit never goes back');
    this.#committing = true;
    try {
      const batch = this.#db.batch();
      let turn = 0;
      for (const [instance, key, state] of taken.puts) {
        if (state === undefined) batch.del(this.#keys.key(instance, key));
        else {
          const put = this.#sealedState(instance, key, state);
          batch.put(put.key, put.value);
        }
        if (++turn % PUTS_PER_TURN === 0) await yieldNow();
      }
      const entry = next.position > from ? this.#journalEntry(from, next, taken) : undefined;
      if (entry !== undefined) batch.put(entry.key, entry.value);
      for (const slot of dropped) batch.del(journalKey(slot));
      const chain = entry?.chain ?? this.#chain;
      const record = encodeCommit(this.#shard, next, chain);
      batch.put(COMMIT_KEY, seal(COMMIT_KEY, record));
      await batch.write({ sync: false });
      this.#chain = chain;
      this.#committed = next;
      if (entry !== undefined) this.journal.add(entry.slot);
      this.journal.remove(dropped);
    } finally {
      this.#committing = false;
    }
  }

  async page(
    instance: string,
    afterKey: string | undefined,
    limits: { rows: number; bytes: number },
  ): Promise<StatePage> {
    const prefix = this.#keys.prefix(instance);
    const iterator = this.#db.iterator({
      ...(afterKey === undefined ? { gte: prefix } : { gt: this.#keys.key(instance, afterKey) }),
      lt: afterInstance(prefix),
      highWaterMarkBytes: limits.bytes,
    });
    const entries: [string, Uint8Array][] = [];
    let bytes = 0;
    try {
      while (entries.length < limits.rows && bytes < limits.bytes) {
        const some = await iterator.nextv(Math.min(limits.rows - entries.length, 250));
        if (some.length === 0) return { entries, last: true };
        for (const [name, stored] of some) {
          entries.push([entityKeyOf(name), this.#verified(name, stored)]);
          bytes += stored.length;
        }
      }
      return { entries, last: false };
    } finally {
      await iterator.close();
    }
  }

  readJournal(slot: JournalSlot): StoredChanges | undefined {
    const key = journalKey(slot);
    const stored = this.#db.getSync(key);
    if (stored === undefined) return undefined;
    return this.#decoded(key, () => decodeJournalEntry(this.#verified(key, stored)));
  }

  async clearDropped(): Promise<boolean> {
    const live = new Set(this.#committed?.instances.map((i) => i.instance));
    let left = CLEAR_KEYS;
    let from: Buffer = STATE_RANGE.gte;
    for (;;) {
      const [first] = await this.#db.keys({ gte: from, lt: STATE_RANGE.lt, limit: 1 }).all();
      if (first === undefined) return false;
      const instance = instanceOf(first);
      const prefix = this.#keys.prefix(instance);
      if (!live.has(instance)) {
        const names = await this.#db.keys({ gte: prefix, lt: afterInstance(prefix), limit: left }).all();
        await this.#db.batch(names.map((key) => ({ type: 'del', key })));
        left -= names.length;
        if (left <= 0) return true;
      }
      from = afterInstance(prefix);
    }
  }

  snapshot(): StateSnapshot {
    assert(this.#committed !== undefined && !this.#committing, 'a snapshot is of a commit');
    const iterator = this.#db.iterator(STATE_RANGE);
    const verified = (name: Buffer, stored: Buffer): Uint8Array => this.#verified(name, stored);
    async function* states(): AsyncGenerator<readonly [string, string, Uint8Array]> {
      try {
        for (let some = await iterator.nextv(250); some.length > 0; some = await iterator.nextv(250)) {
          for (const [name, stored] of some) yield [instanceOf(name), entityKeyOf(name), verified(name, stored)];
        }
      } finally {
        await iterator.close();
      }
    }
    return { commit: this.#committed, states: states() };
  }

  async close(): Promise<void> {
    await this.#db.close();
  }

  async #load(): Promise<void> {
    const stored = await this.#db.get(COMMIT_KEY);
    const names = await this.#db.keys(JOURNAL_RANGE).all();
    for (const name of names) {
      const slot = journalSlot(name);
      const newest = this.journal.newest;
      if (slot === undefined || slot.from >= slot.to || (newest !== undefined && newest.to !== slot.from)) {
        throw this.#damaged('the journal has a gap');
      }
      this.journal.add(slot);
    }
    if (stored === undefined) {
      const [any] = await this.#db.keys({ limit: 1 }).all();
      if (any !== undefined) throw this.#damaged('there is state but no commit record');
      return;
    }
    const bytes = this.#verified(COMMIT_KEY, stored);
    const { commit, frame } = this.#decoded(COMMIT_KEY, () => decodeCommit(bytes));
    if (frame.format !== FORMAT || frame.shard !== this.#shard) {
      throw new FreshetError('DATA_DAMAGED', `the store is of format ${frame.format}, shard ${frame.shard}`, {
        place: this.#db.location,
        remedy: `this version reads format ${FORMAT}; the directory is for shard ${this.#shard}`,
      });
    }
    this.#committed = commit;
    this.#chain = frame.chain;
    this.#verifyChain(commit.position);
  }

  /** Checks that the newest journal entries follow one from the other and end in the commit record. */
  #verifyChain(position: number): void {
    const slots = this.journal.slots;
    if (position !== (this.journal.newest?.to ?? 0)) throw this.#damaged('the journal does not end at the commit');
    let expected: Buffer = this.#chain;
    let bytes = 0;
    for (let i = slots.length - 1; i >= 0 && bytes < CHAIN_CHECK_BYTES; i--) {
      const slot = slots[i];
      if (slot === undefined) break;
      const key = journalKey(slot);
      const stored = this.#db.getSync(key);
      if (stored === undefined) throw this.#damaged('a journal entry is missing');
      const entry = this.#verified(key, stored);
      const chain = entry.subarray(2, CHAIN_FIELD_BYTES);
      if (!chain.equals(expected)) throw this.#damaged('a commit is missing from the middle');
      bytes += stored.length;
      const older = slots[i - 1];
      if (older === undefined) break;
      const before = this.#db.getSync(journalKey(older));
      if (before === undefined) throw this.#damaged('a journal entry is missing');
      expected = before.subarray(2, CHAIN_FIELD_BYTES);
      if (!chainOf(expected, entry.subarray(CHAIN_FIELD_BYTES)).equals(chain)) {
        throw this.#damaged('the chain over the commits is broken');
      }
    }
  }

  #journalEntry(
    from: number,
    next: Commit,
    taken: FoldCommit,
  ): { key: Buffer; value: Buffer; slot: JournalSlot; chain: Buffer } {
    const bytes = encodeJournalEntry(next.recordCrc, taken.changed, CRC_BYTES);
    const slot = { from, to: next.position, logTimeUs: next.logTimeUs, bytes: bytes.length };
    const key = journalKey(slot);
    const body = bytes.subarray(0, bytes.length - CRC_BYTES);
    const chain = chainOf(this.#chain, body.subarray(CHAIN_FIELD_BYTES));
    chain.copy(body, 2);
    bytes.writeUInt32LE(checksum(key, body), body.length);
    return { key, value: bytes, slot, chain };
  }

  /** A state's key and value in one allocation; the CRC is taken over both where they lie. */
  #sealedState(instance: string, key: string, state: Uint8Array): { key: Buffer; value: Buffer } {
    const nameBytes = this.#keys.length(key);
    const bytes = Buffer.allocUnsafe(nameBytes + state.length + CRC_BYTES);
    this.#keys.write(bytes, instance, key);
    bytes.set(state, nameBytes);
    const end = nameBytes + state.length;
    bytes.writeUInt32LE(crc32c(bytes, 0, end), end);
    return { key: bytes.subarray(0, nameBytes), value: bytes.subarray(nameBytes) };
  }

  /** The value without its CRC, which must be right. */
  #verified(key: Buffer, stored: Buffer): Buffer {
    const length = stored.length - CRC_BYTES;
    if (length < 0) throw this.#damaged('a value is too short', key);
    const whole = key.length + length;
    if (this.#scratch.length < whole) this.#scratch = Buffer.allocUnsafe(whole * 2);
    this.#scratch.set(key);
    this.#scratch.set(length === stored.length ? stored : stored.subarray(0, length), key.length);
    if (crc32c(this.#scratch, 0, whole) !== stored.readUInt32LE(length)) {
      throw this.#damaged('a value is not what was written', key);
    }
    return stored.subarray(0, length);
  }

  #decoded<T>(key: Buffer, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof FreshetError) throw error;
      throw this.#damaged('a value cannot be decoded', key);
    }
  }

  #damaged(what: string, key?: Buffer): FreshetError {
    const where = key === undefined ? '' : ` (key ${key.toString('hex')})`;
    const error = new FreshetError('DATA_DAMAGED', `shard ${this.#shard}: ${what}${where}`, {
      place: this.#db.location,
      remedy: 'nothing is lost: the shard is folded again from the log',
    });
    this.#damage ??= error;
    return error;
  }
}

function openFailure(error: unknown, directory: string): FreshetError {
  const cause = error instanceof Error && error.cause !== undefined ? (error.cause as Error) : (error as Error);
  if ((cause as { code?: string }).code === 'LEVEL_LOCKED') {
    return new FreshetError('STORE_LOCKED', 'another process has the shard open', {
      place: directory,
      remedy: 'stop the other compute process, or give this one another --data-dir',
      cause,
    });
  }
  const damaged = (cause as { code?: string }).code === 'LEVEL_CORRUPTION' || /corrupt/i.test(cause.message);
  return new FreshetError(damaged ? 'DATA_DAMAGED' : 'INVALID_CONFIG', `the shard cannot be opened: ${cause.message}`, {
    place: directory,
    cause,
  });
}

function chainOf(before: Buffer, body: Buffer): Buffer {
  return createHash('sha256').update(before).update(body).digest().subarray(0, CHAIN_BYTES);
}

function checksum(key: Buffer, value: Buffer): number {
  const both = Buffer.concat([key, value]);
  return crc32c(both, 0, both.length);
}

function seal(key: Buffer, value: Uint8Array): Buffer {
  const sealed = Buffer.allocUnsafe(value.length + CRC_BYTES);
  sealed.set(value);
  sealed.writeUInt32LE(checksum(key, sealed.subarray(0, value.length)), value.length);
  return sealed;
}
