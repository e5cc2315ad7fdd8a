/**
 * A shard's state, journal and commit record in one KeyValueStore.
 *
 * Owns the layout (store-keys.ts, storage.proto) and what is checked at open. Does not own checksums of values and files
 * (packages/store), what state means, nor when to commit. The only write path is commit(), one batch; clearDropped()
 * deletes what no commit refers to any more, and a restore from a checkpoint (shard-restore.ts) fills an empty store.
 *
 * Batches are not synced: the log is durable and not trimmed above a verified checkpoint, so a commit that a power cut
 * takes away is folded again, to the same rows at the same versions (F1).
 *
 * Invariants: what is read is what was written, else DATA_DAMAGED. What the store's checksums cannot show is shown by
 * the chain over the commits (commit-chain.ts: one is missing in the middle) at open, and by each instance's key set
 * (key-set.ts: keys vanished or went back) whenever all state is read.
 */
import { assert } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { KeyValueStore, StoreOptions, Stores } from '@freshet/store/key-value-store.ts';
import type { FoldCommit } from '../core/fold-port.ts';
import { JournalIndex, type JournalSlot } from '../core/journal-index.ts';
import { KeySet, NO_VERSION } from '../core/key-set.ts';
import type {
  Commit,
  ShardStorage,
  StatePage,
  StateSnapshot,
  StoredChanges,
  StoredState,
} from '../core/shard-storage.ts';
import { CommitChain, type Link } from './commit-chain.ts';
import { type CommitFrame, decodeCommit, encodeCommit, FORMAT } from './commit-codec.ts';
import { CHAIN_BYTES, CHAIN_FIELD_BYTES, decodeJournalEntry, encodeJournalEntry } from './journal-codec.ts';
import {
  afterInstance,
  COMMIT_KEY,
  EVERYTHING,
  entityKeyOf,
  instanceOf,
  JOURNAL_RANGE,
  journalKey,
  journalSlot,
  RESTORE_KEY,
  STATE_RANGE,
  StateKeys,
} from './store-keys.ts';

/** How many puts go into a batch before other work gets a turn. */
const PUTS_PER_TURN = 500;
/** How many keys one clearDropped deletes. */
const CLEAR_KEYS = 5_000;
/** How many states are handed out at once. */
const SCAN_STATES = 250;
/** Where the chain is in a journal entry: behind its field's tag and length. */
const CHAIN_AT = CHAIN_FIELD_BYTES - CHAIN_BYTES;
const NO_BYTES = new Uint8Array(0);

export interface ShardStoreOptions {
  readonly stores: Stores;
  readonly directory: string;
  readonly shard: number;
  /** Lets other work of the process have a turn. */
  readonly yieldNow: () => Promise<unknown>;
  /** The version in an encoded state. */
  readonly versionOf: (state: Uint8Array) => number;
  /** The store's block cache, in bytes. */
  readonly blockCacheBytes?: number | undefined;
  /** What the store keeps of writes in memory, in bytes; it may be twice that for a moment. */
  readonly writeBufferBytes?: number | undefined;
}

/** The store of a shard, as messages call it. */
export function openStore(options: ShardStoreOptions): Promise<KeyValueStore> {
  return options.stores.open(options.directory, storeRules(options));
}

export function storeRules({ shard, blockCacheBytes, writeBufferBytes }: ShardStoreOptions): StoreOptions {
  return { what: `the store of shard ${shard}`, remedy: REMEDY, blockCacheBytes, writeBufferBytes };
}

const REMEDY =
  'nothing needs to be done: the shard is restored from its newest checkpoint, or folded again from the log';

export class ShardStore implements ShardStorage {
  readonly #store: KeyValueStore;
  readonly #options: ShardStoreOptions;
  readonly #keys = new StateKeys();
  readonly journal = new JournalIndex();
  #chain = new CommitChain();
  #committed: Commit | undefined;
  #record: Uint8Array = NO_BYTES;
  #journalStart = 0;
  #keySets: ReadonlyMap<string, KeySet> = new Map();
  #damage: FreshetError | undefined;
  #committing = false;

  private constructor(store: KeyValueStore, options: ShardStoreOptions) {
    this.#store = store;
    this.#options = options;
  }

  /** Opens or makes the store. Throws as Stores.open does; DATA_DAMAGED also when what it holds is not one history. */
  static async open(options: ShardStoreOptions): Promise<ShardStore> {
    const kv = await openStore(options);
    const store = new ShardStore(kv, options);
    try {
      await store.#load();
    } catch (error) {
      await kv.close();
      throw error;
    }
    return store;
  }

  get committed(): Commit | undefined {
    return this.#committed;
  }

  get keySets(): ReadonlyMap<string, KeySet> {
    return this.#keySets;
  }

  get damage(): FreshetError | undefined {
    return this.#damage ?? this.#store.damage;
  }

  load(instance: string, key: string): Uint8Array | undefined {
    return this.#store.getSync(this.#keys.key(instance, key));
  }

  async commit(next: Commit, taken: FoldCommit, dropped: readonly JournalSlot[]): Promise<void> {
    assert(!this.#committing, 'one commit at a time');
    const from = this.#committed?.position ?? 0;
    assert(next.position >= from, 'F3: a commit never goes back');
    this.#committing = true;
    try {
      const batch = this.#store.batch();
      const { keySets, bytes } = await this.#putStates(batch, next, taken);
      const entry = next.position > from ? encodeJournalEntry(next.recordCrc, taken.changed) : undefined;
      for (const slot of dropped) batch.delete(journalKey(slot));
      const frame = { ...this.#frame(keySets), commits: this.#chain.number + 1 };
      const unchained = encodeCommit(next, { ...frame, chain: Buffer.alloc(0) });
      const written = bytes + unchained.length + (entry?.length ?? 0);
      const parts = entry === undefined ? [unchained] : [unchained, entry.subarray(CHAIN_FIELD_BYTES)];
      const link = this.#chain.extend(batch, { from, to: next.position, bytes: written }, parts);
      const record = encodeCommit(next, { ...frame, chain: link.chain });
      batch.put(COMMIT_KEY, record);
      let slot: JournalSlot | undefined;
      if (entry !== undefined) {
        link.chain.copy(entry, CHAIN_AT);
        slot = { from, to: next.position, logTimeUs: next.logTimeUs, bytes: entry.length };
        batch.put(journalKey(slot), entry);
      }
      await batch.write({ sync: false });
      link.done();
      this.#committed = next;
      this.#record = record;
      this.#keySets = keySets;
      if (slot !== undefined) this.journal.add(slot);
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
    const scan = this.#store.entries(
      {
        ...(afterKey === undefined ? { gte: prefix } : { gt: this.#keys.key(instance, afterKey) }),
        lt: afterInstance(prefix),
      },
      { readAheadBytes: limits.bytes },
    );
    const entries: [string, Uint8Array][] = [];
    let bytes = 0;
    try {
      while (entries.length < limits.rows && bytes < limits.bytes) {
        const some = await scan.next(limits.rows - entries.length);
        if (some.length === 0) return { entries, last: true };
        for (const [name, state] of some) {
          entries.push([entityKeyOf(name), state]);
          bytes += state.length;
        }
      }
      // A key that is not in a page is gone for whoever reads it.
      await scan.confirm();
      return { entries, last: false };
    } finally {
      await scan.close();
    }
  }

  readJournal(slot: JournalSlot): StoredChanges | undefined {
    const key = journalKey(slot);
    const stored = this.#store.getSync(key);
    return stored === undefined ? undefined : this.#decoded(key, () => decodeJournalEntry(stored));
  }

  async clearDropped(): Promise<boolean> {
    const live = new Set(this.#committed?.instances.map((i) => i.instance));
    let left = CLEAR_KEYS;
    let from: Buffer = STATE_RANGE.gte;
    for (;;) {
      const [first] = await this.#store.keys({ gte: from, lt: STATE_RANGE.lt }, 1);
      if (first === undefined) return false;
      const prefix = this.#keys.prefix(instanceOf(first));
      if (!live.has(instanceOf(first))) {
        left -= await this.#store.clear({ gte: prefix, lt: afterInstance(prefix) }, left);
        if (left <= 0) return true;
      }
      from = afterInstance(prefix);
    }
  }

  snapshot(): StateSnapshot {
    assert(this.#committed !== undefined && !this.#committing, 'a snapshot is of a commit');
    const scan = this.#store.entries(STATE_RANGE);
    const keySets = this.#keySets;
    const { versionOf } = this.#options;
    const damaged = (what: string): FreshetError => this.#damaged(what);
    async function* states(): AsyncGenerator<readonly StoredState[]> {
      const seen = new Map<string, KeySet>();
      for (let some = await scan.next(SCAN_STATES); some.length > 0; some = await scan.next(SCAN_STATES)) {
        yield some.map(([name, state]): StoredState => {
          const stored = [instanceOf(name), entityKeyOf(name), state] as const;
          countIn(seen, stored, versionOf);
          return stored;
        });
      }
      const what = differenceOf(keySets, seen);
      if (what !== undefined) throw damaged(what);
    }
    const close = (): Promise<void> => scan.close();
    return { commit: this.#committed, record: this.#record, keySets, states: states(), close };
  }

  scrub(pause: (bytes: number) => Promise<void>): Promise<number> {
    return this.#store.scrub(pause);
  }

  async close(): Promise<void> {
    await this.#store.close();
  }

  async #putStates(
    batch: ReturnType<KeyValueStore['batch']>,
    next: Commit,
    taken: FoldCommit,
  ): Promise<{ keySets: Map<string, KeySet>; bytes: number }> {
    const { versionOf, yieldNow } = this.#options;
    const keySets = new Map<string, KeySet>();
    for (const { instance } of next.instances) {
      keySets.set(instance, this.#keySets.get(instance)?.copy() ?? new KeySet());
    }
    let bytes = 0;
    let turn = 0;
    for (const [instance, key, state, replaced] of taken.puts) {
      if (state === undefined) batch.delete(this.#keys.key(instance, key));
      else batch.putUnder(this.#keys.prefix(instance), key, state);
      keySets.get(instance)?.replace(key, replaced, state === undefined ? NO_VERSION : versionOf(state));
      bytes += key.length + (state?.length ?? 0);
      if (++turn % PUTS_PER_TURN === 0) await yieldNow();
    }
    return { keySets, bytes };
  }

  async #load(): Promise<void> {
    const stored = await this.#store.get(COMMIT_KEY);
    if (stored === undefined) {
      await this.#loadNothing();
      return;
    }
    const { commit, frame } = this.#decoded(COMMIT_KEY, () => decodeCommit(stored));
    const { shard } = this.#options;
    if (frame.format !== FORMAT || frame.shard !== shard) {
      throw new FreshetError('DATA_DAMAGED', `the store is of format ${frame.format}, shard ${frame.shard}`, {
        place: this.#store.location,
        remedy: `this version reads format ${FORMAT}; the directory is for shard ${shard}`,
      });
    }
    await this.#loadJournal(frame.journalStart, commit.position);
    const loaded = await CommitChain.load(this.#store, frame.commits, frame.chain);
    if (loaded === undefined) throw this.#damaged('a commit is missing from the middle');
    this.#checkEntries(loaded.links);
    this.#chain = loaded.chain;
    this.#committed = commit;
    this.#record = stored;
    this.#journalStart = frame.journalStart;
    this.#keySets = frame.keySets;
  }

  /** Nothing was committed, so nothing may be there; what an unfinished restore left is taken out of the way. */
  async #loadNothing(): Promise<void> {
    const isRestore = (await this.#store.get(RESTORE_KEY)) !== undefined;
    if (!isRestore && (await this.#store.keys(EVERYTHING, 1)).length > 0) {
      throw this.#damaged('there is state but no commit record');
    }
    while (isRestore && (await this.#store.clear(EVERYTHING, CLEAR_KEYS)) > 0) await this.#options.yieldNow();
  }

  async #loadJournal(start: number, end: number): Promise<void> {
    for (let from: Buffer | undefined = JOURNAL_RANGE.gte; from !== undefined; ) {
      const names: Buffer[] = await this.#store.keys({ gte: from, lt: JOURNAL_RANGE.lt }, CLEAR_KEYS);
      for (const name of names) {
        const slot = journalSlot(name);
        const newest = this.journal.newest;
        if (slot === undefined || slot.from >= slot.to || (newest !== undefined && newest.to !== slot.from)) {
          throw this.#damaged('the journal has a gap');
        }
        this.journal.add(slot);
      }
      const last = names.at(-1);
      from = names.length < CLEAR_KEYS || last === undefined ? undefined : Buffer.concat([last, Buffer.of(0)]);
    }
    if ((this.journal.newest?.to ?? start) !== end) throw this.#damaged('the journal does not end at the commit');
  }

  /** Checks that the newest journal entries are of this chain. */
  #checkEntries(links: readonly Link[]): void {
    for (const { from, to, chain } of links) {
      if (from === to) continue;
      const slot = this.journal.endingAt(to);
      // The journal forgets by age and bytes, but always from its beginning.
      if (slot === undefined && to <= this.journal.start(this.#journalStart)) continue;
      const entry = slot?.from === from ? this.#store.getSync(journalKey(slot)) : undefined;
      if (entry === undefined) throw this.#damaged('a journal entry is missing');
      if (!entry.subarray(CHAIN_AT, CHAIN_FIELD_BYTES).equals(chain)) {
        throw this.#damaged('a journal entry is of another history');
      }
    }
  }

  #frame(keySets: ReadonlyMap<string, KeySet>): Omit<CommitFrame, 'commits' | 'chain'> {
    return { format: FORMAT, shard: this.#options.shard, journalStart: this.#journalStart, keySets };
  }

  #decoded<T>(key: Buffer, decode: () => T): T {
    try {
      return decode();
    } catch (error) {
      if (error instanceof FreshetError) throw error;
      throw this.#damaged(`the value of key ${key.toString('hex')} cannot be decoded`);
    }
  }

  #damaged(what: string): FreshetError {
    const error = new FreshetError('DATA_DAMAGED', `the store of shard ${this.#options.shard} is damaged: ${what}`, {
      place: this.#store.location,
      remedy: REMEDY,
    });
    this.#damage ??= error;
    return error;
  }
}

/** Counts a state into its instance's keys. */
export function countIn(
  sets: Map<string, KeySet>,
  [instance, key, state]: StoredState,
  versionOf: (state: Uint8Array) => number,
): void {
  let set = sets.get(instance);
  if (set === undefined) {
    set = new KeySet();
    sets.set(instance, set);
  }
  set.replace(key, NO_VERSION, versionOf(state));
}

/** What is wrong with the keys seen; undefined: nothing. Instances that the commit does not name do not count. */
export function differenceOf(
  expected: ReadonlyMap<string, KeySet>,
  seen: ReadonlyMap<string, KeySet>,
): string | undefined {
  for (const [instance, keys] of expected) {
    const found = seen.get(instance) ?? new KeySet();
    if (found.keys !== keys.keys) return `instance ${instance} has ${found.keys} keys, not ${keys.keys}`;
    if (!found.equals(keys)) return `instance ${instance} has keys at other versions than were committed`;
  }
  return undefined;
}
