/** Reads which partitions tables have (core/table-parts.ts), which they are, and whether one has rows. Judges nothing. */
import { must } from '@freshet/kit/assert.ts';
import { parseLsn } from '../core/lsn.ts';
import type { PublishedTable } from '../core/source-database.ts';
import { quoteIdentifier } from '../core/sql.ts';
import type { PartFacts, PartsFacts } from '../core/table-parts.ts';
import type { PgConnection } from './pg/pg-connection.ts';
import { isPgError } from './pg/pg-error.ts';
import { tableReference } from './publications.ts';

/** How long a partition is waited for that somebody keeps locked: others of the database wait behind it. */
const LOCK_MS = 500;

/**
 * Of a partition that was made as one a column's row in the catalog is what was written when the table was made, together with that
 * of a system column, and counts a parent. ATTACH writes the rows of all columns anew, and so does DETACH.
 */
const IS_BORN = `EXISTS (SELECT FROM pg_attribute a JOIN pg_attribute s ON s.attrelid = a.attrelid AND s.attname = 'tableoid' AND s.attnum < 0
           WHERE a.attrelid = i.inhrelid AND a.attnum > 0 AND a.attinhcount > 0
             AND a.xmin = s.xmin AND a.cmin = s.cmin AND a.xmax = '0'::xid)`;

/**
 * By oid, the partitions of those of the tables that are partitioned, as the statement's or transaction's snapshot has them: not by
 * functions, which know what came after the snapshot too. One that is about to be detached is not read through its table any more.
 */
export async function readParts(
  connection: PgConnection,
  oids: readonly number[],
): Promise<ReadonlyMap<number, PartsFacts>> {
  if (oids.length === 0) return new Map();
  const { rows } = await connection.query(`
    WITH RECURSIVE tree AS (
      SELECT c.oid AS root, c.oid, true AS born, '' AS link FROM pg_class c WHERE c.oid IN (${oids.join(', ')}) AND c.relkind = 'p'
      UNION ALL
      SELECT t.root, i.inhrelid, t.born AND ${IS_BORN}, t.link || '.' || i.xmin
        FROM tree t JOIN pg_inherits i ON i.inhparent = t.oid WHERE NOT i.inhdetachpending
    )
    SELECT t.root, pg_snapshot_xmin(pg_current_snapshot()),
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
           json_agg(json_build_array(c.oid::int8, c.relname, c.relfilenode::int8, c.xmin::text, c.relkind = 'r' AND c.relpersistence = 'p', t.born, t.link) ORDER BY c.oid)
             FILTER (WHERE c.relkind <> 'p')
      FROM tree t JOIN pg_class c ON c.oid = t.oid GROUP BY t.root`);
  return new Map(
    rows.map(([root, endedBelow, lsn, leaves]): [number, PartsFacts] => [
      Number(root),
      { endedBelow: endedBelow ?? '0', lsn: parseLsn(lsn ?? '') ?? 0n, leaves: leavesOf(leaves) },
    ]),
  );
}

/** By oid, what each of the tables is a partition of, but for one that is about to be detached: its rows come as its own by then. */
export async function readAncestorOids(
  connection: PgConnection,
  oids: readonly number[],
): Promise<ReadonlyMap<number, readonly number[]>> {
  if (oids.length === 0) return new Map();
  const { rows } = await connection.query(`
    WITH RECURSIVE above AS (
      SELECT c.oid AS leaf, c.oid FROM pg_class c WHERE c.oid IN (${oids.join(', ')})
      UNION ALL
      SELECT a.leaf, i.inhparent FROM above a JOIN pg_inherits i ON i.inhrelid = a.oid AND NOT i.inhdetachpending
        JOIN pg_class c ON c.oid = a.oid AND c.relispartition
    )
    SELECT leaf, json_agg(oid::int8) FROM above WHERE oid <> leaf GROUP BY leaf`);
  return new Map(rows.map(([leaf, above]) => [Number(leaf), JSON.parse(above ?? '[]') as number[]]));
}

type LeafJson = readonly [
  oid: number,
  name: string,
  file: number,
  xid: string,
  told: boolean,
  born: boolean,
  link: string,
];

function leavesOf(json: string | null | undefined): PartFacts[] {
  const leaves = JSON.parse(json ?? '[]') as LeafJson[];
  return leaves.map(([oid, name, file, xid, told, born, link]) => ({
    oid,
    name,
    file,
    link: link.slice(1),
    xid: Number(xid),
    isTold: told,
    isBorn: born,
  }));
}

/**
 * Whether a table has rows in one of its partitions; `olderThan`: of transactions below this 64-bit id, no further back than 32
 * bits tell. A partition that is gone has none. Undefined: somebody keeps it
 * locked, or renames or drops it meanwhile, so that it cannot be told now.
 */
export async function hasRows(
  connection: PgConnection,
  table: PublishedTable,
  leaf: number,
  olderThan?: string,
): Promise<boolean | undefined> {
  await connection.query(`SET lock_timeout = ${LOCK_MS}`);
  try {
    const found = await findRows(connection, table, leaf, olderThan);
    await connection.query('RESET lock_timeout');
    return found;
  } catch (error) {
    if (!isPgError(error, '42P01', '55P03')) throw error;
    await connection.query('RESET lock_timeout');
    return undefined;
  }
}

async function findRows(
  connection: PgConnection,
  table: PublishedTable,
  leaf: number,
  olderThan: string | undefined,
): Promise<boolean> {
  // Who may read the table need not be allowed to read its partitions; of the table, the others are left out by the bounds.
  const { rows: found } = await connection.query(`
    SELECT pg_relation_size(c.oid), coalesce(pg_get_partition_constraintdef(c.oid), 'true'), n.nspname, c.relname,
           has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND NOT row_security_active(c.oid)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ${leaf}`);
  const [size, bounds, schema, name, mayRead] = found[0] ?? [];
  if (Number(size ?? 0) === 0) return false;
  const from =
    mayRead === 't'
      ? `ONLY ${quoteIdentifier(must(schema))}.${quoteIdentifier(must(name))} WHERE true`
      : `${tableReference(table)} WHERE tableoid = ${leaf} AND (${bounds})`;
  // Frozen rows keep the id of their transaction; one that is ahead of now is from a round before.
  const isOld =
    olderThan === undefined ? '' : ` AND (age(xmin) > age('${lowerBits(olderThan)}'::xid) OR age(xmin) < 0)`;
  const { rows } = await connection.query(`SELECT EXISTS (SELECT FROM ${from}${isOld})`);
  return rows[0]?.[0] === 't';
}

function lowerBits(xid: string): bigint {
  return BigInt.asUintN(32, BigInt(xid));
}
