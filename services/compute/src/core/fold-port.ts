/**
 * What a shard needs of the fold: the part of packages/engine's ShardFold that it calls. Stated here so that the loops
 * are tested with a fold of a few lines as well as with the real one.
 *
 * The fold is pure and synchronous (F1): it never waits, and whatever the cuts into calls, rows and versions are equal.
 */
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { LogEntry } from '@freshet/log/log.ts';

/** Keys whose rows changed, by view id in hex. */
export type ChangedKeys = ReadonlyMap<string, ReadonlySet<string>>;

/** An encoded freshet.type.v1.Row and its version. */
export interface EncodedRow {
  readonly version: number;
  readonly bytes: Uint8Array;
}

/** A view that is being built, and how many records of the partition it has folded. */
export interface Build {
  readonly viewId: string;
  readonly position: number;
  /** Why it can take no more records; undefined while it can. */
  readonly broken?: string | undefined;
}

/** From where on nothing was folded into an instance any more. */
export interface Standing {
  readonly position: number;
  /** The log time of the record there, microseconds. */
  readonly logTimeUs: number;
}

/** What a commit writes: all that changed since the commit before. */
export interface FoldCommit {
  /**
   * State by view instance and key; undefined deletes. `replaced` is the version of the stored state that it takes the
   * place of, -1 when there is none: so the store keeps its count and digest of keys without reading.
   */
  readonly puts: readonly (readonly [instance: string, key: string, state: Uint8Array | undefined, replaced: number])[];
  readonly meta: Uint8Array;
  /** Rows of complete views that changed. */
  readonly changed: ChangedKeys;
}

export interface FoldStats {
  readonly keys: number;
  readonly expiredEvents: number;
  readonly expressionErrors: number;
  /** Rows that were left out because their contract is not known. */
  readonly unknownContracts: number;
  /** How often a joined table had no row for a row folded. */
  readonly joinMisses: number;
  readonly cacheBytes: number;
}

/** Reads state that was committed. */
export interface ColdState {
  load(instance: string, key: string): Uint8Array | undefined;
}

/** The fold of one partition. */
export interface Fold {
  /** Records folded, as if from the log's first on: the offset of the next one. */
  readonly position: number;
  /** The offset that the fold began at: 0, or where a log began that no longer has its first records. */
  readonly origin: number;
  /** The log time of the last record folded, microseconds; meaningless before the first. */
  readonly logTimeUs: number;
  /** The CRC of the last record folded; 0 before the first. */
  readonly recordCrc: number;
  readonly definitions: DefinitionSet | undefined;
  /** The generation of the definitions in force; 0: none. */
  readonly generation: number;
  /** An estimate of the bytes that takeCommit would return now. */
  readonly dirtyBytes: number;
  /** What a record failed with, if one did: nothing may be folded or kept any more. */
  readonly broken?: unknown;
  /**
   * Folds the next records of the partition; asserts that they are (F3). How many: it stops before one for which it has to read very much, and
   * reads a part of that at each call, so that others can have a turn in between. None is progress too.
   */
  foldSome(entries: readonly LogEntry[]): number;
  /** Rows of complete views that changed since it was last asked. */
  takeDirty(): ChangedKeys;
  /** The row now; undefined when the view is not complete or the key has no state. */
  row(viewId: string, key: string): EncodedRow | undefined;
  /** The row's version now, without building the row. */
  version(viewId: string, key: string): number | undefined;
  /** The row that follows from a committed state; touches nothing. */
  rowFromState(viewId: string, key: string, state: Uint8Array): EncodedRow | undefined;
  builds(): readonly Build[];
  /** Feeds a build the records from its position on, as many as foldSome() would; at the fold's position the view is complete. */
  foldBuild(viewId: string, entries: readonly LogEntry[]): void;
  /** A build begins anew, and keeps nothing of what it had folded. */
  restartBuild(viewId: string): void;
  /** Views in force and complete: hex ids, ascending. */
  completeViews(): readonly string[];
  /** The position since which a view is complete without a break; undefined when it is not. */
  completeAt(viewId: string): number | undefined;
  /** The newest generation of a route that has begun in what was folded; 0: none. */
  routeGeneration(route: number): number;
  /** The routes that must begin anew before views can be built, because the fold began late and does not know what their tables were. */
  waitingForRoutes(): readonly number[];
  /** The name of the view's present instance, the one that is offered once it is complete. */
  instanceOf(viewId: string): string | undefined;
  /** The generation of its route that a view's present instance folds. */
  generationOf(viewId: string): number | undefined;
  /** Since when a view's rows stand still, because its route begins anew; undefined while they do not. */
  standing(viewId: string): Standing | undefined;
  /** The views of which another instance, of a later generation, is on its way to take the place of the present one. */
  successors(): readonly { readonly viewId: string; readonly generation: number }[];
  /** The names of the instances that have state, complete or not, successors included. */
  instances(): readonly string[];
  /** Names under which commits put what no row is made of, for instances in force: passes never read these. */
  contributions(): readonly string[];
  /** The names, of either kind, under which there may be something to free. */
  sweepable(): readonly string[];
  /**
   * Frees, with the next commit, what no value can show any more of a page of what is stored under a name; how many. The
   * page may be older than what is stored now. Followers need not be told: they see it too.
   */
  sweep(name: string, page: Iterable<readonly [key: string, stored: Uint8Array]>): number;
  /** Tells that sweep was given all that is stored under a name, in pages as new as the commit at a position, or newer. */
  swept(name: string, from: number): void;
  /**
   * Drops a key's states in which nothing is; the next commit deletes them. Returns the views in which it has a state
   * still, ascending. Never shows in a value.
   */
  forget(key: string): readonly string[];
  /** What changed since the commit before. Its entries stay in memory until evict. */
  takeCommit(): FoldCommit;
  /** Tells that what the last takeCommit returned is durable, and drops clean state over the byte budget. */
  evict(): void;
  stats(): FoldStats;
}

export interface FoldOptions {
  readonly cold: ColdState;
  readonly cacheBytes: number;
  /** As the last durable commit has it; undefined: from `origin` on. */
  readonly meta?: Uint8Array | undefined;
  /** Where the log begins; by default 0. */
  readonly origin?: number | undefined;
}

export type CreateFold = (options: FoldOptions) => Fold;

/** Hashes committed state into the digest of F1. */
export interface StateDigest {
  add(instance: string, key: string, state: Uint8Array): void;
  finish(): Uint8Array;
}

/** Whether an instance is no view's, but holds rows of a joined table: its name begins with a mark of its own. */
export function isTableRows(instance: string): boolean {
  return instance.startsWith('f7ab1e7ab1e5');
}

/** An instance's view: the name of an instance is its view's id in hex, then 8 hex digits of a number never used again. */
export function viewOfInstance(instance: string): string {
  return instance.slice(0, 32);
}
