/**
 * Goal: what the doctor is told of a database is what the database is: without anything captured, with a slot that is
 * read and one that is not, a lost slot, tables without an identity; and a database that does not answer is told so in
 * the time that was given. Method: a real Postgres, and sockets that accept and say nothing.
 */
import { type AddressInfo, createServer } from 'node:net';
import { create } from '@bufbuild/protobuf';
import { type DatabaseDiagnosis, DatabaseDiagnosisSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres from 'postgres';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import type { TableQuestion } from '../core/preflight.ts';
import { createDatabase, SLOT, type TestDatabase } from '../testing/capture.ts';
import { diagnoseDatabases } from './diagnose.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';

let server: RunningPostgres;
let database: TestDatabase;
beforeAll(async () => {
  server = await startPostgres({ settings: { max_replication_slots: '5', max_slot_wal_keep_size: '64MB' } });
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
});
afterEach(() => database.drop());

async function diagnose(
  url: string = database.url,
  patienceMs = 5_000,
  tables: readonly TableQuestion[] = [],
): Promise<DatabaseDiagnosis> {
  const asked = { name: 'shop', target: parseConnectionUrl(url), slotName: SLOT, tables };
  const [diagnosis] = await diagnoseDatabases([asked], {
    patienceMs,
    clock: systemClock,
    signal: new AbortController().signal,
  });
  return create(DatabaseDiagnosisSchema, must(diagnosis));
}

it('tells the server as it is, and that there is no slot yet', async () => {
  const diagnosis = await diagnose();
  expect(diagnosis).toMatchObject({ database: 'shop', slotName: SLOT, tables: [] });
  expect(diagnosis.target).toMatch(/^postgres@127\.0\.0\.1:\d+\/test_/);
  expect(diagnosis.failure).toBeUndefined();
  expect(diagnosis.slot).toBeUndefined();
  expect(diagnosis.server).toMatchObject({
    inRecovery: false,
    walLevel: 'logical',
    replicationSlotsMax: 5,
    replicationSlots: 0,
    walSenders: 0,
    slotWalKeepBytes: 64n * 1024n ** 2n,
    mayReplicate: true,
    mayCreate: true,
    user: 'postgres',
  });
  expect(diagnosis.server?.version).toBeGreaterThanOrEqual(140_000);
  // One machine has one clock.
  expect(Math.abs(Number(diagnosis.server?.clockAheadUs))).toBeLessThan(1_000_000);
});

it('tells what a user may not do', async () => {
  const { sql, name } = database;
  await sql.unsafe(`CREATE ROLE ${name}_weak LOGIN PASSWORD 'x'`);
  try {
    const url = new URL(database.url);
    url.username = `${name}_weak`;
    url.password = 'x';
    const diagnosis = await diagnose(url.href);
    expect(diagnosis.failure).toBeUndefined();
    expect(diagnosis.server).toMatchObject({ mayReplicate: false, mayCreate: false, user: `${name}_weak` });
  } finally {
    await sql.unsafe(`DROP ROLE ${name}_weak`);
  }
});

it('tells of the tables that definitions name whether they may be read, with the SQL that makes it so', async () => {
  const { sql, name } = database;
  const user = `${name}_weak`;
  await sql.unsafe(`CREATE ROLE ${user} LOGIN PASSWORD 'x'`);
  try {
    await sql.unsafe(`
      CREATE TABLE mine (id int8); GRANT SELECT ON mine TO ${user};
      CREATE TABLE other (id int8);
      CREATE VIEW seen AS SELECT 1 AS id; GRANT SELECT ON seen TO ${user};
      CREATE SCHEMA "in side"; CREATE TABLE "in side"."It's" (id int8); GRANT SELECT ON "in side"."It's" TO ${user};
      CREATE TABLE masked (id int8); ALTER TABLE masked ENABLE ROW LEVEL SECURITY; GRANT SELECT ON masked TO ${user}`);
    const url = new URL(database.url);
    url.username = user;
    url.password = 'x';
    const tables = [
      ...['other', 'mine', 'absent', 'seen', 'masked'].map((table) => ({ schema: 'public', table })),
      { schema: 'in side', table: "It's" },
      { schema: 'nowhere', table: 'mine' },
    ];
    const { named } = await diagnose(url.href, undefined, tables);
    expect(named.map(({ schema, table }) => ({ schema, table }))).toEqual(tables);
    const told = named.map(({ problems }) => problems.map(({ message, remedy }) => `${message} → ${remedy}`));
    expect(told).toEqual([
      [`user ${user} may not read public.other → GRANT SELECT ON public.other TO "${user}";`],
      [],
      [expect.stringMatching(/^there is no table public\.absent/)],
      [expect.stringMatching(/^public\.seen is a view/)],
      [expect.stringMatching(/^row-level security hides rows of public\.masked/)],
      [expect.stringContaining(`→ GRANT USAGE ON SCHEMA "in side" TO "${user}"; GRANT SELECT ON "in side"."It's" TO`)],
      [expect.stringMatching(/^there is no table nowhere\.mine/)],
    ]);
    // What it says is what is missing.
    await sql.unsafe(
      told
        .flat()
        .flatMap((text) => /→ (GRANT .*)$/.exec(text)?.[1] ?? [])
        .join(' '),
    );
    const granted = await diagnose(url.href, undefined, tables);
    expect(granted.named.map(({ problems }) => problems.length)).toEqual([0, 0, 1, 1, 1, 0, 1]);
    const reader = postgres(url.href, { max: 1, onnotice: () => {} });
    try {
      expect(await reader`SELECT count(*) FROM other`).toHaveLength(1);
      expect(await reader`SELECT count(*) FROM "in side"."It's"`).toHaveLength(1);
    } finally {
      await reader.end();
    }
  } finally {
    await sql.unsafe(`DROP OWNED BY ${user}; DROP ROLE ${user}`);
  }
});

it('tells the slot, the tables that are published, and a slot that the server gave up', async () => {
  const { sql } = database;
  await sql`CREATE TABLE keyed (id int8 PRIMARY KEY)`;
  await sql`CREATE TABLE bare (id int8)`;
  await sql`CREATE TABLE whole (id int8)`;
  await sql`ALTER TABLE whole REPLICA IDENTITY FULL`;
  await sql.unsafe(`CREATE PUBLICATION ${SLOT}_append FOR TABLE bare WITH (publish = 'insert')`);
  await sql.unsafe(`CREATE PUBLICATION ${SLOT}_mutable FOR TABLE bare, keyed, whole`);
  await sql`SELECT pg_create_logical_replication_slot(${SLOT}, 'pgoutput')`;
  await sql.unsafe(`INSERT INTO keyed SELECT generate_series(1, 10000)`);
  const diagnosis = await diagnose();
  expect(diagnosis.slot).toMatchObject({ plugin: 'pgoutput', active: false, activePid: 0, walStatus: 'reserved' });
  expect(diagnosis.slot?.database).toBe(database.name);
  expect(Number(diagnosis.slot?.unconfirmedBytes)).toBeGreaterThan(100_000);
  expect(diagnosis.slot?.retainedBytes).toBeGreaterThanOrEqual(diagnosis.slot?.unconfirmedBytes ?? 0n);
  expect(Number(diagnosis.slot?.safeWalBytes)).toBeGreaterThan(0);
  if ((diagnosis.server?.version ?? 0) >= 170_000) {
    expect(Math.abs(Number(diagnosis.slot?.inactiveSinceUs) - systemClock.nowUs())).toBeLessThan(60_000_000);
  }
  const told = diagnosis.tables.map((t) => [t.table, t.mutable, t.replicaIdentity, t.identified]);
  // By name; which publication of a table comes first is not said.
  expect(new Set(told.map((t) => t.join()))).toEqual(
    new Set(
      [
        ['bare', false, ReplicaIdentity.DEFAULT, false],
        ['bare', true, ReplicaIdentity.DEFAULT, false],
        ['keyed', true, ReplicaIdentity.DEFAULT, true],
        ['whole', true, ReplicaIdentity.FULL, true],
      ].map((t) => t.join()),
    ),
  );
  // More than max_slot_wal_keep_size of it, whose room ends at a checkpoint.
  for (let i = 0; i < 6; i++) {
    await sql`SELECT pg_switch_wal()`;
    await sql`SELECT pg_logical_emit_message(false, 'filler', repeat('x', 16000000))`;
  }
  await sql`CHECKPOINT`;
  const lost = await diagnose();
  expect(lost.slot?.walStatus).toBe('lost');
  expect(lost.slot?.safeWalBytes).toBeUndefined();
});

it('tells who cannot be reached, who refuses, and who says nothing, in the time given', async () => {
  expect((await diagnose('postgres://app@127.0.0.1:1/shop')).failure).toMatchObject({ code: 'SOURCE_UNREACHABLE' });
  const wrong = new URL(database.url);
  wrong.password = 'wrong';
  const refused = await diagnose(wrong.href);
  expect(refused.failure?.remedy).toContain('password');
  expect(JSON.stringify(refused.failure)).not.toContain('wrong@');
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const sockets: { destroy(): void }[] = [];
  silent.on('connection', (socket) => sockets.push(socket));
  try {
    const { port } = silent.address() as AddressInfo;
    const hung = await diagnose(`postgres://app@127.0.0.1:${port}/shop`, 300);
    expect(hung.failure).toMatchObject({
      code: 'SOURCE_UNREACHABLE',
      message: expect.stringContaining('did not answer within 300 ms'),
      remedy: expect.stringContaining('stopped or overloaded'),
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});
