/**
 * From pgoutput messages to log records, in order: transactions, relations, and for each row the routes that want it.
 *
 * Owns: the place of a row in its lane, which routes take it and under which contract, key changes. Does not own the
 * bytes (pgoutput/decoder.ts) or delivery (append-pipeline.ts). Pure: fed message by message, gives batches.
 *
 * A row's place is (LSN of the commit record, index of the row among its table's rows in the transaction). Both are
 * the same whenever the transaction is sent again, whatever other tables joined the publication since, so a shard can
 * tell a repetition. The commit's LSN is known from Begin on: records of a transaction of any size go to the log
 * while it is still arriving, and nothing needs to hold it whole (R4). It is sent only after it committed.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import { Batch } from './batch.ts';
import { bindContract, type ContractFit } from './contract.ts';
import type { PgOutputMessage, Relation, Tuple } from './pgoutput/messages.ts';
import { checkIdentity, isTold } from './relation-identity.ts';
import {
  changedIdentity,
  isMutable,
  type Route,
  type Routed,
  routeRow,
  SLOT_LANE,
  type SourceRow,
  tryKeyOf,
  withColumnTypes,
} from './route.ts';
import { tableName } from './sql.ts';

/** A route that is live, with the position from which on the stream is its own. */
export interface LiveRoute {
  readonly route: Route;
  /** The same route under earlier contracts, newest first: a backlog may have been written under them. */
  readonly earlier: readonly Route[];
  /** The oid of the table that its snapshot was of. */
  readonly tableOid: number;
  readonly floor: ContractFloor;
  /** The consistent point of its snapshot: commits at or after it are not in the snapshot. */
  readonly fromLsn: bigint;
}

/**
 * The newest contract that rows had, and since which commit. A table's shapes come in the order of commits, so a later row
 * that fits only an older contract breaks it, and does not pass for a row of the backlog.
 */
export interface ContractFloor {
  readonly version: number;
  readonly lsn: bigint;
}

interface Bound {
  readonly live: LiveRoute;
  /** The contract that the relation keeps. Undefined until a row needs it. */
  fit: ContractFit<Route> | undefined;
}

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
  readonly #holes = new Map<number, Set<string>>();
  #hasNewHoles = false;
  #transaction: Transaction | undefined;
  #newestLsn = 0n;
  #endLsn = 0n;
  #batch = new Batch();
  /** Commits seen. */
  commits = 0;
  /** Rows seen. */
  rows = 0;

  constructor(routes: readonly LiveRoute[]) {
    this.#routes = routes;
    this.#floors = new Map(routes.map(({ route, floor }) => [route.number, floor]));
  }

  /** By route, the newest contract that rows had; to be saved with a position no later than the last message taken. */
  get floors(): ReadonlyMap<number, ContractFloor> {
    return this.#floors;
  }

  /** By route, columns of which values were left out, because they were not sent and nobody reads them. */
  get holes(): ReadonlyMap<number, ReadonlySet<string>> {
    return this.#holes;
  }

  /** Whether there are holes that were not there at the last call: to be saved before what has them is in the log. */
  takeNewHoles(): boolean {
    const hasNew = this.#hasNewHoles;
    this.#hasNewHoles = false;
    return hasNew;
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined;
  }

  /** The LSN of the newest commit of which anything came; 0: none came. */
  get newestLsn(): bigint {
    return this.#newestLsn;
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
    for (const { route, floor } of routes) this.#floors.set(route.number, floor);
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

  /** Takes the next message. Throws CONTRACT_BROKEN at the first row that a route cannot read any more. */
  handle(message: PgOutputMessage, nowUs: number): void {
    switch (message.kind) {
      case 'begin':
        assert(this.#transaction === undefined, 'a transaction within a transaction');
        this.#newestLsn = message.commitLsn;
        this.#transaction = { commitLsn: message.commitLsn, commitTimeUs: message.commitTimeUs, rows: new Map() };
        return;
      case 'commit':
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
        for (const id of message.relationIds) this.#truncate(id);
        return;
      default:
        return; // types, origins, logical messages: nothing to fold
    }
  }

  #learn(relation: Relation): void {
    this.#relations.set(relation.id, { relation, bound: bindingsOf(this.#routes, relation) });
  }

  /** Finds the contract of the relation's rows. Throws CONTRACT_BROKEN, IdentityBroken. */
  #bind(live: LiveRoute, relation: Relation, commitLsn: bigint): ContractFit<Route> {
    checkTable(live, relation);
    const number = live.route.number;
    const floor = must(this.#floors.get(number));
    const oldest = commitLsn >= floor.lsn ? floor.version : 0;
    const candidates = [live.route, ...live.earlier.filter(({ contract }) => contract.version >= oldest)];
    const { under, columns } = bindContract(candidates, relation, live.route.table.database);
    checkIdentity(under, relation, columns);
    const { version } = under.contract;
    if (version > floor.version) this.#floors.set(number, { version, lsn: commitLsn });
    const oids = columns.map((index) => relation.columns[index]?.typeOid);
    return { under: withColumnTypes(under, oids), columns };
  }

  #row(
    relationId: number,
    operation: Operation,
    row: Tuple,
    old: { readonly whole: boolean; readonly values: Tuple } | undefined,
    nowUs: number,
  ): void {
    const transaction = must(this.#transaction, 'a row outside a transaction');
    const { relation, bound } = this.#relationOf(relationId);
    const minor = this.#count(transaction, relationId);
    this.rows += 1;
    for (const binding of bound) {
      // A row that the route does not take breaks nothing.
      if (transaction.commitLsn < binding.live.fromLsn) continue;
      if (operation !== Operation.INSERT && !isMutable(binding.live.route)) continue;
      binding.fit ??= this.#bind(binding.live, relation, transaction.commitLsn);
      const { under: route, columns } = binding.fit;
      const base = {
        lane: SLOT_LANE,
        major: transaction.commitLsn,
        minor,
        committedUs: transaction.commitTimeUs,
        nowUs,
      };
      const oldTuple = old === undefined ? undefined : toldOf(relation, columns, old);
      const values = columns.map((index, i) =>
        row[index] !== undefined ? row[index] : oldTuple?.[i] !== undefined ? oldTuple[i] : this.#unchanged(route, i),
      );
      // In the order of their parts: both may go to the same partition, where marks only go forward.
      const routed = routeRow(route, { ...base, operation, values, old: oldTuple, part: 0 });
      this.#batch.add(routed);
      if (oldTuple !== undefined)
        this.#takeOut(route, routed, values, { ...base, operation: Operation.DELETE, values: oldTuple, part: 1 });
    }
  }

  /** A large value that was not sent: nothing that could be taken for it, unless nobody reads the column, which is noted. */
  #unchanged(route: Route, column: number): null | undefined {
    const name = route.contract.columns[column]?.name ?? '';
    if (route.needed?.has(name) !== false) return undefined;
    const holes = this.#holes.get(route.number) ?? new Set();
    this.#hasNewHoles ||= !holes.has(name);
    this.#holes.set(route.number, holes.add(name));
    return null;
  }

  /**
   * An update that moved the row to another entity: the old one is told that the row is gone. Also when the new image was put
   * aside: the old one stays in such a case, but only where a later change of the row would still find it.
   */
  #takeOut(route: Route, routed: Routed, values: Tuple, gone: SourceRow): void {
    const before = tryKeyOf(route, gone.values);
    // A null in the old key, or a key that cannot be encoded: the row was in no fold.
    if (before === undefined) return;
    const after = tryKeyOf(route, values);
    const stays = after !== undefined && Buffer.compare(before, after) === 0;
    if (stays && (routed.kind !== 'quarantine' || !changedIdentity(route, values, gone.values))) return;
    this.#batch.add(routeRow(route, gone));
  }

  #truncate(relationId: number): void {
    const transaction = must(this.#transaction, 'a truncation outside a transaction');
    const { relation, bound } = this.#relationOf(relationId);
    const minor = this.#count(transaction, relationId);
    for (const { live } of bound) {
      const { route, fromLsn } = live;
      if (transaction.commitLsn < fromLsn || !isMutable(route)) continue;
      checkTable(live, relation);
      const record = encodeRecord({
        case: 'truncate',
        value: {
          route: route.number,
          generation: route.generation,
          lane: SLOT_LANE,
          sequence: { major: transaction.commitLsn, minor: BigInt(minor) },
        },
      });
      for (let partition = 0; partition < route.partitions; partition++) this.#batch.addRecord(partition, record);
    }
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

/** By oid or by name: one without the other is a table that was renamed or replaced, which #bind refuses. */
function bindingsOf(routes: readonly LiveRoute[], relation: Relation): Bound[] {
  return routes
    .filter(({ route, tableOid }) => tableOid === relation.id || isNamed(route, relation))
    .map((live): Bound => ({ live, fit: undefined }));
}

/** An old row in the contract's order; what it does not tell is undefined. */
function toldOf(
  relation: Relation,
  columns: readonly number[],
  old: { readonly whole: boolean; readonly values: Tuple },
): Tuple {
  return columns.map((index) => (isTold(relation, old, index) ? old.values[index] : undefined));
}

function isNamed({ table }: Route, relation: Relation): boolean {
  return table.schema === relation.schema && table.table === relation.table;
}

/** Refuses rows of the route's table under another name, and of another table under its name. */
function checkTable({ route, tableOid }: LiveRoute, relation: Relation): void {
  const named = isNamed(route, relation);
  if (named && tableOid === relation.id) return;
  const { database, schema, table } = route.table;
  const now = named ? 'another table has its name now' : `it is ${tableName(relation.schema, relation.table)} now`;
  throw new FreshetError('CONTRACT_BROKEN', `${tableName(schema, table)} was renamed or replaced: ${now}`, {
    remedy:
      `If source ${route.source} is meant to follow the renamed table, change postgres.table and apply. If another table took ` +
      `the name, start ingest again: it is read anew, as a new generation. If the table got its name back, start ingest with --resync ${database}=<a word not used before>.`,
    place: tableName(schema, table),
  });
}
