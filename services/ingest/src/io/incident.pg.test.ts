/**
 * Goal: the incident, change by change, as a real Postgres streams it: what breaks a contract holds its own table from the
 * first row on, what does not passes, the table beside them flows all the while, and under accepted contracts every held row
 * comes to the log in order, once (C1, F3).
 * Method: a table for each change, a row before it and two behind it; a table with rows all the while; the log is read as a
 * shard reads it.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  type Capture,
  changesOf,
  createDatabase,
  define,
  idsOf,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
} from '../testing/capture.ts';

interface Change {
  readonly table: string;
  readonly type: string;
  readonly before: string;
  readonly ddl: string;
  readonly after: string;
  /** What is said of the first held row; undefined: nothing is held. */
  readonly held: string | undefined;
}

const CHANGES: readonly Change[] = [
  {
    table: 'narrowed',
    type: 'varchar(20)',
    before: "'long enough to cut'",
    ddl: 'ALTER TABLE narrowed ALTER v TYPE varchar(10) USING left(v, 10)',
    after: "'short'",
    held: 'column v holds less: 10, was 20; longer values are cut or refused',
  },
  {
    table: 'widened',
    type: 'varchar(20)',
    before: "'short'",
    ddl: 'ALTER TABLE widened ALTER v TYPE varchar(40)',
    after: "'now a text of more than twenty'",
    held: undefined,
  },
  {
    table: 'rounded',
    type: 'numeric(10,2)',
    before: '12.34',
    ddl: 'ALTER TABLE rounded ALTER v TYPE numeric(10,1)',
    after: '12.3',
    held: 'column v has fewer digits: 10,1, was 10,2; values are rounded or refused',
  },
  {
    table: 'relabelled',
    type: 'mood',
    before: "'glad'",
    ddl: "ALTER TYPE mood RENAME VALUE 'glad' TO 'happy'",
    after: "'happy'",
    held: 'column v has a label that the contract does not know: happy',
  },
  {
    table: 'unlabelled',
    type: 'size',
    before: "'small'",
    ddl: `ALTER TYPE size RENAME TO size_before; CREATE TYPE size AS ENUM ('small');
      ALTER TABLE unlabelled ALTER v TYPE size USING v::text::size`,
    after: "'small'",
    held: 'column v is a type with oid',
  },
  {
    table: 'nulled',
    type: 'text NOT NULL',
    before: "'there'",
    ddl: 'ALTER TABLE nulled ALTER v DROP NOT NULL',
    after: 'NULL',
    held: 'column v is null, and the contract says that it never is',
  },
  {
    table: 'renamed',
    type: 'int8',
    before: '5',
    ddl: 'ALTER TABLE renamed RENAME v TO w',
    after: '6',
    held: 'column v is called w now',
  },
  {
    table: 'retyped',
    type: 'text',
    before: "'5'",
    ddl: 'ALTER TABLE retyped ALTER v TYPE int8 USING v::int8',
    after: '6',
    held: 'column v is bigint, was text',
  },
  {
    table: 'rescaled',
    type: 'int4',
    before: '5',
    ddl: 'ALTER TABLE rescaled ALTER v TYPE int4 USING v * 100',
    after: '600',
    held: 'the values of column v are others',
  },
  {
    table: 'widened_anew',
    type: 'int4',
    before: '5',
    ddl: 'ALTER TABLE widened_anew ALTER v TYPE int8 USING v * 100',
    after: '600',
    held: 'the values of column v are others',
  },
  {
    table: 'moved',
    type: 'int4',
    before: '5',
    ddl: 'TRUNCATE moved; VACUUM FULL moved',
    after: '6',
    held: undefined,
  },
  {
    table: 'rekeyed',
    type: 'int8 NOT NULL',
    before: '5',
    ddl: 'ALTER TABLE rekeyed DROP CONSTRAINT rekeyed_pkey; ALTER TABLE rekeyed ADD PRIMARY KEY (id, v)',
    after: '6',
    held: undefined,
  },
  {
    table: 'dropped',
    type: 'int8',
    before: '5',
    ddl: 'ALTER TABLE dropped DROP COLUMN v',
    after: '',
    held: 'column v (bigint) is gone',
  },
];

let server: RunningPostgres;
let database: TestDatabase;
const directory = temporaryDirectory();
beforeAll(async () => {
  server = await startPostgres({});
  database = await createDatabase(server.url);
}, 60_000);
afterAll(async () => {
  await database.drop();
  await server.stop();
  directory.remove();
});

/** With the labels of enums, where the catalog's reader does not give them. */
async function definitions(
  generation: bigint,
  labels: Record<string, string[]>,
  source?: Capture['source'],
): Promise<DefinitionSet> {
  const routes = ['steady', ...CHANGES.map(({ table }) => table)];
  const set = await define(
    database.url,
    generation,
    routes.map((table, i) => ({ route: i + 1, table, key: 'user_id' })),
    source,
  );
  for (const { source } of set.routes) {
    const column = source?.contract?.columns.find(({ name }) => name === 'v');
    const known = labels[source?.name ?? ''];
    if (column !== undefined && known !== undefined) column.enumLabels = known;
  }
  return set;
}

const insert = async (table: string, id: number, value: string): Promise<void> => {
  await database.sql.unsafe(`INSERT INTO ${table} VALUES (${[id, 1, ...(value === '' ? [] : [value])].join(', ')})`);
};

it('C1, F3: holds what breaks, passes what does not, and folds what was held once, in order', {
  timeout: 100_000,
}, async () => {
  const { sql } = database;
  await sql.unsafe(`CREATE TYPE mood AS ENUM ('glad', 'sad'); CREATE TYPE size AS ENUM ('small', 'large')`);
  await sql.unsafe('CREATE TABLE steady (id int8 PRIMARY KEY, user_id int8)');
  for (const { table, type } of CHANGES) {
    await sql.unsafe(`CREATE TABLE ${table} (id int8 PRIMARY KEY, user_id int8, v ${type})`);
  }
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  const capture = await startCapture({ url: database.url, directory: directory.path, log });
  const patient = { timeout: 20_000, interval: 20 };
  let steady = 0;
  let slowestMs = 0;
  /** A row of the table beside them is in the log soon, whatever is held. */
  const flows = async (): Promise<void> => {
    const id = ++steady;
    const fromUs = systemClock.monotonicUs();
    await insert('steady', id, '');
    await expect.poll(async () => (await idsOf(log, 1)).at(-1), { timeout: 5_000, interval: 10 }).toBe(id);
    slowestMs = Math.max(slowestMs, (systemClock.monotonicUs() - fromUs) / 1000);
  };
  try {
    await capture.node.apply(await definitions(1n, { relabelled: ['glad', 'sad'], unlabelled: ['small', 'large'] }));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    for (const [i, { table, before, ddl, after }] of CHANGES.entries()) {
      await insert(table, 1, before);
      // What is on its way while values are computed anew may be held as well.
      await expect.poll(() => idsOf(log, i + 2), patient).toEqual([1]);
      for (const statement of ddl.split(';')) await sql.unsafe(statement);
      await insert(table, 2, after);
      await insert(table, 3, after);
      await flows();
    }
    const rows = 2 * CHANGES.filter(({ held: why }) => why !== undefined).length;
    await expect.poll(() => capture.quarantine.count, patient).toBe(rows);
    const held = new Map(capture.quarantine.held.map(({ source, detail, count }) => [source, { detail, count }]));
    for (const [i, { table, held: why }] of CHANGES.entries()) {
      expect(await idsOf(log, i + 2), table).toEqual(why === undefined ? [1, 2, 3] : [1]);
      if (why === undefined) expect(held.get(table), table).toBeUndefined();
      else expect(held.get(table), table).toEqual({ detail: expect.stringContaining(why) as string, count: 2 });
    }
    expect(capture.source.status().phase).toBe(SourceState.STREAMING);
    expect(slowestMs).toBeLessThan(2_000);

    await capture.node.apply(
      await definitions(2n, { relabelled: ['happy', 'sad'], unlabelled: ['small'] }, capture.source),
    );
    for (let i = 0; i < 200 && capture.quarantine.count > 0; i++) await flows();
    expect(capture.quarantine.count).toBe(0);
    for (const table of CHANGES) await insert(table.table, 4, table.table === 'rekeyed' ? '7' : table.after);
    await flows();
    const changes = await changesOf(log);
    for (const [i, { table }] of CHANGES.entries()) {
      const route = changes.filter((change) => change.route === i + 2);
      const order = route.map((change) => Number(must(change.row[0]).kind.value));
      expect(order, table).toEqual([1, 2, 3, 4]);
    }
  } finally {
    await capture.stop();
  }
});

it('C1, F3: what came under a narrower shape that was there for a while is released under notify, in order, once', {
  timeout: 60_000,
}, async () => {
  const { sql } = database;
  // That of the capture before, which is another one's.
  await sql.unsafe('SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots');
  await sql.unsafe('CREATE TABLE undone (id int8 PRIMARY KEY, user_id int8, v varchar(20))');
  const home = temporaryDirectory();
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  const capture = await startCapture({ url: database.url, directory: home.path, log });
  const patient = { timeout: 20_000, interval: 20 };
  /** The contract stays what it was: nobody accepts a shape that is gone. */
  const policed = async (generation: bigint, policy: ChangePolicy): Promise<DefinitionSet> => {
    const set = await define(database.url, generation, [{ route: 1, table: 'undone', key: 'user_id' }]);
    const source = must(set.routes[0]?.source);
    must(source.contract).version = 1;
    return Object.assign(set, { routes: [{ ...set.routes[0], source: { ...source, policy } }] });
  };
  const release = async (): Promise<string | undefined> => {
    const live = must(capture.source.held.routesOf('undone')[0]);
    await capture.source.held.ask(1, 'release');
    const progress = () => capture.source.held.progress(live);
    await expect.poll(() => progress().isDone || progress().blocked !== undefined, patient).toBe(true);
    return progress().blocked?.detail;
  };
  try {
    await capture.node.apply(await policed(1n, ChangePolicy.EVOLVE));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    await insert('undone', 1, `'as agreed'`);
    // Rows that the stream tells once an ALTER TABLE computed values anew are held with those behind it (fill-gate.ts).
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1]);
    await sql.unsafe('ALTER TABLE undone ALTER v TYPE varchar(10)');
    await insert('undone', 2, `'for a while'::varchar(10)`);
    await sql.unsafe('ALTER TABLE undone ALTER v TYPE varchar(20)');
    await insert('undone', 3, `'as agreed again'`);
    await expect.poll(() => capture.quarantine.count, patient).toBe(2);
    expect(await release()).toContain('column v holds less: 10, was 20');
    await capture.node.apply(await policed(2n, ChangePolicy.NOTIFY));
    await expect.poll(() => capture.source.held.routesOf('undone')[0]?.route.policy, patient).toBe(ChangePolicy.NOTIFY);
    expect(await release()).toBeUndefined();
    await capture.node.apply(await policed(3n, ChangePolicy.EVOLVE));
    await insert('undone', 4, `'and on'`);
    await expect.poll(() => idsOf(log, 1), patient).toEqual([1, 2, 3, 4]);
    expect(capture.quarantine.count).toBe(0);
  } finally {
    await capture.stop();
    home.remove();
  }
});
