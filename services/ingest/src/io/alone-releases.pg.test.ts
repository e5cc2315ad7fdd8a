/**
 * Goal: a row that was put aside alone is read, once it may pass, exactly as if it had passed when it came: by the contract that
 * knows its label, and by the types that its table had (C1, F3).
 * Method: a real Postgres with a label that the contract does not know, and a column that was widened in the stream; rows are
 * released one way and another, and the log is read as a shard reads it.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ChangePolicy } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AloneOutcome, ReleaseWish } from '../core/release-alone.ts';
import {
  changesOf,
  createDatabase,
  define,
  idsOf,
  startCapture,
  type TestDatabase,
  temporaryDirectory,
  valuesOf,
} from '../testing/capture.ts';
import { QuarantineDesk } from './quarantine-desk.ts';

let server: RunningPostgres;
let database: TestDatabase;
let directory: { path: string; remove(): void };
beforeAll(async () => {
  server = await startPostgres({ settings: { wal_level: 'logical' } });
  database = await createDatabase(server.url);
  directory = temporaryDirectory();
}, 60_000);
afterAll(async () => {
  await database?.drop();
  await server?.stop();
  directory?.remove();
});

async function definitions(
  generation: bigint,
  labels: readonly string[],
  policy: ChangePolicy = ChangePolicy.EVOLVE,
): Promise<DefinitionSet> {
  const route = { route: 1, table: 'events', key: 'user_id', eventTime: 'at', maxSkewUs: 5_000_000n };
  const defined = await define(database.url, generation, [route]);
  const source = must(defined.routes[0]?.source);
  source.policy = policy;
  const contract = must(source.contract);
  contract.version = Number(generation);
  const column = must(contract.columns.find(({ name }) => name === 'label'));
  column.enumLabels = [...labels];
  return defined;
}

it('reads a label that a newer contract knows, and a value as its table had it', { timeout: 60_000 }, async () => {
  const { sql } = database;
  await sql.unsafe(`CREATE TYPE mood AS ENUM ('glad', 'sad');
    CREATE TABLE events (id int8 PRIMARY KEY, user_id int8, at timestamptz, label mood, ratio float4);
    INSERT INTO events VALUES (1, 1, now(), 'glad', 1), (2, 2, now(), 'sad', 1)`);
  const log = createMemoryLog({ partitions: 2, clock: systemClock });
  const capture = await startCapture({ url: database.url, directory: directory.path, log });
  const patient = { timeout: 20_000, interval: 20 };
  const desk = new QuarantineDesk({
    quarantine: capture.quarantine,
    releases: () => [capture.source.held],
    readAnew: () => Promise.reject(new Error('nothing mutable is captured')),
    clock: systemClock,
    logger: silentLogger,
  });
  const release = async (wish: ReleaseWish): Promise<AloneOutcome | undefined> => {
    let last: AloneOutcome | undefined;
    for await (const { alone } of desk.release('events', wish, AbortSignal.timeout(30_000))) last = alone ?? last;
    return last;
  };
  try {
    await capture.node.apply(await definitions(1n, ['glad']));
    await expect.poll(() => capture.source.status().phase, patient).toBe(SourceState.STREAMING);
    expect(capture.quarantine.alone).toMatchObject([{ route: 1, generation: 1, count: 1 }]);
    expect(await release({})).toMatchObject({ released: 0, left: 1, why: expect.stringContaining('sad') as string });
    await capture.node.apply(await definitions(2n, ['glad', 'sad']));
    await expect.poll(() => release({}), patient).toMatchObject({ released: 1, left: 0 });
    expect(await idsOf(log, 1)).toEqual([1, 2]);

    // A column that becomes wider by writing its table anew holds rows under any other policy.
    await capture.node.apply(await definitions(3n, ['glad', 'sad'], ChangePolicy.NOTIFY));
    const policy = () => capture.source.held.routesOf('events')[0]?.route.policy;
    await expect.poll(policy, patient).toBe(ChangePolicy.NOTIFY);
    await sql.unsafe('ALTER TABLE events ALTER ratio TYPE float8');
    await sql.unsafe(
      `INSERT INTO events VALUES (3, 3, now() + interval '1 hour', 'glad', 0.1), (4, 4, now(), 'glad', 1)`,
    );
    await expect.poll(() => capture.quarantine.alone, patient).toMatchObject([{ count: 1 }]);
    expect(await release({})).toMatchObject({ released: 0, left: 1, why: expect.stringContaining('ahead') as string });
    expect(await release({ reasons: new Set(['event_time_ahead']), ignoresRules: true })).toMatchObject({
      released: 1,
    });
    expect(capture.quarantine.count).toBe(0);
    expect(await idsOf(log, 1)).toEqual([1, 2, 3, 4]);
    const third = (await changesOf(log)).map(valuesOf).find(([id]) => id === 3n);
    expect(third?.[4]).toBe(0.1);
  } finally {
    await capture.stop();
  }
});
