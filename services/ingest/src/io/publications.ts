/**
 * Our two publications: one for tables of which only inserts are captured, one for those whose every change is. A table
 * without a replica identity may so be captured for its inserts without breaking its updates.
 *
 * Owns making and changing them. They must exist before the slot does, and hold a table before the table's snapshot is
 * taken: decoding looks a publication up as it was at the change's place in the log.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { PublishedTable, RefusedTable, WantedTables } from '../core/source-database.ts';
import { type PublishedTables, publishedKey } from '../core/source-state.ts';
import { quoteIdentifier, quoteLiteral, tableName } from '../core/sql.ts';
import type { PgConnection } from './pg/pg-connection.ts';
import { fromPgError, isPgError, PgError } from './pg/pg-error.ts';

interface WantedPublication {
  readonly name: string;
  /** What is published of a table: "insert", or "insert, update, delete, truncate". */
  readonly publish: string;
  readonly tables: readonly PublishedTable[];
}

/** The names of the two publications that belong to a slot. */
export function publicationNames(slotName: string): { append: string; mutable: string } {
  return { append: `${slotName}_append`, mutable: `${slotName}_mutable` };
}

/**
 * Makes the publications what they must be, but for tables that we may not add, which it resolves with. Throws
 * SOURCE_NOT_READY, with the SQL for somebody who may, when we may not make or change a publication at all; tables that are no
 * longer wanted are taken out if we may.
 */
export async function ensurePublications(
  connection: PgConnection,
  slotName: string,
  wanted: WantedTables,
  log: Logger,
): Promise<RefusedTable[]> {
  const names = publicationNames(slotName);
  const publications: readonly (WantedPublication & { readonly mode: keyof WantedTables })[] = [
    { mode: 'append', name: names.append, publish: 'insert', tables: wanted.append },
    { mode: 'mutable', name: names.mutable, publish: 'insert, update, delete, truncate', tables: wanted.mutable },
  ];
  const problems: FreshetError[] = [];
  const refused: RefusedTable[] = [];
  for (const publication of publications) {
    const { name, mode } = publication;
    const present = await readPublication(connection, name);
    const statements = statementsFor(publication, present);
    for (let i = 0; i < statements.length; i++) {
      const statement = must(statements[i]);
      try {
        await connection.query(statement.sql);
        log.info('publication changed', { sql: statement.sql });
      } catch (error) {
        if (!(error instanceof PgError)) throw error;
        if (statement.optional) continue;
        // Once more, table by table: those that may be added are.
        const { piecemeal, empty } = statement;
        if (piecemeal.length > 0 && (empty === undefined || (await works(connection, empty)))) {
          statements.splice(i + 1, 0, ...piecemeal);
          continue;
        }
        const why = refusal(error, name, statement.sql);
        if (statement.table !== undefined && !why.retryable) refused.push({ mode, table: statement.table, why });
        else if (isPgError(error, '42501')) problems.push(why);
        else throw why;
      }
    }
  }
  const [first, ...rest] = problems;
  if (first !== undefined) {
    const also = [...rest, ...refused.map(({ why }) => why)];
    throw new FreshetError(first.code, first.message, { remedy: first.remedy, place: first.place, also });
  }
  return refused;
}

async function works(connection: PgConnection, sql: string): Promise<boolean> {
  try {
    await connection.query(sql);
    return true;
  } catch (error) {
    if (error instanceof PgError) return false;
    throw error;
  }
}

function refusal(error: PgError, publication: string, sql: string): FreshetError {
  if (!isPgError(error, '42501')) return fromPgError(error, `publication ${publication}`) as FreshetError;
  return new FreshetError('SOURCE_NOT_READY', `publication ${publication} must be set up: ${error.message}`, {
    remedy: `As the owner of the table and of the publication: ${sql};`,
    place: `publication ${publication}`,
  });
}

/** Which tables are published in which mode, with their oids. */
export async function readPublished(connection: PgConnection, slotName: string): Promise<PublishedTables> {
  const names = publicationNames(slotName);
  const { rows } = await connection.query(`
    SELECT p.pubname, p.schemaname, p.tablename, c.oid
      FROM pg_publication_tables p
      JOIN pg_namespace n ON n.nspname = p.schemaname
      JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename
     WHERE p.pubname IN (${quoteLiteral(names.append)}, ${quoteLiteral(names.mutable)})`);
  return new Map(
    rows.map(([name, schema, table, oid]) => {
      const mode = name === names.append ? SourceMode.APPEND : SourceMode.MUTABLE;
      return [publishedKey(mode, schema ?? '', table ?? ''), Number(oid)];
    }),
  );
}

interface PresentPublication {
  readonly publish: string;
  readonly viaRoot: boolean;
  readonly tables: ReadonlySet<string>;
}

async function readPublication(connection: PgConnection, name: string): Promise<PresentPublication | undefined> {
  const { rows } = await connection.query(`
    SELECT pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot FROM pg_publication WHERE pubname = ${quoteLiteral(name)}`);
  const [row] = rows;
  if (row === undefined) return undefined;
  const kinds = ['insert', 'update', 'delete', 'truncate'];
  const tables = await connection.query(
    `SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = ${quoteLiteral(name)}`,
  );
  return {
    publish: kinds.filter((_, i) => row[i] === 't').join(', '),
    viaRoot: row[4] === 't',
    tables: new Set(tables.rows.map(([schema, table]) => JSON.stringify([schema, table]))),
  };
}

interface Statement {
  readonly sql: string;
  /** The one table that it adds. */
  readonly table?: PublishedTable | undefined;
  /** What does the same one by one, where it adds several tables or makes the publication with them. */
  readonly piecemeal: readonly Statement[];
  /** What makes the publication without them. */
  readonly empty?: string | undefined;
  /** Tidying up: whether it works does not matter. */
  readonly optional: boolean;
}

function statementsFor(wanted: WantedPublication, present: PresentPublication | undefined): Statement[] {
  const name = quoteIdentifier(wanted.name);
  const options = `publish = '${wanted.publish}', publish_via_partition_root = true`;
  const adding = (table: PublishedTable): Statement => ({
    sql: `ALTER PUBLICATION ${name} ADD TABLE ${tableReference(table)}`,
    table,
    piecemeal: [],
    optional: false,
  });
  if (present === undefined) {
    const tables = wanted.tables.length === 0 ? '' : ` FOR TABLE ${wanted.tables.map(tableReference).join(', ')}`;
    const empty = `CREATE PUBLICATION ${name} WITH (${options})`;
    const piecemeal = wanted.tables.map(adding);
    return [{ sql: `CREATE PUBLICATION ${name}${tables} WITH (${options})`, piecemeal, empty, optional: false }];
  }
  const statements: Statement[] = [];
  if (present.publish !== wanted.publish || !present.viaRoot) {
    statements.push({ sql: `ALTER PUBLICATION ${name} SET (${options})`, piecemeal: [], optional: false });
  }
  const keys = new Set(wanted.tables.map(({ schema, table }) => JSON.stringify([schema, table])));
  const missing = wanted.tables.filter(({ schema, table }) => !present.tables.has(JSON.stringify([schema, table])));
  if (missing.length > 0) {
    statements.push({
      sql: `ALTER PUBLICATION ${name} ADD TABLE ${missing.map(tableReference).join(', ')}`,
      table: missing.length === 1 ? missing[0] : undefined,
      piecemeal: missing.length === 1 ? [] : missing.map(adding),
      optional: false,
    });
  }
  for (const key of present.tables) {
    if (keys.has(key)) continue;
    const [schema = '', table = ''] = JSON.parse(key) as string[];
    const sql = `ALTER PUBLICATION ${name} DROP TABLE ${tableName(schema, table)}`;
    statements.push({ sql, piecemeal: [], optional: true });
  }
  return statements;
}

/** ONLY: children by inheritance are tables of their own, in the publication as in the snapshot. */
export function tableReference({ schema, table, partitioned }: PublishedTable): string {
  const name = `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
  return partitioned ? name : `ONLY ${name}`;
}
