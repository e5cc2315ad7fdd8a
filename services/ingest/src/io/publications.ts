/**
 * Our two publications: one for tables of which only inserts are captured, one for those whose every change is. A table
 * without a replica identity may so be captured for its inserts without breaking its updates.
 *
 * Owns making and changing them. They must exist before the slot does, and hold a table before the table's snapshot is
 * taken: decoding looks a publication up as it was at the change's place in the log.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { PublishedTable, WantedTables } from '../core/source-database.ts';
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
 * Makes the publications what they must be. Throws SOURCE_NOT_READY, with the SQL for somebody who may, when we may
 * not; tables that are no longer wanted are taken out if we may.
 */
export async function ensurePublications(
  connection: PgConnection,
  slotName: string,
  wanted: WantedTables,
  log: Logger,
): Promise<void> {
  const names = publicationNames(slotName);
  const publications: readonly WantedPublication[] = [
    { name: names.append, publish: 'insert', tables: wanted.append },
    { name: names.mutable, publish: 'insert, update, delete, truncate', tables: wanted.mutable },
  ];
  const problems: FreshetError[] = [];
  for (const publication of publications) {
    const present = await readPublication(connection, publication.name);
    for (const statement of statementsFor(publication, present)) {
      try {
        await connection.query(statement.sql);
        log.info('publication changed', { sql: statement.sql });
      } catch (error) {
        if (!(error instanceof PgError)) throw error;
        if (statement.optional) continue;
        if (!isPgError(error, '42501')) throw fromPgError(error, `publication ${publication.name}`);
        problems.push(
          new FreshetError('SOURCE_NOT_READY', `publication ${publication.name} must be set up: ${error.message}`, {
            remedy: `As the owner of the table and of the publication: ${statement.sql};`,
            place: `publication ${publication.name}`,
          }),
        );
      }
    }
  }
  const [first, ...rest] = problems;
  if (first !== undefined) {
    throw new FreshetError(first.code, first.message, { remedy: first.remedy, place: first.place, also: rest });
  }
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
  /** Tidying up: whether it works does not matter. */
  readonly optional: boolean;
}

function statementsFor(wanted: WantedPublication, present: PresentPublication | undefined): Statement[] {
  const name = quoteIdentifier(wanted.name);
  const options = `publish = '${wanted.publish}', publish_via_partition_root = true`;
  if (present === undefined) {
    const tables = wanted.tables.length === 0 ? '' : ` FOR TABLE ${wanted.tables.map(tableReference).join(', ')}`;
    return [{ sql: `CREATE PUBLICATION ${name}${tables} WITH (${options})`, optional: false }];
  }
  const statements: Statement[] = [];
  if (present.publish !== wanted.publish || !present.viaRoot) {
    statements.push({ sql: `ALTER PUBLICATION ${name} SET (${options})`, optional: false });
  }
  const keys = new Set(wanted.tables.map(({ schema, table }) => JSON.stringify([schema, table])));
  const missing = wanted.tables.filter(({ schema, table }) => !present.tables.has(JSON.stringify([schema, table])));
  if (missing.length > 0) {
    statements.push({
      sql: `ALTER PUBLICATION ${name} ADD TABLE ${missing.map(tableReference).join(', ')}`,
      optional: false,
    });
  }
  for (const key of present.tables) {
    if (keys.has(key)) continue;
    const [schema = '', table = ''] = JSON.parse(key) as string[];
    statements.push({ sql: `ALTER PUBLICATION ${name} DROP TABLE ${tableName(schema, table)}`, optional: true });
  }
  return statements;
}

/** ONLY: children by inheritance are tables of their own, in the publication as in the snapshot. */
export function tableReference({ schema, table, partitioned }: PublishedTable): string {
  const name = `${quoteIdentifier(schema)}.${quoteIdentifier(table)}`;
  return partitioned ? name : `ONLY ${name}`;
}
