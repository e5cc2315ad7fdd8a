/**
 * Goal: a partition that tells less of old rows than its table, by which the stream describes them, puts nothing wrong into the log:
 * a table is refused as long as it has one, and held from the first row on that one may have told too little of, until it is in
 * order and read anew. What tells enough needs nothing.
 * Method: a real Postgres; partitions made before the start and behind it, with and without an identity of their own; rows updated
 * with large values unchanged, moved to other entities, deleted; the log read by an oracle without the engine, compared with SELECT.
 */
import { readFileSync } from 'node:fs';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  type Capture,
  createDatabase,
  define,
  SLOT,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../testing/capture.ts';
import { liveImages } from '../testing/live-images.ts';
import { readRowsEstimate, readTable } from './catalog.ts';
import { diagnoseDatabases } from './diagnose.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';
import { type PgConnection, withConnection } from './pg/pg-connection.ts';
import { describeTables } from './table-describer.ts';
import { readFills } from './table-fills.ts';

const patient = { timeout: 20_000, interval: 30 };
const COLUMNS = ['id', 'at', 'user_id', 'code', 'amount', 'note'] as const;
const FULL = 'ALTER TABLE public.parts_1 REPLICA IDENTITY FULL;';
const LATER = 'CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (10) TO (20)';
/** Those below 10 are of parts_0, the others of parts_1. */
const rows = (from: number, to: number): string =>
  `INSERT INTO parts SELECT n, n, n % 3, n, n, repeat('large' || n, 1000) FROM generate_series(${from}, ${to}) n`;
/** In parts_1: large values that stay, another entity, another key, and rows that go. */
const CHANGES = [
  'UPDATE parts SET amount = amount + 100 WHERE id = 10',
  'UPDATE parts SET user_id = user_id + 10 WHERE id IN (11, 12)',
  'UPDATE parts SET id = id + 100, user_id = user_id + 20 WHERE id IN (13, 14)',
  'DELETE FROM parts WHERE id IN (15, 16)',
];

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let captures: Capture[] = [];
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
  captures = [];
});
afterEach(async () => {
  await Promise.all(captures.map((one) => one.stop().catch(() => {})));
  await database.drop();
  directory.remove();
});

async function createParts(key: string, ...more: readonly string[]): Promise<void> {
  await database.sql.unsafe(`
    CREATE TABLE parts (id int8 NOT NULL, at int8 NOT NULL, user_id int8 NOT NULL, code int8 NOT NULL, amount int8, note text, ${key})
      PARTITION BY RANGE (at);
    ALTER TABLE parts ALTER note SET STORAGE EXTERNAL;
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (10)`);
  for (const statement of more) await database.sql.unsafe(statement);
}

async function capture(): Promise<{ running: Capture; log: MemoryLog }> {
  const log = createMemoryLog({ partitions: 3, clock: systemClock });
  const running = await startCapture({ url: database.url, directory: directory.path, log });
  captures.push(running);
  const route = { route: 1, table: 'parts', key: 'user_id', mode: SourceMode.MUTABLE, reads: ['amount', 'note'] };
  await running.node.apply(await define(database.url, 1n, [route]));
  return { running, log };
}

function described(mode: SourceMode = SourceMode.MUTABLE) {
  const connect = <T>(signal: AbortSignal, work: (connection: PgConnection) => Promise<T>): Promise<T> =>
    withConnection({ target: parseConnectionUrl(database.url), applicationName: 'test' }, signal, work);
  const question = { source: 's', database: 'shop', schema: 'public', table: 'parts', mode };
  return describeTables([{ name: 'shop', connect }], [question], AbortSignal.timeout(10_000));
}
async function diagnosed(): Promise<(string | undefined)[]> {
  const target = parseConnectionUrl(database.url);
  const [found] = await diagnoseDatabases(
    [{ name: 'shop', target, slotName: SLOT, tables: [{ schema: 'public', table: 'parts' }] }],
    { patienceMs: 10_000, clock: systemClock, signal: AbortSignal.timeout(20_000) },
  );
  return must(found?.named?.[0]?.problems).map(({ remedy }) => remedy);
}

const imagesOf = (log: MemoryLog) => liveImages(log, 1, COLUMNS.length);
async function expectSame(log: MemoryLog): Promise<void> {
  const texts = COLUMNS.map((column) => `coalesce(${column}::text, 'null') AS ${column}`);
  const found = await database.sql.unsafe(`SELECT ${texts.join(', ')} FROM parts`);
  const images = found.map((row) => JSON.stringify(COLUMNS.map((column) => String(row[column])))).sort();
  // Their values are large: short ones for people.
  await expect.poll(async () => (await imagesOf(log)).images.map(short), patient).toEqual(images.map(short));
  expect((await imagesOf(log)).images.every((image, i) => image === images[i])).toBe(true);
  expect((await imagesOf(log)).misses).toBe(0);
}
const short = (image: string): string => image.slice(0, 60);
const toldBy = ({ conditions }: Capture): string[] =>
  conditions.list().map(({ id, message, remedy }) => `${id}: ${message} → ${remedy}`);

it.each(CHANGES)('F2, C1: holds a table of which a later partition tells too little: %s', async (change) => {
  await createParts(
    'PRIMARY KEY (id, at)',
    'ALTER TABLE parts REPLICA IDENTITY FULL; ALTER TABLE parts_0 REPLICA IDENTITY FULL',
  );
  const { running, log } = await capture();
  await database.sql.unsafe(rows(0, 9));
  await expectSame(log);
  await database.sql.unsafe(LATER);
  await database.sql.unsafe(rows(10, 19));
  // What is inserted needs no old row.
  await expectSame(log);
  const before = (await imagesOf(log)).images;
  await database.sql.unsafe(change);
  await database.sql.unsafe('UPDATE parts SET amount = 7 WHERE id = 3');
  await expect
    .poll(() => running.quarantine.held, patient)
    .toMatchObject([{ route: 1, reason: 'identity', detail: expect.stringContaining(FULL) }]);
  await expect
    .poll(() => toldBy(running), patient)
    .toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^source\/shop\/held\/1: .*public\.parts_1 tells less/),
        expect.stringMatching(/^source\/shop\/keys: .*→ ALTER TABLE public\.parts_1 REPLICA IDENTITY FULL;/),
      ]),
    );
  expect((await imagesOf(log)).images.map(short)).toEqual(before.map(short));
  expect(await diagnosed()).toEqual([FULL]);
  await database.sql.unsafe(FULL);
  await expectSame(log);
  expect((await imagesOf(log)).generation).toBeGreaterThan(1);
  for (const statement of CHANGES) await database.sql.unsafe(statement);
  await expectSame(log);
  await expect.poll(() => running.quarantine.count, patient).toBe(0);
  await expect.poll(() => toldBy(running), patient).toEqual([]);
});

it('is refused as long as a partition tells less than its table, with the SQL, by plan and at the start', async () => {
  await createParts('PRIMARY KEY (id, at)', LATER, rows(0, 19));
  const told = async () => (await described())[0]?.problems.map(({ remedy }) => remedy);
  // Not by itself: that an old row is to tell more is the entity's.
  expect(await told()).toEqual([]);
  const { running, log } = await capture();
  const waiting = (): string | undefined => running.source.status().problem?.remedy;
  const both = 'ALTER TABLE public.parts_0 REPLICA IDENTITY FULL; ALTER TABLE public.parts_1 REPLICA IDENTITY FULL;';
  await expect.poll(waiting, patient).toBe(`ALTER TABLE public.parts REPLICA IDENTITY FULL; ${both}`);
  await database.sql.unsafe('ALTER TABLE parts REPLICA IDENTITY FULL');
  await expect.poll(waiting, patient).toBe(both);
  expect(await told()).toEqual([both]);
  await database.sql.unsafe('ALTER TABLE parts_0 REPLICA IDENTITY FULL');
  await expect.poll(waiting, patient).toBe(FULL);
  expect((await imagesOf(log)).images).toEqual([]);
  await database.sql.unsafe(must(waiting()));
  expect(await told()).toEqual([]);
  await expectSame(log);
  for (const statement of CHANGES) await database.sql.unsafe(statement);
  await expectSame(log);
  expect((await imagesOf(log)).generation).toBe(1);
  expect(running.quarantine.count).toBe(0);
  expect(toldBy(running)).toEqual([]);
});

const BY_INDEX =
  'CREATE UNIQUE INDEX parts_code ON parts (user_id, code, at); ALTER TABLE parts REPLICA IDENTITY USING INDEX parts_code';

it('F2, C1: holds a table that is told apart by an index, of which a later partition has its primary key only', async () => {
  await createParts(
    'PRIMARY KEY (id, at)',
    BY_INDEX,
    'ALTER TABLE parts_0 REPLICA IDENTITY USING INDEX parts_0_user_id_code_at_idx',
  );
  const { running, log } = await capture();
  await database.sql.unsafe(rows(0, 9));
  await expectSame(log);
  await database.sql.unsafe(LATER);
  await database.sql.unsafe(rows(10, 19));
  await expectSame(log);
  const before = (await imagesOf(log)).images;
  await database.sql.unsafe(`UPDATE parts SET user_id = user_id + 10, note = 'small' WHERE id IN (11, 12)`);
  await expect.poll(() => running.quarantine.held, patient).toMatchObject([{ route: 1, reason: 'identity' }]);
  expect((await imagesOf(log)).images.map(short)).toEqual(before.map(short));
  await database.sql.unsafe('ALTER TABLE parts_1 REPLICA IDENTITY USING INDEX parts_1_user_id_code_at_idx');
  await expectSame(log);
  await database.sql.unsafe(`UPDATE parts SET user_id = user_id + 10, note = 'small' WHERE id IN (13, 14)`);
  await expectSame(log);
});

it.each([
  ['its primary key, as its partitions are', []],
  ['its primary key, and a partition tells all', [FULL]],
])('F2: takes a table that is told apart by %s', async (_, more) => {
  await createParts('PRIMARY KEY (user_id, id, at)', LATER, ...more);
  const { running, log } = await capture();
  await database.sql.unsafe(rows(0, 19));
  await expectSame(log);
  await database.sql.unsafe(`UPDATE parts SET user_id = user_id + 10, note = 'small' WHERE id IN (3, 11, 12)`);
  await database.sql.unsafe(`UPDATE parts SET id = id + 100, note = 'small' WHERE id IN (4, 13, 14)`);
  await database.sql.unsafe('DELETE FROM parts WHERE id IN (5, 15, 16)');
  await expectSame(log);
  expect((await imagesOf(log)).generation).toBe(1);
  expect(running.quarantine.count).toBe(0);
  expect(toldBy(running)).toEqual([]);
});

it('I2, C1: takes no null of an old row for a value when its table alone was made FULL, which describes nothing anew', async () => {
  await createParts('PRIMARY KEY (user_id, id, at)', LATER);
  const { running, log } = await capture();
  await database.sql.unsafe(rows(0, 19));
  await expectSame(log);
  // Both are described now.
  await database.sql.unsafe(`UPDATE parts SET note = 'small' WHERE id IN (4, 14)`);
  await expectSame(log);
  await database.sql.unsafe('ALTER TABLE parts REPLICA IDENTITY FULL; ALTER TABLE parts_0 REPLICA IDENTITY FULL');
  await database.sql.unsafe('UPDATE parts SET id = id + 100 WHERE id = 13');
  await expect
    .poll(() => running.quarantine.held, patient)
    .toMatchObject([{ route: 1, reason: 'identity', detail: expect.stringContaining(FULL) }]);
  expect((await imagesOf(log)).images.filter((image) => image.includes('null'))).toEqual([]);
  await database.sql.unsafe(FULL);
  await expectSame(log);
  await database.sql.unsafe('UPDATE parts SET id = id + 100 WHERE id IN (3, 15)');
  await expectSame(log);
  await expect.poll(() => running.quarantine.count, patient).toBe(0);
});

it('ends the route while a partition has no identity at all, so that its own updates work', async () => {
  await createParts('PRIMARY KEY (user_id, id, at)');
  const { running, log } = await capture();
  await database.sql.unsafe(rows(0, 9));
  await expectSame(log);
  await database.sql.unsafe(`${LATER}; ALTER TABLE parts_1 REPLICA IDENTITY NOTHING`);
  await expect
    .poll(() => toldBy(running).join(), patient)
    .toMatch(
      /waiting\/1: .*\(public\.parts_1\) do not tell which row.* → ALTER TABLE public\.parts_1 REPLICA IDENTITY FULL;/,
    );
  await database.sql.unsafe(rows(10, 19));
  await database.sql.unsafe('UPDATE parts SET amount = 7');
  await database.sql.unsafe(FULL);
  await expectSame(log);
});

it('takes partitions that the event trigger of docs/running.md brings in order: made, and attached', async () => {
  await createParts('PRIMARY KEY (id, at)');
  const docs = readFileSync(new URL('../../../../docs/running.md', import.meta.url), 'utf8');
  const [sql] = /CREATE FUNCTION orders_identity[^`]*/.exec(docs) ?? [];
  await database.sql.unsafe(must(sql).replaceAll('public.orders', 'public.parts'));
  await database.sql.unsafe('ALTER TABLE parts REPLICA IDENTITY FULL');
  const { running, log } = await capture();
  await database.sql.unsafe(rows(0, 9));
  await expectSame(log);
  await database.sql.unsafe(LATER);
  await database.sql.unsafe(`CREATE TABLE apart (LIKE parts INCLUDING ALL);
    ALTER TABLE parts ATTACH PARTITION apart FOR VALUES FROM (20) TO (30)`);
  await database.sql.unsafe(rows(10, 29));
  await expectSame(log);
  for (const statement of CHANGES) await database.sql.unsafe(statement);
  await database.sql.unsafe('UPDATE parts SET user_id = user_id + 10 WHERE id > 25');
  await expectSame(log);
  expect(running.quarantine.count).toBe(0);
  expect(toldBy(running)).toEqual([]);
  // One that is renamed or gone keeps nobody from making tables.
  await database.sql.unsafe('ALTER TABLE parts RENAME TO former; DROP TABLE former');
  await database.sql.unsafe('CREATE TABLE parts (id int8)');
});

it('is seen in the catalog while a partition is locked, also by a table in between', async () => {
  await createParts(
    'PRIMARY KEY (id, at)',
    'CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (at)',
    'CREATE TABLE parts_10 PARTITION OF parts_1 FOR VALUES FROM (10) TO (15)',
    'ALTER TABLE parts_0 REPLICA IDENTITY FULL',
  );
  const target = { target: parseConnectionUrl(database.url), applicationName: 'test' };
  await database.sql.unsafe(`${rows(0, 14)}; ANALYZE parts`);
  const [facts, about, fills] = await database.sql.begin(async (lock) => {
    await lock.unsafe('LOCK TABLE ONLY parts_1, parts_0, parts_10 IN ACCESS EXCLUSIVE MODE');
    return withConnection(target, AbortSignal.timeout(20_000), async (connection) => {
      await connection.query(`SET lock_timeout = '1s'`);
      const table = must(await readTable(connection, 'public', 'parts'));
      const fills = await readFills(connection, [table.oid]);
      return [table, await readRowsEstimate(connection, 'public', 'parts'), fills.get(table.oid)] as const;
    });
  });
  const identity = ['id', 'at'];
  expect(about).toBe(15n);
  const files = await database.sql.unsafe(
    `SELECT md5(string_agg(relfilenode::text, ',' ORDER BY oid)) FROM pg_class WHERE relname IN ('parts_0', 'parts_10')`,
  );
  expect(fills?.file).toBe(files[0]?.['md5']);
  expect(facts.leaves).toEqual([{ schema: 'public', table: 'parts_10', replicaIdentity: 'd', identity }]);
});

it('is refused by plan when a partition is elsewhere, of which nothing is in the log', async () => {
  await database.sql.unsafe(`CREATE TABLE parts (id int8) PARTITION BY RANGE (id);
    CREATE UNLOGGED TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
    CREATE FOREIGN TABLE parts_1 PARTITION OF parts FOR VALUES FROM (10) TO (20) SERVER nowhere`);
  for (const mode of [SourceMode.APPEND, SourceMode.MUTABLE])
    expect((await described(mode))[0]?.problems.map(({ remedy }) => remedy)).toContain(
      'ALTER TABLE public.parts_0 SET LOGGED; -- and detach public.parts_1, which the server keeps elsewhere',
    );
});

it('C1: holds a joined table as well, and reads it anew', async () => {
  await createParts(
    'PRIMARY KEY (id, at)',
    'ALTER TABLE parts REPLICA IDENTITY FULL; ALTER TABLE parts_0 REPLICA IDENTITY FULL',
  );
  const log = createMemoryLog({ partitions: 3, clock: systemClock });
  const running = await startCapture({ url: database.url, directory: directory.path, log });
  captures.push(running);
  const definitions = await define(database.url, 1n, [
    { route: 1, table: 'parts', key: 'id', mode: SourceMode.MUTABLE },
  ]);
  const plan = must(definitions.routes[0]);
  plan.entity = undefined;
  plan.keyColumns = ['id', 'at'];
  await running.node.apply(definitions);
  await database.sql.unsafe(rows(0, 9));
  const written = async (): Promise<number> => (await log.records(0)).length;
  await expect.poll(written, patient).toBeGreaterThan(9);
  await database.sql.unsafe(LATER);
  await database.sql.unsafe(rows(10, 19));
  await database.sql.unsafe(must(CHANGES[0]));
  await expect.poll(() => running.quarantine.held, patient).toMatchObject([{ route: 1, reason: 'identity', count: 1 }]);
  await database.sql.unsafe(FULL);
  await expect.poll(() => running.quarantine.count, patient).toBe(0);
  for (const statement of CHANGES) await database.sql.unsafe(statement);
  await expect.poll(() => toldBy(running), patient).toEqual([]);
  expect(running.quarantine.count).toBe(0);
});
