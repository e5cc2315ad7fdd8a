/**
 * Whether the partitions of a table tell as much of old rows as the table, by whose replica identity the stream describes their rows;
 * and the SQL that makes them. Postgres writes old rows by the identity of the partition that they are in, and ALTER TABLE … REPLICA
 * IDENTITY of the table reaches no partition, neither one that is there nor one that is made later.
 *
 * And whether a table has partitions that are not logged, or is captured beside one of them: all rows of that come as the table's
 * then.
 *
 * Owns these rules. Does not own what becomes of rows that came by then (leaf-identities.ts). Pure.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { CatalogLeaf, CatalogTable } from './contract.ts';
import { tableName } from './sql.ts';

/** What is told of old rows. */
export interface Identity {
  /** As pg_class.relreplident. */
  readonly replicaIdentity: string;
  /** The columns that are told; of FULL all are, whatever is here. */
  readonly identity: readonly string[];
}

/** Partitions that one finding names; of further ones it says how many. */
const LEAVES_MAX = 5;

/** Whether old rows that are written by the identity of a leaf may tell less than its table's promises. */
export function tellsLess(leaf: Identity, table: Identity): boolean {
  if (leaf.replicaIdentity === 'f') return false;
  return table.replicaIdentity === 'f' || !table.identity.every((name) => leaf.identity.includes(name));
}

/** The SQL that has a table and its partitions tell all. */
export function fullIdentity(table: CatalogTable): string {
  const own = table.replicaIdentity === 'f' ? [] : [fullSql(table)];
  return [...own, ...leavesSql(table.leaves ?? [])].join(' ');
}

/** Partitions whose own UPDATE and DELETE would fail as soon as the table is published as a mutable one. */
export function untoldLeaves(table: CatalogTable): FreshetError[] {
  return findings(
    table,
    (table.leaves ?? []).filter(isUntold),
    'do not tell which row an UPDATE or DELETE is about: no primary key, or replica identity NOTHING',
  );
}

/** Partitions that tell something of old rows, and less than their table. */
export function leafFindings(table: CatalogTable): FreshetError[] {
  const identity = table.replicaIdentity === 'i' ? table.identityIndex : table.primaryKey;
  const told = { replicaIdentity: table.replicaIdentity, identity };
  const less = (table.leaves ?? []).filter((leaf) => !isUntold(leaf) && tellsLess(leaf, told));
  return findings(
    table,
    less,
    'tell less of old rows than the table, by whose replica identity the stream describes them',
  );
}

/** Partitions of which the stream never tells anything, while a snapshot reads their rows. */
export function unloggedFindings({ schema, table, unlogged = [] }: CatalogTable): FreshetError[] {
  if (unlogged.length === 0) return [];
  const place = tableName(schema, table);
  const foreign = unlogged.filter(({ kind }) => kind !== 'r');
  const own = unlogged.filter(({ kind }) => kind === 'r').slice(0, LEAVES_MAX);
  const sql = own.map((leaf) => `ALTER TABLE ${tableName(leaf.schema, leaf.table)} SET LOGGED;`);
  const rest = foreign.length === 0 ? [] : [`-- and detach ${leavesText(foreign)}, which the server keeps elsewhere`];
  const message = `partitions of ${place} (${leavesText(unlogged)}) are not logged, so their changes are not in the write-ahead log`;
  return [new FreshetError('SOURCE_NOT_READY', message, { remedy: [...sql, ...rest].join(' '), place })];
}

/** A table that is to be captured, and whether it is: `before` it was, and is to be again. */
export interface Captured {
  readonly table: CatalogTable;
  readonly begun: 'now' | 'before' | 'never';
}

/** What keeps a table from being captured beside others, of which the stream has a row of either once only. */
export function besideFindings(one: Captured, captured: readonly Captured[]): FreshetError[] {
  return captured.flatMap((other) => {
    const [leaf, root] = isPartitionOf(one.table, other.table) ? [one, other] : [other, one];
    if (!isPartitionOf(leaf.table, root.table) || !waitingOf(leaf, root).includes(one)) return [];
    const [part, whole, place] = [leaf, root, one].map(({ table }) => tableName(table.schema, table.table));
    const message = `${part} is a partition of ${whole}, as whose rows its rows come while both are captured: it would get none`;
    const remedy = `Capture one of them: let the source of ${part} name ${whole}, and its views take of it what is theirs (where).`;
    return [new FreshetError('SOURCE_NOT_READY', message, { remedy, place })];
  });
}

/** The one that comes second. Where both are there, the partition, which gets nothing. */
function waitingOf(leaf: Captured, root: Captured): readonly Captured[] {
  if (root.begun === 'now') return [leaf];
  if (leaf.begun === 'now') return [root];
  if (root.begun === 'before') return [leaf];
  return leaf.begun === 'before' ? [root] : [leaf, root];
}

function isPartitionOf({ partitionOf = [] }: CatalogTable, { schema, table }: CatalogTable): boolean {
  return partitionOf.some((one) => one.schema === schema && one.table === table);
}

function isUntold({ replicaIdentity, identity }: CatalogLeaf): boolean {
  return replicaIdentity !== 'f' && identity.length === 0;
}

function findings(table: CatalogTable, leaves: readonly CatalogLeaf[], why: string): FreshetError[] {
  if (leaves.length === 0) return [];
  const place = tableName(table.schema, table.table);
  const message = `partitions of ${place} (${leavesText(leaves)}) ${why}`;
  return [new FreshetError('SOURCE_NOT_READY', message, { remedy: leavesSql(leaves).join(' '), place })];
}

/** The names of some, and how many there are beside. */
export function leavesText(leaves: readonly Pick<CatalogLeaf, 'schema' | 'table'>[]): string {
  const names = leaves.slice(0, LEAVES_MAX).map(({ schema, table }) => tableName(schema, table));
  return leaves.length > LEAVES_MAX ? `${names.join(', ')} and ${leaves.length - LEAVES_MAX} more` : names.join(', ');
}

/** One statement a partition, for the first of them. */
export function leavesSql(leaves: readonly Pick<CatalogLeaf, 'schema' | 'table'>[]): string[] {
  const statements = leaves.slice(0, LEAVES_MAX).map(fullSql);
  return leaves.length > LEAVES_MAX
    ? [...statements, `-- and so for ${leaves.length - LEAVES_MAX} more partitions`]
    : statements;
}

function fullSql({ schema, table }: Pick<CatalogLeaf, 'schema' | 'table'>): string {
  return `ALTER TABLE ${tableName(schema, table)} REPLICA IDENTITY FULL;`;
}
