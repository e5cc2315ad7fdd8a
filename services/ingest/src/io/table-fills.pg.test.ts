/**
 * Goal: what ALTER TABLE does to rows without telling of any is noticed: a snapshot never misses the rows of a table that was
 * rewritten under it, and values that were computed anew within their type are read anew where features are of rows as they
 * are, told and held where they are of rows as they were inserted; once each, and not for a rewrite that left them as they were.
 * Method: a real Postgres; ALTER TABLE … USING, and what else changes a table's file or a column's row in the catalog, while
 * it is captured, while ingest is down, and between a snapshot and the reading of its rows.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SourceMode, ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { rewrittenColumns } from '../core/table-fill.ts';
import {
  type Capture,
  changesOf,
  createDatabase,
  define,
  recordsOf,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
  valuesOf,
} from '../testing/capture.ts';
import { liveImages } from '../testing/live-images.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';
import { PgConnection } from './pg/pg-connection.ts';
import { PostgresDatabase } from './postgres-database.ts';
import { readFills } from './table-fills.ts';

const patient = { timeout: 30_000, interval: 30 };
const USING = 'ALTER TABLE prices ALTER amount TYPE numeric(10, 2) USING amount * 100';

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
  await database.sql.unsafe(`
    CREATE TABLE prices (id int8 PRIMARY KEY, user_id int8, amount numeric(10, 2), unread text);
    ALTER TABLE prices REPLICA IDENTITY FULL;
    INSERT INTO prices SELECT n, n % 3, n, 'u' FROM generate_series(1, 20) n`);
});
afterEach(async () => {
  await Promise.all(captures.map((one) => one.stop().catch(() => {})));
  await database.drop();
  directory.remove();
});

describe('a snapshot', () => {
  const read = async (between: string, table = 'prices'): Promise<string[]> => {
    const { url, sql } = database;
    const shared = { clock: systemClock, logger: silentLogger };
    const captured = new PostgresDatabase({ ...shared, name: 'shop', target: parseConnectionUrl(url) });
    const partitioned = table !== 'prices';
    return captured.snapshot('freshet_shop', AbortSignal.timeout(30_000), async (reader) => {
      await sql.unsafe(between);
      const bytes: Uint8Array[] = [];
      const staged = { schema: 'public', table, partitioned, columns: ['id', 'amount'], typeOids: [20, 1700] };
      for await (const some of reader.copy(staged)) bytes.push(some);
      return Buffer.concat(bytes).toString().split('\n').slice(0, -1);
    });
  };
  const refused = { code: 'SOURCE_UNREACHABLE', message: expect.stringMatching(/was rewritten or replaced/) as string };

  it.each([
    ['computes values anew', USING],
    ['empties it', 'TRUNCATE prices'],
    ['replaces it', 'ALTER TABLE prices RENAME TO gone; CREATE TABLE prices AS SELECT * FROM gone'],
    ['moves its rows', 'VACUUM FULL prices'],
  ])('is not believed of a table when somebody %s before it is read', async (_, between) => {
    await expect(read(between)).rejects.toMatchObject(refused);
  });

  it('is believed of a table of which only rows changed', async () => {
    const rows = await read(`UPDATE prices SET amount = 0; INSERT INTO prices VALUES (100, 1, 1);
      ALTER TABLE prices ADD later int8 DEFAULT 7, ALTER amount SET STATISTICS 10`);
    expect(rows).toHaveLength(20);
    expect(rows[0]).toBe('1\t1.00');
  });

  it('is believed of a partitioned table by its partitions', async () => {
    const { sql } = database;
    await sql.unsafe(`CREATE TABLE parts (id int8, amount numeric(10, 2)) PARTITION BY RANGE (id);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
      CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (10) TO (20);
      INSERT INTO parts SELECT n, n FROM generate_series(0, 19) n`);
    expect(await read('CREATE TABLE parts_3 PARTITION OF parts FOR VALUES FROM (20) TO (30)', 'parts')).toHaveLength(
      20,
    );
    await expect(read('TRUNCATE parts_2', 'parts')).rejects.toMatchObject(refused);
    await expect(read('ALTER TABLE parts ALTER amount TYPE numeric(10, 2) USING 1', 'parts')).rejects.toMatchObject(
      refused,
    );
  });
});

it('C1: a filling is of one moment, also of a table that is rewritten while it is looked at', async () => {
  const { url, sql } = database;
  await sql.unsafe(`CREATE TABLE parts (id int8, amount numeric(10, 2)) PARTITION BY RANGE (id);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50)`);
  const rows = await sql`SELECT 'prices'::regclass::oid::int AS prices, 'parts'::regclass::oid::int AS parts`;
  const oids = [Number(rows[0]?.['prices']), Number(rows[0]?.['parts'])];
  const target = { target: parseConnectionUrl(url), applicationName: 'test' };
  const connection = await PgConnection.open(target, AbortSignal.timeout(30_000));
  try {
    const before = await readFills(connection, oids);
    // What a query sees is fixed when it begins; here it begins before, and goes on behind.
    await connection.query('BEGIN ISOLATION LEVEL REPEATABLE READ');
    await connection.query('SELECT 1');
    await sql.unsafe(`${USING}; ALTER TABLE parts ALTER amount TYPE numeric(10, 2) USING amount * 100`);
    const between = await readFills(connection, oids);
    await connection.query('COMMIT');
    const after = await readFills(connection, oids);
    for (const oid of oids) {
      const [was, seen, is] = [before, between, after].map((fills) => must(fills.get(oid)));
      expect([...rewrittenColumns(must(was), must(seen)), ...rewrittenColumns(must(seen), must(is))]).toMatchObject([
        { name: 'amount' },
      ]);
    }
  } finally {
    await connection.close();
  }
}, 60_000);

async function capture(log: MemoryLog): Promise<Capture> {
  const started = await startCapture({ url: database.url, directory: directory.path, log });
  captures.push(started);
  return started;
}
const definitions = (mode: SourceMode, generation = 1n) =>
  define(database.url, generation, [{ route: 1, table: 'prices', key: 'user_id', mode, reads: ['amount'] }]);
const COLUMNS = ['id', 'user_id', 'amount', 'unread'] as const;
/** The rows of the table as the model writes them. */
const rowsOf = async (): Promise<string[]> => {
  const texts = COLUMNS.map((column) => `coalesce(${column}::text, 'null') AS ${column}`);
  const rows = await database.sql.unsafe(`SELECT ${texts.join(', ')} FROM prices`);
  return rows.map((row) => JSON.stringify(COLUMNS.map((column) => String(row[column])))).sort();
};

describe('a mutable source', () => {
  const imagesOf = (log: MemoryLog) => liveImages(log, 1, COLUMNS.length);
  const expectSame = async (log: MemoryLog): Promise<void> => {
    const rows = await rowsOf();
    await expect.poll(async () => (await imagesOf(log)).images, patient).toEqual(rows);
  };
  const generationOf = async (log: MemoryLog): Promise<number> => (await imagesOf(log)).generation;

  it('F2: is read anew when values that are read were computed anew within their type, once, also behind a restart', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    let { node } = await capture(log);
    await node.apply(await definitions(SourceMode.MUTABLE));
    await expectSame(log);
    await database.sql.unsafe(USING);
    await expectSame(log);
    await database.sql`UPDATE prices SET amount = amount + 1 WHERE id < 5`;
    await database.sql`DELETE FROM prices WHERE id > 15`;
    await expectSame(log);
    expect(await generationOf(log)).toBe(2);
    await captures[0]?.stop();
    await database.sql.unsafe(USING);
    ({ node } = await capture(log));
    await node.apply(await definitions(SourceMode.MUTABLE));
    await expectSame(log);
    expect(await generationOf(log)).toBe(3);
  }, 120_000);

  it('C1: has no row of the new values in a generation of the old ones, before any look beside the stream', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const { url } = database;
    const started = await startCapture({ url, directory: directory.path, log, tableCheckMs: 600_000 });
    captures.push(started);
    await started.node.apply(await definitions(SourceMode.MUTABLE));
    await expectSame(log);
    await expect.poll(() => started.source.status().phase, patient).toBe(SourceState.STREAMING);
    await database.sql`UPDATE prices SET amount = amount + 1 WHERE id = 1`;
    await expectSame(log);
    await database.sql.begin(async (sql) => {
      await sql.unsafe(USING);
      await sql`UPDATE prices SET amount = amount + 1 WHERE id < 5`;
    });
    await expectSame(log);
    const amounts = (await recordsOf(log))
      .flat()
      .flatMap(({ kind }) => (kind.case === 'change' && kind.value.generation === 1 ? [valuesOf(kind.value)] : []))
      .map((values) => Number(values[2]));
    expect(amounts).toHaveLength(21);
    expect(Math.max(...amounts)).toBe(20);
    expect(await generationOf(log)).toBe(2);
    await expect.poll(() => started.quarantine.count, patient).toBe(0);
  }, 120_000);

  it('F2: is not read anew for what leaves values as they are, nor for a column that nobody reads until somebody does', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    const { node, source } = await capture(log);
    await node.apply(await definitions(SourceMode.MUTABLE));
    await expectSame(log);
    const { sql } = database;
    /** A look has been since, and what was committed is in the log. */
    const looked = async (): Promise<void> => {
      await sql`UPDATE prices SET user_id = user_id + 1 WHERE id = 1`;
      await expectSame(log);
      await systemClock.sleep(600);
    };
    for (const statement of [
      'VACUUM FULL prices',
      'ALTER TABLE prices ALTER amount SET STATISTICS 50',
      'ALTER TABLE prices ALTER amount SET NOT NULL',
      'CLUSTER prices USING prices_pkey',
      'ALTER TABLE prices ADD later float8 DEFAULT random()',
      'TRUNCATE prices; INSERT INTO prices VALUES (1, 1, 1)',
      "ALTER TABLE prices ALTER unread TYPE text USING 'x' || unread",
    ]) {
      await sql.unsafe(statement);
      await looked();
      expect(await generationOf(log), statement).toBe(1);
    }
    expect(source.status().problem).toBeUndefined();
    const all = await define(database.url, 2n, [
      { route: 1, table: 'prices', key: 'user_id', mode: SourceMode.MUTABLE, reads: ['amount', 'unread'] },
    ]);
    await node.apply(all);
    await expect.poll(() => generationOf(log), patient).toBe(2);
    await expectSame(log);
  }, 120_000);

  it('flows on when values were computed anew of which only a rule asks, as it is not read anew for them', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const { node, quarantine } = await capture(log);
    const ruled = await definitions(SourceMode.MUTABLE);
    const rule = { case: 'expression', value: "unread != 'bad'" } as const;
    must(ruled.routes[0]?.source).rules = [create(ValueRuleSchema, { name: 'good', rule })];
    await node.apply(ruled);
    await expectSame(log);
    await database.sql`ALTER TABLE prices ALTER unread TYPE text USING 'x' || unread`;
    await database.sql`INSERT INTO prices VALUES (50, 1, 7, 'y')`;
    await expect.poll(async () => (await imagesOf(log)).images.length + quarantine.count, patient).toBe(21);
    expect(quarantine.held).toEqual([]);
    await database.sql`INSERT INTO prices VALUES (51, 1, 7, 'bad')`;
    await expect.poll(() => quarantine.held, patient).toMatchObject([{ reason: 'rule' }]);
    expect(await generationOf(log)).toBe(1);
  }, 120_000);

  it('F2: that breaks its contract is held as ever, and read anew when another one is accepted', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    const { node, quarantine } = await capture(log);
    await node.apply(await definitions(SourceMode.MUTABLE));
    await expectSame(log);
    const before = await rowsOf();
    await database.sql.unsafe('ALTER TABLE prices ALTER amount TYPE numeric(8, 1) USING amount * 100');
    await database.sql`INSERT INTO prices VALUES (50, 1, 7)`;
    await expect.poll(() => quarantine.count, patient).toBe(1);
    await systemClock.sleep(600);
    expect(await imagesOf(log)).toMatchObject({ generation: 1, images: before });
    await node.apply(await definitions(SourceMode.MUTABLE, 2n));
    await expectSame(log);
    expect(await generationOf(log)).toBe(2);
    await expect.poll(() => quarantine.count, patient).toBe(0);
  }, 120_000);
});

describe('a column of which another one has the name and type', () => {
  const ANEW = 'ALTER TABLE prices DROP unread; ALTER TABLE prices ADD unread text';
  it.each([
    ['an append', SourceMode.APPEND, ANEW],
    ['a mutable', SourceMode.MUTABLE, ANEW],
    [
      'an append',
      SourceMode.APPEND,
      'ALTER TABLE prices RENAME note TO gone; ALTER TABLE prices RENAME unread TO note',
    ],
  ])(
    'C1: of %s source is another column to the stream too: it is held where somebody reads it, also over a stop, until it is accepted',
    async (_, mode, ddl) => {
      const log = createMemoryLog({ partitions: 1, clock: systemClock });
      const { url, sql } = database;
      const start = async (): Promise<Capture> => {
        const started = await startCapture({ url, directory: directory.path, log, tableCheckMs: 600_000 });
        captures.push(started);
        return started;
      };
      const column = ddl === ANEW ? 'unread' : 'note';
      if (ddl !== ANEW) await sql`ALTER TABLE prices ADD note text, ADD last int8`;
      const reading = (generation: bigint) =>
        define(url, generation, [{ route: 1, table: 'prices', key: 'user_id', mode, reads: [column] }]);
      const first = await reading(1n);
      let capturing = await start();
      await capturing.node.apply(first);
      const ids = async () =>
        (await changesOf(log)).map((change) => Number(valuesOf(change)[0])).filter((id) => id >= 50);
      await expect.poll(() => capturing.source.status().phase, patient).toBe(SourceState.STREAMING);
      await sql`INSERT INTO prices VALUES (50, 1, 7, 'of before')`;
      await expect.poll(ids, patient).toEqual([50]);
      await sql.unsafe(ddl);
      await sql`INSERT INTO prices VALUES (51, 1, 7, 'another')`;
      await expect.poll(() => capturing.quarantine.held, patient).toMatchObject([{ reason: 'shape', count: 1 }]);
      await capturing.stop();
      // Without what is held: the filling that it was found by is in the state by now.
      rmSync(join(directory.path, 'quarantine.jsonl'));
      rmSync(join(directory.path, 'quarantine.jsonl.index'), { force: true });
      capturing = await start();
      await capturing.node.apply(first);
      await sql`INSERT INTO prices VALUES (52, 1, 7, 'another')`;
      await expect
        .poll(() => capturing.quarantine.held, patient)
        .toMatchObject([{ detail: expect.stringMatching(new RegExp(`column ${column} `)) as string }]);
      expect(await ids()).toEqual([50]);
      await capturing.node.apply(await reading(2n));
      await sql`INSERT INTO prices VALUES (53, 1, 7, 'another')`;
      await expect.poll(ids, patient).toContain(53);
      await expect.poll(() => capturing.quarantine.count, patient).toBe(0);
      // A generation of a mutable source is of one column throughout.
      const generations = (await changesOf(log)).map(({ generation }) => generation);
      expect(Math.max(...generations)).toBe(mode === SourceMode.MUTABLE ? 2 : 1);
    },
    120_000,
  );

  it('is not held where nobody reads it', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const { node, quarantine, source } = await capture(log);
    await node.apply(await definitions(SourceMode.APPEND));
    await expect.poll(() => source.status().phase, patient).toBe(SourceState.STREAMING);
    await database.sql.unsafe(ANEW);
    await database.sql`INSERT INTO prices VALUES (50, 1, 7, 'another')`;
    await expect.poll(async () => (await changesOf(log)).length, patient).toBe(21);
    // It has no value of what the contract means.
    expect(valuesOf((await changesOf(log)).at(-1) as never)[3]).toBeNull();
    expect(quarantine.count).toBe(0);
  }, 120_000);
});

describe('an append source', () => {
  const reading = (...reads: string[]) => ({ route: 1, table: 'prices', key: 'user_id', reads });
  /** The amounts of the rows in the log, in the order in which they came. */
  const amountsOf = async (log: MemoryLog): Promise<number[]> =>
    (await changesOf(log)).map((change) => Number(valuesOf(change)[2]));
  /** Nothing but what the stream itself asks: the look beside it comes too seldom to matter. */
  const seldom = async (log: MemoryLog): Promise<Capture> => {
    const { url } = database;
    const started = await startCapture({ url, directory: directory.path, log, tableCheckMs: 600_000 });
    captures.push(started);
    return started;
  };
  const begun = async (capturing: Capture, log: MemoryLog, ...reads: string[]): Promise<void> => {
    await capturing.node.apply(await define(database.url, 1n, [reading(...reads)]));
    await expect.poll(async () => (await amountsOf(log)).length, patient).toBe(20);
    await expect.poll(() => capturing.source.status().phase, patient).toBe(SourceState.STREAMING);
  };
  const accept = async ({ node, source }: Capture, generation: bigint): Promise<void> =>
    node.apply(await define(database.url, generation, [reading('amount')], source));
  const insert = async (id: number, amount: number): Promise<void> => {
    await database.sql`INSERT INTO prices VALUES (${id}, ${id % 3}, ${amount})`;
  };

  it.each([
    ['as it was', USING],
    ['wider', 'ALTER TABLE prices ALTER amount TYPE numeric(14, 4) USING amount * 100'],
  ])(
    'C1, F3: is held from the first row on when its type comes out %s, and released once, in order',
    async (_, ddl) => {
      const log = createMemoryLog({ partitions: 1, clock: systemClock });
      const capturing = await seldom(log);
      const { quarantine, conditions } = capturing;
      await begun(capturing, log, 'amount');
      const before = await amountsOf(log);
      await database.sql.begin(async (sql) => {
        await sql.unsafe(ddl);
        await sql`INSERT INTO prices VALUES (50, 1, 5000)`;
      });
      await insert(51, 6000);
      await expect.poll(() => quarantine.held, patient).toMatchObject([{ reason: 'values', count: 2 }]);
      expect(await amountsOf(log)).toEqual(before);
      await expect
        .poll(() => conditions.list(), patient)
        .toContainEqual(
          expect.objectContaining({
            id: 'source/shop/held/1',
            message: expect.stringMatching(
              /public\.prices broke contract 1 .*values of column amount are others/,
            ) as string,
            remedy: expect.stringContaining('freshet contract accept --yes') as string,
          }),
        );
      // The same contract, but for what it knows of the values; and what is held meets another one, which it does not know.
      await database.sql.unsafe(USING);
      await insert(52, 700_000);
      await expect.poll(() => quarantine.count, patient).toBe(3);
      await accept(capturing, 2n);
      await insert(53, 800_000);
      await expect.poll(() => quarantine.count, patient).toBe(0);
      await insert(54, 900_000);
      await expect.poll(() => amountsOf(log), patient).toEqual([...before, 5000, 6000, 700_000, 800_000, 900_000]);
    },
    120_000,
  );

  it('C1: stays held over a stop at any point behind the look, and is found when it came while ingest was down', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    let capturing = await seldom(log);
    await begun(capturing, log, 'amount');
    await capturing.stop();
    await database.sql.unsafe(USING);
    await insert(50, 5000);
    capturing = await seldom(log);
    await capturing.node.apply(await define(database.url, 1n, [reading('amount')]));
    await expect.poll(() => capturing.quarantine.count, patient).toBe(1);
    await capturing.stop();
    // Without what is held: the filling that it was found by is in the state by now.
    rmSync(join(directory.path, 'quarantine.jsonl'));
    rmSync(join(directory.path, 'quarantine.jsonl.index'), { force: true });
    capturing = await seldom(log);
    await capturing.node.apply(await define(database.url, 1n, [reading('amount')]));
    await insert(51, 6000);
    await expect.poll(() => capturing.quarantine.held, patient).toMatchObject([{ reason: 'values' }]);
    expect(await amountsOf(log)).toHaveLength(20);
  }, 120_000);

  it('is not held for what leaves values as they are, nor for a column that nobody reads', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const capturing = await seldom(log);
    await database.sql`ALTER TABLE prices ADD code varchar(10)`;
    await begun(capturing, log, 'amount', 'code');
    let id = 50;
    for (const statement of [
      'VACUUM FULL prices',
      'TRUNCATE prices',
      'ALTER TABLE prices ALTER code TYPE varchar(40)',
      'ALTER TABLE prices ALTER amount TYPE numeric(12, 2)',
      'ALTER TABLE prices ALTER amount SET NOT NULL',
      "ALTER TABLE prices ALTER unread TYPE text USING 'x' || unread",
    ]) {
      await database.sql.unsafe(statement);
      await insert(++id, 1);
      await expect.poll(async () => (await amountsOf(log)).length, patient).toBe(20 + id - 50);
      expect(capturing.quarantine.count, statement).toBe(0);
    }
  }, 120_000);

  it('C1: is held where it is partitioned, and looked at while somebody has a partition for himself', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const { sql } = database;
    await sql.unsafe(`DROP TABLE prices;
      CREATE TABLE prices (id int8, user_id int8, amount numeric(10, 2)) PARTITION BY RANGE (id);
      CREATE TABLE prices_1 PARTITION OF prices FOR VALUES FROM (0) TO (50) PARTITION BY RANGE (id);
      CREATE TABLE prices_11 PARTITION OF prices_1 FOR VALUES FROM (0) TO (50);
      CREATE TABLE prices_2 PARTITION OF prices FOR VALUES FROM (50) TO (100);
      INSERT INTO prices SELECT n, n % 3, n FROM generate_series(1, 20) n`);
    const capturing = await seldom(log);
    await begun(capturing, log, 'amount');
    await sql.begin(async (locked) => {
      await locked`LOCK TABLE prices_11 IN ACCESS EXCLUSIVE MODE`;
      await sql`INSERT INTO prices_2 VALUES (50, 1, 21)`;
      await expect.poll(async () => (await amountsOf(log)).length, patient).toBe(21);
    });
    await sql.unsafe(USING);
    await insert(51, 2200);
    await expect.poll(() => capturing.quarantine.held, patient).toMatchObject([{ reason: 'values', count: 1 }]);
    await accept(capturing, 2n);
    await insert(52, 2300);
    await expect.poll(async () => (await amountsOf(log)).slice(-3), patient).toEqual([21, 2200, 2300]);
  }, 120_000);

  it('tells that values were computed anew, before any row comes', async () => {
    const log = createMemoryLog({ partitions: 1, clock: systemClock });
    const capturing = await capture(log);
    await begun(capturing, log, 'amount');
    const told = () => capturing.conditions.list().filter(({ id }) => id === 'source/shop/values');
    await database.sql.unsafe('VACUUM FULL prices');
    await systemClock.sleep(600);
    expect(told()).toEqual([]);
    await database.sql.unsafe(USING);
    await expect
      .poll(told, patient)
      .toMatchObject([{ message: expect.stringMatching(/public\.prices \(amount\)/) as string }]);
  }, 120_000);
});
