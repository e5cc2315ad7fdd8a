/**
 * From pgoutput messages to log records, in order: transactions, relations, and for each row the routes that want it.
 *
 * Owns: the place of a row in its lane, which routes take it, key changes. Does not own the bytes (pgoutput/decoder.ts)
 * or delivery (append-pipeline.ts). Pure: fed message by message, gives batches.
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
import { bindContract } from './contract.ts';
import type { PgOutputMessage, Relation, Tuple } from './pgoutput/messages.ts';
import { isMutable, type Route, routeRow, SLOT_LANE, type SourceRow, tryKeyOf } from './route.ts';

/** A route that is live, with the position from which on the stream is its own. */
export interface LiveRoute {
  readonly route: Route;
  /** The consistent point of its snapshot: commits at or after it are not in the snapshot. */
  readonly fromLsn: bigint;
}

interface Bound {
  readonly live: LiveRoute;
  /** For each column of the contract, its index in the relation. Undefined until a row needs it. */
  columns: readonly number[] | undefined;
}

interface Transaction {
  readonly commitLsn: bigint;
  readonly commitTimeUs: number;
  /** Rows so far, by relation. */
  readonly rows: Map<number, number>;
}

export class ChangeStream {
  readonly #routes: readonly LiveRoute[];
  readonly #relations = new Map<number, { relation: Relation; bound: readonly Bound[] }>();
  #transaction: Transaction | undefined;
  #batch = new Batch();
  /** Commits seen. */
  commits = 0;
  /** Rows seen. */
  rows = 0;

  constructor(routes: readonly LiveRoute[]) {
    this.#routes = routes;
  }

  get inTransaction(): boolean {
    return this.#transaction !== undefined;
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
        this.#transaction = { commitLsn: message.commitLsn, commitTimeUs: message.commitTimeUs, rows: new Map() };
        return;
      case 'commit':
        this.#transaction = undefined;
        this.#batch.position = message.endLsn;
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
    const bound = this.#routes
      .filter(({ route }) => route.table.schema === relation.schema && route.table.table === relation.table)
      .map((live): Bound => ({ live, columns: undefined }));
    this.#relations.set(relation.id, { relation, bound });
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
      const { route, fromLsn } = binding.live;
      if (transaction.commitLsn < fromLsn) continue;
      if (operation !== Operation.INSERT && !isMutable(route)) continue;
      binding.columns ??= bindContract(route.contract, relation);
      const columns = binding.columns;
      const base = {
        lane: SLOT_LANE,
        major: transaction.commitLsn,
        minor,
        committedUs: transaction.commitTimeUs,
        nowUs,
      };
      const values = columns.map((index) =>
        row[index] === undefined && old?.whole === true ? old.values[index] : row[index],
      );
      const oldValues = old === undefined ? undefined : columns.map((index) => old.values[index]);
      // In the order of their parts: both may go to the same partition, where marks only go forward.
      this.#batch.add(routeRow(route, { ...base, operation, values, part: 0 }));
      if (oldValues !== undefined)
        this.#leaveOldKey(route, values, { ...base, operation: Operation.DELETE, values: oldValues, part: 1 });
    }
  }

  /** An update that moved the row to another key: the old key is told that the row is gone. */
  #leaveOldKey(route: Route, values: Tuple, gone: SourceRow): void {
    const before = tryKeyOf(route, gone.values);
    // A null in the old key, or a key that cannot be encoded: the row was in no fold.
    if (before === undefined) return;
    const after = tryKeyOf(route, values);
    if (after !== undefined && Buffer.compare(before, after) === 0) return;
    this.#batch.add(routeRow(route, gone));
  }

  #truncate(relationId: number): void {
    const transaction = must(this.#transaction, 'a truncation outside a transaction');
    const { bound } = this.#relationOf(relationId);
    const minor = this.#count(transaction, relationId);
    for (const { live } of bound) {
      const { route, fromLsn } = live;
      if (transaction.commitLsn < fromLsn || !isMutable(route)) continue;
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
