/**
 * One shard: the fold of one partition, its commits, and what followers see of it.
 *
 *     log ──▶ live loop ──▶ fold ──▶ publish ──▶ tail ──▶ followers (rows are taken from the fold when sent)
 *                             │                   ▲
 *                        commit loop ──▶ store ───┘ journal, pages of a pass
 *
 * Owns the order of folding, publishing and committing. Does not own the loops that drive it (live-loop.ts,
 * build-loop.ts, commit-loop.ts), what folding means (packages/engine) or how changes are sent (shard-follower.ts).
 * Invariants: F3 (the fold gets the log's records in order from its position on); folding never waits for a commit,
 * except when what is uncommitted is over its bound (R4); what followers are told is in the log, so it need not be
 * committed to be told.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { LogEntry, LogReader } from '@freshet/log/log.ts';
import type { ChangedKeys, CreateFold, EncodedRow, Fold, StateDigest } from './fold-port.ts';
import type { Gate } from './gate.ts';
import { EraseWatch } from './missed-erase.ts';
import type { PassPace } from './pass-pace.ts';
import { PassPages } from './pass-pages.ts';
import { readHead } from './read-head.ts';
import { RowCache } from './row-cache.ts';
import { type RowField, rowField } from './row-field.ts';
import type { ShardLimits } from './shard-limits.ts';
import type { Commit, ShardStorage, StateSnapshot } from './shard-storage.ts';
import { ShardViews } from './shard-views.ts';
import { type Changes, type Head, Tail } from './tail.ts';
import { Wake } from './wake.ts';

export interface ShardOptions {
  readonly shard: number;
  readonly log: LogReader;
  readonly storage: ShardStorage;
  /** Where to begin when nothing was committed: where the log begins; by default 0. */
  readonly origin?: number | undefined;
  readonly createFold: CreateFold;
  readonly createDigest: (meta: Uint8Array) => StateDigest;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Lets other work of the process have a turn. */
  readonly yieldNow: () => Promise<unknown>;
  /** A number in [0, 1), for the jitter of retries; by default one that cannot be repeated. */
  readonly random?: (() => number) | undefined;
  readonly limits: ShardLimits;
  /** Awaited before each reading of the live records, with the log's id in hex (tell-checkpoints.ts). */
  readonly beforeReading?: ((logId: string, signal: AbortSignal) => Promise<void>) | undefined;
  /** Told when the log was found to be the one that the shard folds, and to reach back to it. */
  readonly onHealthy?: (() => void) | undefined;
  /** Told of damage in the log, which is for the log's operator to mend, and with undefined that records were read. */
  readonly onLogDamage?: ((error: FreshetError | undefined) => void) | undefined;
  /** Told of views that cannot be built, and with undefined that there are none. */
  readonly onLostBuilds?: ((error: FreshetError | undefined) => void) | undefined;
  /**
   * Waits, after a commit that the disk would not take, until it takes writes again; rejects when the signal aborts.
   * Without it the shard ends at once.
   */
  readonly waitForDisk?: ((error: FreshetError, signal: AbortSignal) => Promise<void>) | undefined;
  /** Bounds how many pages of passes are made at once in the process, so that many passes leave time to fold. */
  readonly pages: Gate;
  /** When pages may come between changes, for all shards of the process. */
  readonly passPace: PassPace;
}

/** Between looks whether the journal has a newer entry, milliseconds. */
const FORGET_POLL_MS = 200;

const NOTHING_FOLDED: Head = { position: 0, logTimeUs: 0, recordCrc: 0 };

export class Shard {
  readonly shard: number;
  readonly options: ShardOptions;
  readonly #fold: Fold;
  readonly #tail: Tail;
  readonly #rows: RowCache;
  readonly views: ShardViews;
  /** Pages of passes. */
  readonly pages: PassPages;
  readonly #listeners = new Set<() => void>();
  readonly #pins = new Set<() => number | undefined>();
  readonly commitWanted = new Wake();
  readonly buildWanted = new Wake();
  /** The views that cannot be built, because the log no longer has the records that they begin with. */
  lostBuilds: readonly string[] = [];
  /** Whether somebody waits for a commit, however little there is to commit. */
  #commitAsked = false;
  /** Journal entries that begin at or before this offset are to go: they name a key that is to be forgotten. */
  #forgottenThrough = -1;
  /** How often somebody asked that nothing stays in the store of what the next commit does not name, */
  clearingAsked = 0;
  /** and how many of these were done (commit-loop.ts). */
  cleared = 0;
  /** Whether anything but log time moved since the last commit. */
  #changed = false;
  #commitWaiters: (() => void)[] = [];
  #logId: string;
  #logEnd = 0;
  #failure: unknown;
  #stopped = false;
  readonly #erases: EraseWatch;

  constructor(options: ShardOptions) {
    const { storage, limits } = options;
    this.shard = options.shard;
    this.options = options;
    this.#fold = options.createFold({
      cold: storage,
      cacheBytes: limits.cacheBytes,
      meta: storage.committed?.foldMeta,
      origin: options.origin,
    });
    this.#logId = storage.committed?.logId ?? '';
    assert(
      this.#fold.position === (storage.committed?.position ?? this.#fold.origin),
      'F3: the fold is where its commit is',
    );
    this.#logEnd = this.#fold.position;
    this.#tail = new Tail(this.head, limits.tailBytes);
    this.#rows = new RowCache(limits.rowCacheBytes);
    this.views = new ShardViews(this.#fold, storage.committed?.instances);
    this.#erases = new EraseWatch(options.shard, storage.committed);
    this.pages = new PassPages(
      {
        committed: () => storage.committed?.position ?? 0,
        isShared: () => this.#listeners.size > 1,
        read: (instance, afterKey, most) => storage.page(instance, afterKey, most),
        row: (viewId, key, state) => this.#fold.rowFromState(viewId, key, state),
        isCurrent: (viewId, instance) => this.views.complete.get(viewId)?.instance === instance,
        run: (work) => options.pages.run(work),
      },
      limits.frame.bytes,
    );
    if (this.views.building.length > 0) this.buildWanted.set();
  }

  // What followers and the status see.

  /** The log's id in hex; empty until it is known. */
  get logId(): string {
    return this.#logId;
  }

  get head(): Head {
    const { position, logTimeUs, recordCrc } = this.#fold;
    if (position === 0) return NOTHING_FOLDED;
    // Where the log begins late, nothing is known of the record before.
    return { position, logTimeUs: position === this.#fold.origin ? 0 : logTimeUs, recordCrc };
  }

  get position(): number {
    return this.#fold.position;
  }

  get generation(): number {
    return this.#fold.generation;
  }

  get committed(): Commit | undefined {
    return this.options.storage.committed;
  }

  get followers(): number {
    return this.#listeners.size;
  }

  /** The durable end of the partition, as last heard. */
  get logEnd(): number {
    return Math.max(this.#logEnd, this.#fold.position);
  }

  get fold(): Fold {
    return this.#fold;
  }

  /** Why the shard stopped for good; followers end with it. */
  get failure(): unknown {
    return this.#failure;
  }

  /** Calls back whenever there may be something new; returns what undoes that. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Asks at each commit from which position on the journal must stay; returns what ends that. */
  pin(from: () => number | undefined): () => void {
    this.#pins.add(from);
    return () => this.#pins.delete(from);
  }

  #pinnedFrom(): number {
    let least = Infinity;
    for (const from of this.#pins) least = Math.min(least, from() ?? Infinity);
    return least;
  }

  /** Who was told less than this gets a pass (missed-erase.ts); so does who had one of a commit from before. */
  get erasedBelow(): number {
    return this.#erases.marks.erasedBelow;
  }

  /** The changes of the stretch that a position is in, or undefined when neither tail nor journal have (all of) it. */
  changesAt(position: number): Changes | undefined {
    if (position < this.erasedBelow) return undefined;
    const inTail = this.#tail.find(position);
    if (inTail !== undefined) return inTail;
    const slot = this.options.storage.journal.find(position);
    const stored = slot === undefined ? undefined : this.options.storage.readJournal(slot);
    return slot && stored && { from: slot.from, to: slot.to, changed: stored.changed };
  }

  /** The current row. */
  row(viewId: string, key: string): EncodedRow | undefined {
    return this.#fold.row(viewId, key);
  }

  /** The current row as it lies in a frame. */
  rowField(viewId: string, key: string): RowField | undefined {
    const cached = this.#rows.get(viewId, key);
    if (cached !== undefined) return cached;
    const row = this.#fold.row(viewId, key);
    if (row === undefined) return undefined;
    const field = rowField(key, row);
    if (this.#listeners.size > 1) this.#rows.set(viewId, key, field);
    return field;
  }

  /** The current row's version. */
  version(viewId: string, key: string): number | undefined {
    return this.#fold.version(viewId, key);
  }

  /** What is known of the record before a position that is folded; undefined when the log no longer has it. */
  async headAt(position: number, signal: AbortSignal): Promise<Head | undefined> {
    if (position === 0) return NOTHING_FOLDED;
    const { storage, log, clock, logger, random } = this.options;
    const inTail = this.#tail.headAt(position);
    if (inTail !== undefined) return inTail;
    const slot = storage.journal.endingAt(position);
    const stored = slot === undefined ? undefined : storage.readJournal(slot);
    if (slot !== undefined && stored !== undefined) {
      return { position, logTimeUs: slot.logTimeUs, recordCrc: stored.recordCrc };
    }
    return retry(async () => readHead(log, this.shard, position, signal), {
      what: 'checking a cursor against the log',
      signal,
      clock,
      random,
      log: logger,
    });
  }

  // What the loops do.

  /** Checks that the log is the one that was folded so far. Throws WRONG_LOG. */
  checkLog(logId: string, bounds: { readonly start: number; readonly end: number } | undefined): void {
    const position = this.#fold.position;
    if (this.#logId !== '' && position > 0 && this.#logId !== logId) {
      throw new FreshetError('WRONG_LOG', `shard ${this.shard} was folded from log ${this.#logId}, this is ${logId}`, {
        remedy: 'if the log was replaced, nothing needs to be done: the shard is folded anew from the new log',
      });
    }
    if (bounds === undefined) {
      throw new FreshetError('UNAVAILABLE', `the log has no partition ${this.shard}`, {
        remedy: 'name shards that the log has, or leave out --shards',
      });
    }
    if (position > bounds.end) {
      throw new FreshetError(
        'WRONG_LOG',
        `shard ${this.shard} is at ${position}, but the log ends at ${bounds.end}: it lost records`,
        { remedy: 'the shard is folded anew from the log as it is' },
      );
    }
    if (position < bounds.start) {
      throw new FreshetError(
        'OFFSET_OUT_OF_RANGE',
        `shard ${this.shard} needs record ${position}, the log starts at ${bounds.start}`,
        {
          remedy: 'the log was trimmed too far for this shard: restore its state, or capture the sources anew',
        },
      );
    }
    this.#logId = logId;
    this.#logEnd = bounds.end;
    if (position === this.#fold.origin) this.#erases.beginAt(bounds.end);
    this.#notify();
  }

  /**
   * Checks that the log's last record below the shard's position is the one that was folded: a log that was restored
   * from a copy has the same id and another history. Throws WRONG_LOG.
   */
  async checkHistory(signal: AbortSignal): Promise<void> {
    const { position, recordCrc } = this.head;
    if (position === 0) return;
    const there = await readHead(this.options.log, this.shard, position, signal);
    if (there === undefined || there.recordCrc === recordCrc) return;
    throw new FreshetError('WRONG_LOG', `shard ${this.shard} folded another record ${position - 1} than the log has`, {
      remedy: 'if the log was restored from a copy, nothing needs to be done: the shard is folded anew from it',
    });
  }

  noteLogEnd(end: number): void {
    this.#logEnd = end;
  }

  /** Folds records without telling anybody yet; how many, as Fold.foldSome. */
  foldEntries(entries: readonly LogEntry[]): number {
    this.#erases.look(entries);
    const count = this.#fold.foldSome(entries);
    // A view that was incomplete may have something to be built of now, and is incomplete as before.
    if (this.views.noteFolded(count === entries.length ? entries : entries.slice(0, count))) this.buildWanted.set();
    return count;
  }

  foldBuild(viewId: string, entries: readonly LogEntry[]): void {
    this.#erases.lookForBuild(entries, this.views.begunAt(viewId));
    this.#fold.foldBuild(viewId, entries);
    this.#changed = true;
  }

  /** A build of which the log no longer has the rest: who is erased meanwhile would stay in what it had folded. */
  restartBuild(viewId: string): void {
    this.#fold.restartBuild(viewId);
    this.#changed = true;
  }

  /** Tells followers what was folded since the last call. */
  publish(): void {
    const moved = this.#fold.position > this.#tail.end;
    if (moved) {
      const changed: ChangedKeys = this.#fold.takeDirty();
      this.#tail.push(changed, this.head);
      this.#tail.trim(this.committed?.position ?? 0);
      this.#rows.drop(changed);
      if (changed.size > 0) this.#changed = true;
    }
    const isOther = this.views.refresh();
    if (isOther) {
      // A view that began anew has other rows under the same keys.
      this.#rows.clear();
      this.#changed = true;
      // Also when there is nothing left to build: what could not be built may have begun anew.
      this.buildWanted.set();
    }
    if (this.#uncommitted > 1) this.commitWanted.set();
    if (moved || isOther) this.#notify();
  }

  /** Waits while more is uncommitted than memory is meant to hold (R4). */
  async waitForRoom(signal: AbortSignal): Promise<void> {
    while (this.#uncommitted > 4 && !signal.aborted) await this.#afterNextCommit(() => undefined);
  }

  /**
   * What waits for a commit, in units of what begins one: states, or the keys in the tail. A few hot keys are little
   * state however often they change, but the tail grows with each change until a commit lets it go.
   */
  get #uncommitted(): number {
    const { commitBytes, tailBytes } = this.options.limits;
    if (this.#tail.bytes <= tailBytes) return this.#fold.dirtyBytes / commitBytes;
    return Math.max(
      this.#fold.dirtyBytes / commitBytes,
      this.#tail.bytesAfter(this.committed?.position ?? 0) / tailBytes,
    );
  }

  /** Asks for a commit soon, even if only log time moved. */
  askCommit(): void {
    this.#commitAsked = true;
    this.commitWanted.set();
  }

  /** Whether a commit has something to keep; `idleToo` counts log time alone. */
  needsCommit(idleToo: boolean): boolean {
    if (this.#logId === '' || this.#fold.broken !== undefined) return false;
    if (this.#changed || this.#commitAsked || this.#fold.dirtyBytes > 0) return true;
    return idleToo && this.#fold.position > (this.committed?.position ?? 0);
  }

  /** Writes what changed since the last commit; resolves when it is durable. One at a time. */
  async commit(): Promise<void> {
    const { storage, limits } = this.options;
    this.#commitAsked = false;
    this.#changed = false;
    const taken = this.#fold.takeCommit();
    // Who asks from now on wants more than this commit holds, and waits for the next one.
    const served = this.#commitWaiters;
    this.#commitWaiters = [];
    const next: Commit = {
      ...this.head,
      logId: this.#logId,
      foldMeta: taken.meta,
      instances: this.views.committed(),
      ...this.#erases.marks,
    };
    try {
      const { journal } = limits;
      const pinned = this.#pinnedFrom();
      const expired = storage.journal.expired(next.logTimeUs, journal, pinned, this.#forgottenThrough);
      await storage.commit(next, taken, expired);
    } catch (error) {
      this.#commitWaiters.unshift(...served);
      throw error;
    }
    this.#fold.evict();
    this.#tail.trim(next.position);
    for (const release of served) release();
    this.#notify();
  }

  /**
   * Takes out of the store what of a key says nothing any more, the journal through an offset, which may name it, and all
   * that instances left which are over: the key may be in it. Resolves when that is durable, with the views in which the key
   * has a state still. Followers that were told less than the offset get a pass.
   */
  async forget(key: string, through: number, signal: AbortSignal): Promise<readonly string[]> {
    const { storage, clock } = this.options;
    // A journal names no key that is gone by its commit. So the row that the erase left is committed first: else whoever
    // resumes here, after a crash that comes before the next lines are done, would hear nothing of it and keep what he has.
    const left = await this.#afterNextCommit(() => this.#fold.forget(key));
    this.#forgottenThrough = Math.max(this.#forgottenThrough, through);
    const asked = ++this.clearingAsked;
    await this.#afterNextCommit(() => undefined);
    // The newest entry stays until there is a newer one: with the next tick at the latest.
    while ((storage.journal.slots[0]?.from ?? Infinity) <= through) {
      await clock.sleep(FORGET_POLL_MS, signal);
      await this.#afterNextCommit(() => undefined);
    }
    while (this.cleared < asked) {
      signal.throwIfAborted();
      await this.#afterNextCommit(() => undefined);
    }
    return left;
  }

  /** Says that the loops end: nobody waits for a commit that will not come. */
  stopped(): void {
    this.#stopped = true;
    this.#releaseWaiters();
  }

  /** Says that the shard stopped; followers and waiters learn it. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#releaseWaiters();
    this.#notify();
  }

  /** The digest of F1 over a commit made now, and the position that it is at. Reads all state. */
  async digest(): Promise<{ position: number; digest: Uint8Array }> {
    const { createDigest } = this.options;
    const snapshot = await this.snapshot();
    // Nothing was ever folded, and nothing can be until the log is there.
    if (snapshot === undefined) return { position: 0, digest: new Uint8Array(0) };
    const { commit, states } = snapshot;
    try {
      const digest = createDigest(commit.foldMeta);
      for await (const some of states) for (const [instance, key, state] of some) digest.add(instance, key, state);
      return { position: commit.position, digest: digest.finish() };
    } finally {
      await snapshot.close();
    }
  }

  /** All state at a commit made now; undefined before the log is known. Must be closed. */
  async snapshot(): Promise<StateSnapshot | undefined> {
    // Taken in the very turn in which the commit became durable.
    return this.#logId === '' ? undefined : this.#afterNextCommit(() => this.options.storage.snapshot());
  }

  /** Asks for a commit and resolves with what `then` returns right after it. Rejects when the shard failed. */
  #afterNextCommit<T>(then: () => T): Promise<T> {
    if (this.#fold.broken !== undefined) return Promise.reject(this.#fold.broken as Error);
    this.askCommit();
    return new Promise((resolve, reject) => {
      const unavailable = new FreshetError('UNAVAILABLE', `shard ${this.shard} is stopping`);
      if (this.#stopped) reject(unavailable);
      else this.#commitWaiters.push(() => (this.#stopped ? reject(unavailable) : resolve(then())));
    });
  }

  #releaseWaiters(): void {
    const waiters = this.#commitWaiters;
    this.#commitWaiters = [];
    for (const release of waiters) release();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
