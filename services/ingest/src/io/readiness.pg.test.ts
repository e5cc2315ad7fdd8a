/**
 * Goal: a table that is not ready, or is not the one it was, waits or is read anew alone, and the others of its database flow.
 * Method: a real Postgres, whose tables are broken while they are captured and in between; the remedies are run as printed.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Capture,
  type CaptureOptions,
  changesOf,
  createDatabase,
  define,
  idsOf,
  SLOT,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../testing/capture.ts';
import { liveImages } from '../testing/live-images.ts';

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

async function start(
  url: string,
  more: Partial<CaptureOptions> = {},
): Promise<{ capture: Capture; log: ReturnType<typeof createMemoryLog> }> {
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  const capture = await startCapture({ url, directory: directory.path, log, ...more });
  captures.push(capture);
  return { capture, log };
}

/** A role that may log in and nothing else. */
async function createRole(): Promise<string> {
  const name = `${database.name}_role`;
  await database.sql.unsafe(`CREATE ROLE ${name} LOGIN PASSWORD 'secret word'`);
  const url = new URL(database.url);
  url.username = name;
  url.password = 'secret word';
  return url.href;
}

async function dropRole(): Promise<void> {
  const name = `${database.name}_role`;
  await database.sql.unsafe(`DROP OWNED BY ${name} CASCADE; DROP ROLE ${name}`);
}

describe('a table that is not ready', () => {
  const events = { route: 1, table: 'events', key: 'user_id' } as const;
  const orders = { route: 2, table: 'orders', key: 'user_id' } as const;
  const items = { route: 3, table: 'items', key: 'user_id', mode: SourceMode.MUTABLE } as const;
  const waiting = ({ conditions }: Capture, route: number) =>
    conditions.list().find(({ id }) => id === `source/shop/waiting/${route}`);

  async function createTables(): Promise<void> {
    await database.sql.unsafe(`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8);
      CREATE TABLE orders (id int8 PRIMARY KEY, user_id int8);
      CREATE TABLE items (id int8, user_id int8, PRIMARY KEY (user_id, id));
      INSERT INTO events VALUES (1, 1); INSERT INTO orders VALUES (1, 1); INSERT INTO items VALUES (1, 1)`);
  }

  it('waits alone for rights, is told with the SQL for them, and comes when it was run; also over a restart', async () => {
    await createTables();
    const url = await createRole();
    const role = new URL(url).username;
    await database.sql.unsafe(`ALTER ROLE ${role} WITH REPLICATION; GRANT CREATE ON DATABASE ${database.name} TO ${role};
      ALTER TABLE events OWNER TO ${role}`);
    const { capture, log } = await start(url);
    let running = capture;
    try {
      await running.node.apply(await define(database.url, 1n, [events]));
      await expect.poll(() => running.source.status().phase, patient).toBe(SourceState.STREAMING);
      await running.node.apply(await define(database.url, 2n, [events, orders]));
      await expect.poll(() => waiting(running, 2)?.message, patient).toContain('may not read public.orders');
      await database.sql`INSERT INTO events VALUES (2, 1)`;
      await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
      await running.stop();
      running = await startCapture({ url, directory: directory.path, log });
      captures.push(running);
      await database.sql`INSERT INTO events VALUES (3, 1)`;
      await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3]);
      const first = must(waiting(running, 2));
      expect(first).toMatchObject({ code: 'SOURCE_NOT_READY' });
      expect(running.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1] });
      // May be read, and may not be published by us.
      await database.sql.unsafe(first.remedy);
      await expect.poll(() => waiting(running, 2)?.message, patient).toContain('must be owner of table orders');
      await database.sql.unsafe(must(waiting(running, 2)).remedy.replace(/^As[^:]*: /, ''));
      await expect.poll(() => idsOf(log, 2), patient).toEqual([1]);
      await expect.poll(() => waiting(running, 2), patient).toBeUndefined();
      await database.sql`INSERT INTO orders VALUES (2, 1)`;
      await expect.poll(() => idsOf(log, 2), patient).toEqual([1, 2]);
      expect(running.source.newestGeneration(1)).toBe(1);
    } finally {
      await running.stop();
      await dropRole();
    }
  });

  it('holds up no other of those that come with it, nor one that was built before, when nothing is live yet', async () => {
    await createTables();
    const definitions = await define(database.url, 1n, [events, orders, items]);
    await database.sql.unsafe('ALTER TABLE items REPLICA IDENTITY NOTHING; ALTER TABLE orders SET UNLOGGED');
    const { capture, log } = await start(database.url);
    await capture.node.apply(definitions);
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1]);
    await expect.poll(() => capture.source.status().routes, patient).toEqual([1]);
    expect(waiting(capture, 3)?.message).toContain('does not tell which row an UPDATE or DELETE is about');
    for (const route of [2, 3]) await database.sql.unsafe(must(waiting(capture, route)).remedy);
    await expect.poll(() => capture.source.status().routes, patient).toEqual([1, 2, 3]);
    await database.sql`UPDATE items SET id = 2`;
    await expect.poll(async () => (await liveImages(log, 3, 2)).images, patient).toEqual(['["2","1"]']);
  });

  it('leaves the stream alone when its table is broken or gone while it is live, and while nothing ran', async () => {
    await createTables();
    const { capture, log } = await start(database.url);
    let running = capture;
    await running.node.apply(await define(database.url, 1n, [events, orders, items]));
    await expect.poll(() => running.source.status().routes, patient).toEqual([1, 2, 3]);
    const walsender = async (): Promise<unknown> =>
      (await database.sql`SELECT active_pid FROM pg_replication_slots WHERE slot_name = ${SLOT}`)[0]?.['active_pid'];
    await expect.poll(() => running.source.status().phase, patient).toBe(SourceState.STREAMING);
    const pid = await walsender();
    expect(pid).not.toBeNull();
    await database.sql.unsafe('ALTER TABLE items REPLICA IDENTITY NOTHING; ALTER TABLE orders RENAME TO elsewhere');
    await expect
      .poll(() => [waiting(running, 2)?.code, waiting(running, 3)?.code], patient)
      .toEqual(['SOURCE_NOT_READY', 'SOURCE_NOT_READY']);
    // Not published any more, so that the source's own updates work again.
    await expect
      .poll(() => database.sql`UPDATE items SET id = 5`.then(() => 'updated', String), patient)
      .toBe('updated');
    await database.sql`INSERT INTO events VALUES (2, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
    expect(await walsender()).toBe(pid);
    await running.stop();
    running = await startCapture({ url: database.url, directory: directory.path, log });
    captures.push(running);
    await database.sql`INSERT INTO events VALUES (3, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3]);
    expect(running.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1] });
    await database.sql.unsafe('ALTER TABLE items REPLICA IDENTITY DEFAULT; ALTER TABLE elsewhere RENAME TO orders');
    await expect.poll(() => running.source.status().routes, patient).toEqual([1, 2, 3]);
    await database.sql`INSERT INTO orders VALUES (2, 1)`;
    await expect.poll(() => idsOf(log, 2), patient).toEqual([1, 2]);
    await expect.poll(async () => (await liveImages(log, 3, 2)).images, patient).toEqual(['["5","1"]']);
    expect([1, 2, 3].map((route) => running.source.newestGeneration(route))).toEqual([1, 2, 2]);
  });
});

describe('a table that is not the one it was', () => {
  const route = { route: 1, table: 'events', key: 'user_id' } as const;

  async function streaming(): Promise<{ capture: Capture; log: ReturnType<typeof createMemoryLog> }> {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`INSERT INTO events VALUES (1, 1)`;
    const { capture, log } = await start(database.url);
    await capture.node.apply(await define(database.url, 1n, [route]));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    return { capture, log };
  }

  async function replace(): Promise<void> {
    await database.sql`DROP TABLE events`;
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`INSERT INTO events VALUES (2, 1), (3, 1)`;
  }

  it('is read anew as a new generation when it was dropped and made again while streaming', async () => {
    const { log } = await streaming();
    await replace();
    await expect.poll(() => idsOf(log, 1), patient).toEqual([2, 3]);
    await database.sql`INSERT INTO events VALUES (4, 1)`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([2, 3, 4]);
  });

  it('is not read anew, again and again, when it was made again without a column of the contract', async () => {
    const { capture, log } = await streaming();
    await database.sql`DROP TABLE events`;
    await database.sql`CREATE TABLE events (user_id int8, other text)`;
    await database.sql`INSERT INTO events VALUES (2, 'x')`;
    const told = (): unknown => capture.conditions.list().find(({ id }) => id === 'source/shop/waiting/1');
    await expect.poll(told, patient).toMatchObject({
      code: 'CONTRACT_BROKEN',
      message: expect.stringContaining('column id (bigint) is gone') as string,
    });
    await capture.node.apply(await define(database.url, 2n, [route]));
    await expect.poll(() => idsOf(log, 1), patient).toEqual([2]);
  });

  it('is read anew when it was replaced, or out of the publication, while nothing ran', async () => {
    const { capture, log } = await streaming();
    await capture.stop();
    await replace();
    const second = await startCapture({ url: database.url, directory: directory.path, log, onLostHistory: 'halt' });
    captures.push(second);
    await expect.poll(() => idsOf(log, 1), patient).toEqual([2, 3]);
    await second.stop();
    await database.sql.unsafe(`ALTER PUBLICATION ${SLOT}_append DROP TABLE events`);
    await database.sql`INSERT INTO events VALUES (4, 1)`;
    const third = await startCapture({ url: database.url, directory: directory.path, log });
    captures.push(third);
    await expect.poll(() => idsOf(log, 1), patient).toEqual([2, 3, 4]);
    expect(new Set((await changesOf(log)).map(({ generation }) => generation))).toEqual(new Set([3]));
  });
});
