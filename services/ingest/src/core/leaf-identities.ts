/**
 * What the partitions that rows came out of tell of old rows. Rows come described as their table's (publish_via_partition_root), an
 * old one marked as whole where the table is REPLICA IDENTITY FULL, but what is in it the partition's own identity says: the rest of
 * it is null, whatever it was, and an update of which the partition tells no old row comes without one. Which partition a row is of
 * is not told, only that the partition is described, right behind its table, before the first row out of it, and again whenever its
 * identity may have changed.
 *
 *     relation parts (f) · relation parts_1 (d) · update parts …  ──▶  from here on, any old row of parts may be one of parts_1
 *
 * ALTER TABLE … REPLICA IDENTITY FULL of the table alone describes nothing anew: an old row that is marked as whole says it.
 *
 * Owns what is known of partitions by that: an old row tells no more than the one that tells least. Bounded by the relations that
 * were described. One that is in order again, or gone, counts until it is described anew, or another stream begins; its table is
 * held by then, and read anew by another stream (key-look.ts). Does not own the rule (leaf-findings.ts). Pure: fed message by message.
 */
import { leavesSql, leavesText, tellsLess } from './leaf-findings.ts';
import type { PgOutputMessage, Relation } from './pgoutput/messages.ts';
import type { StreamRow } from './route-change.ts';
import { tableName } from './sql.ts';

/** A table of which partitions tell less. */
interface Weakened {
  /** The table, as it would be described if it told what is told of every old row of it. */
  readonly relation: Relation;
  readonly why: string;
}

export class LeafIdentities {
  /** The relations that were described since the last row: the newest, and the one before it. */
  #newest: Relation | undefined;
  #before: Relation | undefined;
  readonly #leaves = new Map<number, Map<number, Relation>>();
  /** Tables that are FULL by now, and were described as something else. */
  readonly #full = new Set<number>();
  /** By table; undefined: no partition tells less. */
  readonly #weakened = new Map<number, Weakened | undefined>();

  take(message: PgOutputMessage): void {
    switch (message.kind) {
      case 'relation':
        this.#before = this.#newest;
        this.#newest = message.relation;
        this.#weakened.delete(message.relation.id);
        this.#full.delete(message.relation.id);
        return;
      case 'insert':
      case 'update':
      case 'delete':
        this.#note(message.relationId);
        return;
      case 'truncate':
        this.#newest = this.#before = undefined;
        return;
      default:
        return;
    }
  }

  /** A row of the stream that has an old one, as far as its old one is told; `row` itself when that is all that its table tells. */
  asTold(row: StreamRow): StreamRow {
    const { relation: described, old } = row;
    if (old?.whole === true && described.replicaIdentity !== 'f' && !this.#full.has(described.id)) {
      this.#full.add(described.id);
      this.#weakened.delete(described.id);
    }
    const relation = this.#of(described)?.relation;
    if (relation === undefined) return row;
    return { ...row, relation, old: old && { ...old, whole: false } };
  }

  /** Why old rows of a table may tell less than it does, with the SQL that mends it; undefined: none does. */
  problemOf(table: Relation): string | undefined {
    return this.#of(table)?.why;
  }

  #note(table: number): void {
    const [leaf, root] = [this.#newest, this.#before];
    this.#newest = this.#before = undefined;
    if (leaf === undefined || leaf.id === table || root?.id !== table) return;
    const leaves = this.#leaves.get(table) ?? new Map<number, Relation>();
    this.#leaves.set(table, leaves.set(leaf.id, leaf));
    this.#weakened.delete(table);
  }

  #of(table: Relation): Weakened | undefined {
    const leaves = this.#leaves.get(table.id);
    if (leaves === undefined) return undefined;
    const now = this.#full.has(table.id) ? full(table) : table;
    if (!this.#weakened.has(table.id)) this.#weakened.set(table.id, weakened(now, [...leaves.values()]));
    return this.#weakened.get(table.id);
  }
}

function weakened(table: Relation, leaves: readonly Relation[]): Weakened | undefined {
  const told = identityOf(table);
  const less = leaves.filter((leaf) => tellsLess(identityOf(leaf), told));
  const [first] = less;
  if (first === undefined) return undefined;
  const names = less.map((leaf) => new Set(identityOf(leaf).identity));
  const columns = table.columns.map((column) => ({
    ...column,
    identity: column.identity && names.every((identity) => identity.has(column.name)),
  }));
  const what = `${less.length === 1 ? 'partition' : 'partitions'} ${leavesText(less)} ${less.length === 1 ? 'tells' : 'tell'}`;
  const why = `${what} less of old rows than ${tableName(table.schema, table.table)}, as whose rows they come: ${leavesSql(less).join(' ')}`;
  return { relation: { ...table, replicaIdentity: first.replicaIdentity, columns }, why };
}

function full(table: Relation): Relation {
  return { ...table, replicaIdentity: 'f', columns: table.columns.map((column) => ({ ...column, identity: true })) };
}

function identityOf({ replicaIdentity, columns }: Relation): { replicaIdentity: string; identity: string[] } {
  return { replicaIdentity, identity: columns.flatMap(({ name, identity }) => (identity ? [name] : [])) };
}
