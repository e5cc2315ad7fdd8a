/**
 * Goal: a snapshot never misses the rows of a table that was rewritten under it. Method: a real Postgres; what changes a
 * table's file, between a snapshot and the reading of its rows.
 */
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../testing/capture.ts';
import { parseConnectionUrl } from './pg/connection-url.ts';
import { PostgresDatabase } from './postgres-database.ts';

const USING = 'ALTER TABLE prices ALTER amount TYPE numeric(10, 2) USING amount * 100';

let server: RunningPostgres;
let database: TestDatabase;
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());
beforeEach(async () => {
  database = await createDatabase(server.url);
  await database.sql.unsafe(`
    CREATE TABLE prices (id int8 PRIMARY KEY, user_id int8, amount numeric(10, 2), unread text);
    ALTER TABLE prices REPLICA IDENTITY FULL;
    INSERT INTO prices SELECT n, n % 3, n, 'u' FROM generate_series(1, 20) n`);
});
afterEach(async () => {
  await database.drop();
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
