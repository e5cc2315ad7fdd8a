/**
 * Everything that a replica knows: the copies of each shard, the definitions, and what of it is served.
 *
 * Owns: to which copy a frame belongs, when another log's copy takes over, when what is served changes. Pure: it is
 * driven by frames and definitions and touches neither disk nor network.
 *
 * Invariants: R3. A frame of another log (or of another history under the same id, which begins at 0 although we are
 * further) goes to a copy beside the served one. Copies of another log take over in all shards at once, when every
 * shard has one that is whole and nothing that is served would be lost by it; until then the old rows are served, and
 * their completeness says how old they are. A shard whose served rows were lost to the disk answers for none of its
 * keys until it is whole again: a row that is missing, or is an older one of itself, looks like any other, so that
 * nothing of a damaged copy can be told from an answer. Everything else of the replica is served on.
 * A view is read in one generation of its route: rows of a later one wait until all shards have them (generations.ts).
 * R4: what is built beside what is served, or for the first time, is refused while memory is short.
 *
 *     no rows ──first frame──▶ served copy ──frame of another log──▶ served copy + incoming copy
 *                                 ▲                                        │ all whole
 *                                 └────────────────────────────────────────┘
 */

import type { ShardCursor, SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { keyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import { buildCatalog, type Catalog, EMPTY_CATALOG, neededSets, type ServedView } from './catalog.ts';
import { commonTables, type PendingSwitch, pendingSwitch, type ViewInShard } from './generations.ts';
import { ShardCopy } from './shard-copy.ts';
import { NOT_READABLE_US, type ViewTable } from './view-table.ts';

/** The copies of a shard. */
export interface Shard {
  served: ShardCopy;
  /** Rows of another log, being built. */
  incoming: ShardCopy | undefined;
  /** The disk lost what was served, and it has not come again from upstream yet. */
  lost: boolean;
}

/** What of a copy that is no more lies on the disk, perhaps. */
export interface DiscardedCopy {
  readonly shard: number;
  readonly copy: number;
  /** The numbers of its tables. */
  readonly tables: readonly number[];
}

/** Which frames may bring rows: all, those of views that are served already, none. By the memory that there is. */
export type Admission = 'all' | 'served' | 'none';

/** What happened since the process started. */
export interface StateCounts {
  /** Shards that the disk had lost and that were whole again. */
  heals: number;
  /** Shards whose rows were begun from nothing: for the first time, or of another log or history. */
  bootstraps: number;
}

/** What became of a frame. */
export type FrameOutcome =
  /** Applied; `rest` is to be run to its end before the shard's next frame. */
  | { readonly outcome: 'applied'; readonly rest: Generator<void, void> | undefined }
  | { readonly outcome: 'refused'; readonly reason: string; readonly code?: 'LIMIT_EXCEEDED' | undefined };

export class ReplicaState {
  readonly shards = new Map<number, Shard>();
  /** Newest first; older ones as long as something is served by them. */
  sets: readonly DefinitionSet[] = [];
  catalog: Catalog = EMPTY_CATALOG;
  /** The number of shards of the deployment; 0: not known yet. */
  shardCount = 0;
  /** Views whose rows of a later generation have come in some shards, and are waited for in the others. */
  pending: readonly PendingSwitch[] = [];
  /** The numbers of tables that nobody reads any more and whose rows are to go from the disk. */
  discardedTables: number[] = [];
  /** Copies that are to go from the disk. R4: not the copies themselves, whose rows memory must not keep for that. */
  discardedCopies: DiscardedCopy[] = [];
  /** Which copies are served, or the number of shards, differs from the disk. */
  servedDirty = false;
  /** The definitions differ from the disk. */
  setsDirty = false;
  admission: Admission = 'all';
  readonly counts: StateCounts = { heals: 0, bootstraps: 0 };
  #nextTable = 1;
  #nextCopy = 1;

  /** The newest generation of the definitions that is known; 0: none. */
  get knownGeneration(): bigint {
    return this.sets[0]?.generation ?? 0n;
  }

  /** Rows held, of what is served and what is being built. */
  get rowCount(): number {
    let count = 0;
    for (const copy of this.copies()) for (const table of copy.everyTable()) count += table.rowCount;
    return count;
  }

  *copies(): Generator<ShardCopy> {
    for (const { served, incoming } of this.shards.values()) {
      yield served;
      if (incoming !== undefined) yield incoming;
    }
  }

  /** Bytes of memory that rows take, about. */
  get bytes(): number {
    let bytes = 0;
    for (const copy of this.copies()) bytes += copy.bytes;
    return bytes;
  }

  /** The shards whose keys cannot be read until upstream has brought their rows again, ascending. */
  get healing(): number[] {
    const lost = [...this.shards].filter(([, shard]) => shard.lost).map(([number]) => number);
    return lost.sort((a, b) => a - b);
  }

  /**
   * Whether upstream lacks a view of the newest definitions that is served here: its rows stand still, although the
   * shard's log time moves on. A node that lost its state, and has yet to build the view anew, is like that.
   */
  lacksServed(shard: number): boolean {
    const served = this.shards.get(shard)?.served;
    // By definitions that we have not heard of, the views may be no more.
    if (served === undefined || served.definitionsGeneration > this.knownGeneration) return false;
    const { unnamed } = served;
    if (unnamed.length === 0) return false;
    const inForce = new Set(this.sets[0]?.views.map(({ viewId }) => toHex(viewId)));
    return unnamed.some((id) => inForce.has(id));
  }

  /** Notes that the disk lost what was served of the shard. */
  lose(shard: Shard): void {
    shard.lost = true;
    this.servedDirty = true;
  }

  /** Numbers already used on disk. */
  reserveNumbers(table: number, copy: number): void {
    this.#nextTable = Math.max(this.#nextTable, table + 1);
    this.#nextCopy = Math.max(this.#nextCopy, copy + 1);
  }

  newCopy(shard: number, logId: string, number?: number): ShardCopy {
    return new ShardCopy(shard, number ?? this.#nextCopy++, logId, () => this.#nextTable++);
  }

  /**
   * Takes how many shards the deployment has. Fixed for its life, so it only grows, from a node that knew fewer: a
   * number that is too small finds keys in the wrong shard.
   */
  learnShardCount(count: number): void {
    if (count <= this.shardCount) return;
    this.shardCount = count;
    // What a damaged key was taken for; nothing would ever come for it.
    for (const [number, { served, incoming }] of this.shards) {
      if (number >= count && served.position === 0 && incoming === undefined) this.shards.delete(number);
    }
    this.servedDirty = true;
    this.settle();
  }

  /** Takes newer definitions; older or equal ones change nothing. */
  define(set: DefinitionSet): void {
    if (set.generation <= this.knownGeneration) return;
    this.sets = [set, ...this.sets];
    this.setsDirty = true;
    this.settle();
  }

  /** Where to resume a shard. */
  cursor(shard: number): ShardCursor {
    const copies = this.shards.get(shard);
    if (copies === undefined) return this.newShard(shard).served.cursor;
    // An incoming copy without a position has nothing to resume; the served one's cursor also finds the old log again.
    return copies.incoming !== undefined && copies.incoming.position > 0
      ? copies.incoming.resumption
      : copies.served.resumption;
  }

  /**
   * The streams of the shards ended. A copy that has no position yet is dropped: there is nothing that it could resume
   * by, and what comes next may be another history.
   */
  disconnected(shards: readonly number[]): void {
    for (const number of shards) {
      const shard = this.shards.get(number);
      if (shard === undefined) continue;
      shard.served.disconnected();
      shard.incoming?.disconnected();
      this.dropUnfinished(shard);
    }
  }

  dropUnfinished(shard: Shard): void {
    const { served, incoming } = shard;
    if (incoming !== undefined && incoming.position === 0) {
      this.#discard(incoming);
      shard.incoming = undefined;
    }
    if (served.position === 0 && served.tables.size > 0) {
      this.#discard(served);
      shard.served = this.newCopy(served.shard, '');
      this.servedDirty = true;
    }
  }

  apply(frame: SubscribeChangesResponse): FrameOutcome {
    const misplaced = this.#misplaced(frame);
    if (misplaced !== undefined) return misplaced;
    const short = this.#inadmissible(frame);
    if (short !== undefined) return short;
    const copy = this.#copyFor(frame);
    if (copy === undefined) {
      return { outcome: 'refused', reason: `a frame after ${frame.after} that continues neither log` };
    }
    const applied = copy.apply(frame);
    if (applied.outcome === 'refused') return applied;
    const { changed, rest } = applied;
    if (rest !== undefined) return { outcome: 'applied', rest: this.#settleAfter(rest, copy) };
    if (changed) this.#becameOther();
    else this.#dropUnnamed(copy);
    return { outcome: 'applied', rest: undefined };
  }

  /**
   * Whether the frame begins the shard's rows anew although there are some: those of another log, or of another history
   * of ours. Undefined when it does not.
   */
  beginsAnew(frame: SubscribeChangesResponse): string | undefined {
    const shard = this.shards.get(frame.shard);
    if (shard === undefined || frame.after !== 0n) return undefined;
    const { served, incoming } = shard;
    const logId = toHex(frame.logId);
    if (served.position === 0 || (incoming !== undefined && incoming.logId === logId)) return undefined;
    return served.logId === logId ? 'has another history of the log' : 'has another log';
  }

  *#settleAfter(rest: Generator<void, boolean>, copy: ShardCopy): Generator<void, void> {
    if (yield* rest) this.#becameOther();
    else this.#dropUnnamed(copy);
  }

  /** Lets go of tables that nobody names any more; not while something is on its way, so it is looked again then. */
  #dropUnnamed(copy: ShardCopy): void {
    if (copy.replaced.length === 0 && !copy.hasUnnamed) return;
    const named = new Set(this.sets.flatMap(({ views }) => views.map(({ viewId }) => toHex(viewId))));
    const dropped = copy.dropTables((id) => named.has(id), this.knownGeneration);
    for (const { number } of [...copy.replaced, ...dropped]) this.discardedTables.push(number);
    copy.replaced = [];
  }

  /** What is whole is another than before: so is what is to be said on the disk to be served. */
  #becameOther(): void {
    this.servedDirty = true;
    this.settle();
  }

  #inadmissible(frame: SubscribeChangesResponse): FrameOutcome | undefined {
    if (this.admission === 'all' || frame.rows.length === 0) return undefined;
    const served = this.shards.get(frame.shard)?.served;
    const isServed = served?.whole === true && served.logId === toHex(frame.logId) && !served.builds(frame);
    if (isServed && this.admission === 'served') return undefined;
    return { outcome: 'refused', reason: 'the memory for rows is used up', code: 'LIMIT_EXCEEDED' };
  }

  newShard(shard: number): Shard {
    const copies: Shard = { served: this.newCopy(shard, ''), incoming: undefined, lost: false };
    this.shards.set(shard, copies);
    this.servedDirty = true;
    return copies;
  }

  /** A key that is not where it belongs, or a shard that is too many, means that the number of shards is wrong. */
  #misplaced(frame: SubscribeChangesResponse): FrameOutcome | undefined {
    if (this.shardCount === 0) return undefined;
    const key = frame.rows[0]?.rows[0]?.key;
    const expected = key === undefined ? frame.shard : partitionOfKeyString(keyString(key), this.shardCount);
    if (expected === frame.shard && frame.shard < this.shardCount) return undefined;
    return { outcome: 'refused', reason: `shard ${frame.shard} has what does not fit ${this.shardCount} shards` };
  }

  /** The copy that the frame belongs to; made if the frame begins another log's rows. */
  #copyFor(frame: SubscribeChangesResponse): ShardCopy | undefined {
    const shard = this.shards.get(frame.shard) ?? this.newShard(frame.shard);
    const { served, incoming } = shard;
    const logId = toHex(frame.logId);
    const after = Number(frame.after);
    if (incoming?.logId === logId && incoming.position === after) return incoming;
    if (served.logId === logId && (after > 0 || served.position === 0)) return served;
    if (after !== 0) return undefined;
    if (served.logId === '' && this.#adopts(logId, shard)) {
      served.logId = logId;
      this.counts.bootstraps += 1;
      return served;
    }
    // Another history begins with a page; a frame that ends a catch-up from 0 is one that we had before.
    if ((frame.cursor?.views.length ?? 0) > 0) return undefined;
    if (incoming !== undefined) this.#discard(incoming);
    shard.incoming = this.newCopy(frame.shard, logId);
    this.counts.bootstraps += 1;
    return shard.incoming;
  }

  /** Whether an empty shard may take the log's rows as its served ones: the other shards are on that log, or empty. */
  #adopts(logId: string, shard: Shard): boolean {
    for (const other of this.shards.values()) {
      if (other !== shard && other.served.logId !== '' && other.served.logId !== logId) return false;
    }
    return true;
  }

  #discard(copy: ShardCopy): void {
    // Half a copy is never written.
    if (!copy.whole) return;
    const tables = [...copy.everyTable(), ...copy.retiring].map(({ number }) => number);
    this.discardedCopies.push({ shard: copy.shard, copy: copy.copy, tables });
  }

  /** Lets incoming copies take over, and rebuilds what is served. */
  settle(): void {
    this.#takeOver(buildCatalog(this.sets, (id) => this.#tables(id, (shard) => shard.served), this.shardCount));
    this.catalog = buildCatalog(this.sets, (id) => this.#tables(id, (shard) => shard.served), this.shardCount);
    const read = tablesOf(this.catalog);
    for (const { served } of this.shards.values()) {
      for (const table of [...served.successors.values()].flat()) if (read.has(table)) served.adopt(table);
    }
    for (const shard of this.shards.values()) this.#found(shard);
    this.pending = this.#pendingSwitches();
    const needed = neededSets(this.sets, this.catalog);
    if (needed.length !== this.sets.length) {
      this.sets = needed;
      this.setsDirty = true;
    }
    for (const copy of this.copies()) this.#dropUnnamed(copy);
  }

  #takeOver(current: Catalog): void {
    this.#takeOverHistories(current);
    const logs = new Set<string | undefined>();
    for (const { incoming } of this.shards.values()) logs.add(incoming?.whole ? incoming.logId : undefined);
    if (this.shards.size === 0 || this.shards.size < this.shardCount || logs.size !== 1 || logs.has(undefined)) return;
    if (this.#loses(current, (shard) => shard.incoming ?? shard.served)) return;
    for (const shard of this.shards.values()) if (shard.incoming !== undefined) this.#replace(shard, shard.incoming);
  }

  /**
   * Another history of the same log replaces its shard alone: the other shards are as they were. So does a copy of the log that
   * the others are on, if there was nothing before it. Together first: where a later generation of a view's route came with the
   * other history, no shard could go before the others without a loss.
   */
  #takeOverHistories(current: Catalog): void {
    const whole = [...this.shards.values()].filter((shard) => shard.incoming?.whole === true);
    const together = new Set(whole.filter(({ served, incoming }) => incoming?.logId === served.logId));
    if (
      together.size > 1 &&
      !this.#loses(current, (shard) => (together.has(shard) && shard.incoming) || shard.served)
    ) {
      for (const shard of together) this.#replace(shard, must(shard.incoming));
    }
    for (const shard of whole) {
      const { served, incoming } = shard;
      if (incoming === undefined) continue;
      const fits = incoming.logId === served.logId || (served.position === 0 && this.#adopts(incoming.logId, shard));
      if (!fits || this.#loses(current, (one) => (one === shard ? incoming : one.served))) continue;
      this.#replace(shard, incoming);
    }
  }

  #replace(shard: Shard, by: ShardCopy): void {
    this.#discard(shard.served);
    shard.served = by;
    shard.incoming = undefined;
    this.servedDirty = true;
  }

  /** Whether something that is served now could not be served from those copies. */
  #loses(current: Catalog, copyOf: (shard: Shard) => ShardCopy): boolean {
    const next = buildCatalog(this.sets, (id) => this.#tables(id, copyOf), this.shardCount);
    for (const name of current.services.keys()) if (!next.services.has(name)) return true;
    for (const name of current.views.keys()) if (!next.views.has(name)) return true;
    return false;
  }

  /** A shard that was lost is whole again, with what is read of the other shards. */
  #found(shard: Shard): void {
    if (!shard.lost || !shard.served.whole) return;
    const number = shard.served.shard;
    for (const { tables } of viewsOf(this.catalog)) if (tables[number]?.completeThroughUs === NOT_READABLE_US) return;
    shard.lost = false;
    this.counts.heals += 1;
    this.servedDirty = true;
  }

  #pendingSwitches(): PendingSwitch[] {
    const ids = new Set(this.sets.flatMap(({ views }) => views.map(({ viewId }) => toHex(viewId))));
    return [...ids].flatMap((id) => {
      const shards = this.#inShards(id, (shard) => shard.served);
      return (shards === undefined ? undefined : pendingSwitch(id, shards)) ?? [];
    });
  }

  /** A view's tables by shard, if they are whole in all of them, but for stand-ins where they were lost. */
  #tables(viewId: string, copyOf: (shard: Shard) => ShardCopy): ViewTable[] | undefined {
    const shards = this.#inShards(viewId, copyOf);
    return shards === undefined ? undefined : commonTables(viewId, shards);
  }

  #inShards(viewId: string, copyOf: (shard: Shard) => ShardCopy): ViewInShard[] | undefined {
    if (this.shardCount === 0) return undefined;
    const shards: ViewInShard[] = [];
    for (let i = 0; i < this.shardCount; i++) {
      const shard = this.shards.get(i);
      if (shard === undefined) return undefined;
      const copy = copyOf(shard);
      // One that was lost may come again with the view in a later generation than the others, or without it: upstream may
      // have dropped it since. What it cannot answer then it could not before; what came again is not to wait for that.
      shards.push({ whole: copy.wholeTables(viewId), mayLack: shard.lost });
    }
    return shards;
  }
}

function viewsOf({ views, services }: Catalog): Set<ServedView> {
  const outputs = [...services.values()].flatMap((service) => service.outputs);
  return new Set([...views.values(), ...outputs.map(({ view }) => view)]);
}

/** The tables that are read. */
function tablesOf(catalog: Catalog): Set<ViewTable> {
  return new Set([...viewsOf(catalog)].flatMap(({ tables }) => tables));
}
