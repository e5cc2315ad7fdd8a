/**
 * Goal: a real Postgres that lost its slot, or was put back to an earlier state, is read anew by itself, and what features are
 * made of is then what its tables hold. Method: slots dropped and invalidated; a server's files copied while it was stopped
 * and put back later, as they are and with recovery (a new timeline).
 */
import { execFileSync } from 'node:child_process';
import { chownSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres from 'postgres';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Capture, define, SLOT, startCapture, temporaryDirectory } from '../testing/capture.ts';
import { liveImages } from '../testing/live-images.ts';

const patient = { timeout: 40_000, interval: 50 };
const SETTINGS = {
  wal_sender_timeout: '3s',
  max_slot_wal_keep_size: '32MB',
  max_wal_size: '64MB',
  min_wal_size: '32MB',
};

let home: string;
let server: RunningPostgres;
let sql: postgres.Sql;
let directory: { path: string; remove(): void };
let log: MemoryLog;
let captures: Capture[];

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'freshet-restored-'));
  server = await startPostgres({ directory: join(home, 'pg'), settings: SETTINGS });
  sql = connect();
  directory = temporaryDirectory();
  log = createMemoryLog({ partitions: 2, clock: systemClock });
  captures = [];
  await sql`CREATE TABLE orders (id int8, user_id int8, PRIMARY KEY (user_id, id))`;
  await insert(1, 500);
});
afterEach(async () => {
  await Promise.all(captures.map((capture) => capture.stop().catch(() => {})));
  await sql.end();
  await server.stop();
  directory.remove();
  rmSync(server.dataDirectory, { recursive: true, force: true });
  rmSync(home, { recursive: true, force: true });
});

function connect(): postgres.Sql {
  return postgres(server.url, { max: 1, onnotice: () => {} });
}

async function insert(from: number, to: number): Promise<void> {
  await sql`INSERT INTO orders SELECT i, i % 7 FROM generate_series(${from}::int8, ${to}::int8) i`;
}

async function capture(): Promise<Capture> {
  const started = await startCapture({ url: server.url, directory: directory.path, log });
  captures.push(started);
  const routes = [{ route: 1, table: 'orders', key: 'user_id', mode: SourceMode.MUTABLE }];
  await started.node.apply(await define(server.url, 1n, routes));
  return started;
}

/** Waits until the log is the table. */
async function expectSame(generation: number): Promise<void> {
  const rows = await sql`SELECT id, user_id FROM orders`;
  const images = rows.map(({ id, user_id }) => JSON.stringify([String(id), String(user_id)])).sort();
  await expect.poll(async () => (await liveImages(log, 1, 2)).images, patient).toEqual(images);
  expect(await liveImages(log, 1, 2)).toMatchObject({ generation, misses: 0 });
}

async function expectRebuilt({ source, conditions }: Capture, generation: number, why: RegExp): Promise<void> {
  await expect.poll(async () => (await liveImages(log, 1, 2)).generation, patient).toBe(generation);
  await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
  await expectSame(generation);
  await sql`DELETE FROM orders WHERE id % 10 = 0`;
  await insert(10_000, 10_010);
  await expectSame(generation);
  const [notice, ...others] = conditions.list();
  expect(notice).toMatchObject({ id: 'source/shop/history', code: 'SLOT_LOST' });
  expect(notice?.message).toMatch(why);
  expect(others).toEqual([]);
}

describe('a real Postgres whose history is lost', () => {
  it('F2: the slot was dropped while ingest was away', async () => {
    const before = await capture();
    await expectSame(1);
    await before.stop();
    await sql`DELETE FROM orders WHERE id < 100`;
    await sql`SELECT pg_drop_replication_slot(${SLOT})`;
    await expectRebuilt(await capture(), 2, /is gone/);
  });

  it('F2: the slot was invalidated, because ingest was away for more than max_slot_wal_keep_size', async () => {
    const before = await capture();
    await expectSame(1);
    await before.stop();
    await sql`DELETE FROM orders WHERE id < 100`;
    await sql`CREATE TABLE filler (n int8)`;
    for (let i = 0; i < 8; i++) {
      await sql`INSERT INTO filler VALUES (${i})`;
      await sql`SELECT pg_switch_wal()`;
      await sql`CHECKPOINT`;
    }
    const [slot] = await sql`SELECT wal_status FROM pg_replication_slots WHERE slot_name = ${SLOT}`;
    expect(slot?.['wal_status']).toBe('lost');
    await expectRebuilt(await capture(), 2, /was invalidated/);
  });

  /** Stops the server, runs work on its files, and starts it again where it was. */
  async function restart(work: (data: string) => void): Promise<void> {
    await sql.end();
    await server.stop();
    work(server.dataDirectory);
    server = await startPostgres({
      directory: join(home, 'pg'),
      port: server.port,
      settings: { ...SETTINGS, restore_command: 'false' },
    });
    sql = connect();
  }

  it.each([
    ['put back as it was', false, /was put back to an earlier state/],
    ['restored, with recovery to a point in time', true, /is on timeline 2 now/],
  ] as const)('F2: the database was %s', async (_name, recovers, why) => {
    const running = await capture();
    await expectSame(1);
    const copy = `${server.dataDirectory}.copy`;
    await restart((data) => execFileSync('cp', ['-a', data, copy]));
    await insert(1_001, 3_000);
    await sql`DELETE FROM orders WHERE id < 300`;
    await expectSame(1);
    await restart((data) => {
      rmSync(data, { recursive: true });
      renameSync(copy, data);
      if (!recovers) return;
      const { uid, gid } = statSync(data);
      writeFileSync(join(data, 'recovery.signal'), '');
      chownSync(join(data, 'recovery.signal'), uid, gid);
    });
    await expect.poll(async () => (await sql`SELECT pg_is_in_recovery() AS is`)[0]?.['is'], patient).toBe(false);
    await insert(5_000, recovers ? 9_000 : 5_002);
    await expectRebuilt(running, 2, why);
  });

  it('goes on where it was after a crash, and after a restart in order', async () => {
    const running = await capture();
    await expectSame(1);
    await insert(1_001, 1_100);
    await sql.end();
    await server.kill();
    server = await startPostgres({ directory: join(home, 'pg'), port: server.port, settings: SETTINGS });
    sql = connect();
    await sql`DELETE FROM orders WHERE id < 100`;
    await expectSame(1);
    await restart(() => {});
    await sql`DELETE FROM orders WHERE id < 200`;
    await expectSame(1);
    expect(running.conditions.list()).toEqual([]);
  });
});
