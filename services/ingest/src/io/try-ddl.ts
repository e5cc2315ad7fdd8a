/**
 * What a DDL makes of tables, tried: it runs in a transaction of a real database that is rolled back, and between the two the
 * catalog is read by whoever reads it for contracts.
 *
 *     BEGIN ─▶ read tables ─▶ the statements, one by one ─▶ read the same tables, by oid ─▶ ROLLBACK, always
 *
 * Owns the transaction and its limits. Does not own what is a change (@freshet/contracts).
 * Invariants: nothing is ever committed. Each statement runs by EXECUTE within a function, where the server itself refuses to
 * end the transaction and everything that needs to be outside of one, whatever a text hides in quotes or comments; and the
 * transaction is looked at again before its tables are believed. A statement waits for locks and runs for no longer than
 * the limits, as readers and writers of its table wait behind it.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { applyDdl } from '@freshet/contracts/ddl.ts';
import type { GivenChangeSchema } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { type GivenContracts, GivenContractsSchema } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { contractOf } from '../core/contract.ts';
import { quoteIdentifier, quoteLiteral, tableName } from '../core/sql.ts';
import { triedStatements } from '../core/tried-statements.ts';
import { readTable } from './catalog.ts';
import { type ConnectionTarget, describeTarget } from './pg/connection-url.ts';
import { type PgConnection, withConnection } from './pg/pg-connection.ts';
import { fromPgError, PgError } from './pg/pg-error.ts';

/** Between two statements: a process that is stopped, or a network that is gone, must not keep the locks. */
const IDLE_MS_MAX = 10_000;

export interface TriedTable {
  readonly source: string;
  readonly schema: string;
  readonly table: string;
}

export interface TryOptions {
  readonly target: ConnectionTarget;
  readonly ddl: string;
  readonly tables: readonly TriedTable[];
  /** How long a statement waits for a lock, milliseconds. */
  readonly lockMsMax: number;
  /** How long a statement may take, milliseconds. */
  readonly statementMsMax: number;
}

/** The tables that are there, before and after; what is known of each change is with the latter. */
export interface Tried {
  readonly before: readonly Contract[];
  readonly after: GivenContracts;
}

interface Found extends TriedTable {
  readonly oid: string;
  readonly contract: Contract;
  readonly file: string;
  /** By attnum, the name. */
  readonly names: ReadonlyMap<string, string>;
}

/** Tries the DDL. Throws INVALID_REQUEST for what is not tried or fails, SOURCE_UNREACHABLE when a lock is not had in time. */
export async function tryDdl(options: TryOptions, signal: AbortSignal): Promise<Tried> {
  const statements = triedStatements(options.ddl);
  const { target } = options;
  try {
    return await withConnection({ target, applicationName: 'freshet contract check' }, signal, async (connection) => {
      await connection.query('BEGIN');
      try {
        return await tryIn(connection, statements, options);
      } finally {
        await connection.query('ROLLBACK');
      }
    });
  } catch (error) {
    throw fromPgError(error, describeTarget(target));
  }
}

async function tryIn(connection: PgConnection, statements: readonly string[], options: TryOptions): Promise<Tried> {
  await limit(connection, options);
  const transaction = await transactionId(connection);
  const before: Found[] = [];
  for (const table of options.tables) before.push(...(await find(connection, table)));
  for (const statement of statements) {
    // Anew before each: the one before may have set its own.
    await limit(connection, options);
    await run(connection, statement, options);
  }
  if ((await transactionId(connection)) !== transaction)
    throw new FreshetError(
      'INTERNAL',
      'the DDL ended the transaction that it was tried in: look at what it left behind',
      {
        place: describeTarget(options.target),
      },
    );
  const { outcomes, notUnderstood } = applyDdl(
    options.ddl,
    before.map(({ source, schema, table, contract }) => ({ source, schema, table, contract })),
  );
  const contracts: Contract[] = [];
  const changes: MessageInitShape<typeof GivenChangeSchema>[] = [];
  for (const one of before) {
    const read = notUnderstood.length > 0 ? undefined : outcomes.find(({ source }) => source === one.source);
    const { contract, change } = await findAgain(connection, one, read?.rewritten);
    contracts.push(contract);
    changes.push(change);
  }
  return {
    before: before.map(({ contract }) => contract),
    after: create(GivenContractsSchema, { contracts, changes }),
  };
}

async function limit(connection: PgConnection, { lockMsMax, statementMsMax }: TryOptions): Promise<void> {
  // To Postgres 0 is no limit at all.
  const [lockMs, statementMs] = [lockMsMax, statementMsMax].map((ms) => Math.max(1, Math.round(ms)));
  await connection.query(
    `SET LOCAL lock_timeout = ${lockMs}; SET LOCAL statement_timeout = ${statementMs}; ` +
      `SET LOCAL idle_in_transaction_session_timeout = ${IDLE_MS_MAX}; ` +
      'SET LOCAL standard_conforming_strings = on; SET LOCAL check_function_bodies = off',
  );
}

async function transactionId(connection: PgConnection): Promise<string> {
  return (await connection.query('SELECT txid_current()')).rows[0]?.[0] ?? '';
}

async function run(connection: PgConnection, statement: string, options: TryOptions): Promise<void> {
  try {
    await connection.query(`DO ${quoteLiteral(`BEGIN EXECUTE ${quoteLiteral(statement)}; END`)}`);
  } catch (error) {
    if (!(error instanceof PgError)) throw error;
    throw refusal(error, statement, options);
  }
}

function refusal(error: PgError, statement: string, { lockMsMax, statementMsMax, target }: TryOptions): FreshetError {
  const text = statement.slice(0, 200);
  const place = describeTarget(target);
  if (error.code === '55P03')
    return new FreshetError('SOURCE_UNREACHABLE', `no lock within ${lockMsMax} ms: ${text}`, {
      remedy: 'try again when nobody holds the table, or against a copy of the database',
      place,
      cause: error,
    });
  if (error.code === '57014')
    return new FreshetError('DEADLINE_EXCEEDED', `not done within ${statementMsMax} ms, and undone: ${text}`, {
      remedy: 'it rewrites a large table, which readers and writers wait for: try it against a copy of the database',
      place,
      cause: error,
    });
  // Outside of a transaction, or out of it: 25001, 0A000 of EXECUTE, 2D000.
  if (['25001', '2D000', '0A000'].includes(error.code))
    return new FreshetError('INVALID_REQUEST', `this cannot be tried in a transaction: ${text}: ${error.message}`, {
      remedy: 'leave it out, or check it as text: freshet contract check --ddl without --database',
      place: 'ddl',
      cause: error,
    });
  return new FreshetError('INVALID_REQUEST', `the database refuses ${text}: ${error.message} [${error.code}]`, {
    remedy: error.hint === '' ? 'correct the statement, or the privileges of the user that tries it' : error.hint,
    place,
    cause: error,
  });
}

async function find(connection: PgConnection, table: TriedTable): Promise<Found[]> {
  const catalog = await readTable(connection, table.schema, table.table);
  if (catalog === undefined) return [];
  const name = `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.table)}`;
  const { rows } = await connection.query(`SELECT ${quoteLiteral(name)}::regclass::oid`);
  const oid = must(rows[0]?.[0]);
  const [file, names] = [await fileOf(connection, oid), await namesOf(connection, oid)];
  return [{ ...table, oid, contract: contractOf(table.source, catalog), file, names }];
}

/** By its oid: it may have another name, or another schema, and another table may have its name. */
async function findAgain(
  connection: PgConnection,
  { oid, source, schema, table, contract, file, names }: Found,
  rewritten: ReadonlySet<string> | undefined,
): Promise<{ readonly contract: Contract; readonly change: MessageInitShape<typeof GivenChangeSchema> }> {
  const { rows } = await connection.query(
    `SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ${oid}`,
  );
  const [row] = rows;
  if (row === undefined) return { contract, change: { source, renamesKnown: true, tableDropped: true } };
  const [schemaNow = '', tableNow = ''] = row.map((text) => text ?? '');
  const after = contractOf(source, must(await readTable(connection, schemaNow, tableNow)));
  const namesNow = await namesOf(connection, oid);
  const renamed: Record<string, string> = {};
  for (const [attnum, was] of names) {
    const is = namesNow.get(attnum);
    if (is !== undefined && is !== was) renamed[was] = is;
  }
  const kept = [...names.keys()].flatMap((attnum) => namesNow.get(attnum) ?? []);
  const isRewritten = file !== (await fileOf(connection, oid));
  const moved = schemaNow !== schema || tableNow !== table ? movedName(schema, schemaNow, tableNow) : '';
  return {
    contract: after,
    change: {
      source,
      renamesKnown: true,
      renamed,
      rewritten: [...(isRewritten ? rewrittenColumns(kept, rewritten) : []), ...madeAnew(names, namesNow)],
      tableRenamedTo: moved,
    },
  };
}

/** As `ALTER TABLE … RENAME TO` has it; with its schema only when that is another. */
function movedName(schema: string, schemaNow: string, tableNow: string): string {
  return schema === schemaNow ? tableNow : tableName(schemaNow, tableNow);
}

/** Which columns a rewrite computed anew is not in the catalog: what the text says, else any of them. */
function rewrittenColumns(kept: readonly string[], read: ReadonlySet<string> | undefined): string[] {
  return read === undefined ? [...kept] : kept.filter((name) => read.has(name));
}

/** Columns that were dropped and made again under their name: what they held is gone. */
function madeAnew(names: ReadonlyMap<string, string>, namesNow: ReadonlyMap<string, string>): string[] {
  const before = new Set(names.values());
  return [...namesNow].flatMap(([attnum, name]) => (!names.has(attnum) && before.has(name) ? [name] : []));
}

/** Another one after a rewrite; empty for a table that has none of its own. */
async function fileOf(connection: PgConnection, oid: string): Promise<string> {
  return (await connection.query(`SELECT pg_relation_filenode(${oid})`)).rows[0]?.[0] ?? '';
}

async function namesOf(connection: PgConnection, oid: string): Promise<Map<string, string>> {
  const { rows } = await connection.query(
    `SELECT attnum, attname FROM pg_attribute WHERE attrelid = ${oid} AND attnum > 0 AND NOT attisdropped`,
  );
  return new Map(rows.map(([attnum, name]) => [attnum ?? '', name ?? '']));
}
