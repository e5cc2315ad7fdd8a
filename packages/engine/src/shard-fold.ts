/**
 * The fold of one partition: state' = fold(state, record), a pure function of the log's prefix.
 *
 * Owns the order in which records take effect, which views are in force, and when a view is complete. Does not own
 * reading the log, storing states or sending rows (services/compute), or what an event does to a state (src/state).
 *
 * Invariants: F1 (same prefix, same rows at same versions and the same digest, whatever the batches, commits and
 * evictions; nothing here reads a clock), F3 (offsets are contiguous, log time never goes back).
 *
 *      entries ──fold──▶ states in memory ──takeDirty, row──▶ emitted at once
 *                             │    ▲
 *                    takeCommit    │ load on a miss
 *                             ▼    │
 *                        cold store, one batch a commit ──durable──▶ evict
 *
 * A view in force is *building* while it folds older records in the shadow (foldBuild), and until its route's snapshot has
 * ended; it is *complete* from then on. When a route begins a new generation the rows of its views stand
 * still, and successors start from nothing beside them; at the end of the route's snapshot these take their place.
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { type FoldMeta, FoldMetaSchema } from '@freshet/gen/freshet/compute/v1/state_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { Force } from './fold/force.ts';
import { mergedKeys } from './fold/merged-keys.ts';
import { encodeMeta } from './fold/meta-codec.ts';
import { digestInstances } from './fold/state-digest.ts';
import { sweepable, sweepPage, swept } from './fold/sweep.ts';
import type { Standing, ViewInstance } from './fold/view-instance.ts';
import { RowEncoder } from './rows/row-encoder.ts';
import { ByteWriter } from './state/byte-writer.ts';
import type { KeyState } from './state/key-state.ts';
import { decodeState, readVersion } from './state/state-codec.ts';

/** One record of the log; a LogEntry of packages/log is one. */
export interface FoldEntry {
  readonly offset: number;
  readonly logTimeUs: number;
  /** An encoded LogRecord; only read during the call. */
  readonly record: Uint8Array;
  /** CRC32C of the record's frame. */
  readonly crc: number;
}

/** Where states are kept between commits; implemented over LevelDB by compute. */
export interface ColdState {
  /** The state that the last durable commit put there, if any. */
  load(instance: string, key: string): Uint8Array | undefined;
  /** All states of an instance by key ascending. Only ShardFold.keys() and digest() use it, which are for tests. */
  scan?(instance: string, afterKey: string | undefined): Iterable<[key: string, state: Uint8Array]>;
}

/** Keys whose rows changed, by view id in hex. */
export type DirtyKeys = ReadonlyMap<string, ReadonlySet<string>>;

/** The current row of a key. */
export interface FoldRow {
  readonly version: number;
  /** An encoded freshet.type.v1.Row. It shares a buffer with other rows: who keeps it keeps a copy. */
  readonly bytes: Uint8Array;
}

export interface FoldCommit {
  /**
   * What to store under (instance, key), undefined: to delete; with the version of the stored one that it replaces, -1:
   * none. Beside key states these are contributions (ShardFold.contributions) and rows of joined tables (fold/table-name.ts),
   * under names of their own.
   */
  readonly puts: readonly (readonly [instance: string, key: string, state: Uint8Array | undefined, replaced: number])[];
  /** An encoded FoldMeta, to be stored in the same batch. */
  readonly meta: Uint8Array;
  /** Rows of complete views that changed since the last commit. */
  readonly changed: DirtyKeys;
}

export interface FoldStats {
  readonly keys: number;
  readonly expiredEvents: number;
  readonly expressionErrors: number;
  readonly unknownContracts: number;
  readonly joinMisses: number;
  readonly cacheBytes: number;
  /** The part of it that is known of contributions (contributions/partials-share.ts). */
  readonly partialBytes: number;
}

export class ShardFold {
  readonly #cold: ColdState;
  readonly #cacheBytes: number;
  #position = 0;
  /** What a record failed with. Some views may have folded it and others not: nothing can be folded after it (F3). */
  #broken: unknown;
  #logTimeUs = Number.MIN_SAFE_INTEGER;
  #recordCrc = 0;
  readonly #force: Force;
  readonly #encoder = new RowEncoder();
  readonly #writer = new ByteWriter();

  /**
   * `meta` is that of the last durable commit of the cold store. Without it the fold starts at `origin`, by default 0: a
   * later one is for a log that begins there, and leaves views incomplete until their routes begin anew.
   */
  constructor(options: {
    readonly cold: ColdState;
    readonly cacheBytes: number;
    readonly meta?: Uint8Array | undefined;
    readonly origin?: number | undefined;
    /** Leaves of contributions that may be read for one record (contributions/partials-share.ts). For tests. */
    readonly unknownMax?: number | undefined;
  }) {
    this.#cold = options.cold;
    this.#cacheBytes = options.cacheBytes;
    this.#force = new Force(options.cold, options.cacheBytes, options.unknownMax);
    if (options.meta === undefined) {
      this.#force.origin = options.origin ?? 0;
      this.#position = this.#force.origin;
      return;
    }
    const meta = fromBinary(FoldMetaSchema, options.meta);
    this.#position = Number(meta.position);
    this.#logTimeUs = Number(meta.logTimeUs);
    this.#recordCrc = meta.recordCrc;
    this.#force.restore(meta);
  }

  /** How many records are folded, which is the offset of the next one. */
  get position(): number {
    return this.#position;
  }

  /** The log time of the last record folded, microseconds; Number.MIN_SAFE_INTEGER before the first. */
  get logTimeUs(): number {
    return this.#logTimeUs;
  }

  /** The CRC of the last record's frame; 0 before the first. */
  get recordCrc(): number {
    return this.#recordCrc;
  }

  /** What is in force; undefined before the first definitions. */
  get definitions(): DefinitionSet | undefined {
    return this.#force.definitions;
  }

  get generation(): number {
    return this.#force.generation;
  }

  /** What a record failed with, if one did: the fold is then to be made again from its last commit. */
  get broken(): unknown {
    return this.#broken;
  }

  /** Folds the next records. Throws as foldSome. */
  fold(entries: readonly FoldEntry[]): void {
    let folded = this.foldSome(entries);
    while (folded < entries.length) folded += this.foldSome(entries.slice(folded));
  }

  /**
   * Folds the next records up to one that needs what millions of a key's rows make (contributions/partials.ts) and does not find it in memory:
   * reads a part of it, a few milliseconds, and leaves the record. How many were folded; also none is progress. Whoever has
   * others to think of gives them a turn before the rest. Throws DATA_DAMAGED on one that cannot be read; the fold is then of no more
   * use.
   */
  foldSome(entries: readonly FoldEntry[]): number {
    if (this.#broken !== undefined) throw this.#broken;
    for (let i = 0; i < entries.length; i++) {
      const entry = entries[i] as FoldEntry;
      assert(entry.offset === this.#position, `F3: offset ${entry.offset} after ${this.#position - 1}`);
      assert(entry.logTimeUs >= this.#logTimeUs, `F3: log time goes back at offset ${entry.offset}`);
      try {
        if (!this.#force.fold(entry)) return i;
      } catch (error) {
        this.#broken = error;
        throw error;
      }
      this.#position = entry.offset + 1;
      this.#logTimeUs = entry.logTimeUs;
      this.#recordCrc = entry.crc;
    }
    return entries.length;
  }

  /** The rows that changed since the last call, of views that were complete when they did. */
  takeDirty(): DirtyKeys {
    const dirty = new Map<string, Set<string>>();
    for (const [viewId, instance] of this.#force.views) {
      const keys = instance.takePending();
      if (keys !== undefined) dirty.set(viewId, keys);
    }
    return dirty;
  }

  /** The key's row, or undefined when it has none or the view is not complete. */
  row(viewId: string, key: string): FoldRow | undefined {
    const instance = this.#complete(viewId);
    const state = instance?.cache.peek(key);
    if (instance === undefined || state === undefined) return undefined;
    return this.#rowOf(instance, state);
  }

  /** The version of the key's row, without making the row. */
  version(viewId: string, key: string): number | undefined {
    const instance = this.#complete(viewId);
    if (instance === undefined) return undefined;
    const hot = instance.cache.hot(key);
    if (hot !== undefined) return Math.max(hot.version, instance.versionsFrom);
    const bytes = instance.cache.peekCold(key);
    return bytes === undefined ? undefined : Math.max(readVersion(bytes), instance.versionsFrom);
  }

  /** The row of a stored state of the view's present instance; undefined for a view that is not complete. */
  rowFromState(viewId: string, key: string, stored: Uint8Array): FoldRow | undefined {
    const instance = this.#complete(viewId);
    if (instance === undefined) return undefined;
    return this.#rowOf(instance, decodeState(instance.view, key, stored));
  }

  /** The views being built, each with the offset of the next record that it needs, or why it can take none. */
  builds(): { viewId: string; position: number; broken: string | undefined }[] {
    const builds: { viewId: string; position: number; broken: string | undefined }[] = [];
    for (const [viewId, { build }] of this.#force.views) {
      if (build !== undefined) builds.push({ viewId, position: build.position, broken: build.broken });
    }
    return builds;
  }

  /**
   * Feeds a build from its position on; may stop within the entries as foldSome() does. When it has reached the fold's position
   * the view joins the live fold; entries from there on are not folded, and a view that is not being built (any more) folds
   * nothing. Throws what the cold store fails with; the fold is then of no more use.
   */
  foldBuild(viewId: string, entries: readonly FoldEntry[]): void {
    const instance = this.#force.views.get(viewId);
    if (instance === undefined) return;
    if (this.#broken !== undefined) throw this.#broken;
    try {
      this.#force.foldBuild(instance, entries, this.#position);
    } catch (error) {
      this.#broken = error;
      throw error;
    }
  }

  /** Nothing is left of what a build has folded, and it begins anew; nothing happens to a view that is not being built. */
  restartBuild(viewId: string): void {
    const instance = this.#force.views.get(viewId);
    if (instance !== undefined) this.#force.restartBuild(instance);
  }

  /** The ids of the views that are complete, in hex, ascending. */
  completeViews(): string[] {
    return [...this.#force.views]
      .flatMap(([viewId, { completeAt }]) => (completeAt === undefined ? [] : [viewId]))
      .sort();
  }

  /**
   * The position since which the view has been complete without a break; undefined when it is not. What was seen of the
   * view at an earlier position belongs to another instance of it: it has to be replaced whole, by a pass.
   */
  completeAt(viewId: string): number | undefined {
    return this.#force.views.get(viewId)?.completeAt;
  }

  /** The ids of the views in force that are not complete, in hex, ascending. */
  incompleteViews(): string[] {
    return [...this.#force.views]
      .flatMap(([viewId, { completeAt }]) => (completeAt === undefined ? [viewId] : []))
      .sort();
  }

  /** The name of the view's present instance, under which its states are stored. */
  instanceOf(viewId: string): string | undefined {
    return this.#force.views.get(viewId)?.name;
  }

  /** The offset that the fold began at. */
  get origin(): number {
    return this.#force.origin;
  }

  /** The routes that must begin anew before views can be built, because the fold does not know what their tables were; ascending. */
  waitingForRoutes(): number[] {
    return this.#force.waitingForRoutes();
  }

  /** The newest generation of a route that has begun in what was folded; 0: none. */
  routeGeneration(route: number): number {
    return this.#force.routes.get(route)?.generation ?? 0;
  }

  /** The generation of its route that a view's present instance folds; undefined for a view that is not in force. */
  generationOf(viewId: string): number | undefined {
    return this.#force.views.get(viewId)?.generation;
  }

  /** Since when a view's rows stand still, because its route begins anew; undefined while they do not. */
  standing(viewId: string): Standing | undefined {
    return this.#force.views.get(viewId)?.standing;
  }

  /** The views that have a successor, with the generation that it folds. */
  successors(): { viewId: string; generation: number }[] {
    return [...this.#force.successors].map(([viewId, { generation }]) => ({ viewId, generation }));
  }

  /**
   * The names of all instances that have state, and of the rows of joined tables (fold/table-name.ts). States of others are
   * garbage once a commit without them is durable.
   */
  instances(): string[] {
    return [...this.#force.instances(), ...this.#force.tableRows()].map(({ name }) => name).sort();
  }

  /** The names under which contributions of instances in force are stored; rows are never made of these. */
  contributions(): string[] {
    return [...this.#force.instances()].flatMap(({ contributionsName }) => contributionsName ?? []).sort();
  }

  /** An estimate of the bytes that the next commit would hold. */
  get dirtyBytes(): number {
    return this.#force.use.dirtyBytes;
  }

  /**
   * What changed since the last commit, to be stored as one batch. The states stay in memory until evict(). The next
   * commit may be taken only after that.
   */
  takeCommit(): FoldCommit {
    assert(this.#broken === undefined, 'F3: a fold that stopped within a record is not to be kept');
    const puts: [string, string, Uint8Array | undefined, number][] = [];
    const changed = new Map<string, Set<string>>();
    for (const instance of this.#force.instances()) {
      const { completeAt = Number.POSITIVE_INFINITY } = instance;
      const keys = new Set<string>();
      instance.cache.take(this.#writer, (state, bytes, replaced) => {
        puts.push([instance.name, state.key, bytes, replaced]);
        // That a dead key has no state any more is nothing to tell.
        if (bytes !== undefined && state.version >= completeAt) keys.add(state.key);
      });
      const { contributionsName, mutable } = instance;
      if (contributionsName !== undefined) {
        mutable?.tree.nodes.take(this.#writer, (key, bytes, replaced) => {
          puts.push([contributionsName, key, bytes, replaced]);
        });
      }
      if (keys.size > 0) changed.set(instance.view.viewId, keys);
    }
    for (const rows of this.#force.tableRows()) {
      rows.take((key, bytes, replaced) => puts.push([rows.name, key, bytes, replaced]));
    }
    this.#force.use.dirtyBytes = 0;
    return { puts, meta: toBinary(FoldMetaSchema, this.#meta()), changed };
  }

  /** The last commit is durable: drops clean states beyond the byte budget. */
  evict(): void {
    const caches = [...this.#force.instances()].flatMap(({ cache, mutable }) =>
      mutable === undefined ? [cache] : [cache, mutable.tree.nodes],
    );
    for (const cache of [...caches, ...this.#force.tableRows()]) cache.settle();
    this.#force.use.partials.evict(this.#cacheBytes);
    for (const cache of [...caches, ...this.#force.tableRows()]) cache.evict(this.#cacheBytes);
  }

  /** The names of what sweep() can free: states and contributions of complete instances. */
  sweepable(): string[] {
    return sweepable(this.#force.views.values());
  }

  /**
   * Frees dead states and contributions out of reach in a page of what is stored under a name, with the next commit; how
   * many. The page may be older than what is stored now.
   */
  sweep(name: string, page: Iterable<readonly [key: string, stored: Uint8Array]>): number {
    const place = { position: this.#position, logTimeUs: this.#logTimeUs };
    return sweepPage(this.#force.views.values(), this.#cold, name, page, place);
  }

  /** All that is stored under a name was given to sweep(), in pages as new as the commit at a position. */
  swept(name: string, from: number): void {
    swept(this.#force.views.values(), name, from);
  }

  /** The keys of a complete view after one, ascending. Needs ColdState.scan once anything was evicted or restored. */
  keys(viewId: string, afterKey?: string): Iterable<string> {
    const instance = this.#complete(viewId);
    return instance === undefined ? [] : mergedKeys(instance, this.#cold, afterKey);
  }

  /**
   * Drops the key's states in which nothing is (it was erased, and nothing came since), in every view in force; the next
   * commit deletes them. Returns the ids of the views in which it has a state still. Never shows in a value.
   */
  forget(key: string): string[] {
    const left = [...this.#force.instances()].filter(({ cache }) => cache.forget(key));
    return [...new Set(left.map(({ view }) => view.viewId))].sort();
  }

  /** The digest of the whole state (F1). Needs ColdState.scan once anything was evicted or restored. */
  digest(): Uint8Array {
    return digestInstances(this.#meta(), this.#force, this.#cold);
  }

  stats(): FoldStats {
    let keys = 0;
    for (const { cache } of this.#force.instances()) keys += cache.keys;
    const { bytes, partials } = this.#force.use;
    return { keys, ...this.#force.counters, cacheBytes: bytes, partialBytes: partials.bytes };
  }

  #rowOf({ view, versionsFrom }: ViewInstance, state: KeyState): FoldRow {
    const version = Math.max(state.version, versionsFrom);
    return { version, bytes: this.#encoder.encode(view, state, version) };
  }

  #complete(viewId: string): ViewInstance | undefined {
    const instance = this.#force.views.get(viewId);
    return instance?.completeAt === undefined ? undefined : instance;
  }

  #meta(): FoldMeta {
    const place = { position: this.#position, logTimeUs: this.#logTimeUs, recordCrc: this.#recordCrc };
    return encodeMeta(place, this.#force);
  }
}
