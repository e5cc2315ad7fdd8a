/**
 * Goal: what keeps a database or a table from being captured is said all at once, with SQL that mends it, and capture
 * goes on by itself once somebody has run it.
 * Method: a real Postgres set up wrongly in each way; the remedies are run as they are printed.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Column, type Contract, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
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
import { parseConnectionUrl } from './pg/connection-url.ts';
import { withConnection } from './pg/pg-connection.ts';
import { fromPgError } from './pg/pg-error.ts';
import { PostgresDatabase } from './postgres-database.ts';
import { describeTables, type TableAnswer } from './table-describer.ts';

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

async function halted(capture: Capture, definitions: DefinitionSet): Promise<FreshetError> {
  await capture.node.apply(definitions);
  await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.HALTED);
  return must(capture.source.status().problem);
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

describe('tables', () => {
  async function describeOne(table: string, mode: SourceMode = SourceMode.APPEND): Promise<TableAnswer> {
    const [answer] = await describeTables(
      [
        {
          name: 'shop',
          connect: (signal, work) =>
            withConnection({ target: parseConnectionUrl(database.url), applicationName: 'test' }, signal, work),
        },
      ],
      [{ source: 's', database: 'shop', schema: 'public', table, mode }],
      AbortSignal.timeout(10_000),
    );
    return must(answer);
  }

  it('says what a table is: columns, domains down to their base, keys, identity', async () => {
    await database.sql`CREATE DOMAIN email AS varchar(50) NOT NULL`;
    await database.sql`CREATE DOMAIN work_email AS email`;
    await database.sql`CREATE TYPE mood AS ENUM ('sad', 'ok')`;
    await database.sql.unsafe(`CREATE TABLE "Odd Table" (
      b int4, "A" numeric(10,2), mail work_email, m mood, ms mood[], tags varchar(9)[], at timestamp(3), g int8 GENERATED ALWAYS AS (b * 2) STORED,
      PRIMARY KEY ("A", b))`);
    const { contract, problems } = await describeOne('Odd Table', SourceMode.MUTABLE);
    expect(problems).toEqual([]);
    expect(contract?.columns.map((c) => [c.name, c.sourceType, c.type?.kind, c.type?.element, c.nullable])).toEqual([
      ['b', 'integer', 1, 0, false],
      ['A', 'numeric(10,2)', 3, 0, false],
      ['mail', 'work_email', 4, 0, false],
      ['m', 'mood', 4, 0, true],
      ['ms', 'mood[]', 8, 4, true],
      ['tags', 'character varying(9)[]', 8, 4, true],
      ['at', 'timestamp(3) without time zone', 7, 0, true],
    ]);
    expect(contract?.primaryKey).toEqual(['A', 'b']);
    expect(contract?.replicaIdentity).toBe(1);
  });

  it('says what types are made of: limits, defaults, labels, the chain of domains', async () => {
    await database.sql`CREATE DOMAIN email AS varchar(50) NOT NULL CONSTRAINT has_at CHECK (position('@' in VALUE) > 0)`;
    await database.sql`CREATE DOMAIN work_email AS email`;
    await database.sql`CREATE TYPE mood AS ENUM ('sad', 'happy')`;
    await database.sql`ALTER TYPE mood ADD VALUE 'ok' BEFORE 'happy'`;
    await database.sql`CREATE TABLE detailed (
      id int8 PRIMARY KEY, c varchar(20) DEFAULT 'x', fixed char(3), one char, amount numeric(10,2), below numeric(3,-2),
      free numeric, t timestamp(3), z timestamptz, span interval(2), spans interval day to second, bits bit(7),
      m mood DEFAULT 'ok', ms mood[], codes varchar(9)[], mail work_email, at timestamptz DEFAULT now())`;
    const { contract } = await describeOne('detailed');
    const of = (c: Column) => [
      c.name,
      c.length,
      c.precision,
      c.scale,
      c.timeZone,
      c.defaultExpression,
      c.sourceTypeModifier,
    ];
    expect(contract?.columns.map(of)).toEqual([
      ['id', 0, undefined, undefined, false, '', -1],
      ['c', 20, undefined, undefined, false, "'x'::character varying", 24],
      ['fixed', 3, undefined, undefined, false, '', 7],
      ['one', 1, undefined, undefined, false, '', 5],
      ['amount', 0, 10, 2, false, '', 655_366],
      ['below', 0, 3, -2, false, '', 198_658],
      ['free', 0, undefined, undefined, false, '', -1],
      ['t', 0, 3, undefined, false, '', 3],
      ['z', 0, undefined, undefined, true, '', -1],
      ['span', 0, 2, undefined, false, '', 2_147_418_114],
      ['spans', 0, undefined, undefined, false, '', expect.any(Number)],
      ['bits', 7, undefined, undefined, false, '', 7],
      ['m', 0, undefined, undefined, false, "'ok'::mood", -1],
      ['ms', 0, undefined, undefined, false, '', -1],
      ['codes', 9, undefined, undefined, false, '', 13],
      // The stream tells no modifier of a domain: the limit is its base's.
      ['mail', 50, undefined, undefined, false, '', -1],
      ['at', 0, undefined, undefined, true, 'now()', -1],
    ]);
    const byName = new Map(contract?.columns.map((column) => [column.name, column]));
    expect(byName.get('m')?.enumLabels).toEqual(['sad', 'ok', 'happy']);
    expect(byName.get('ms')?.enumLabels).toEqual(['sad', 'ok', 'happy']);
    expect(byName.get('id')?.enumLabels).toEqual([]);
    expect(byName.get('mail')?.domains).toMatchObject([
      { name: 'public.work_email', baseType: 'email', notNull: false, checks: [] },
      {
        name: 'public.email',
        baseType: 'character varying(50)',
        notNull: true,
        checks: [expect.stringMatching(/^has_at CHECK .*VALUE/)],
      },
    ]);
  });

  it('refuses what has no changes to capture, and gives an identity to what tells none', async () => {
    await database.sql`CREATE VIEW v AS SELECT 1 AS a`;
    await database.sql`CREATE UNLOGGED TABLE u (a int PRIMARY KEY)`;
    await database.sql`CREATE TABLE keyless (a int)`;
    await database.sql`CREATE TABLE nothing (a int PRIMARY KEY)`;
    await database.sql`ALTER TABLE nothing REPLICA IDENTITY NOTHING`;
    expect((await describeOne('missing')).problems[0]?.message).toBe('there is no table public.missing');
    expect((await describeOne('v')).problems[0]?.message).toContain('a view');
    const remedies: string[] = [];
    for (const table of ['u', 'keyless', 'nothing']) {
      const { problems } = await describeOne(table, SourceMode.MUTABLE);
      expect(problems).toHaveLength(1);
      remedies.push(must(problems[0]).remedy);
      await database.sql.unsafe(must(problems[0]).remedy);
      expect((await describeOne(table, SourceMode.MUTABLE)).problems).toEqual([]);
    }
    expect(remedies).toEqual([
      'ALTER TABLE public.u SET LOGGED;',
      'ALTER TABLE public.keyless REPLICA IDENTITY FULL; -- or give it a primary key',
      'ALTER TABLE public.nothing REPLICA IDENTITY DEFAULT;',
    ]);
  });

  it('I2: tells no rows apart by a key that is DEFERRABLE, and breaks no UPDATE of its table', async () => {
    await database.sql`CREATE TABLE late (a int, b int, PRIMARY KEY (a) DEFERRABLE)`;
    const { problems } = await describeOne('late', SourceMode.MUTABLE);
    expect(problems.map(({ message }) => message).join()).toMatch(/does not tell which row .* DEFERRABLE/);
    const definitions = await define(database.url, 1n, [
      { route: 1, table: 'late', key: 'b', mode: SourceMode.MUTABLE },
    ]);
    const { capture, log } = await start(database.url);
    await halted(capture, definitions);
    await database.sql`INSERT INTO late VALUES (1, 7), (2, 7)`;
    await database.sql`UPDATE late SET a = a + 1`;
    await database.sql.unsafe(must(problems[0]).remedy);
    await capture.node.apply(
      await define(database.url, 2n, [{ route: 1, table: 'late', key: 'b', mode: SourceMode.MUTABLE }]),
    );
    await expect.poll(async () => (await liveImages(log, 1, 2)).images, patient).toEqual(['["2","7"]', '["3","7"]']);
    // Told apart by all their columns: another row of the same key for a while is not taken for the first.
    expect(rowIdentity((await describeOne('late', SourceMode.MUTABLE)).contract as Contract).unique).toBe(false);
  });

  it('takes an append table without any key', async () => {
    await database.sql`CREATE TABLE keyless (a int)`;
    expect((await describeOne('keyless')).problems).toEqual([]);
  });
});

describe('privileges', () => {
  it('names all that is missing at once, and goes on once the printed SQL was run', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`CREATE TABLE orders (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`INSERT INTO events VALUES (1, 1)`;
    const definitions = await define(database.url, 1n, [
      { route: 1, table: 'events', key: 'user_id' },
      { route: 2, table: 'orders', key: 'user_id' },
    ]);
    const { capture, log } = await start(await createRole());
    try {
      const first = await halted(capture, definitions);
      const all = [first, ...first.also];
      expect(all.map(({ code }) => code)).toEqual(['SOURCE_NOT_READY', 'SOURCE_NOT_READY', 'SOURCE_NOT_READY']);
      expect(all.map(({ message }) => message).join('\n')).toMatch(
        /may not replicate[\s\S]*may not read public.events[\s\S]*may not read public.orders/,
      );
      for (const { remedy } of all) await database.sql.unsafe(remedy);
      await expect.poll(() => capture.source.status().problem?.message ?? '', patient).toContain('publication');
      const second = must(capture.source.status().problem);
      for (const { remedy } of [second, ...second.also]) await database.sql.unsafe(remedy.replace(/^As[^:]*: /, ''));
      await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
      expect(capture.source.status().problem).toBeUndefined();
      expect(await idsOf(log, 1)).toEqual([1]);
    } finally {
      await capture.stop();
      await dropRole();
    }
  });

  it('does not take a snapshot from which row-level security hides rows', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`INSERT INTO events VALUES (1, 1), (2, 2)`;
    const url = await createRole();
    const role = new URL(url).username;
    await database.sql.unsafe(`ALTER ROLE ${role} WITH REPLICATION; GRANT SELECT ON events TO ${role};
      GRANT CREATE ON DATABASE ${database.name} TO ${role};
      ALTER TABLE events ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON events USING (user_id = 1)`);
    const definitions = await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]);
    const { capture, log } = await start(url);
    try {
      const problem = await halted(capture, definitions);
      expect(problem.message).toContain('row-level security hides rows of public.events');
      expect(problem.remedy).toContain(`ALTER ROLE "${role}" BYPASSRLS;`);
      const target = parseConnectionUrl(url);
      const count = withConnection({ target, applicationName: 'test' }, AbortSignal.timeout(10_000), (connection) =>
        connection.query('SELECT count(*) FROM events'),
      );
      await expect(count).rejects.toMatchObject({ code: '42501' });
      await database.sql.unsafe(problem.remedy);
      await database.sql.unsafe(`ALTER TABLE events OWNER TO ${role}`); // for the publication
      await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
      expect(capture.source.status().problem).toBeUndefined();
    } finally {
      await capture.stop();
      await dropRole();
    }
  });

  it('says in its status that the database does not answer, while it tries again', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    const definitions = await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]);
    const { capture } = await start('postgres://u:p@127.0.0.1:1/db');
    await capture.node.apply(definitions);
    await expect.poll(() => capture.source.status().problem?.code, patient).toBe('SOURCE_UNREACHABLE');
    expect(capture.source.status().phase).toBe(SourceState.CONNECTING);
  });

  it('keeps its session while it looks, whatever the server does with idle ones', async () => {
    await database.sql.unsafe(`ALTER DATABASE ${database.name} SET idle_session_timeout = '20ms'`);
    const shop = new PostgresDatabase({
      name: 'shop',
      target: parseConnectionUrl(database.url),
      clock: systemClock,
      logger: silentLogger,
    });
    const looking = shop.look(AbortSignal.timeout(10_000), async (session) => {
      await systemClock.sleep(200);
      return session.server();
    });
    expect(await looking).toMatchObject({ walLevel: 'logical' });
  });

  it('says that a password is wrong, without showing it', async () => {
    const url = new URL(database.url);
    url.password = 'not-the-password';
    const attempt = withConnection(
      { target: parseConnectionUrl(url.href), applicationName: 'test' },
      AbortSignal.timeout(10_000),
      () => Promise.resolve(),
    );
    const error = fromPgError(await attempt.catch((e: unknown) => e), 'here') as FreshetError;
    expect(error).toBeInstanceOf(FreshetError);
    expect(error.code).toBe('SOURCE_NOT_READY');
    expect(error.remedy).toContain('password');
    expect(JSON.stringify([error.message, error.remedy, error.place])).not.toContain('not-the-password');
  });
});

describe('the server and the slot', () => {
  it('refuses another wal_level with the SQL to change it', async () => {
    const other = await startPostgres({ settings: { wal_level: 'replica' } });
    const outside = database;
    try {
      database = await createDatabase(other.url);
      await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
      const { capture } = await start(database.url);
      const problem = await halted(
        capture,
        await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]),
      );
      expect(problem.message).toBe('wal_level is replica');
      expect(problem.remedy).toContain("ALTER SYSTEM SET wal_level = 'logical'");
      await capture.stop();
      await database.sql.end();
    } finally {
      database = outside;
      await other.stop();
    }
  });

  it('counts the slots that are free', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    for (const i of [1, 2, 3, 4]) await database.sql`SELECT pg_create_physical_replication_slot(${`full_${i}`})`;
    const { capture, log } = await start(database.url);
    const problem = await halted(
      capture,
      await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]),
    );
    for (const i of [1, 2, 3, 4]) await database.sql`SELECT pg_drop_replication_slot(${`full_${i}`})`;
    expect(problem.remedy).toContain('ALTER SYSTEM SET max_replication_slots = 6');
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    expect(await idsOf(log, 1)).toEqual([]);
  });

  it('refuses an event time that is no time, and names the column that is', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, day text, created timestamptz)`;
    const { capture } = await start(database.url);
    const problem = await halted(
      capture,
      await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id', eventTime: 'day' }]),
    );
    expect(problem.message).toBe('column day of public.events is text, which is no time');
    expect(problem.remedy).toBe('In source events, write event_time: created');
  });

  it('does not use a slot that it did not make', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`SELECT pg_create_logical_replication_slot(${SLOT}, 'pgoutput')`;
    const { capture } = await start(database.url);
    const problem = await halted(
      capture,
      await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]),
    );
    expect(problem.message).toContain('did not make');
    await database.sql.unsafe(must(/SELECT .*;/.exec(problem.remedy))[0]);
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
  });

  it.each(['dropped', 'made anew'])('notices that its slot was %s, and starts over when told to', async (how) => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    await database.sql`INSERT INTO events VALUES (1, 1)`;
    const definitions = await define(database.url, 1n, [{ route: 1, table: 'events', key: 'user_id' }]);
    const { capture, log } = await start(database.url);
    await capture.node.apply(definitions);
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    await capture.stop();
    await expect
      .poll(
        () =>
          database.sql`SELECT pg_drop_replication_slot(${SLOT})`.then(
            () => true,
            () => false,
          ),
        patient,
      )
      .toBe(true);
    await database.sql`INSERT INTO events VALUES (2, 1)`;
    if (how === 'made anew') await database.sql`SELECT pg_create_logical_replication_slot(${SLOT}, 'pgoutput')`;
    const second = await startCapture({ url: database.url, directory: directory.path, log, onLostHistory: 'halt' });
    captures.push(second);
    await expect.poll(() => second.source.status().problem?.code, patient).toBe('SLOT_LOST');
    await second.stop();
    const third = await startCapture({ url: database.url, directory: directory.path, log, resync: 'today' });
    captures.push(third);
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
  });
});

describe('a contract that is broken', () => {
  it('holds the table from the first row of the new shape on, loses nothing, and releases under a new contract', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, amount int4, note varchar(3))`;
    const route = { route: 1, table: 'events', key: 'user_id' } as const;
    const { capture, log } = await start(database.url);
    await capture.node.apply(await define(database.url, 1n, [route]));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    await database.sql`INSERT INTO events VALUES (1, 1, 5, 'abc')`;
    // Added columns break nothing, nor wider ones for which the table is not written anew (incident.pg.test.ts has one for which it is).
    await database.sql`ALTER TABLE events ALTER note TYPE varchar(9)`;
    await database.sql`ALTER TABLE events ADD COLUMN extra text`;
    await database.sql`INSERT INTO events VALUES (2, 1, 6, 'abcdef', 'x')`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
    await database.sql`ALTER TABLE events ALTER amount TYPE text`;
    await database.sql`INSERT INTO events VALUES (3, 1, 'seven', 'abc', 'x')`;
    const told = (): unknown => capture.conditions.list().find(({ id }) => id === 'source/shop/held/1');
    await expect.poll(told, patient).toMatchObject({
      code: 'CONTRACT_BROKEN',
      message: expect.stringContaining('column amount is text, was integer') as string,
    });
    expect(capture.source.status().phase).toBe(SourceState.STREAMING);
    await database.sql`INSERT INTO events VALUES (4, 1, 'eight', 'abc', 'x')`;
    await expect.poll(() => capture.quarantine.held[0]?.count, patient).toBe(2);
    expect(await idsOf(log, 1)).toEqual([1, 2]);
    await capture.node.apply(await define(database.url, 2n, [route], capture.source));
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3, 4]);
    await expect.poll(() => capture.quarantine.count, { timeout: 20_000 }).toBe(0);
    await database.sql`INSERT INTO events VALUES (5, 1, 'nine', 'abc', 'x')`;
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3, 4, 5]);
    const lanes = (await changesOf(log)).map(({ lane, contractVersion }) => [lane, contractVersion]);
    expect(lanes.slice(-3)).toEqual([
      [3, 2],
      [3, 2],
      [2, 2],
    ]);
  });

  it('takes a backlog in the old shape under the contract of its time, when the definitions are ahead of it', async () => {
    await database.sql`CREATE TABLE events (id int8 PRIMARY KEY, user_id int8)`;
    const route = { route: 1, table: 'events', key: 'user_id' } as const;
    const { capture, log } = await start(database.url);
    await capture.node.apply(await define(database.url, 1n, [route]));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    await capture.stop();
    await database.sql`INSERT INTO events VALUES (1, 1)`;
    await database.sql`ALTER TABLE events ADD COLUMN amount int4`;
    await database.sql`INSERT INTO events VALUES (2, 1, 5)`;
    const second = await startCapture({ url: database.url, directory: directory.path, log, onLostHistory: 'halt' });
    captures.push(second);
    await second.node.apply(await define(database.url, 2n, [route]));
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2]);
    const [first, later] = (await changesOf(log)).map(({ contractVersion, row }) => [contractVersion, row.length]);
    expect(first).toEqual([1, 2]);
    // The definitions that were kept may be in force still when it comes: they know no amount.
    expect([
      [1, 2],
      [2, 3],
    ]).toContainEqual(later);
    await expect.poll(() => second.node.writtenGeneration, patient).toBe(2n);
    await database.sql`ALTER TABLE events DROP COLUMN amount`;
    await database.sql`INSERT INTO events VALUES (3, 1)`;
    await expect.poll(() => second.quarantine.held[0]?.detail, patient).toContain('column amount (integer) is gone');
  });
});
