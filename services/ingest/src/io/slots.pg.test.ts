/**
 * Goal: a server that has no replication slot left to give holds up only what needs one: what is live goes on, and its history is
 * compared all the same (F2).
 * Method: a real Postgres with few slots, filled up by others.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseLsn } from '../core/lsn.ts';
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
import { parseConnectionUrl } from './pg/connection-url.ts';
import { PostgresDatabase } from './postgres-database.ts';

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let captures: Capture[] = [];
const patient = { timeout: 20_000, interval: 20 };

beforeAll(async () => {
  server = await startPostgres({ settings: { max_replication_slots: '4' } });
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
  captures = [];
});
afterEach(async () => {
  await Promise.all(captures.map((capture) => capture.stop().catch(() => {})));
  await database.drop();
  directory.remove();
});

it('lets what is live go on where no slot is free, and only routes that have not begun wait', async () => {
  const { sql } = database;
  await sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
  await sql`CREATE TABLE orders (id int8 PRIMARY KEY, user_id int8)`;
  await sql`INSERT INTO events VALUES (1, 1)`;
  await sql`INSERT INTO orders VALUES (1, 1)`;
  const routes = [
    { route: 1, table: 'events', key: 'user_id' },
    { route: 2, table: 'orders', key: 'user_id' },
  ] as const;
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  const first = await startCapture({ url: database.url, directory: directory.path, log });
  captures.push(first);
  await first.node.apply(await define(database.url, 1n, routes.slice(0, 1)));
  await expect.poll(() => first.source.status().phase, patient).toBe(SourceState.STREAMING);
  for (const i of [1, 2, 3]) await sql`SELECT pg_create_physical_replication_slot(${`full_${i}`})`;
  const told = ({ conditions }: Capture): unknown =>
    conditions.list().map(({ id, message, remedy }) => [id, message, remedy]);
  const waits = [
    'source/shop/waiting/2',
    expect.stringMatching(/^4 of 4 replication slots are in use, and one more is needed while a table is read/),
    expect.stringContaining('ALTER SYSTEM SET max_replication_slots = 5;'),
  ];
  try {
    await first.node.apply(await define(database.url, 2n, routes));
    await expect.poll(() => told(first), patient).toEqual([waits]);
    await sql`INSERT INTO events VALUES (2, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
    // It connects anew, as after any fault of the network.
    await sql`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = ${SLOT}`;
    await sql`INSERT INTO events VALUES (3, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3]);
    await first.stop();
    const second = await startCapture({ url: database.url, directory: directory.path, log, onLostHistory: 'halt' });
    captures.push(second);
    await expect.poll(() => second.source.status().phase, patient).toBe(SourceState.STREAMING);
    await expect.poll(() => told(second), patient).toEqual([waits]);
    await sql`INSERT INTO events VALUES (4, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3, 4]);
    expect(await idsOf(log, 2)).toEqual([]);
    await sql`SELECT pg_drop_replication_slot('full_1')`;
    await expect.poll(() => idsOf(log, 2), patient).toEqual([1]);
    await expect.poll(() => told(second), patient).toEqual([]);
  } finally {
    for (const i of [1, 2, 3])
      await sql`SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ${`full_${i}`}`;
  }
});

it('F2: tells the same commits where no slot is free as by a copy of the slot, and moves nothing', async () => {
  const { sql } = database;
  await sql`CREATE TABLE events (id int8 PRIMARY KEY)`;
  await sql.unsafe(`CREATE PUBLICATION ${SLOT}_append FOR TABLE events; CREATE PUBLICATION ${SLOT}_mutable`);
  await sql`SELECT pg_create_logical_replication_slot(${SLOT}, 'pgoutput')`;
  for (let i = 0; i < 3; i++)
    await sql`INSERT INTO events SELECT generate_series(${i * 1000 + 1}::int8, ${i * 1000 + 900})`;
  const [end] = await sql`SELECT pg_current_wal_flush_lsn()::text AS lsn`;
  const untilLsn = must(parseLsn(String(end?.['lsn'])));
  const target = parseConnectionUrl(database.url);
  const shop = new PostgresDatabase({ name: 'shop', target, clock: systemClock, logger: silentLogger });
  const signal = AbortSignal.timeout(20_000);
  const told = async (): Promise<unknown[]> => {
    const stream = await shop.openRetelling(SLOT, signal);
    const commits: unknown[] = [];
    try {
      await stream.start(0n);
      for (let lsn = 0n; lsn < untilLsn; ) {
        for (const message of await stream.read(signal)) {
          if (message.kind === 'keepalive') lsn = message.serverLsn;
          else if (message.message.kind === 'commit') commits.push(message.message);
        }
      }
      return commits;
    } finally {
      await stream.close();
    }
  };
  const slots = (): Promise<unknown[]> =>
    sql`SELECT slot_name, confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_type = 'logical'`.then(
      (rows) => [...rows],
    );
  const before = await slots();
  const copied = await told();
  expect(copied).toHaveLength(3);
  for (const i of [1, 2, 3]) await sql`SELECT pg_create_physical_replication_slot(${`full_${i}`})`;
  try {
    await expect(shop.openCopy(SLOT, signal)).rejects.toMatchObject({
      remedy: expect.stringContaining('max_replication_slots') as string,
    });
    expect(await told()).toEqual(copied);
    expect(await slots()).toEqual(before);
  } finally {
    for (const i of [1, 2, 3]) await sql`SELECT pg_drop_replication_slot(${`full_${i}`})`;
  }
});
