/**
 * Goal: a table and one of its partitions are not captured side by side, as the stream tells the rows of a partition as its table's
 * only; each alone is. A table that is attached to another while both are captured waits until it is detached, and misses nothing then.
 * Method: a real Postgres, and both named by definitions, one after the other; the log read by an oracle without the engine.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
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

const patient = { timeout: 20_000, interval: 30 };

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
let running: Capture | undefined;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
});
afterEach(async () => {
  await running?.stop().catch(() => {});
  await database.drop();
  directory.remove();
});

const ROUTES = { parts: 1, parts_0: 2, parts_00: 3, apart: 4 };
type Table = keyof typeof ROUTES;
const source = (table: Table, mode: SourceMode = SourceMode.MUTABLE) => ({
  route: ROUTES[table],
  table,
  key: 'id',
  mode,
});
const waiting = (): string[] =>
  running?.conditions.list().flatMap(({ id, message }) => (id.startsWith('source/shop/waiting/') ? [message] : [])) ??
  [];

it.each<[string, ReturnType<typeof source>, ReturnType<typeof source>]>([
  ['of another mode', source('parts', SourceMode.APPEND), source('parts_00')],
  ['of its mode', source('parts'), source('parts_0')],
])(
  'lets a table %s wait while one of its partitions is captured, which goes on, and the other way round',
  async (_, table, partition) => {
    await database.sql.unsafe(`CREATE TABLE parts (id int8 PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
    CREATE TABLE parts_00 PARTITION OF parts_0 FOR VALUES FROM (0) TO (100);
    INSERT INTO parts VALUES (1)`);
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const capture = await startCapture({ url: database.url, directory: directory.path, log });
    running = capture;
    const apply = async (version: bigint, ...sources: ReturnType<typeof source>[]): Promise<void> => {
      await capture.node.apply(await define(database.url, version, sources));
    };
    const idsOf = async ({ route }: { readonly route: number }) => (await liveImages(log, route, 1)).images;
    await apply(1n, table, partition);
    await expect
      .poll(() => capture.source.status().problem?.message, patient)
      .toContain('is a partition of public.parts');
    await apply(2n, partition);
    await expect.poll(() => idsOf(partition), patient).toEqual(['["1"]']);
    await apply(3n, table, partition);
    await expect
      .poll(waiting, patient)
      .toEqual([expect.stringContaining(`public.${partition.table} is a partition of public.parts`)]);
    await database.sql.unsafe('INSERT INTO parts VALUES (2)');
    await expect.poll(() => idsOf(partition), patient).toEqual(['["1"]', '["2"]']);
    expect(await idsOf(table)).toEqual([]);
    await apply(4n, table);
    await expect.poll(() => idsOf(table), patient).toEqual(['["1"]', '["2"]']);
    expect(waiting()).toEqual([]);
    await apply(5n, table, partition);
    await expect.poll(waiting, patient).toHaveLength(1);
    await database.sql.unsafe('INSERT INTO parts VALUES (3)');
    await expect.poll(() => idsOf(table), patient).toEqual(['["1"]', '["2"]', '["3"]']);
  },
);

const MODES: [string, SourceMode, SourceMode][] = [
  ['mutable', SourceMode.MUTABLE, SourceMode.MUTABLE],
  ['append', SourceMode.APPEND, SourceMode.APPEND],
  ['mutable to an append', SourceMode.MUTABLE, SourceMode.APPEND],
  ['append to a mutable', SourceMode.APPEND, SourceMode.MUTABLE],
];
const ATTACH = 'ALTER TABLE parts ATTACH PARTITION apart FOR VALUES FROM (100) TO (300)';
const DETACH = 'ALTER TABLE parts DETACH PARTITION apart';

describe('F2: a captured table', () => {
  let log: MemoryLog;
  const idsOf = async (table: Table): Promise<number[]> =>
    (await liveImages(log, ROUTES[table], 1)).images.map((image) => Number(JSON.parse(image)[0]));
  const expectIds = (table: Table, ...ids: number[]): Promise<void> =>
    expect.poll(() => idsOf(table), patient).toEqual(ids);
  const begin = async (apart: SourceMode, parts: SourceMode): Promise<void> => {
    running = await startCapture({ url: database.url, directory: directory.path, log });
    await running.node.apply(await define(database.url, 1n, [source('parts', parts), source('apart', apart)]));
  };
  beforeEach(async () => {
    log = createMemoryLog({ partitions: 1, clock: systemClock });
    await database.sql.unsafe(`CREATE TABLE parts (id int8 PRIMARY KEY) PARTITION BY RANGE (id);
      CREATE TABLE parts_0 PARTITION OF parts FOR VALUES FROM (0) TO (100);
      CREATE TABLE apart (id int8 PRIMARY KEY);
      INSERT INTO parts VALUES (1); INSERT INTO apart VALUES (200)`);
  });

  it.each(MODES)(
    'that is attached to another one waits, and is read anew when it is detached: %s',
    async (_, apart, parts) => {
      await begin(apart, parts);
      await expectIds('apart', 200);
      await expectIds('parts', 1);
      await database.sql.unsafe(ATTACH);
      await expect
        .poll(waiting, patient)
        .toEqual([expect.stringContaining('public.apart is a partition of public.parts, as whose rows its rows come')]);
      await database.sql.unsafe('INSERT INTO apart VALUES (201)');
      const attached = parts === SourceMode.MUTABLE ? [1, 200, 201] : [1, 201];
      await expectIds('parts', ...attached);
      expect(await idsOf('apart')).toEqual([200]);
      await database.sql.unsafe(DETACH);
      await database.sql.unsafe('INSERT INTO apart VALUES (202)');
      await expectIds('apart', 200, 201, 202);
      await expectIds('parts', ...(parts === SourceMode.MUTABLE ? [1] : attached));
      await expect.poll(waiting, patient).toEqual([]);
    },
    60_000,
  );

  it.each(MODES)(
    'of which rows came as those of another one while ingest was down is read anew: %s',
    async (_, apart, parts) => {
      await begin(apart, parts);
      await expectIds('apart', 200);
      await expectIds('parts', 1);
      await running?.stop();
      for (const statement of [ATTACH, 'INSERT INTO apart VALUES (201)', DETACH, 'INSERT INTO apart VALUES (202)'])
        await database.sql.unsafe(statement);
      await begin(apart, parts);
      await expectIds('apart', 200, 201, 202);
      expect((await liveImages(log, ROUTES.apart, 1)).generation).toBe(2);
      await expect.poll(waiting, patient).toEqual([]);
    },
    60_000,
  );

  it('of which rows came as those of another one, and were acknowledged, while nobody looked is read anew at the next start', async () => {
    const { MUTABLE, APPEND } = SourceMode;
    running = await startCapture({ url: database.url, directory: directory.path, log, tableCheckMs: 3_600_000 });
    await running.node.apply(await define(database.url, 1n, [source('parts', APPEND), source('apart', MUTABLE)]));
    await expectIds('apart', 200);
    await expectIds('parts', 1);
    for (const statement of [ATTACH, 'INSERT INTO apart VALUES (201)', DETACH]) await database.sql.unsafe(statement);
    const [now] = await database.sql.unsafe('SELECT pg_current_wal_lsn() AS lsn');
    const acknowledged = async (): Promise<boolean> =>
      (
        await database.sql`SELECT FROM pg_replication_slots WHERE slot_name = ${SLOT} AND confirmed_flush_lsn >= ${now?.['lsn']}`
      ).length === 1;
    await expect.poll(acknowledged, patient).toBe(true);
    expect(await idsOf('apart')).toEqual([200]);
    await running.stop();
    await begin(MUTABLE, APPEND);
    await expectIds('apart', 200, 201);
  }, 60_000);
});
