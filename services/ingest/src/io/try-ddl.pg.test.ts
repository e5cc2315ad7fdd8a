/**
 * Goal: for the twelve changes of the incident, the text of the DDL, the database that runs it and rolls it back, and the gate in
 * the stream come to one verdict; and what is tried leaves nothing behind, whatever it hides, and waits for nobody for long.
 * Method: a real Postgres; the stream is what pgoutput decodes of the change when it is really made, with a row behind it.
 */
import { applyDdl } from '@freshet/contracts/ddl.ts';
import { gateVerdict } from '@freshet/contracts/gate.ts';
import { type Judgement, judgeChange, type Verdict } from '@freshet/contracts/judge.ts';
import { usageOf } from '@freshet/contracts/usage.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import { resolveDefinitions } from '@freshet/definitions/resolve.ts';
import { ChangePolicy, type Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHANGES, definitionsOf, SCHEMA } from '../../../../test/support/incident.ts';
import { ChangeStream } from '../core/change-stream.ts';
import { contractOf } from '../core/contract.ts';
import { EarlierDecisions } from '../core/earlier-decisions.ts';
import { decodePgOutput } from '../core/pgoutput/decoder.ts';
import type { QuarantineEntry } from '../core/quarantine.ts';
import { prepareRoute } from '../core/route.ts';
import { neededColumns, readColumns } from '../core/row-shape.ts';
import { rewrittenColumns, type TableFill } from '../core/table-fill.ts';
import { createDatabase, type TestDatabase } from '../testing/capture.ts';
import { readTable } from './catalog.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';
import { withConnection } from './pg/pg-connection.ts';
import { readFills } from './table-fills.ts';
import { type Tried, tryDdl } from './try-ddl.ts';

const NOBODY = new AbortController().signal;
const VERDICTS: Readonly<Record<string, Verdict>> = {
  breaking: 'breaking',
  note: 'compatible_with_note',
  compatible: 'compatible',
};
/** What the stream holds though nobody is broken by the shape: a null in a row (docs/contracts.md). */
const BY_ROW: ReadonlySet<string> = new Set(['nulled']);

let server: RunningPostgres;
let database: TestDatabase;
let contracts: Map<string, Contract>;
let definitions: DefinitionSet;
beforeAll(async () => {
  server = await startPostgres({});
  database = await createDatabase(server.url);
  await database.sql.unsafe(SCHEMA);
  const written = parseDefinitions([{ path: 'a.yaml', text: definitionsOf(false) }]);
  const names = written.sources.map(({ name }) => name);
  contracts = new Map(await Promise.all(names.map(async (name) => [name, await liveContract(name)] as const)));
  definitions = resolveDefinitions({ definitions: written, contracts, previous: undefined }).resolved;
}, 60_000);
afterAll(async () => {
  await database.drop();
  await server.stop();
});

function liveContract(table: string): Promise<Contract> {
  return withConnection({ target: parseConnectionUrl(database.url), applicationName: 'test' }, NOBODY, async (one) =>
    contractOf(table, must(await readTable(one, 'public', table))),
  );
}

const attempt = (ddl: string, tables: readonly string[], over: Partial<Parameters<typeof tryDdl>[0]> = {}) =>
  tryDdl(
    {
      target: parseConnectionUrl(database.url),
      ddl,
      tables: tables.map((table) => ({ source: table, schema: 'public', table })),
      lockMsMax: 2_000,
      statementMsMax: 20_000,
      ...over,
    },
    NOBODY,
  );

const shown = ({ changes }: Judgement) =>
  changes.map(
    ({ change, verdict }) => `${verdict} ${change.kind} ${change.column}: ${change.before} → ${change.after}`,
  );

function byText(ddl: string, table: string): Judgement {
  const contract = must(contracts.get(table));
  const { outcomes, notUnderstood } = applyDdl(ddl, [{ source: table, schema: 'public', table, contract }]);
  expect(notUnderstood, ddl).toEqual([]);
  const { after, renamed, rewritten } = must(outcomes[0]);
  return judgeChange(contract, after, usageOf(definitions, table), { renamed, rewritten });
}

function byDatabase({ after }: Tried, table: string): Judgement {
  const [contract, change] = [must(after.contracts[0]), must(after.changes[0])];
  const hints = { renamed: new Map(Object.entries(change.renamed)), rewritten: new Set(change.rewritten) };
  return judgeChange(must(contracts.get(table)), contract, usageOf(definitions, table), hints);
}

function fillOf(oid: number): Promise<TableFill> {
  return withConnection({ target: parseConnectionUrl(database.url), applicationName: 'test' }, NOBODY, async (one) =>
    must((await readFills(one, [oid])).get(oid)),
  );
}

/** Makes the change, and a row behind it: what the stream puts aside of it. */
async function byStream(table: string, ddl: string, row: string): Promise<readonly QuarantineEntry[]> {
  const { sql } = database;
  const [{ oid } = { oid: 0 }] = await sql<{ oid: number }[]>`SELECT ${table}::regclass::oid::int AS oid`;
  await sql`CREATE PUBLICATION all_tables FOR ALL TABLES`;
  await sql`SELECT pg_create_logical_replication_slot('gate', 'pgoutput')`;
  try {
    const was = await fillOf(oid);
    await sql.unsafe(ddl);
    const values = rewrittenColumns(was, await fillOf(oid)).map((column) => ({ ...column, sinceUs: 1 }));
    await sql.unsafe(`INSERT INTO ${table} VALUES (${['1', '1', ...(row === '' ? [] : [row])].join(', ')})`);
    const changes = await sql<
      { data: Buffer }[]
    >`SELECT data FROM pg_logical_slot_get_binary_changes('gate', NULL, NULL,
      'proto_version', '1', 'publication_names', 'all_tables')`;
    const plan = must(definitions.routes.find(({ source }) => source?.name === table));
    const readers = { read: readColumns(plan, definitions), usage: () => usageOf(definitions, table) };
    const route = prepareRoute(plan, 1, 2, EarlierDecisions.NONE, neededColumns(plan, definitions), readers);
    const live = { route, earlier: [], tableOid: oid, floor: { version: 1, lsn: 0n }, fromLsn: 0n };
    const stream = new ChangeStream([live]);
    // As the catalog is asked at the description of the table (fill-gate.ts).
    stream.noteValues(route.number, values);
    for (const { data } of changes) stream.handle(decodePgOutput(data), Number.MAX_SAFE_INTEGER);
    expect(stream.rows).toBe(1);
    return stream.takeBatch().quarantine;
  } finally {
    await sql`SELECT pg_drop_replication_slot('gate')`;
    await sql`DROP PUBLICATION all_tables`;
  }
}

describe('the twelve changes of the incident', () => {
  it.each(CHANGES)('$table: one verdict before and in the stream', async ({ table, ddl, verdict, after, held }) => {
    const before = await liveContract(table);
    const text = byText(ddl, table);
    const tried = byDatabase(await attempt(ddl, [table]), table);
    expect(await liveContract(table), 'nothing is left behind').toEqual(before);
    expect(text.verdict).toBe(VERDICTS[verdict]);
    expect(shown(tried)).toEqual(shown(text));
    const entries = await byStream(table, ddl, after(1) === "'again 1'" ? 'NULL' : after(1));
    expect(entries.length > 0, entries[0]?.detail).toBe(held !== undefined);
    const isHeldBefore = gateVerdict(tried, ChangePolicy.EVOLVE) === 'hold';
    if (!BY_ROW.has(table)) expect(entries.length > 0, 'as the gate before').toBe(isHeldBefore);
    // A table's identity touches all that read the table.
    for (const { detail } of entries)
      expect(detail).toMatch(
        new RegExp(`\\(touches features (${table}:n, )?${table}:v; services ${table}; owners team_${table}\\)`),
      );
  });
});

describe('what is tried', () => {
  const refuses = (ddl: string, over = {}) => attempt(ddl, ['steady'], over);

  it.each([
    'SELECT 1',
    'UPDATE steady SET user_id = 1',
    'ALTER TABLE steady ADD a int; COMMIT; VACUUM',
    'ALTER TABLE steady ADD a int; ROLLBACK; DROP TABLE steady',
    'CREATE INDEX CONCURRENTLY i ON steady (user_id)',
    'CREATE DATABASE other',
    "ALTER SYSTEM SET work_mem = '8MB'",
    'ALTER TABLE nothing_such ADD a int',
    'ALTER TABLE steady ADD',
    '-- nothing',
    "SET work_mem = '8MB'",
  ])('is not %s', async (ddl) => {
    await expect(refuses(ddl)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it.each([
    [
      'a text with a quote that our reader takes for a longer one',
      "COMMENT ON TABLE steady IS E'\\'' ; COMMIT; DROP TABLE steady; --'",
    ],
    ['a dollar quote', "COMMENT ON TABLE steady IS $$ ' $$; COMMIT; DROP TABLE steady; --'"],
    ['a comment in a comment', 'CREATE TABLE x (a int) /* /* */ ; COMMIT; DROP TABLE steady; -- */'],
    ['the end of a line', 'CREATE TABLE x (a int) -- \r ; COMMIT; DROP TABLE steady'],
    ['a function', "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT; DROP TABLE steady"],
  ])('commits nothing, hidden behind %s', async (_, ddl) => {
    const before = await liveContract('steady');
    await refuses(ddl).catch((error: unknown) =>
      expect(error).toMatchObject({ code: expect.stringMatching(/^[A-Z_]+$/) }),
    );
    expect(await liveContract('steady')).toEqual(before);
    const [left] = await database.sql`SELECT obj_description('steady'::regclass) AS comment, to_regclass('x') AS x`;
    expect(left).toEqual({ comment: null, x: null });
  });

  it('takes a migration as it is written, with its own limits and transaction around', async () => {
    const ddl = `BEGIN; SET LOCAL lock_timeout = '1h'; ALTER TABLE steady ADD COLUMN a int DEFAULT 1; COMMIT;`;
    const { after } = await attempt(ddl, ['steady', 'nothing_such']);
    expect(after.contracts.map(({ columns }) => columns.map(({ name }) => name))).toEqual([['id', 'user_id', 'a']]);
  });

  it('follows a table by its oid: moved, dropped, rewritten', async () => {
    const of = async (ddl: string) => (await attempt(ddl, ['steady'])).after.changes[0];
    expect(await of('ALTER TABLE steady RENAME TO other; CREATE TABLE steady (id int)')).toMatchObject({
      tableRenamedTo: 'other',
      renamesKnown: true,
      renamed: {},
    });
    expect(await of('CREATE SCHEMA archive; ALTER TABLE steady SET SCHEMA archive')).toMatchObject({
      tableRenamedTo: 'archive.steady',
    });
    expect(await of('DROP TABLE steady')).toMatchObject({ tableDropped: true });
    expect(await of('ALTER TABLE steady RENAME user_id TO u; ALTER TABLE steady RENAME id TO user_id')).toMatchObject({
      renamed: { user_id: 'u', id: 'user_id' },
    });
    expect(await of('ALTER TABLE steady ALTER user_id TYPE int8 USING user_id + 1')).toMatchObject({
      rewritten: ['user_id'],
    });
    expect(await of('ALTER TABLE steady DROP user_id, ADD user_id int8')).toMatchObject({ rewritten: ['user_id'] });
    // What the text does not tell may be any column.
    expect(await of('ALTER TABLE steady ALTER user_id TYPE int8 USING user_id + 1, SET LOGGED')).toMatchObject({
      rewritten: ['id', 'user_id'],
    });
  });

  it('waits for a lock and runs no longer than it may', async () => {
    const holder = await database.sql.reserve();
    try {
      await holder.unsafe('BEGIN; LOCK TABLE steady');
      await expect(refuses('ALTER TABLE steady ADD a int', { lockMsMax: 50 })).rejects.toMatchObject({
        code: 'SOURCE_UNREACHABLE',
        message: expect.stringContaining('no lock within 50 ms'),
      });
    } finally {
      await holder.unsafe('ROLLBACK');
      holder.release();
    }
    // Without a limit the division fails; 0 is asked for, which to the server is none.
    for (const name of ['lock_timeout', 'idle_in_transaction_session_timeout'])
      await refuses(`ALTER TABLE steady ADD a int DEFAULT 1 / (current_setting('${name}') <> '0')::int`, {
        lockMsMax: 0,
      });
    await database.sql.unsafe(
      `CREATE FUNCTION slow() RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1 FROM pg_sleep(30)'`,
    );
    await database.sql`INSERT INTO steady VALUES (1, 1)`;
    await expect(refuses('ALTER TABLE steady ADD a int DEFAULT slow()', { statementMsMax: 100 })).rejects.toMatchObject(
      {
        code: 'DEADLINE_EXCEEDED',
      },
    );
  });
});
