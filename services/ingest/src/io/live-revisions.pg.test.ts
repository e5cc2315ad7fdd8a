/**
 * Goal: on a real Postgres, definitions come into force while the stream of a database goes on: one connection of the server
 * serves all of them, every commit comes once, and a process that is killed in the middle of it all has lost and doubled nothing.
 * Method: transactions over three tables the whole time, twenty applies that add and drop routes, contracts and columns that are
 * read; the server's own view of who streams; then the same against a process that is killed after each few of them.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toBinary } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { openSegmentLog } from '@freshet/log/segment-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { parseLsn } from '../core/lsn.ts';
import {
  createDatabase,
  define,
  type RouteRequest,
  SLOT,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../testing/capture.ts';
import { foldLog } from '../testing/folded-log.ts';

const PROGRAM = fileURLToPath(new URL('live-revisions.program.ts', import.meta.url));
const ROWS = 2_000;
const EVENTS: RouteRequest = { route: 1, table: 'events', key: 'id' };
const HISTORY: RouteRequest = { route: 2, table: 'history', key: 'id' };
const ITEMS: RouteRequest = { route: 3, table: 'items', key: 'id', mode: SourceMode.MUTABLE, reads: ['amount'] };
/** What is wanted beside the events, time after time. */
const WANTED: readonly (readonly RouteRequest[])[] = [
  [EVENTS, ITEMS],
  [EVENTS, HISTORY, ITEMS],
  [EVENTS, HISTORY, { ...ITEMS, reads: ['amount', 'note'] }],
  [EVENTS, HISTORY],
  [EVENTS],
];
const patient = { timeout: 60_000, interval: 20 };

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let random: Random;
let commits: number;

beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
  random = new Random('revisions');
  commits = 0;
  await database.sql.unsafe(
    `CREATE TABLE events (id int8 PRIMARY KEY, n int8);
     CREATE TABLE history (id int8 PRIMARY KEY, n int8);
     CREATE TABLE items (id int8 PRIMARY KEY, amount int8, note text);
     INSERT INTO history SELECT i, i FROM generate_series(1, ${ROWS}) i;
     INSERT INTO items SELECT i, 0, repeat(md5(i::text), 90) FROM generate_series(1, ${ROWS}) i`,
  );
});
afterEach(async () => {
  await database.drop();
  directory.remove();
});

async function commit(): Promise<void> {
  const [n, id, kind] = [++commits, random.between(1, ROWS), random.between(1, 4)];
  await database.sql.begin(async (sql) => {
    await sql`INSERT INTO events VALUES (${n}, ${n})`;
    await sql`INSERT INTO history VALUES (${ROWS + n}, ${n})`;
    if (kind === 1) await sql`DELETE FROM items WHERE id = ${id}`;
    else if (kind === 2) await sql`INSERT INTO items VALUES (${id}, ${n}, ${String(n)}) ON CONFLICT DO NOTHING`;
    // Its note, which is large and not changed, is not sent.
    else await sql`UPDATE items SET amount = ${n} WHERE id BETWEEN ${id} AND ${id + 3}`;
  });
}

/** Commits one transaction after the other until the returned function is called. */
function traffic(): () => Promise<void> {
  let goesOn = true;
  const flowing = (async () => {
    while (goesOn) await commit();
  })();
  return async () => {
    goesOn = false;
    await flowing;
  };
}

async function lsn(): Promise<bigint> {
  const [row] = await database.sql`SELECT pg_current_wal_insert_lsn()::text AS lsn`;
  return must(parseLsn(String(row?.['lsn'])));
}

/** The server's process that streams our slot. */
async function walsender(): Promise<number> {
  const [row] = await database.sql`SELECT active_pid FROM pg_replication_slots WHERE slot_name = ${SLOT}`;
  return Number(row?.['active_pid']);
}

/** The log, folded, is the tables; nothing was folded twice. */
async function expectWhole(log: Parameters<typeof foldLog>[0], requests: readonly RouteRequest[]): Promise<void> {
  const folded = await foldLog(log);
  for (const { route, table, mode } of requests) {
    const rows = [...must(folded.get(route)).rows.values()];
    const found = rows.map(({ values }) => values.slice(0, 2).map(Number)).sort((a, b) => must(a[0]) - must(b[0]));
    const [first, second] = table === 'items' ? ['id', 'amount'] : ['id', 'n'];
    const wanted = await database.sql.unsafe(`SELECT ${first}, ${second} FROM ${table} ORDER BY 1`);
    expect(found, table).toEqual(wanted.map((row) => [Number(row[first]), Number(row[second])]));
    if (mode !== SourceMode.MUTABLE) expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
  }
}

it('I1, F3: one connection serves twenty sets of definitions under traffic, and every commit comes once', async () => {
  const log = createMemoryLog({ partitions: 3, clock: systemClock });
  const captured = await startCapture({ url: database.url, directory: directory.path, log });
  const { node, source, conditions } = captured;
  const told = () => {
    const { routes, phase } = source.status();
    return { routes, phase, conditions: conditions.list().map(({ id, message }) => `${id}: ${message}`) };
  };
  try {
    await node.apply(await define(database.url, 1n, [EVENTS]));
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    const pid = await walsender();
    expect(pid).toBeGreaterThan(0);
    const end = traffic();
    let wanted: readonly RouteRequest[] = [EVENTS];
    for (let i = 0; i < 20; i++) {
      wanted = must(WANTED[i % WANTED.length]);
      await node.apply(await define(database.url, BigInt(i + 2), wanted));
      // Some follow at once, in the middle of what the one before began.
      if (i % 3 === 0) continue;
      const here = await lsn();
      await expect.poll(() => source.status().durableLsn >= here, patient).toBe(true);
      if (i % 3 === 2) await expect.poll(told, patient).toMatchObject({ routes: wanted.map((one) => one.route) });
      expect(await walsender()).toBe(pid);
    }
    wanted = [EVENTS, HISTORY, ITEMS];
    await node.apply(await define(database.url, 22n, wanted));
    await expect.poll(told, patient).toMatchObject({ routes: [1, 2, 3], conditions: [] });
    await end();
    const here = await lsn();
    await expect.poll(() => source.status().durableLsn >= here, patient).toBe(true);
    expect(await walsender()).toBe(pid);
    expect(source.newestGeneration(1)).toBe(1);
    expect(commits).toBeGreaterThan(20);
    await expectWhole(log, wanted);
  } finally {
    await captured.stop();
  }
}, 120_000);

interface Said {
  readonly generation: string;
  readonly routes: readonly number[];
  readonly durableLsn: string;
}

async function launch(): Promise<ChildProcess> {
  const child = fork(PROGRAM, [database.url, directory.path], { env: { PATH: process.env['PATH'] } });
  await once(child, 'message');
  return child;
}

async function ask(child: ChildProcess, definitions?: DefinitionSet): Promise<Said> {
  const said = once(child, 'message');
  const bytes = definitions && Buffer.from(toBinary(DefinitionSetSchema, definitions)).toString('base64');
  child.send({ definitions: bytes });
  const [answer] = (await said) as [Said];
  return answer;
}

it('I1, F3, L1: loses and doubles nothing by SIGKILL in the middle of changes', async () => {
  let child = await launch();
  const end = traffic();
  try {
    let generation = 0n;
    await ask(child, await define(database.url, ++generation, [EVENTS]));
    await expect.poll(async () => (await ask(child)).routes, patient).toEqual([1]);
    for (let i = 0; i < 12; i++) {
      await ask(child, await define(database.url, ++generation, must(WANTED[i % WANTED.length])));
      await systemClock.sleep(random.between(0, 120));
      if (i % 2 === 0) continue;
      child.kill('SIGKILL');
      await once(child, 'exit');
      child = await launch();
    }
    const wanted = [EVENTS, HISTORY, ITEMS];
    await ask(child, await define(database.url, ++generation, wanted));
    await expect.poll(async () => (await ask(child)).routes, patient).toEqual([1, 2, 3]);
    await end();
    const here = await lsn();
    await expect.poll(async () => BigInt((await ask(child)).durableLsn) >= here, patient).toBe(true);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const log = await openSegmentLog({
      directory: join(directory.path, 'log'),
      partitions: 3,
      clock: systemClock,
      minFreeBytes: 0,
    });
    try {
      await expectWhole(log, wanted);
    } finally {
      await log.close();
    }
  } finally {
    child.kill('SIGKILL');
    await end();
  }
}, 180_000);
