/**
 * Goal: every committed row is in the log once, in order, whatever interrupts the capture; nothing is acknowledged to
 * the database that is not durable.
 * Method: a real Postgres; a memory log that can be held up or made to fail; the log is read as a shard reads it.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseLsn } from '../core/lsn.ts';
import {
  type Capture,
  type CaptureOptions,
  changesOf,
  createDatabase,
  define,
  idsOf,
  recordsOf,
  SLOT,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
  valuesOf,
} from '../testing/capture.ts';

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let captures: Capture[] = [];

beforeAll(async () => {
  server = await startPostgres({ settings: { wal_sender_timeout: '3s', max_replication_slots: '6' } });
});
afterAll(() => server.stop());

beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
  captures = [];
  await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, at timestamptz DEFAULT now(), note text)`;
});
afterEach(async () => {
  await Promise.all(captures.map((capture) => capture.stop().catch(() => {})));
  await database.drop();
  directory.remove();
});

async function capture(log: MemoryLog, more: Partial<CaptureOptions> = {}): Promise<Capture> {
  const started = await startCapture({ url: database.url, directory: directory.path, log, ...more });
  captures.push(started);
  return started;
}

function newLog(beforeAppend?: (partition: number) => Promise<void>): MemoryLog {
  return createMemoryLog({ partitions: 3, clock: systemClock, beforeAppend });
}

const EVENTS = { route: 1, table: 'events', key: 'user_id', eventTime: 'at' } as const;

async function insert(from: number, to: number): Promise<void> {
  await database.sql`INSERT INTO events (id, user_id) SELECT i, i % 7 FROM generate_series(${from}::int8, ${to}::int8) i`;
}

function range(to: number): number[] {
  return Array.from({ length: to }, (_, i) => i + 1);
}

async function confirmedLsn(): Promise<bigint> {
  const [row] =
    await database.sql`SELECT confirmed_flush_lsn::text AS lsn FROM pg_replication_slots WHERE slot_name = ${SLOT}`;
  return must(parseLsn(String(row?.['lsn'])));
}

const patient = { timeout: 20_000, interval: 20 };

describe('snapshot and stream', () => {
  it('brings every row once, definitions first, then the snapshot between its marks, then the stream', async () => {
    await insert(1, 500);
    const log = newLog();
    const { node, source } = await capture(log);
    await node.apply(await define(database.url, 1n, [EVENTS]));
    // Commits while the snapshot is under way belong to one side or the other, never to both.
    for (let id = 501; id <= 600; id++) await insert(id, id);
    await expect.poll(() => idsOf(log, 1), patient).toEqual(range(600));
    // All of them may have been in the snapshot, whose end is then still to come.
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    for (const records of await recordsOf(log)) {
      const kinds = records.map(({ kind }) => kind.case);
      // Twice: whoever begins to fold at this generation knows them, also when what is before it is gone.
      expect(kinds.slice(0, 3)).toEqual(['definitions', 'definitions', 'routeBegin']);
      const end = kinds.indexOf('snapshotEnd');
      const changes = records.flatMap(({ kind }, i) => (kind.case === 'change' ? [{ i, change: kind.value }] : []));
      for (const { i, change } of changes) {
        expect(change.lane).toBe(i < end ? 1 : 2);
        expect(change.operation).toBe(i < end ? Operation.READ : Operation.INSERT);
        expect(change.knownAtUs === undefined).toBe(i < end);
        expect(change.eventTimeUs).toBe(valuesOf(change)[2]);
      }
    }
  });

  it('leaves the event time open in a snapshot without an event time column, and takes the commit time in the stream', async () => {
    await insert(1, 1);
    const log = newLog();
    const { node } = await capture(log);
    await node.apply(await define(database.url, 1n, [{ ...EVENTS, eventTime: undefined }]));
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1]);
    await insert(2, 2);
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
    const [read, inserted] = (await changesOf(log)).sort((a, b) => a.lane - b.lane);
    expect(read?.eventTimeUs).toBeUndefined();
    expect(inserted?.eventTimeUs).toBe(inserted?.knownAtUs);
    expect(Math.abs(Number(inserted?.eventTimeUs) - systemClock.nowUs())).toBeLessThan(60_000_000);
  });

  it('takes up routes of new definitions while it runs, and starts a dropped one anew as the next generation', async () => {
    await database.sql`CREATE TABLE orders (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`INSERT INTO orders SELECT i, i FROM generate_series(1, 50) i`;
    await insert(1, 10);
    const log = newLog();
    const { node, source } = await capture(log);
    await node.apply(await define(database.url, 1n, [EVENTS]));
    await expect.poll(() => idsOf(log, 1), patient).toEqual(range(10));
    const orders = { route: 2, table: 'orders', key: 'user_id' };
    await node.apply(await define(database.url, 2n, [EVENTS, orders]));
    await insert(11, 20);
    await expect.poll(() => idsOf(log, 2), patient).toEqual(range(50));
    await database.sql`INSERT INTO orders VALUES (51, 51)`;
    await expect.poll(() => idsOf(log, 2), patient).toEqual(range(51));
    await node.apply(await define(database.url, 3n, [orders]));
    // Definitions that are replaced before a source saw them change nothing.
    await expect.poll(() => source.status().routes, patient).toEqual([2]);
    await insert(21, 30);
    await node.apply(await define(database.url, 4n, [EVENTS, orders]));
    await expect.poll(() => idsOf(log, 1), patient).toEqual(range(30));
    const generations = (await changesOf(log)).filter(({ route }) => route === 1).map(({ generation }) => generation);
    expect(new Set(generations)).toEqual(new Set([2]));
    const records = (await recordsOf(log))[0] ?? [];
    const begin = records.findIndex(({ kind }) => kind.case === 'routeBegin' && kind.value.route === 2);
    const defined = records.findIndex(({ kind }) => kind.case === 'definitions' && kind.value.generation === 2n);
    expect(begin).toBeGreaterThan(defined);
  });

  it('captures partitioned tables under their own name', async () => {
    await database.sql`CREATE TABLE parted (id int8, user_id int8) PARTITION BY RANGE (id)`;
    await database.sql`CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM (0) TO (100)`;
    await database.sql`CREATE TABLE parted_b PARTITION OF parted FOR VALUES FROM (100) TO (200)`;
    await database.sql`INSERT INTO parted VALUES (1, 1), (101, 1)`;
    const log = newLog();
    const { node } = await capture(log);
    await node.apply(await define(database.url, 1n, [{ route: 1, table: 'parted', key: 'user_id' }]));
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 101]);
    await database.sql`INSERT INTO parted VALUES (2, 1), (102, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 101, 102]);
  });

  it('I2: tells updates, key changes and deletes of mutable sources, and resolves unchanged large values', async () => {
    await database.sql`CREATE TABLE products (id int8 PRIMARY KEY, shop int8, big text)`;
    await database.sql`ALTER TABLE products REPLICA IDENTITY FULL`;
    await database.sql`ALTER TABLE products ALTER COLUMN big SET STORAGE EXTERNAL`;
    const log = newLog();
    const { node, source } = await capture(log);
    await node.apply(
      await define(database.url, 1n, [{ route: 1, table: 'products', key: 'shop', mode: SourceMode.MUTABLE }]),
    );
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    const big = 'x'.repeat(10_000);
    await database.sql`INSERT INTO products VALUES (1, 7, ${big})`;
    await database.sql`UPDATE products SET id = 2 WHERE id = 1`;
    await database.sql`UPDATE products SET shop = 8 WHERE id = 2`;
    await database.sql`DELETE FROM products WHERE id = 2`;
    await database.sql`INSERT INTO products VALUES (3, 9, NULL)`;
    await database.sql`TRUNCATE products`;
    await expect
      .poll(
        async () => (await recordsOf(log)).every((records) => records.some(({ kind }) => kind.case === 'truncate')),
        patient,
      )
      .toBe(true);
    const changes = (await changesOf(log)).sort(
      (a, b) =>
        Number(must(a.sequence).major - must(b.sequence).major) || must(a.sequence).part - must(b.sequence).part,
    );
    expect(
      changes.map(({ operation, row }) => [operation, valuesOf({ row } as never).map((v) => (v === big ? 'big' : v))]),
    ).toEqual([
      [Operation.INSERT, [1n, 7n, 'big']],
      [Operation.UPDATE, [2n, 7n, 'big']],
      [Operation.UPDATE, [2n, 8n, 'big']],
      [Operation.DELETE, []],
      [Operation.DELETE, []],
      [Operation.INSERT, [3n, 9n, null]],
    ]);
    expect(changes.map(({ sequence }) => sequence?.part)).toEqual([0, 0, 0, 1, 0, 0]);
  });
});

describe('interruptions', () => {
  it('I1: acknowledges nothing that is not durable, and everything that is', async () => {
    let held: (() => void) | undefined;
    let hold = false;
    const log = newLog(() => (hold ? new Promise<void>((resolve) => (held = resolve)) : Promise.resolve()));
    const { node, source } = await capture(log);
    await node.apply(await define(database.url, 1n, [EVENTS]));
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    hold = true;
    const [before] = await database.sql`SELECT pg_current_wal_lsn()::text AS lsn`;
    await insert(1, 5);
    await expect.poll(() => held !== undefined, patient).toBe(true);
    await database.sql`SELECT pg_logical_emit_message(false, 'noise', 'x')`;
    // Through several keepalives and statuses:
    await systemClock.sleep(2_500);
    expect(await confirmedLsn()).toBeLessThanOrEqual(must(parseLsn(String(before?.['lsn']))));
    hold = false;
    held?.();
    const [after] = await database.sql`SELECT pg_current_wal_lsn()::text AS lsn`;
    await expect.poll(confirmedLsn, patient).toBeGreaterThanOrEqual(must(parseLsn(String(after?.['lsn']))));
    expect(await idsOf(log, 1)).toEqual(range(5));
  });

  it('goes on after a stop at any moment, without loss and without repetition', async () => {
    await insert(1, 3_000);
    const log = newLog(() => systemClock.sleep(1));
    const definitions = await define(database.url, 1n, [EVENTS]);
    let next = 3_001;
    for (let round = 0; round < 12; round++) {
      const running = await capture(log);
      await running.node.apply(definitions);
      await systemClock.sleep(round * 15);
      await insert(next, next + 99);
      next += 100;
      await running.stop();
    }
    await capture(log);
    await expect.poll(async () => (await idsOf(log, 1)).length, patient).toBe(next - 1);
    expect(await idsOf(log, 1)).toEqual(range(next - 1));
    expect(new Set((await changesOf(log)).map(({ generation }) => generation))).toEqual(new Set([1]));
  });

  it('closes the gap that a failed append left, by sending again', async () => {
    let fail = 0;
    const log = newLog(() => (fail-- === 1 ? Promise.reject(new Error('disk full')) : Promise.resolve()));
    const first = await capture(log);
    await first.node.apply(await define(database.url, 1n, [EVENTS]));
    await expect.poll(() => first.source.status().phase, patient).toBe(SourceState.STREAMING);
    await insert(1, 20);
    fail = 2;
    for (let id = 21; id <= 60; id++) await insert(id, id);
    await expect(first.ended).rejects.toThrow('disk full');
    await capture(log);
    await expect.poll(() => idsOf(log, 1), patient).toEqual(range(60));
  });

  it('tells of a failed append also when the definitions change at that moment', async () => {
    let node: Capture['node'] | undefined;
    let fail = false;
    const next = { ...(await define(database.url, 1n, [EVENTS])), generation: 2n };
    const log = newLog(async () => {
      if (!fail) return;
      fail = false;
      await must(node).apply(next);
      throw new Error('disk full');
    });
    const running = await capture(log);
    node = running.node;
    await node.apply(await define(database.url, 1n, [EVENTS]));
    await expect.poll(() => running.source.status().phase, patient).toBe(SourceState.STREAMING);
    fail = true;
    await insert(1, 1);
    await expect(running.ended).rejects.toThrow('disk full');
  });

  it('survives a crash of the database', async () => {
    const own = temporaryDirectory();
    let db = await startPostgres({ directory: own.path, settings: { wal_sender_timeout: '3s' } });
    const { port } = db;
    const outside = database;
    database = await createDatabase(db.url);
    try {
      await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, at timestamptz DEFAULT now(), note text)`;
      const log = newLog();
      const { node } = await capture(log);
      await node.apply(await define(database.url, 1n, [EVENTS]));
      await insert(1, 100);
      await expect.poll(() => idsOf(log, 1), patient).toEqual(range(100));
      await db.kill();
      db = await startPostgres({ directory: own.path, port, settings: { wal_sender_timeout: '3s' } });
      await insert(101, 150);
      await expect.poll(() => idsOf(log, 1), patient).toEqual(range(150));
      await captures[0]?.stop();
    } finally {
      await database.sql.end();
      await db.stop();
      own.remove();
      database = outside;
    }
  });

  it('I1: notices a database that stopped without a word, says so, and goes on when it does', async () => {
    const log = newLog();
    const { node, source } = await capture(log);
    await node.apply(await define(database.url, 1n, [EVENTS]));
    await insert(1, 50);
    await expect.poll(() => idsOf(log, 1), patient).toEqual(range(50));
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    const [row] = await database.sql`SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = ${SLOT}`;
    const walSender = Number(row?.['pid']);
    expect(walSender).toBeGreaterThan(1); // 0 would be this process and all of its group
    process.kill(walSender, 'SIGSTOP');
    try {
      await insert(51, 80);
      await expect.poll(() => source.status().problem?.code, patient).toBe('SOURCE_UNREACHABLE');
      // Its connection is given up, but the slot is still its own.
      await expect.poll(() => source.status().problem?.remedy, patient).toContain('Another process reads');
      expect(await idsOf(log, 1)).toEqual(range(50));
    } finally {
      process.kill(walSender, 'SIGCONT');
    }
    await expect.poll(() => idsOf(log, 1), patient).toEqual(range(80));
    expect(source.status().problem).toBeUndefined();
  });

  it('R4: holds a bounded amount while the log stalls, and the connection lives on', async () => {
    let stalled = true;
    let release: (() => void)[] = [];
    const log = newLog((partition) =>
      stalled && partition >= 0 && started ? new Promise<void>((resolve) => release.push(resolve)) : Promise.resolve(),
    );
    let started = false;
    const { node, source } = await capture(log, { inFlightBytesMax: 256 * 1024 });
    await node.apply(await define(database.url, 1n, [EVENTS]));
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    started = true;
    // 40 MB in one transaction: far beyond what may be held.
    await database.sql`INSERT INTO events (id, user_id, note) SELECT i, i % 7, repeat('x', 1000) FROM generate_series(1, 40000) i`;
    await expect.poll(() => release.length, patient).toBeGreaterThan(0);
    const rows = source.status().rows;
    await systemClock.sleep(7_000); // twice wal_sender_timeout
    expect(source.status().phase).toBe(SourceState.STREAMING);
    expect(source.status().rows).toBeLessThan(3_000);
    expect(source.status().rows - rows).toBeLessThan(3_000);
    stalled = false;
    for (const go of release) go();
    release = [];
    await expect.poll(() => source.status().rows, patient).toBe(40_000);
    await expect
      .poll(async () => (await log.describe()).partitions.reduce((sum, { end }) => sum + end, 0), patient)
      .toBeGreaterThan(40_000);
    expect(await idsOf(log, 1)).toEqual(range(40_000));
  });
});
