/**
 * What the stream tells of a table's partitions in passing. Rows come as those of the table (publish_via_partition_root), but before
 * the first one out of a partition the partition is described as well, once a stream; a TRUNCATE of the table comes as one, and none
 * of a partition does.
 *
 * Owns which partitions rows came out of, and which transactions truncated a table whole. Bounded by the relations that were described
 * and `TRUNCATIONS_MAX` a table. What it means is table-parts.ts. Pure: fed message by message.
 */
import type { PgOutputMessage } from './pgoutput/messages.ts';

/** The newest of each table; one that is forgotten costs a reading of its table. */
const TRUNCATIONS_MAX = 100;

export class PartTells {
  #xid = 0;
  #commitLsn = 0n;
  /**
   * The relations that were described last, since the last row: a table and its partition, when a row of that is next. Others may
   * be before them: Postgres 14 describes those of a DELETE that it does not send, as it has no old row.
   */
  #described: readonly number[] = [];
  /** By table and partition, the commit in which rows came out of it when it was described last. */
  readonly #leaves = new Map<number, Map<number, bigint>>();
  readonly #truncations = new Map<number, Set<number>>();

  take(message: PgOutputMessage): void {
    switch (message.kind) {
      case 'begin':
        this.#xid = message.xid;
        this.#commitLsn = message.commitLsn;
        return;
      case 'relation':
        this.#described = [...this.#described.slice(-1), message.relation.id];
        return;
      case 'insert':
      case 'update':
      case 'delete':
        if (this.#described.length > 0) this.#noteLeaf(message.relationId);
        return;
      case 'truncate':
        this.#described = [];
        for (const id of message.relationIds) this.#noteTruncation(id);
        return;
      default:
        return;
    }
  }

  /** The partitions of a table that rows of commits from `fromLsn` on are known to have come out of. */
  leavesOf(table: number, fromLsn: bigint): ReadonlySet<number> {
    const told = [...(this.#leaves.get(table) ?? [])].filter(([, commitLsn]) => commitLsn >= fromLsn);
    return new Set(told.map(([oid]) => oid));
  }

  /** Whether rows of a table, or of what is a partition of it, came as those of another one, in a commit from `fromLsn` on. */
  isToldAsAnother(table: number, partition: number, fromLsn: bigint): boolean {
    return [...this.#leaves].some(([as, leaves]) => as !== table && (leaves.get(partition) ?? -1n) >= fromLsn);
  }

  /** Whether the transaction is one that truncated all of the table. */
  isTruncatedBy(table: number, xid: number): boolean {
    return this.#truncations.get(table)?.has(xid) ?? false;
  }

  #noteLeaf(table: number): void {
    const [root, leaf] = this.#described;
    this.#described = [];
    if (root !== table || leaf === undefined || leaf === table) return;
    const leaves = this.#leaves.get(table) ?? new Map<number, bigint>();
    this.#leaves.set(table, leaves.set(leaf, this.#commitLsn));
  }

  #noteTruncation(table: number): void {
    const xids = this.#truncations.get(table) ?? new Set<number>();
    xids.delete(this.#xid);
    xids.add(this.#xid);
    const [oldest] = xids;
    if (xids.size > TRUNCATIONS_MAX && oldest !== undefined) xids.delete(oldest);
    this.#truncations.set(table, xids);
  }
}
