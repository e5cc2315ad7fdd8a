/**
 * Goal: of a partitioned table that is captured with its changes, what DDL does to rows through their partitions without telling
 * of any is noticed: the rows in the log come to be those of the table, by a new generation where nothing else can make them so,
 * and by none where nothing was lost: partitions that are made and filled day by day, a truncation that the stream tells, files
 * that are written anew with their rows.
 * Method: a real Postgres; DDL on partitions, of one level and of two, while it is captured and while ingest is down; the log
 * read by an oracle without the engine, compared with SELECT.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
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

const patient = { timeout: 15_000, interval: 30 };
/** As long as a table is looked at some times, and a stream that is idle is told where it is. */
const LOOKS_MS = 800;
const COLUMNS = ['id', 'day', 'user_id', 'amount'] as const;
/** A partition of its own kind: one that is there before it is a partition. */
const APART = 'CREATE TABLE apart (LIKE parts INCLUDING ALL)';
const ROWS_APART = 'INSERT INTO apart SELECT n, 50, n % 3, n FROM generate_series(300, 309) n';
const ATTACH = 'ALTER TABLE parts ATTACH PARTITION apart FOR VALUES FROM (50) TO (60)';

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let captures: Capture[] = [];
beforeAll(async () => {
  // The server is asked where it is every two seconds.
  server = await startPostgres({ settings: { wal_sender_timeout: '6s' } });
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
  captures = [];
  await database.sql.unsafe(`
    CREATE TABLE parts (id int8, day int8, user_id int8, amount int8, PRIMARY KEY (id, day, user_id)) PARTITION BY RANGE (day);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (10);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (10) TO (20);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id);
    CREATE TABLE parts_2_a PARTITION OF parts_2 FOR VALUES FROM (0) TO (15);
    CREATE TABLE parts_2_b PARTITION OF parts_2 FOR VALUES FROM (15) TO (1000);
    INSERT INTO parts SELECT n, n, n % 3, n FROM generate_series(0, 29) n;
    INSERT INTO parts SELECT n, 20, n % 3, n FROM generate_series(0, 14) n`);
});
afterEach(async () => {
  await Promise.all(captures.map((one) => one.stop().catch(() => {})));
  await database.drop();
  directory.remove();
});

async function capture(log: MemoryLog, definitions: DefinitionSet, tableCheckMs?: number): Promise<Capture> {
  const started = await startCapture({ url: database.url, directory: directory.path, log, tableCheckMs });
  captures.push(started);
  await started.node.apply(definitions);
  return started;
}
const define1 = (mode: SourceMode): Promise<DefinitionSet> =>
  define(database.url, 1n, [{ route: 1, table: 'parts', key: 'user_id', mode, reads: ['amount'] }]);
/** The rows of the table as the model writes them. */
const rowsOf = async (): Promise<string[]> => {
  const texts = COLUMNS.map((column) => `coalesce(${column}::text, 'null') AS ${column}`);
  const rows = await database.sql.unsafe(`SELECT ${texts.join(', ')} FROM parts`);
  return rows.map((row) => JSON.stringify(COLUMNS.map((column) => String(row[column])))).sort();
};
const imagesOf = (log: MemoryLog) => liveImages(log, 1, COLUMNS.length);
const expectSame = async (log: MemoryLog): Promise<void> => {
  const rows = await rowsOf();
  await expect.poll(async () => (await imagesOf(log)).images, patient).toEqual(rows);
};
const generationOf = async (log: MemoryLog): Promise<number> => (await imagesOf(log)).generation;
const newLog = (partitions = 3): MemoryLog => createMemoryLog({ partitions, clock: systemClock });
/** What is committed now is in the log, and the table was looked at since. */
const looked = async (log: MemoryLog): Promise<void> => {
  await database.sql.unsafe('UPDATE parts SET amount = amount + 1 WHERE id = 12 AND day = 12');
  await expectSame(log);
  await systemClock.sleep(LOOKS_MS);
};

const UNTOLD: [string, string[]][] = [
  ['is dropped', ['DROP TABLE parts_0']],
  ['is dropped of a partition', ['DROP TABLE parts_2_a']],
  ['is detached', ['ALTER TABLE parts DETACH PARTITION parts_1']],
  ['is detached, and others go on', ['ALTER TABLE parts DETACH PARTITION parts_1 CONCURRENTLY']],
  ['is truncated', ['TRUNCATE parts_0']],
  ['is truncated, and filled', ['TRUNCATE parts_0; INSERT INTO parts VALUES (200, 5, 1, 1)']],
  ['is truncated beneath', ['TRUNCATE parts_2']],
  [
    'is replaced by one of its name',
    ['DROP TABLE parts_0', 'CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (10)'],
  ],
  ['is attached with rows', [APART, ROWS_APART, ATTACH]],
  [
    'is made, filled and attached at once',
    [`DO $$ BEGIN ${APART}; BEGIN ${ROWS_APART}; EXCEPTION WHEN unique_violation THEN NULL; END; ${ATTACH}; END $$`],
  ],
  [
    'is attached with partitions of its own',
    [
      'CREATE TABLE apart (LIKE parts INCLUDING ALL) PARTITION BY RANGE (id)',
      'CREATE TABLE apart_1 PARTITION OF apart FOR VALUES FROM (0) TO (1000)',
      ROWS_APART,
      ATTACH,
    ],
  ],
  [
    'is detached and attached with other rows',
    [
      'ALTER TABLE parts DETACH PARTITION parts_1',
      'INSERT INTO parts_1 VALUES (210, 11, 1, 1)',
      'ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (10) TO (20)',
    ],
  ],
];

describe('F2: a mutable source of which a partition', () => {
  it.each(UNTOLD)(
    '%s comes to be as its table',
    async (_, statements) => {
      const log = newLog();
      await capture(log, await define1(SourceMode.MUTABLE));
      await expectSame(log);
      for (const statement of statements) await database.sql.unsafe(statement);
      await expectSame(log);
      expect(await generationOf(log)).toBeGreaterThan(1);
      await database.sql.unsafe('UPDATE parts SET amount = amount + 100; DELETE FROM parts WHERE id % 5 = 0');
      await looked(log);
      const settled = await generationOf(log);
      await looked(log);
      expect(await generationOf(log)).toBe(settled);
      expect((await imagesOf(log)).misses).toBe(0);
    },
    60_000,
  );

  it('is dropped, attached or truncated while ingest is down comes to be as its table', async () => {
    const log = newLog();
    const definitions = await define1(SourceMode.MUTABLE);
    for (const [generation, statement] of [
      [2, 'DROP TABLE parts_0'],
      [3, `${APART}; ${ROWS_APART}; ${ATTACH}`],
      [4, 'TRUNCATE parts_2_b'],
    ] as const) {
      const running = await capture(log, definitions);
      await looked(log);
      await running.stop();
      await database.sql.unsafe(statement);
      await capture(log, definitions);
      await expectSame(log);
      await looked(log);
      expect(await generationOf(log), statement).toBe(generation);
      await captures.pop()?.stop();
    }
  }, 120_000);

  it('came, was filled and went while ingest was down comes to be as its table', async () => {
    const log = newLog();
    const definitions = await define1(SourceMode.MUTABLE);
    const running = await capture(log, definitions);
    await looked(log);
    await running.stop();
    await database.sql.unsafe('CREATE TABLE parts_9 PARTITION OF parts FOR VALUES FROM (90) TO (99)');
    await database.sql.unsafe('INSERT INTO parts VALUES (900, 90, 1, 1)');
    await database.sql.unsafe('DROP TABLE parts_9');
    await capture(log, definitions);
    await expect.poll(() => generationOf(log), patient).toBe(2);
    await expectSame(log);
    await looked(log);
    expect(await generationOf(log)).toBe(2);
  }, 60_000);
});

it('F2: a partition whose rows were told and acknowledged before it was seen, and that is gone at the next start, is missed', async () => {
  const log = newLog();
  const definitions = await define1(SourceMode.MUTABLE);
  const running = await capture(log, definitions, 3_600_000);
  await looked(log);
  await database.sql.unsafe('CREATE TABLE parts_9 PARTITION OF parts FOR VALUES FROM (90) TO (99)');
  await database.sql.unsafe('INSERT INTO parts VALUES (900, 90, 1, 1)');
  await expectSame(log);
  const [now] = await database.sql.unsafe('SELECT pg_current_wal_lsn() AS lsn');
  const acknowledged = async (): Promise<boolean> =>
    (
      await database.sql`SELECT FROM pg_replication_slots WHERE slot_name = ${SLOT} AND confirmed_flush_lsn >= ${now?.['lsn']}`
    ).length === 1;
  await expect.poll(acknowledged, patient).toBe(true);
  await running.stop();
  await database.sql.unsafe('DROP TABLE parts_9');
  await capture(log, definitions);
  await expectSame(log);
  expect(await generationOf(log)).toBeGreaterThan(1);
}, 60_000);

const FILLED = 'INSERT INTO parts SELECT n, 50, n % 3, n FROM generate_series(300, 309) n';
const MADE = 'CREATE TABLE made PARTITION OF parts FOR VALUES FROM (50) TO (60)';
/** What is there when it is looked first has nothing of what the stream tells of it later. */
const TRUNCATED_UNSEEN: [string, string[]][] = [
  ['is made, filled and truncated', [MADE, FILLED, 'TRUNCATE made']],
  ['is attached empty, filled and truncated', [APART, ATTACH, FILLED, 'TRUNCATE apart']],
];

it.each(TRUNCATED_UNSEEN)(
  'F2: a mutable source of which a partition %s before it is first seen comes to be as its table',
  async (_, statements) => {
    const log = newLog();
    const definitions = await define1(SourceMode.MUTABLE);
    const running = await capture(log, definitions);
    await looked(log);
    await running.stop();
    for (const statement of statements) await database.sql.unsafe(statement);
    await capture(log, definitions);
    await expect.poll(() => generationOf(log), patient).toBe(2);
    await expectSame(log);
    await looked(log);
    expect(await generationOf(log)).toBe(2);
  },
  60_000,
);

const TOLD: [string, string[]][] = [
  ['is made and filled', [MADE, FILLED]],
  ['is made and filled in one transaction', [`${MADE}; ${FILLED}`]],
  [
    'is made in an attempt and filled',
    [`DO $$ BEGIN BEGIN ${MADE}; EXCEPTION WHEN duplicate_table THEN NULL; END; ${FILLED}; END $$`],
  ],
  [
    'is made with partitions of its own',
    [`${MADE} PARTITION BY RANGE (id)`, 'CREATE TABLE made_1 PARTITION OF made FOR VALUES FROM (0) TO (1000)', FILLED],
  ],
  ['is attached empty', [`${APART}; ${ATTACH}`]],
  ['is truncated with all others by their table', ['TRUNCATE parts; INSERT INTO parts VALUES (12, 12, 1, 1)']],
  ['is made, filled and truncated with all others by their table', [MADE, FILLED, 'TRUNCATE parts']],
  ['is written anew', ['VACUUM FULL parts']],
  [
    'gets another index, constraint or column',
    [
      'CREATE INDEX ON parts (amount); ALTER TABLE parts_0 ADD CHECK (id >= 0); ALTER TABLE parts ADD extra int8 DEFAULT 7',
    ],
  ],
];

it.each(TOLD)(
  'F2: a mutable source of which a partition %s keeps its generation',
  async (_, statements) => {
    const log = newLog();
    const { source } = await capture(log, await define1(SourceMode.MUTABLE));
    await looked(log);
    for (const statement of statements) await database.sql.unsafe(statement);
    await expectSame(log);
    await looked(log);
    // An idle stream learns where the server is every two seconds.
    await systemClock.sleep(3_000);
    expect(await generationOf(log)).toBe(1);
    expect(source.status().problem).toBeUndefined();
  },
  60_000,
);

it('F2: a partition that was made and filled while ingest was down is no reason to read the table anew', async () => {
  const log = newLog();
  const definitions = await define1(SourceMode.MUTABLE);
  const running = await capture(log, definitions);
  await looked(log);
  await running.stop();
  await database.sql.unsafe(MADE);
  await database.sql.unsafe(FILLED);
  await capture(log, definitions);
  await expectSame(log);
  await looked(log);
  expect(await generationOf(log)).toBe(1);
}, 60_000);

it('F2: a table that is joined everywhere comes to be as it is when a partition goes', async () => {
  const log = newLog(1);
  const definitions = await define1(SourceMode.MUTABLE);
  must(definitions.routes[0]).entity = undefined;
  must(definitions.routes[0]).keyColumns = ['id', 'day'];
  await capture(log, definitions);
  await expectSame(log);
  await database.sql.unsafe('DROP TABLE parts_0');
  await expectSame(log);
  await looked(log);
  expect(await generationOf(log)).toBe(2);
}, 60_000);

it('whoever may read a table may ask whether its partitions have rows, and how old they are', async () => {
  const { sql, url } = database;
  const role = `reader_${process.pid}`;
  await sql.unsafe(`CREATE ROLE ${role} LOGIN PASSWORD 'x'; GRANT SELECT ON parts TO ${role};
    CREATE TABLE parts_9 PARTITION OF parts DEFAULT`);
  const asReader = new URL(url);
  asReader.username = role;
  asReader.password = 'x';
  const table = { schema: 'public', table: 'parts', partitioned: true };
  const oidOf = async (name: string): Promise<number> =>
    Number((await sql.unsafe(`SELECT '${name}'::regclass::oid AS oid`))[0]?.['oid']);
  const [parts, inner, rest] = await Promise.all([oidOf('parts'), oidOf('parts_2_a'), oidOf('parts_9')]);
  const shared = { clock: systemClock, logger: silentLogger };
  try {
    for (const target of [asReader.href, url]) {
      const reader = new PostgresDatabase({ ...shared, name: 'shop', target: parseConnectionUrl(target) });
      await reader.look(AbortSignal.timeout(30_000), async (session) => {
        const before = must((await session.parts([parts])).get(parts)).endedBelow;
        expect(await session.hasRows(table, inner)).toBe(true);
        expect(await session.hasRows(table, inner, before)).toBe(true);
        expect(await session.hasRows(table, rest)).toBe(false);
        await sql.unsafe('DELETE FROM parts_2_a; INSERT INTO parts VALUES (0, 20, 0, 0)');
        expect(await session.hasRows(table, inner)).toBe(true);
        expect(await session.hasRows(table, inner, before)).toBe(false);
        // Of one that went, and of a table by whose name it cannot be read any more.
        expect(await session.hasRows(table, 1)).toBe(false);
        expect(await session.hasRows({ ...table, table: 'gone' }, inner)).toBe(target === url || undefined);
        await sql.begin(async (lock) => {
          await lock.unsafe('LOCK TABLE ONLY parts_2_a IN ACCESS EXCLUSIVE MODE');
          expect(await session.hasRows(table, inner)).toBeUndefined();
        });
        expect(await session.hasRows(table, inner)).toBe(true);
      });
    }
  } finally {
    await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`);
  }
}, 60_000);

it.each([SourceMode.MUTABLE, SourceMode.APPEND])(
  'F2: a source of which a partition is not logged waits until it is, and is as its table then: %s',
  async (mode) => {
    const log = newLog();
    const definitions = await define1(mode);
    const running = await capture(log, definitions);
    const expectIds = async (): Promise<void> => {
      const ids = (await database.sql.unsafe('SELECT id FROM parts ORDER BY id')).map(({ id }) => Number(id));
      await expect.poll(() => idsOf(log, 1), patient).toEqual(ids);
    };
    await expectIds();
    if (mode === SourceMode.APPEND) await running.stop();
    await database.sql.unsafe(`CREATE UNLOGGED TABLE made PARTITION OF parts FOR VALUES FROM (50) TO (60); ${FILLED}`);
    const { conditions } = mode === SourceMode.APPEND ? await capture(log, definitions) : running;
    const waiting = () => conditions.list().find(({ id }) => id === 'source/shop/waiting/1');
    await expect
      .poll(() => waiting(), patient)
      .toMatchObject({
        message: expect.stringMatching(/partitions of public\.parts \(public\.made\) are not logged/),
        remedy: 'ALTER TABLE public.made SET LOGGED;',
      });
    await database.sql.unsafe('ALTER TABLE made SET LOGGED');
    await expectIds();
    await database.sql.unsafe('INSERT INTO parts VALUES (901, 55, 1, 1)');
    await expectIds();
    expect(waiting()).toBeUndefined();
  },
  60_000,
);

it('a partition that somebody keeps locked keeps no database from being captured, and is judged when it is not', async () => {
  const log = newLog();
  const definitions = await define1(SourceMode.MUTABLE);
  const running = await capture(log, definitions);
  await looked(log);
  await running.stop();
  for (const statement of [APART, ROWS_APART, ATTACH, 'TRUNCATE parts_0']) await database.sql.unsafe(statement);
  await database.sql.begin(async (lock) => {
    await lock.unsafe('LOCK TABLE ONLY parts_0, parts_1, apart IN ACCESS EXCLUSIVE MODE');
    await capture(log, definitions);
    await database.sql.unsafe('INSERT INTO parts VALUES (900, 25, 1, 1)');
    await expect
      .poll(async () => (await imagesOf(log)).images.some((image) => image.includes('900')), patient)
      .toBe(true);
    expect(await generationOf(log)).toBe(1);
  });
  await expectSame(log);
  await looked(log);
  expect(await generationOf(log)).toBe(2);
}, 60_000);

it('an append source keeps what was inserted when its partitions go', async () => {
  const log = newLog();
  const { source } = await capture(log, await define1(SourceMode.APPEND));
  await expect.poll(async () => (await idsOf(log, 1)).length, patient).toBe(45);
  const before = await idsOf(log, 1);
  await database.sql.unsafe('DROP TABLE parts_0; TRUNCATE parts_1; ALTER TABLE parts DETACH PARTITION parts_2');
  await database.sql.unsafe(`${APART}; ${ROWS_APART}; ${ATTACH}; INSERT INTO parts VALUES (999, 55, 1, 1)`);
  await expect.poll(async () => (await idsOf(log, 1)).length, patient).toBe(46);
  await systemClock.sleep(LOOKS_MS);
  expect(await idsOf(log, 1)).toEqual([...before, 999]);
  expect(source.status().problem).toBeUndefined();
  expect(await generationOf(log)).toBe(1);
}, 60_000);
