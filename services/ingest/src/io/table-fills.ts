/**
 * Reads which filling of tables is there (core/table-fill.ts), and whether a table that was read under a snapshot is in the
 * file that the snapshot knows. Judges nothing else.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { PublishedTable } from '../core/source-database.ts';
import { quoteIdentifier, quoteLiteral, tableName } from '../core/sql.ts';
import type { TableFill } from '../core/table-fill.ts';
import type { PgConnection } from './pg/pg-connection.ts';

/**
 * By pg_class, as the query's snapshot has it, which the columns are of as well: by pg_relation_filenode(), which sees what was committed
 * since, a new file would be remembered beside the columns of before, and what was computed anew meanwhile never be found. Partitions
 * by pg_inherits: pg_partition_tree() would lock them, and wait for whoever rewrites one.
 */
const FILE = `CASE WHEN c.relkind = 'p'
    THEN (WITH RECURSIVE part (relid) AS (
            SELECT c.oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN part ON i.inhparent = part.relid)
          SELECT md5(string_agg(p.relfilenode::text, ',' ORDER BY p.oid))
            FROM part JOIN pg_class p ON p.oid = part.relid WHERE p.relkind <> 'p')
    ELSE c.relfilenode::text END`;

/** By oid, the filling of each table that is there. */
export async function readFills(
  connection: PgConnection,
  oids: readonly number[],
): Promise<ReadonlyMap<number, TableFill>> {
  if (oids.length === 0) return new Map();
  const { rows } = await connection.query(`
    SELECT c.oid, ${FILE},
           (SELECT json_agg(json_build_array(a.attnum, a.attname, a.xmin::text) ORDER BY a.attnum)
              FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
      FROM pg_class c WHERE c.oid IN (${oids.join(', ')})`);
  return new Map(
    rows.map(([oid, file, columns]): [number, TableFill] => [
      Number(oid),
      { file: file ?? '', columns: JSON.parse(columns ?? '[]') as TableFill['columns'] },
    ]),
  );
}

/**
 * Throws SOURCE_UNREACHABLE, as another try helps, when a table that was read in this transaction is in another file than when
 * the transaction's snapshot was made: ALTER TABLE, TRUNCATE and VACUUM FULL put rows into a new file, and to a snapshot of before
 * a file that ALTER TABLE or TRUNCATE made is empty. To be asked once the table was read, which keeps others from rewriting it.
 */
export async function requireSameFile(connection: PgConnection, { schema, table }: PublishedTable): Promise<void> {
  const oid = `${quoteLiteral(`${quoteIdentifier(schema)}.${quoteIdentifier(table)}`)}::regclass`;
  // pg_class as the snapshot has it, beside the function; partitions that came since have no rows of before.
  const { rows } = await connection.query(`
    SELECT count(*) FILTER (WHERE c.oid = ${oid}) = 1
           AND bool_and(c.relfilenode = 0 OR c.relfilenode = pg_relation_filenode(c.oid))
      FROM pg_class c WHERE c.oid = ${oid} OR c.oid IN (SELECT relid FROM pg_partition_tree(${oid}))`);
  if (rows[0]?.[0] === 't') return;
  const name = tableName(schema, table);
  throw new FreshetError(
    'SOURCE_UNREACHABLE',
    `${name} was rewritten or replaced after its snapshot was made, which cannot see its rows any more`,
    { remedy: 'Nothing: the snapshot is taken again.', place: name },
  );
}
