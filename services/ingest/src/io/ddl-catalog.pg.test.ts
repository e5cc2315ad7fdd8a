/**
 * Goal: a DDL that is understood makes of a contract what Postgres makes of its table. Method: random DDL over a table with
 * columns of every kind, in every spelling that is generated; what the reader understands and Postgres accepts is done in both,
 * and the contract is compared with the catalog's, column by column. Defaults are compared by whether there is one: Postgres
 * writes them anew.
 */

import { defaultOf } from '@freshet/contracts/change.ts';
import { limitsOf } from '@freshet/contracts/column-type.ts';
import { applyDdl } from '@freshet/contracts/ddl.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { contractOf } from '../core/contract.ts';
import { readTable } from './catalog.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';
import { PgConnection } from './pg/pg-connection.ts';
import { PgError } from './pg/pg-error.ts';

const SCHEMA = `
  CREATE TYPE mood AS ENUM ('sad', 'ok', 'it''s');
  CREATE DOMAIN email AS varchar(50) NOT NULL CHECK (VALUE <> '');
  CREATE TABLE t (
    id int8 PRIMARY KEY, a int4, b varchar(20) NOT NULL, c numeric(10,2), d timestamptz, e mood, f text DEFAULT 'x',
    g int4[], "Q q" bool, h smallint, i real, j date, k char(3), l email, m timestamp(3), n bit(4)
  )`;

const COLUMNS = ['id', 'a', 'b', 'c', 'd', 'e', 'f', 'g', '"Q q"', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'x', 'Y', '"Z"'];
const TYPES = [
  ...['int', 'INT4', 'integer', 'bigint', 'int8', 'smallint', 'int2', 'real', 'float', 'float(10)', 'float(40)'],
  ...[
    'double precision',
    'double  precision',
    'numeric',
    'numeric(10)',
    'DECIMAL(8, 3)',
    'decimal',
    'dec(4,1)',
    'numeric(3,-1)',
  ],
  ...['varchar', 'varchar(7)', 'character varying(9)', 'char', 'char(4)', 'CHARACTER(2)', 'bpchar', 'text', 'name'],
  ...['bool', 'boolean', 'bytea', 'date', 'timestamp', 'timestamp(3)', 'timestamp(3) with time zone', 'timestamptz(0)'],
  ...[
    'timestamp without time zone',
    'time',
    'time(2)',
    'timetz',
    'time(1) with time zone',
    'interval',
    'uuid',
    'json',
    'jsonb',
  ],
  ...[
    'mood',
    'public.mood',
    '"mood"',
    'email',
    'int[]',
    'text []',
    'varchar(5)[]',
    'integer array',
    'numeric(5,2)[]',
    'int[3][2]',
  ],
  ...[
    'bit',
    'bit(3)',
    'bit varying(5)',
    'varbit',
    'oid',
    'inet',
    'serial',
    'bigserial',
    'mood[]',
    'national character(3)',
  ],
];
const LITERALS = [
  'NULL',
  '1',
  "'a, b'",
  'now()',
  '1 + (2 * 3)',
  "'{1,2}'",
  "'sad'",
  "'2020-01-01'",
  'true',
  "E'\\\\x'",
];

const column = fc.constantFrom(...COLUMNS);
const type = fc.constantFrom(...TYPES);
const literal = fc.constantFrom(...LITERALS);
const optional = (...texts: string[]) => fc.constantFrom('', ...texts);
const sentence = (...parts: (fc.Arbitrary<string> | string)[]) =>
  fc
    .tuple(...parts.map((part) => (typeof part === 'string' ? fc.constant(part) : part)))
    .map((words) => words.join(' '));

const action = fc.oneof(
  sentence(
    'ADD',
    optional('COLUMN', 'column if not exists', 'COLUMN IF NOT EXISTS'),
    column,
    type,
    optional(
      'NOT NULL',
      'NULL',
      'DEFAULT 1',
      "NOT NULL DEFAULT 'a, b'",
      'DEFAULT now() NOT NULL',
      'UNIQUE',
      'PRIMARY KEY',
    ),
    optional('CHECK (1 > 0)', 'COLLATE "C"', 'GENERATED ALWAYS AS IDENTITY', 'CONSTRAINT q NOT NULL', 'STORAGE PLAIN'),
  ),
  sentence('DROP', optional('COLUMN', 'COLUMN IF EXISTS'), column, optional('CASCADE', 'restrict')),
  sentence(
    'ALTER',
    optional('COLUMN'),
    column,
    fc.constantFrom('TYPE', 'set data type'),
    type,
    optional('USING NULL', 'USING (NULL::text)', 'COLLATE "C"', 'COLLATE "C" USING NULL'),
  ),
  sentence('ALTER', column, fc.constantFrom('SET NOT NULL', 'DROP NOT NULL', 'DROP DEFAULT', 'SET STATISTICS 5')),
  sentence('ALTER COLUMN', column, 'SET DEFAULT', literal),
  sentence('ADD', optional('CONSTRAINT other'), 'PRIMARY KEY (', column, ')'),
  sentence('ADD PRIMARY KEY (', column, ',', column, ')'),
  sentence('ADD', optional('CONSTRAINT u'), 'UNIQUE (', column, ')'),
  fc.constantFrom(
    'DROP CONSTRAINT t_pkey',
    'DROP CONSTRAINT IF EXISTS other',
    'DROP CONSTRAINT IF EXISTS t_pkey CASCADE',
  ),
  sentence('REPLICA IDENTITY', fc.constantFrom('FULL', 'NOTHING', 'DEFAULT')),
);
const statement = fc.oneof(
  {
    weight: 8,
    arbitrary: sentence(
      'ALTER TABLE',
      optional('ONLY', 'IF EXISTS'),
      fc.constantFrom('t', 'public.t', '"t"', 'T'),
      action,
    ),
  },
  {
    weight: 3,
    arbitrary: fc.array(action, { minLength: 2, maxLength: 3 }).map((all) => `ALTER TABLE t ${all.join(' , ')}`),
  },
  { weight: 2, arbitrary: sentence('ALTER TABLE t RENAME', optional('COLUMN'), column, 'TO', column) },
  { weight: 1, arbitrary: sentence('ALTER TABLE t RENAME CONSTRAINT t_pkey TO', column) },
  {
    weight: 2,
    arbitrary: sentence(
      'ALTER TYPE mood ADD VALUE',
      optional('IF NOT EXISTS'),
      fc.constantFrom("'new'", "'sad'", "'it''s not'"),
      optional("BEFORE 'ok'", "AFTER 'sad'", "AFTER 'it''s'"),
    ),
  },
  {
    weight: 1,
    arbitrary: sentence(
      'ALTER TYPE public.mood RENAME VALUE',
      fc.constantFrom("'ok'", "'sad'"),
      'TO',
      fc.constantFrom("'fine'", "'it''s'"),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      'ALTER TYPE mood RENAME TO feeling',
      "CREATE TYPE feeling AS ENUM ('a', 'b')",
      "CREATE TYPE mood AS ENUM ('c')",
    ),
  },
);

let server: RunningPostgres;
let connection: PgConnection;
beforeAll(async () => {
  server = await startPostgres({});
  const target = parseConnectionUrl(server.url);
  connection = await PgConnection.open({ target, applicationName: 'test' }, AbortSignal.timeout(30_000));
}, 60_000);
afterAll(async () => {
  await connection.close();
  await server.stop();
});

const live = async (): Promise<Contract> => contractOf('t', must(await readTable(connection, 'public', 't')));

/** Whether Postgres takes it, within the transaction that is open. */
async function accepts(sql: string): Promise<boolean> {
  await connection.query('SAVEPOINT before');
  try {
    await connection.query(sql);
    return true;
  } catch (error) {
    if (!(error instanceof PgError)) throw error;
    await connection.query('ROLLBACK TO before');
    return false;
  }
}

/** What a verdict depends on. */
function told({ columns, primaryKey, replicaIdentity }: Contract): unknown {
  return {
    columns: columns.map((one) => ({
      name: one.name,
      type: { kind: one.type?.kind, element: one.type?.element },
      sourceType: one.sourceType,
      limits: limitsOf(one),
      nullable: one.nullable,
      hasDefault: defaultOf(one) !== '',
      labels: one.enumLabels,
      domains: one.domains.map(({ name }) => name),
    })),
    primaryKey,
    replicaIdentity,
  };
}

it('makes of a contract what Postgres makes of the table', { timeout: 300_000 }, async () => {
  const counts = { understood: 0, passedOver: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(statement, { minLength: 1, maxLength: 12 }), async (statements) => {
      await connection.query('BEGIN');
      try {
        await connection.query(SCHEMA);
        const contract = await live();
        const table = { source: 't', schema: 'public', table: 't', contract };
        const done: string[] = [];
        let after = contract;
        for (const sql of statements) {
          const read = applyDdl([...done, sql].join(';\n'), [table]);
          if (read.notUnderstood.length > 0) {
            counts.passedOver += 1;
            continue;
          }
          if (!(await accepts(sql))) continue;
          counts.understood += 1;
          done.push(sql);
          after = read.outcomes[0]?.after ?? contract;
          expect(told(after), done.join(';\n')).toEqual(told(await live()));
        }
      } finally {
        await connection.query('ROLLBACK');
      }
    }),
    { numRuns: Number(process.env['FRESHET_RUNS'] ?? 100) },
  );
  expect(counts.understood).toBeGreaterThan(counts.passedOver / 2);
});
