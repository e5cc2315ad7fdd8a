/**
 * Goal: `freshet contract check --database` runs the statements there and rolls them back, and what they made of the tables is
 * what is judged. Method: a real Postgres, and a registry over real gRPC that keeps what it is asked.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CheckContractRequest,
  ContractService,
  ContractVerdict,
} from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres from 'postgres';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

let postgresServer: RunningPostgres;
let sql: postgres.Sql;
let server: GrpcServer;
let address: string;
let asked: CheckContractRequest[] = [];
const directory = mkdtempSync(join(tmpdir(), 'freshet-contract-'));
const urlFile = join(directory, 'database.url');
beforeAll(async () => {
  postgresServer = await startPostgres({});
  sql = postgres(postgresServer.url, { max: 1, onnotice: () => {} });
  await sql`CREATE TABLE orders (id int8 PRIMARY KEY, sku varchar(20) NOT NULL)`;
  writeFileSync(urlFile, `${postgresServer.url}\n`, { mode: 0o600 });
  const recordOf = (source: string) => ({
    contract: { source, version: 3, columns: [{ name: 'id', sourceType: 'bigint' }] },
    table: { database: 'default', schema: 'public', table: source },
  });
  server = createGrpcServer({ log: silentLogger }).add(ContractService, {
    listContracts: async () => ({ contracts: [recordOf('orders'), recordOf('elsewhere')] }),
    checkContract: async (request) => {
      asked.push(request);
      return { judgements: [{ source: 'orders', verdict: ContractVerdict.BREAKING }] };
    },
  });
  ({ address } = await server.listen('127.0.0.1:0'));
}, 60_000);
afterAll(async () => {
  await server.drain(100);
  await sql.end();
  await postgresServer.stop();
  rmSync(directory, { recursive: true, force: true });
});
beforeEach(() => {
  asked = [];
});

const check = (...args: string[]) => runFreshet(['contract', 'check', '--registry', address, ...args]);

it('judges what the statements made of the tables that are there, and leaves nothing behind', async () => {
  const file = join(directory, 'migration.sql');
  writeFileSync(file, 'ALTER TABLE orders ALTER sku TYPE varchar(10);\nALTER TABLE orders RENAME sku TO article;\n');
  const { code, err } = await check('--database', `@${urlFile}`, '--ddl', `@${file}`);
  expect(code).toBe(1);
  expect(err).toContain('the table of source orders is not as its contract before the statements');
  const change = must(asked[0]).change;
  if (change.case !== 'given') throw new Error(`${change.case} was asked for`);
  expect(change.value.contracts).toMatchObject([
    {
      source: 'orders',
      columns: [{ name: 'id' }, { name: 'article', length: 10, nullable: false }],
      primaryKey: ['id'],
    },
  ]);
  expect(change.value.changes).toMatchObject([{ source: 'orders', renamesKnown: true, renamed: { sku: 'article' } }]);
  const columns = await sql`SELECT column_name AS name FROM information_schema.columns WHERE table_name = 'orders'`;
  expect(columns.map(({ name }) => name)).toEqual(['id', 'sku']);
});

it('says what cannot be tried, and asks nothing of the registry then', async () => {
  const tried = await check('--database', postgresServer.url, '--ddl', 'CREATE INDEX CONCURRENTLY i ON orders (sku)');
  expect(tried.code).toBe(1);
  expect(tried.err).toContain('this cannot be tried in a transaction: CREATE INDEX CONCURRENTLY');
  const none = await check('elsewhere', '--database', postgresServer.url, '--ddl', 'ALTER TABLE orders ADD a int');
  expect(none.err).toContain('the database has none of the tables that sources read');
  const nobody = await check('--database', 'postgres://u@127.0.0.1:1/x', '--ddl', 'ALTER TABLE orders ADD a int');
  expect(nobody.err).toContain('[SOURCE_UNREACHABLE]');
  expect((await check('--database', postgresServer.url)).code).toBe(2);
  expect(asked).toEqual([]);
});
