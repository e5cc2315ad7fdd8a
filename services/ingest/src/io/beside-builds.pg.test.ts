/**
 * Goal: on a real Postgres, live rows are durable in the log while large tables are read for new routes; of those tables
 * nothing is lost or doubled, whatever is committed to them meanwhile; no slot is left, and ours keeps what a crash needs.
 * Method: three tables, two of which come with later definitions; transactions over all of them the whole time; a kill in
 * the middle; the log read as a shard reads it, and compared with SELECT.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseLsn } from '../core/lsn.ts';
import type { SnapshotReport } from '../core/snapshot-progress.ts';
import {
  type Capture,
  createDatabase,
  define,
  idsOf,
  SLOT,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../testing/capture.ts';
import { liveImages } from '../testing/live-images.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';
import { PostgresDatabase } from './postgres-database.ts';

const ROWS = 30_000;
const EVENTS = { route: 1, table: 'events', key: 'user_id' };
const HISTORY = { route: 2, table: 'history', key: 'user_id' };
const ITEMS = { route: 3, table: 'items', key: 'user_id', mode: SourceMode.MUTABLE, reads: ['amount'] };
const patient = { timeout: 60_000, interval: 20 };

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let log: MemoryLog;
let captured: Capture;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
  await database.sql.unsafe(
    `CREATE TABLE events (id int8 PRIMARY KEY, user_id int8);
     CREATE TABLE history (id int8 PRIMARY KEY, user_id int8);
     CREATE TABLE items (id int8, user_id int8, amount int8, PRIMARY KEY (user_id, id));
     INSERT INTO history SELECT i, i % 97 FROM generate_series(1, ${ROWS}) i;
     INSERT INTO items SELECT i, i % 97, 0 FROM generate_series(1, 3000) i`,
  );
  log = createMemoryLog({ partitions: 3, clock: systemClock });
  await start();
  await captured.node.apply(await define(database.url, 1n, [EVENTS]));
  await expect.poll(() => captured.source.status().phase, patient).toBe(SourceState.STREAMING);
});
afterEach(async () => {
  await captured.stop().catch(() => {});
  await database.drop();
  directory.remove();
});

async function start(): Promise<void> {
  captured = await startCapture({ url: database.url, directory: directory.path, log });
}

/** One transaction over the three tables; resolves with a position after it. */
async function commit(n: number, random: Random): Promise<bigint> {
  const [id, kind] = [random.between(1, 3_000), random.between(1, 4)];
  await database.sql.begin(async (sql) => {
    await sql`INSERT INTO events VALUES (${n}, ${n % 7})`;
    await sql`INSERT INTO history VALUES (${ROWS + n}, ${n % 7})`;
    if (kind === 1) await sql`DELETE FROM items WHERE id = ${id}`;
    else if (kind === 2) await sql`UPDATE items SET user_id = user_id + 1000 WHERE id = ${id}`;
    else await sql`UPDATE items SET amount = ${n} WHERE id BETWEEN ${id} AND ${id + 3}`;
  });
  const [row] = await database.sql`SELECT pg_current_wal_insert_lsn()::text AS lsn`;
  return must(parseLsn(String(row?.['lsn'])));
}

async function expectWhole(commits: number): Promise<void> {
  const range = (to: number): number[] => Array.from({ length: to }, (_, i) => i + 1);
  await expect.poll(() => idsOf(log, 1), patient).toEqual(range(commits));
  expect(await idsOf(log, 2)).toEqual(range(ROWS + commits));
  const rows = await database.sql`SELECT id::text, user_id::text, amount::text FROM items`;
  const items = rows.map((row) => JSON.stringify([row['id'], row['user_id'], row['amount']])).sort();
  expect(await liveImages(log, 3, 3)).toMatchObject({ images: items, misses: 0 });
}

async function slots(): Promise<{ name: string; confirmed: bigint }[]> {
  const rows = await database.sql`SELECT slot_name, confirmed_flush_lsn::text AS lsn FROM pg_replication_slots
    WHERE database = current_database()`;
  return rows.map((row) => ({ name: String(row['slot_name']), confirmed: must(parseLsn(String(row['lsn']))) }));
}

it('I1, F3: live rows go on while tables are read for new routes, of which nothing is lost or doubled', async () => {
  const random = new Random('beside');
  const { source } = captured;
  await captured.node.apply(await define(database.url, 2n, [EVENTS, HISTORY, ITEMS]));
  let [commits, whileBuilding] = [0, 0];
  const appending: SnapshotReport[] = [];
  do {
    const { snapshot } = source.status();
    if (snapshot?.step === 'appending') appending.push(snapshot);
    const lsn = await commit(++commits, random);
    await expect.poll(() => source.status().durableLsn > lsn - 1n, patient).toBe(true);
    if (source.status().routes.length === 1 && source.status().phase === SourceState.SNAPSHOT) whileBuilding += 1;
  } while (source.status().routes.length < 3);
  expect(whileBuilding).toBeGreaterThan(0);
  expect(appending.length).toBeGreaterThan(0);
  for (const { rows, rowsExpected } of appending) {
    expect(rowsExpected).toBeGreaterThanOrEqual(ROWS);
    expect(rows).toBeLessThanOrEqual(rowsExpected ?? 0);
  }
  for (let i = 0; i < 20; i++) await commit(++commits, random);
  await expectWhole(commits);
  await expect.poll(slots, patient).toMatchObject([{ name: SLOT }]);
});

it('estimates how many rows a table has, analysed or not, and of all partitions', async () => {
  await database.sql.unsafe(
    `CREATE TABLE parts (id int8, user_id int8) PARTITION BY RANGE (id);
     CREATE TABLE parts_a PARTITION OF parts FOR VALUES FROM (0) TO (5000);
     CREATE TABLE parts_b PARTITION OF parts FOR VALUES FROM (5000) TO (10000);
     INSERT INTO parts SELECT i, i FROM generate_series(0, 9999) i;
     ANALYZE history`,
  );
  const target = parseConnectionUrl(database.url);
  const postgres = new PostgresDatabase({ name: 'default', target, clock: systemClock, logger: silentLogger });
  const about = (table: string): Promise<number | undefined> =>
    postgres.snapshot(SLOT, new AbortController().signal, (reader) =>
      reader.rowsAbout({ schema: 'public', table, partitioned: table === 'parts', columns: ['id'], typeOids: [20] }),
    );
  expect(await about('history')).toBe(ROWS);
  for (const [table, rows] of [
    ['items', 3000],
    ['parts', 10_000],
  ] as const) {
    const found = must(await about(table));
    expect(found).toBeGreaterThan(rows / 3);
    expect(found).toBeLessThan(rows * 3);
  }
});

it('I1, F3: a build that was stopped is done again, and whole', async () => {
  const random = new Random('stopped');
  let commits = 0;
  for (const generation of [2n, 3n, 4n]) {
    await captured.node.apply(await define(database.url, generation, [EVENTS, HISTORY, ITEMS]));
    const { source } = captured;
    await expect.poll(() => source.status().phase, { ...patient, interval: 1 }).toBe(SourceState.SNAPSHOT);
    for (let i = 0; i < 10; i++) await commit(++commits, random);
    await captured.stop();
    await start();
  }
  for (let i = 0; i < 10; i++) await commit(++commits, random);
  await expect.poll(() => captured.source.status().routes, patient).toEqual([1, 2, 3]);
  await expectWhole(commits);
  await expect.poll(slots, patient).toMatchObject([{ name: SLOT }]);
});
