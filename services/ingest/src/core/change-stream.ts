/**
 * From pgoutput messages to log records, in order: transactions, relations, and for each row the routes that want it.
 *
 * Owns: the place of a row in its lane, which routes take it and under which contract, and that rows behind one that may
 * not be read are held (C1, hold.ts) while those of other routes go on. Does not own the bytes (pgoutput/decoder.ts), what a
 * row is to a route (route-change.ts) or delivery (append-pipeline.ts). Pure: fed message by message, gives batches.
 *
 * A row's place is (LSN of the commit record, index of the row among its table's rows in the transaction). Both are
 * the same whenever the transaction is sent again, whatever other tables joined the publication since, so a shard can
 * tell a repetition. The commit's LSN is known from Begin on: records of a transaction of any size go to the log
 * while it is still arriving, and nothing needs to hold it whole (R4). It is sent only after it committed.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { Batch } from './batch.ts';
import { CommitTrail } from './commit-trail.ts';
import { type ContractFit, findContract } from './contract.ts';
import { Hold, heldEntry, type Mapping, mapRow, scopeOf } from './hold.ts';
import { LeafIdentities } from './leaf-identities.ts';
import {
  type Bound,
  type Broken,
  bindingsOf,
  type ContractFloor,
  type LiveRoute,
  movedTable,
  touchesAll,
  unmappable,
} from './live-route.ts';
import { laterLsn } from './lsn.ts';
import { PartTells } from './part-tells.ts';
import type { OldTuple, PgOutputMessage, Relation, Tuple } from './pgoutput/messages.ts';
import { identityProblem, untoldRow } from './relation-identity.ts';
import { isMutable, type Route, SLOT_LANE, withColumnTypes } from './route.ts';
import { fitRow, keysOf, type RowBase, routeChange, type StreamRow, truncation } from './route-change.ts';
import { shownContract } from './shown-contract.ts';
import { type ColumnValues, withValuesSince } from './table-fill.ts';

/** A shape in which rows of a route came. */
export interface ShownShape {
  readonly route: number;
  /** The contract that the rows keep, or else the newest, with what the stream tells instead. */
  readonly contract: Contract;
  /** The LSN of the first commit that had it. */
  readonly lsn: bigint;
  /** What is different and passes, one sentence a change. */
  readonly notes: readonly string[];
}

/** Shapes that wait to be told of; further ones are not told, as nothing depends on it. */
const SHOWN_MAX = 1_000;

interface Transaction {
  readonly commitLsn: bigint;
  readonly commitTimeUs: number;
  /** Rows so far, by relation. */
  readonly rows: Map<number, number>;
}

export class ChangeStream {
  #routes: readonly LiveRoute[];
  readonly #relations = new Map<number, { relation: Relation; bound: Bound[] }>();
  readonly #floors: Map<number, ContractFloor>;
  readonly #holds = new Map<number, Hold>();
  readonly #untold = new Map<number, string>();
  readonly #values = new Map<number, readonly ColumnValues[]>();
  readonly #leaves = new LeafIdentities();
  readonly #holes = new Map<number, Set<string>>();
  /** How many holes were noted, and how many of them are saved. */
  #holesNoted = 0;
  #holesSaved = 0;
  #shown: ShownShape[] = [];
  #transaction: Transaction | undefined;
  #newestLsn = 0n;
  #adoptedLsn = 0n;
  #endLsn = 0n;
  #batch = new Batch();
  /** The commits that came, until they are acknowledged. */
  readonly trail = new CommitTrail();
  /** What came of the partitions of tables. */
  readonly parts = new PartTells();
  /** Commits seen. */
  commits = 0;
  /** Rows seen. */
  rows = 0;

  constructor(routes: readonly LiveRoute[]) {
    this.#routes = routes;
    this.#floors = new Map(routes.map(({ route, floor }) => [route.number, floor]));
    this.#seed(routes);
  }

  /** What is held of a route now; undefined: nothing. */
  holdOf(route: number): Hold | undefined {
    return this.#holds.get(route);
  }

  /** The routes as they are taken now. */
  get routes(): readonly LiveRoute[] {
    return this.#routes;
  }

  /** Lets rows of a route through from the next on; all that was held before must be on its way. Its rows are judged anew. */
  letFlow(route: number): void {
    this.#holds.delete(route);
    this.#judgeAnew(route);
  }

  #judgeAnew(route: number): void {
    for (const { bound } of this.#relations.values()) {
      for (const binding of bound) if (binding.live.route.number === route) binding.fit = undefined;
    }
  }

  /** Rows of a route do not tell which row they are about, by what the stream does not say; undefined: they do. */
  distrust(route: number, why: string | undefined): void {
    if (this.#untold.get(route) === why) return;
    if (why === undefined) this.#untold.delete(route);
    else this.#untold.set(route, why);
    this.#judgeAnew(route);
  }

  /** What was computed anew in the route's table: its rows are held from the next on, until a contract knows it. */
  noteValues(route: number, values: readonly ColumnValues[]): void {
    if (JSON.stringify(this.valuesOf(route)) === JSON.stringify(values)) return;
    this.#values.set(route, values);
    this.#judgeAnew(route);
  }

  /** What is known to be computed anew in the route's table. */
  valuesOf(route: number): readonly ColumnValues[] {
    return this.#values.get(route) ?? [];
  }

  /** As letFlow, with another mapping. */
  remap(route: number, mapping: Mapping | undefined): void {
    const change = (live: LiveRoute): LiveRoute => (live.route.number === route ? { ...live, mapping } : live);
    this.#routes = this.#routes.map(change);
    for (const { bound } of this.#relations.values()) {
      bound.forEach((binding, i) => {
        bound[i] = { live: change(binding.live), fit: binding.live.route.number === route ? undefined : binding.fit };
      });
    }
  }

  /**
   * Takes its routes as definitions want them from the next message on: `change` gives what a route is then; undefined: it is
   * not taken any more. Rows are judged anew; what is held stays held, and a position that was come to stays.
   */
  revise(change: (live: LiveRoute) => LiveRoute | undefined): void {
    this.#routes = this.#routes.flatMap((live) => change(live) ?? []);
    const kept = new Set(this.#routes.map(({ route }) => route.number));
    for (const number of [...this.#floors.keys()]) {
      if (kept.has(number)) continue;
      this.#floors.delete(number);
      this.#holds.delete(number);
      this.#holes.delete(number);
      this.#values.delete(number);
    }
    for (const { relation, bound } of this.#relations.values()) {
      bound.splice(0, bound.length, ...bindingsOf(this.#routes, relation));
    }
  }

  #seed(routes: readonly LiveRoute[]): void {
    for (const { route, hold, values = [] } of routes) {
      // Ours: theirs tells what is durable.
      if (hold !== undefined) this.#holds.set(route.number, new Hold(hold));
      this.#values.set(route.number, values);
    }
  }

  /** By route, the newest contract that rows had; to be saved with a position no later than the last message taken. */
  get floors(): ReadonlyMap<number, ContractFloor> {
    return this.#floors;
  }

  /** By route, columns of which values were left out, because they were not sent and nobody reads them. */
  get holes(): ReadonlyMap<number, ReadonlySet<string>> {
    return this.#holes;
  }

  /**
   * Where holes are to be saved before what has them is in the log: to be called once they are. Everybody is told until then: what one
   * saves another who brings rows of the route waits for too, and what could not be saved is tried again. Undefined: they are saved.
   */
  unsavedHoles(): (() => void) | undefined {
    const noted = this.#holesNoted;
    if (noted === this.#holesSaved) return undefined;
    return () => {
      this.#holesSaved = Math.max(this.#holesSaved, noted);
    };
  }

  /** The shapes that rows of routes came in since the last call, by routes and relations that were bound: at most `SHOWN_MAX`. */
  takeShown(): readonly ShownShape[] {
    const shown = this.#shown;
    this.#shown = [];
    return shown;
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** The LSN of the newest commit of which anything came; 0: none came. */
  get newestLsn(): bigint {
    return this.#newestLsn;
  }

  /** The newest position of which anything may be in the log, of adopted routes too. */
  get reachedLsn(): bigint {
    return laterLsn(this.#newestLsn, this.#adoptedLsn);
  }

  /** The end of the newest commit that came whole; 0: none did. */
  get endLsn(): bigint {
    return this.#endLsn;
  }

  /**
   * Takes further routes, whose commits before their `fromLsn` came by another stream. Whether it did: not when a commit
   * that it would have to take is under way or past here.
   */
  tryAdopt(routes: readonly LiveRoute[]): boolean {
    if (routes.some(({ fromLsn }) => this.#newestLsn >= fromLsn)) return false;
    this.#routes = [...this.#routes, ...routes];
    for (const { fromLsn } of routes) this.#adoptedLsn = laterLsn(this.#adoptedLsn, fromLsn);
    for (const { route, floor } of routes) this.#floors.set(route.number, floor);
    // What was found of a life before says nothing of this one.
    for (const { route } of routes) this.#untold.delete(route.number);
    this.#seed(routes);
    // A relation is described once a stream: those that came are bound anew, and what was bound stays as it is.
    for (const { relation, bound } of this.#relations.values()) bound.push(...bindingsOf(routes, relation));
    return true;
  }

  /** How much waits to be taken, in bytes of memory, about. */
  get pendingBytes(): number {
    return this.#batch.bytes;
  }

  /** What came since the last call; its position is set when a commit ended in it. */
  takeBatch(): Batch {
    const batch = this.#batch;
    this.#batch = new Batch();
    return batch;
  }

  /** Takes the next message. */
  handle(message: PgOutputMessage, nowUs: number): void {
    this.parts.take(message);
    this.#leaves.take(message);
    switch (message.kind) {
      case 'begin':
        assert(this.#transaction === undefined, 'a transaction within a transaction');
        this.#newestLsn = message.commitLsn;
        this.#transaction = { commitLsn: message.commitLsn, commitTimeUs: message.commitTimeUs, rows: new Map() };
        return;
      case 'commit':
        this.trail.came({ commitLsn: message.commitLsn, endLsn: message.endLsn, atUs: message.commitTimeUs });
        this.#transaction = undefined;
        this.#batch.position = message.endLsn;
        this.#endLsn = message.endLsn;
        this.commits += 1;
        return;
      case 'relation':
        this.#learn(message.relation);
        return;
      case 'insert':
        this.#row(message.relationId, Operation.INSERT, message.row, undefined, nowUs);
        return;
      case 'update':
        this.#row(message.relationId, Operation.UPDATE, message.row, message.old, nowUs);
        return;
      case 'delete':
        this.#row(message.relationId, Operation.DELETE, message.old.values, undefined, nowUs);
        return;
      case 'truncate':
        for (const id of message.relationIds) this.#truncate(id, nowUs);
        return;
      default:
        return; // types, origins, logical messages: nothing to fold
    }
  }

  #learn(relation: Relation): void {
    this.#relations.set(relation.id, { relation, bound: bindingsOf(this.#routes, relation) });
  }

  /** The contract of the relation's rows, or why they may not be read. */
  #bind(live: LiveRoute, relation: Relation, commitLsn: bigint, isAgain: boolean): ContractFit<Route> | Broken {
    const moved = movedTable(live, relation);
    if (moved !== undefined) return { reason: 'moved', detail: touchesAll(live.route, moved) };
    const number = live.route.number;
    const floor = must(this.#floors.get(number));
    const oldest = commitLsn >= floor.lsn ? floor.version : 0;
    const candidates = [live.route, ...live.earlier.filter(({ contract }) => contract.version >= oldest)];
    const values = isAgain ? [] : this.valuesOf(number);
    const found = findContract(candidates, relation, values);
    const { contract } = 'under' in found ? found.under : live.route;
    const notes = 'problems' in found ? [] : found.notes;
    const known = 'under' in found || isMutable(live.route) ? contract : withValuesSince(contract, values);
    // Under a mapping the relation has the contract's names: the table's own were shown before it was given.
    if (live.mapping === undefined && this.#shown.length < SHOWN_MAX)
      this.#shown.push({ route: number, contract: shownContract(known, relation), lsn: commitLsn, notes });
    if ('problems' in found)
      return { reason: found.isOfValues ? 'values' : 'shape', detail: found.problems.join('; ') };
    const { under, columns } = found;
    const untold = this.#untold.get(number) ?? identityProblem(under, relation, columns);
    if (untold !== undefined) return { reason: 'identity', detail: touchesAll(live.route, untold) };
    const { version } = under.contract;
    if (version > floor.version) this.#floors.set(number, { version, lsn: commitLsn });
    const oids = columns.map((index) => relation.columns[index]?.typeOid);
    return { ...found, under: withColumnTypes(under, oids) };
  }

  #row(relationId: number, operation: Operation, row: Tuple, old: OldTuple | undefined, nowUs: number): void {
    const transaction = must(this.#transaction, 'a row outside a transaction');
    const { relation, bound } = this.#relationOf(relationId);
    const base = this.#baseOf(transaction, relationId, nowUs);
    this.rows += 1;
    const told = { relation, operation, row, old };
    const asTold = operation === Operation.INSERT ? told : this.#leaves.asTold(told);
    for (const binding of bound) {
      // A row that the route does not take breaks nothing.
      if (transaction.commitLsn < binding.live.fromLsn) continue;
      if (operation !== Operation.INSERT && !isMutable(binding.live.route)) continue;
      this.#take(binding, relation, asTold, base);
    }
  }

  /**
   * Brings a row to its route, or holds it: because of itself, or because of one before it. `relation`: its table as the stream
   * describes it, of which what is told of an old row may be less.
   */
  #take(binding: Bound, relation: Relation, told: StreamRow, base: RowBase): void {
    const { live } = binding;
    const hold = this.#holds.get(live.route.number);
    if (hold?.holdsTable(base) === true) {
      this.#hold(live.route, base, told, { reason: 'behind', detail: '', held: 'table' });
      return;
    }
    const row = mapRow(told, live.mapping);
    // What the catalog tells now is nothing to a row at or before one that passed when it came first: that one was not behind it (F3).
    const isAgain = this.valuesOf(live.route.number).length > 0 && live.route.decisions.reaches(base);
    if (binding.isAgain !== isAgain) Object.assign(binding, { isAgain, fit: undefined });
    binding.fit ??=
      unmappable(live, relation) ?? this.#bind(live, mapRow({ relation }, live.mapping).relation, base.major, isAgain);
    if ('reason' in binding.fit) {
      this.#hold(live.route, base, told, { ...binding.fit, held: 'table' });
      return;
    }
    const { under: route, columns } = binding.fit;
    const less = told.relation === relation ? undefined : this.#leaves.problemOf(relation);
    const untold = less ?? untoldRow(route, row, columns);
    if (untold !== undefined) {
      this.#hold(route, base, told, { reason: 'identity', detail: touchesAll(route, untold), held: 'table' });
      return;
    }
    const fitted = fitRow(route, row, columns, (column) => this.unchanged(route, column));
    if (hold !== undefined) {
      const keys = keysOf(route, fitted);
      if (hold.holdsKey(keys, base)) {
        this.#hold(route, base, told, { reason: 'behind', detail: '', held: 'key', keys });
        return;
      }
    }
    const routed = routeChange(route, row.operation, fitted, base);
    for (const part of routed) {
      if (part.kind !== 'quarantine') continue;
      const { reason, detail } = part.entry;
      const keys = keysOf(route, fitted);
      const held = scopeOf(route, reason, keys);
      if (held === undefined) continue;
      this.#hold(route, base, told, { reason, detail, held, keys });
      return;
    }
    for (const part of routed) this.#batch.add(part);
  }

  #hold(route: Route, base: RowBase, row: Parameters<typeof heldEntry>[2], why: Parameters<typeof heldEntry>[3]): void {
    const entry = heldEntry(route, base, row, why);
    this.#batch.addEntry(entry);
    const hold = this.#holds.get(route.number) ?? new Hold();
    hold.add(entry);
    this.#holds.set(route.number, hold);
  }

  /** A large value that was not sent: nothing that could be taken for it, unless nobody reads the column, which is noted. */
  unchanged(route: Route, column: number): null | undefined {
    const name = route.contract.columns[column]?.name ?? '';
    if (route.needed?.has(name) !== false) return undefined;
    const holes = this.#holes.get(route.number) ?? new Set();
    if (!holes.has(name)) this.#holesNoted += 1;
    this.#holes.set(route.number, holes.add(name));
    return null;
  }

  #truncate(relationId: number, nowUs: number): void {
    const transaction = must(this.#transaction, 'a truncation outside a transaction');
    const { relation, bound } = this.#relationOf(relationId);
    const base = this.#baseOf(transaction, relationId, nowUs);
    for (const { live } of bound) {
      const { route, fromLsn } = live;
      if (transaction.commitLsn < fromLsn || !isMutable(route)) continue;
      const moved = movedTable(live, relation);
      const hold = this.#holds.get(route.number);
      // Keys cannot be told from a truncation: what is held of it is held from here on, whatever it was.
      const isHeld = hold !== undefined && (hold.holdsTable(base) || hold.holdsSome(base));
      if (moved !== undefined || isHeld) {
        const reason = isHeld ? 'behind' : 'moved';
        this.#hold(route, base, { relation }, { reason, detail: isHeld ? '' : (moved ?? ''), held: 'table' });
        continue;
      }
      const record = truncation(route, base);
      for (let partition = 0; partition < route.partitions; partition++) this.#batch.addRecord(partition, record);
    }
  }

  #baseOf(transaction: Transaction, relationId: number, nowUs: number): RowBase {
    const minor = this.#count(transaction, relationId);
    return { lane: SLOT_LANE, major: transaction.commitLsn, minor, committedUs: transaction.commitTimeUs, nowUs };
  }

  #count(transaction: Transaction, relationId: number): number {
    const count = transaction.rows.get(relationId) ?? 0;
    transaction.rows.set(relationId, count + 1);
    return count;
  }

  #relationOf(id: number): { relation: Relation; bound: readonly Bound[] } {
    const known = this.#relations.get(id);
    if (known !== undefined) return known;
    throw new FreshetError(
      'DATA_DAMAGED',
      `the replication stream has a row of relation ${id}, which it did not describe`,
    );
  }
}
