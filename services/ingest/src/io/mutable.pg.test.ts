/**
 * Goal: what the log tells of a mutable table is the table: the live images that its records describe are what SELECT gives,
 * whatever DML made it so, and whatever tells its rows apart.
 * Method: a real Postgres; random histories (insert, upsert, update, change of the key and of the entity, delete, truncate,
 * rollback, savepoints, several tables in a transaction, rows of large values, columns added and dropped) through snapshot
 * and stream, with stops; compared at random points and at the end, by a model that knows only the log's contract.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import type postgres from 'postgres';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parseLsn } from '../core/lsn.ts';
import {
  type Capture,
  createDatabase,
  define,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../testing/capture.ts';
import { liveImages } from '../testing/live-images.ts';

const COLUMNS = ['id', 'user_id', 'code', 'amount', 'note'] as const;
/** How each table's rows are told apart. */
const TABLES = [
  { table: 't_key', key: 'PRIMARY KEY (user_id, id)', identity: 'DEFAULT', large: false },
  { table: 't_full', key: 'PRIMARY KEY (id)', identity: 'FULL', large: true },
  { table: 't_index', key: 'PRIMARY KEY (id)', identity: 'USING INDEX t_index_code', large: false },
  { table: 't_bag', key: '', identity: 'FULL', large: true },
] as const;
type Table = (typeof TABLES)[number];

const runs = Math.max(1, Math.round(3 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1')));
const first = Number(process.env['FRESHET_FUZZ_SEED'] ?? '1');
const patient = { timeout: 60_000, interval: 30 };

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
  for (const { table, key, identity } of TABLES) {
    const constraint = key === '' ? '' : `, ${key}`;
    await database.sql.unsafe(
      `CREATE TABLE ${table} (id int8 NOT NULL, user_id int8 NOT NULL, code text NOT NULL, amount numeric(10, 2), note text${constraint});
       ALTER TABLE ${table} ALTER note SET STORAGE EXTERNAL;
       CREATE UNIQUE INDEX ${table}_code ON ${table} (user_id, code)`.replace(
        table === 't_bag' ? 'CREATE UNIQUE' : '\0',
        'CREATE',
      ),
    );
    await database.sql.unsafe(`ALTER TABLE ${table} REPLICA IDENTITY ${identity}`);
  }
});
afterEach(async () => {
  await Promise.all(captures.map((capture) => capture.stop().catch(() => {})));
  await database.drop();
  directory.remove();
});

async function capture(log: MemoryLog): Promise<Capture> {
  const started = await startCapture({ url: database.url, directory: directory.path, log });
  captures.push(started);
  return started;
}

function definitions(generation: bigint, reads: readonly string[] = ['amount', 'note']): Promise<DefinitionSet> {
  const routes = TABLES.map(({ table }, i) => ({
    route: i + 1,
    table,
    key: 'user_id',
    mode: SourceMode.MUTABLE,
    reads,
  }));
  return define(database.url, generation, routes);
}

/** The rows of a table as the model writes them. */
async function rowsOf(table: string): Promise<string[]> {
  const rows = await database.sql.unsafe(
    `SELECT ${COLUMNS.map((column) => `coalesce(${column}::text, 'null') AS ${column}`).join(', ')} FROM ${table}`,
  );
  return rows.map((row) => JSON.stringify(COLUMNS.map((column) => String(row[column])))).sort();
}

/** Waits until the log, as the model reads it, is the tables. */
async function expectSame(log: MemoryLog): Promise<void> {
  for (const [i, { table }] of TABLES.entries()) {
    const rows = await rowsOf(table);
    await expect.poll(async () => (await liveImages(log, i + 1, COLUMNS.length)).images, patient).toEqual(rows);
    expect(await liveImages(log, i + 1, COLUMNS.length)).toMatchObject({ misses: 0 });
  }
}

/** One statement of DML, or a few; what violates a key is given up, as an application would. */
class Load {
  readonly #random: Random;
  #next = 1;

  constructor(random: Random) {
    this.#random = random;
  }

  /** One transaction: committed, rolled back, or partly so. */
  async transaction(): Promise<void> {
    const random = this.#random;
    const commits = !random.oneIn(8);
    try {
      await database.sql.begin(async (sql) => {
        for (let i = random.between(1, 5); i > 0; i--) {
          const undone = random.oneIn(6);
          await sql
            .savepoint(async (inner) => {
              await this.#statement(inner);
              if (undone) throw new Error('rolled back to the savepoint');
            })
            .catch(() => undefined);
        }
        if (!commits) throw new Error('rolled back');
      });
    } catch (error) {
      if (commits) throw error;
    }
  }

  async #statement(sql: postgres.TransactionSql): Promise<void> {
    const random = this.#random;
    const target = TABLES[random.between(0, TABLES.length - 1)] as Table;
    const { table } = target;
    const [user, other] = [random.between(0, 5), random.between(0, 5)];
    switch (random.between(0, 9)) {
      case 0:
      case 1:
      case 2: {
        // Equal rows too, where nothing forbids them.
        const id = table === 't_bag' && random.oneIn(2) ? random.between(1, 5) : this.#next++;
        const code = table === 't_bag' ? `c${id % 3}` : `c${id}`;
        await sql.unsafe(
          `INSERT INTO ${table} VALUES (${id}, ${user}, '${code}', ${this.#amount()}, ${this.#note(target)})`,
        );
        return;
      }
      case 3: {
        if (table === 't_bag') return;
        const id = random.between(1, this.#next);
        const target_ = table === 't_key' ? 'user_id, id' : 'id';
        await sql.unsafe(
          `INSERT INTO ${table} VALUES (${id}, ${user}, 'c${id}', ${this.#amount()}, NULL)
           ON CONFLICT (${target_}) DO UPDATE SET amount = excluded.amount + 1, user_id = excluded.user_id`,
        );
        return;
      }
      case 4:
      case 5:
        // The large value stays as it is.
        await sql.unsafe(`UPDATE ${table} SET amount = ${this.#amount()} WHERE user_id = ${user}`);
        return;
      case 6:
        await sql.unsafe(`UPDATE ${table} SET user_id = ${other} WHERE user_id = ${user} AND id % 2 = 0`);
        return;
      case 7:
        await sql.unsafe(
          `UPDATE ${table} SET id = id + 100000, code = code || 'x', note = ${this.#note(target)} WHERE user_id = ${user} AND id % 3 = 0 AND id < 100000`,
        );
        return;
      case 8:
        await sql.unsafe(`DELETE FROM ${table} WHERE user_id = ${user} AND id % 4 = ${random.between(0, 3)}`);
        return;
      default:
        if (random.oneIn(6)) await sql.unsafe(`TRUNCATE ${random.oneIn(2) ? table : 't_key, t_bag'}`);
    }
  }

  #amount(): string {
    return this.#random.oneIn(8) ? 'NULL' : (this.#random.between(-500, 500) / 4).toFixed(2);
  }

  #note({ large }: Table): string {
    if (this.#random.oneIn(4)) return 'NULL';
    return large && this.#random.oneIn(2)
      ? `repeat('n${this.#next}', ${this.#random.between(1_000, 3_000)})`
      : `'short'`;
  }
}

describe('a mutable table', () => {
  it.each(Array.from({ length: runs }, (_, i) => first + i))(
    'F2: is in the log as SELECT gives it, at random points of a random history (seed %i)',
    async (seed) => {
      const random = new Random(seed);
      const load = new Load(random.branch('load'));
      for (let i = 0; i < 30; i++) await load.transaction();
      const log = createMemoryLog({ partitions: 3, clock: systemClock });
      let running = await capture(log);
      await running.node.apply(await definitions(1n));
      // Commits while the snapshots are taken.
      for (let i = 0; i < 40; i++) await load.transaction();
      await expectSame(log);
      let generation = 1n;
      for (let round = 0; round < 4; round++) {
        for (let i = 0; i < 30; i++) await load.transaction();
        if (random.oneIn(2)) {
          await running.stop();
          for (let i = 0; i < 10; i++) await load.transaction();
          running = await capture(log);
        }
        if (random.oneIn(2)) {
          // Columns that nobody asked for come and go; without an apply and with one.
          for (const { table } of TABLES) {
            await database.sql.unsafe(`ALTER TABLE ${table} ADD COLUMN extra_${round} int8 DEFAULT ${round}`);
          }
          for (let i = 0; i < 10; i++) await load.transaction();
          if (random.oneIn(2)) await running.node.apply(await definitions(++generation));
        }
        await expectSame(log);
      }
      expect(running.quarantine.count).toBe(0);
      expect(running.conditions.list()).toEqual([]);
    },
    240_000,
  );

  it('F2: keeps the generation of its route where columns come that nobody reads, unless all of them tell rows apart', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    const { node } = await capture(log);
    await node.apply(await definitions(1n));
    const insert = (): Promise<unknown[]> =>
      Promise.all(
        TABLES.map(({ table }, i) =>
          database.sql.unsafe(
            `INSERT INTO ${table} (id, user_id, code) SELECT n, n, 'c' || n FROM generate_series(${i}, 20) n`,
          ),
        ),
      );
    await insert();
    await expectSame(log);
    for (const { table } of TABLES) await database.sql.unsafe(`ALTER TABLE ${table} ADD COLUMN extra int8 DEFAULT 7`);
    await node.apply(await definitions(2n));
    await database.sql.unsafe(
      `UPDATE t_bag SET amount = 5; DELETE FROM t_bag WHERE id < 5; DELETE FROM t_key WHERE id < 5`,
    );
    await expectSame(log);
    const generations = (): Promise<number[]> =>
      Promise.all(TABLES.map(async (_, i) => (await liveImages(log, i + 1, 5)).generation));
    await expect.poll(generations, patient).toEqual([1, 1, 1, 2]);
    await expectSame(log);
  });

  it('F2, I2: leaves out large unchanged values that nobody reads, and is read anew once somebody does', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    let running = await capture(log);
    await running.node.apply(await definitions(1n, ['amount']));
    await database.sql`INSERT INTO t_key SELECT n, n % 3, 'c' || n, n, repeat('large', 1000) FROM generate_series(1, 30) n`;
    await expect.poll(async () => (await liveImages(log, 1, 4)).images.length, patient).toBe(30);
    await database.sql`UPDATE t_key SET amount = 7 WHERE id < 20`;
    const [rows, short] = [
      await rowsOf('t_key'),
      (row: string) => JSON.stringify((JSON.parse(row) as string[]).slice(0, 4)),
    ];
    await expect.poll(async () => (await liveImages(log, 1, 4)).images, patient).toEqual(rows.map(short).sort());
    expect(running.quarantine.count).toBe(0);
    await running.stop();
    running = await capture(log);
    await running.node.apply(await definitions(2n, ['amount', 'note']));
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).generation).toBe(2);
    // Read, it is missed: the row is put aside, and the table can be made to tell it.
    await database.sql`UPDATE t_key SET amount = 8 WHERE id < 2`;
    await expect.poll(() => running.quarantine.count, patient).toBe(1);
  });

  it('F2, I2: leaves out values that have no form where nobody reads them, and is read anew once somebody does', async () => {
    await database.sql.unsafe(
      "ALTER TABLE t_key ADD until timestamptz DEFAULT 'infinity', ADD grid int8[] DEFAULT '{{1},{2}}'",
    );
    const insert = (from: number, to: number): Promise<unknown> =>
      database.sql`INSERT INTO t_key SELECT n, n % 3, 'c' || n, n, 'short' FROM generate_series(${from}::int, ${to}::int) n`;
    await insert(1, 10);
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    let running = await capture(log);
    await running.node.apply(await definitions(1n));
    await insert(11, 20);
    await database.sql`UPDATE t_key SET amount = 7 WHERE id % 2 = 0`;
    await database.sql`UPDATE t_key SET until = '-infinity', user_id = 5 WHERE id % 5 = 0`;
    await database.sql`DELETE FROM t_key WHERE id % 10 = 1`;
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).images.length).toBe(18);
    expect(running.quarantine.count).toBe(0);
    await running.stop();
    running = await capture(log);
    await running.node.apply(await definitions(2n, ['amount', 'note', 'until']));
    // Read, they are missed: the rows are put aside, each by itself.
    await expect.poll(() => running.quarantine.count, patient).toBe(18);
    expect((await liveImages(log, 1, 5)).generation).toBe(2);
    await database.sql`UPDATE t_key SET until = '2030-01-01'`;
    await expectSame(log);
  });

  it('F2: is read anew when labels of an enum were renamed, in rows that nobody told of', async () => {
    await database.sql.unsafe(
      "CREATE TYPE mood AS ENUM ('sad', 'glad'); ALTER TABLE t_key DROP note; ALTER TABLE t_key ADD note mood DEFAULT 'glad'",
    );
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    const { node, quarantine } = await capture(log);
    await node.apply(await definitions(1n));
    await database.sql`INSERT INTO t_key SELECT n, n % 3, 'c' || n, n FROM generate_series(1, 10) n`;
    await expectSame(log);
    await database.sql`ALTER TYPE mood ADD VALUE 'so so'`;
    await node.apply(await definitions(2n));
    await database.sql`UPDATE t_key SET note = 'so so' WHERE id = 1`;
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).generation).toBe(1);
    await database.sql`ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'`;
    await database.sql`UPDATE t_key SET amount = 0 WHERE id = 2`;
    await expect.poll(() => quarantine.count, patient).toBe(1);
    await node.apply(await definitions(3n));
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).generation).toBe(2);
    await expect.poll(() => quarantine.count, patient).toBe(0);
    // Also one that came while the generation ran.
    await database.sql`ALTER TYPE mood ADD VALUE 'calm'`;
    await node.apply(await definitions(4n));
    await database.sql`UPDATE t_key SET note = 'calm' WHERE id = 3`;
    await expectSame(log);
    await database.sql`ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'`;
    await node.apply(await definitions(5n));
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).generation).toBe(3);
    // And one whose old name is another label's by then.
    await database.sql`ALTER TYPE mood RENAME VALUE 'quiet' TO 'hushed'`;
    await database.sql`ALTER TYPE mood ADD VALUE 'quiet'`;
    await node.apply(await definitions(6n));
    await database.sql`UPDATE t_key SET note = 'quiet' WHERE id = 4`;
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).generation).toBe(4);
  });

  it('F2: whose key changes is held, with what to do, and read anew once definitions know it', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    const { node, source, conditions, quarantine } = await capture(log);
    const told = (id: string): string | undefined => conditions.list().find((one) => one.id === id)?.message;
    await node.apply(await definitions(1n));
    await database.sql`INSERT INTO t_key SELECT n, n % 3, 'c' || n, n, NULL FROM generate_series(1, 30) n`;
    await expectSame(log);
    const before = await rowsOf('t_key');
    await database.sql.unsafe('ALTER TABLE t_key DROP CONSTRAINT t_key_pkey, ADD PRIMARY KEY (user_id, code)');
    // Also before any row comes.
    await expect.poll(() => told('source/shop/keys'), patient).toMatch(/told apart by \(user_id, code\) now/);
    await database.sql`UPDATE t_key SET id = id + 100, code = 'd' || id WHERE id < 10`;
    await database.sql`DELETE FROM t_key WHERE id > 20 AND id < 25`;
    await expect
      .poll(() => told('source/shop/held/1'), patient)
      .toMatch(/told apart by \(user_id, code\), and were by/);
    // What is beside it flows, and the slot advances: none of it is folded.
    await database.sql`INSERT INTO t_full SELECT n, n % 3, 'c' || n, n, NULL FROM generate_series(1, 30) n`;
    await expect.poll(async () => (await liveImages(log, 2, 5)).images, patient).toEqual(await rowsOf('t_full'));
    expect((await liveImages(log, 1, 5)).images).toEqual(before);
    const [wal] = await database.sql<{ lsn: string }[]>`SELECT pg_current_wal_lsn() AS lsn`;
    await expect.poll(() => source.status().durableLsn >= must(parseLsn(must(wal).lsn)), patient).toBe(true);
    expect(quarantine.held).toMatchObject([{ route: 1, reason: 'identity', count: 13 }]);
    await node.apply(await definitions(2n));
    await expectSame(log);
    await database.sql`UPDATE t_key SET amount = 9`;
    await expectSame(log);
    expect((await liveImages(log, 1, 5)).generation).toBe(2);
    expect((await liveImages(log, 2, 5)).generation).toBe(1);
    await expect.poll(() => quarantine.count, patient).toBe(0);
    expect(conditions.list()).toEqual([]);
  });

  it('F2, C1: whose key changes under REPLICA IDENTITY FULL is held from when it is seen, and behind a restart', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    let running = await capture(log);
    const told = (): string => running.conditions.list().find(({ id }) => id === 'source/shop/keys')?.message ?? '';
    await running.node.apply(await definitions(1n));
    await database.sql`INSERT INTO t_full SELECT n, n % 3, 'c' || n, n, NULL FROM generate_series(1, 10) n`;
    await expectSame(log);
    const before = await rowsOf('t_full');
    await database.sql.unsafe('ALTER TABLE t_full DROP CONSTRAINT t_full_pkey, ADD PRIMARY KEY (user_id, code)');
    await expect.poll(told, patient).toMatch(/told apart by \(user_id, code\) now/);
    // Nothing in the stream tells that there are two rows of the id now.
    await database.sql`INSERT INTO t_full SELECT n, n % 3, 'd' || n, 0, NULL FROM generate_series(1, 10) n`;
    await expect.poll(() => running.quarantine.count, patient).toBe(10);
    await running.stop();
    await database.sql`DELETE FROM t_full WHERE code LIKE 'd%' AND id < 10`;
    running = await capture(log);
    await expect.poll(() => running.quarantine.count, patient).toBe(19);
    expect((await liveImages(log, 2, 5)).images).toEqual(before);
    await running.node.apply(await definitions(2n));
    await expectSame(log);
    expect((await liveImages(log, 2, 5)).generation).toBe(2);
  });

  it('F2: whose replica identity was too little for a while is read anew when it is in order again', async () => {
    const log = createMemoryLog({ partitions: 3, clock: systemClock });
    let running = await capture(log);
    await running.node.apply(await definitions(1n));
    await database.sql`INSERT INTO t_full SELECT n, n % 3, 'c' || n, n, NULL FROM generate_series(1, 30) n`;
    await expectSame(log);
    await database.sql.unsafe(
      'ALTER TABLE t_full REPLICA IDENTITY DEFAULT; UPDATE t_full SET user_id = 5 WHERE id < 10',
    );
    await expect.poll(() => running.quarantine.count, patient).toBe(9);
    // A table that is held is held behind a restart, which does not wait for it.
    await running.stop();
    running = await capture(log);
    await expect
      .poll(() => running.conditions.list().map(({ remedy }) => remedy), patient)
      .toContain('ALTER TABLE public.t_full REPLICA IDENTITY FULL;');
    await database.sql`INSERT INTO t_key SELECT n, n % 3, 'c' || n, n, NULL FROM generate_series(1, 30) n`;
    await expect.poll(async () => (await liveImages(log, 1, 5)).images, patient).toEqual(await rowsOf('t_key'));
    await database.sql.unsafe('UPDATE t_full SET user_id = 7 WHERE id < 5; ALTER TABLE t_full REPLICA IDENTITY FULL');
    await expectSame(log);
    await database.sql`DELETE FROM t_full WHERE id < 3`;
    await expectSame(log);
    expect((await liveImages(log, 2, 5)).generation).toBe(2);
    await expect.poll(() => running.quarantine.count, patient).toBe(0);
  });
});
