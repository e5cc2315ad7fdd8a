/**
 * Goal: a database that lost its slot, or was put back to an earlier state, is read anew by itself, and nobody ever reads
 * half of it (R3, F2 on real processes). Method: the real mesh; all rows have an epoch in their amounts, which changes while
 * nobody captures, so that an answer of old and new rows shows; a service that is read all the while must go from the old
 * epoch to the new one once and without an error; kills of ingest and compute during the build; SQL has the last word.
 */
import { execFileSync } from 'node:child_process';
import { renameSync, rmSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { patiently, untilServedAgain } from '../support/patience.ts';

const EPOCH = 1_000_000n;
const ORDERS = 30_000;
const USERS = Array.from({ length: 100 }, (_, i) => BigInt(i + 1));
const patient = { timeout: 60_000, interval: 200 };
const SCHEMA = `
  CREATE TABLE orders (id bigint PRIMARY KEY, user_id bigint NOT NULL, amount bigint NOT NULL);
  ALTER TABLE orders REPLICA IDENTITY FULL;
  CREATE TABLE clicks (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL, amount bigint NOT NULL);
  INSERT INTO orders SELECT i, 1 + i % 100, i % 1000 FROM generate_series(1, ${ORDERS}) i;
  INSERT INTO clicks (user_id, amount) SELECT 1 + i % 100, i % 1000 FROM generate_series(1, 1000) i;
`;
const source = (name: string, mode: string): string => `
kind: Source
name: ${name}
mode: ${mode}
postgres: { table: public.${name} }
---
kind: FeatureView
name: user_${name}
entity: user
source: ${name}
features: { rows: { count: {} }, total: { sum: amount }, least: { min: amount }, most: { max: amount } }
---`;
const DEFINITIONS = `
kind: Entity
name: user
key: { user_id: int64 }
---${source('orders', 'mutable')}${source('clicks', 'append')}
kind: FeatureService
name: all
features: ["user_orders:*", "user_clicks:*"]
`;

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest({ schema: SCHEMA, definitions: DEFINITIONS, partitions: 4 });
}, 120_000);
afterAll(() => under?.close(), 60_000);

type Table = readonly (readonly string[])[];

async function served(view: string): Promise<Table> {
  const { columns } = await under.client.getFeatures({ service: 'all', keys: { user_id: USERS }, deadlineMs: 5_000 });
  const all = ['rows', 'total', 'least', 'most'].map((name) => columns[`user_${view}:${name}`]?.values ?? []);
  return USERS.map((_, user) => all.map((values) => String(values[user])));
}

async function bySql(table: string): Promise<Table> {
  const rows = await under.sql.unsafe<Record<string, string>[]>(`
    SELECT count(*)::text AS rows, sum(amount)::text AS total, min(amount)::text AS least, max(amount)::text AS most
    FROM ${table} GROUP BY user_id ORDER BY user_id`);
  return rows.map(({ rows: count, total, least, most }) => [count ?? '', total ?? '', least ?? '', most ?? '']);
}

async function expectEqualToSql(): Promise<void> {
  for (const table of ['orders', 'clicks']) {
    const expected = await bySql(table);
    await expect.poll(() => patiently(() => served(table)), patient).toEqual(expected);
  }
}

/** Of which epochs the orders of an answer are: of one, if it is whole. */
function epochsOf(rows: Table): string {
  const all = rows.flatMap(([, , least = '', most = '']) => [least, most]);
  return [...new Set(all.map((amount) => (amount === 'null' ? 'nothing' : String(BigInt(amount) / EPOCH))))].join('+');
}

/** Reads the orders until stopped: the epochs in the order in which they were answered, and what went wrong. */
function startReading(): { readonly epochs: string[]; readonly problems: unknown[]; stop(): Promise<number> } {
  const epochs: string[] = [];
  const problems: unknown[] = [];
  let reading = true;
  let reads = 0;
  const run = (async () => {
    while (reading) {
      try {
        const seen = epochsOf(await served('orders'));
        if (epochs.at(-1) !== seen) epochs.push(seen);
        reads += 1;
      } catch (error) {
        problems.push(error);
      }
      await pause(2);
    }
  })();
  return {
    epochs,
    problems,
    stop: async () => {
      reading = false;
      await run;
      return reads;
    },
  };
}

/** Commits of all kinds of DML to the epoch, which every row that is written belongs to. */
function startCommits(epoch: bigint): { stop(): Promise<number> } {
  let committing = true;
  let commits = 0;
  const base = epoch * EPOCH;
  const run = (async () => {
    for (let i = 1; committing; i++) {
      const id = 1 + ((i * 7_919) % ORDERS);
      try {
        await under.sql.begin(async (sql) => {
          await sql`UPDATE orders SET amount = ${String(base + BigInt(i % 1000))} WHERE id = ${id}`;
          await sql`UPDATE orders SET user_id = ${1 + (i % 100)} WHERE id = ${1 + (id % ORDERS)}`;
          await sql`INSERT INTO orders VALUES (${ORDERS + id}, ${1 + (i % 100)}, ${String(base)}) ON CONFLICT DO NOTHING`;
          await sql`DELETE FROM orders WHERE id = ${ORDERS + 1 + ((id + 31) % ORDERS)}`;
          await sql`INSERT INTO clicks (user_id, amount) VALUES (${1 + (i % 100)}, ${i % 1000})`;
        });
        commits += 1;
      } catch {
        await pause(100); // the database is being put back
      }
      await pause(5);
    }
  })();
  return {
    stop: async () => {
      committing = false;
      await run;
      return commits;
    },
  };
}

async function historyTold(): Promise<string> {
  const ingest = createGrpcClient(IngestService, under.mesh.addresses.ingest);
  try {
    const { conditions } = await patiently(() => ingest.getIngestStatus({}));
    return conditions.find(({ id }) => id.endsWith('/history'))?.message ?? '';
  } finally {
    ingest.close();
  }
}

describe('a history that is lost', () => {
  it('R3 F2: a slot that is gone is made anew, and the old values are served until all of the new ones are there', async () => {
    await untilServedAgain(under);
    await expectEqualToSql();
    expect(epochsOf(await served('orders'))).toBe('0');
    const reading = startReading();
    await under.mesh.halt('ingest', 'SIGKILL');
    const [slot] = await under.sql`SELECT slot_name, active_pid FROM pg_replication_slots`;
    const drop = (): unknown => under.sql`SELECT pg_drop_replication_slot(${String(slot?.['slot_name'])})`;
    await expect.poll(async () => Promise.resolve(drop()).then(() => 'dropped', String), patient).toBe('dropped');
    await under.sql`UPDATE orders SET amount = amount + ${String(EPOCH)}`;
    const commits = startCommits(1n);
    await pause(500);
    await under.mesh.resume('ingest');
    for (const role of ['compute', 'ingest', 'compute'] as const) {
      await pause(700);
      await under.mesh.kill(role);
    }
    await expect.poll(() => reading.epochs.at(-1), patient).toBe('1');
    await pause(500);
    expect(await commits.stop()).toBeGreaterThan(20);
    await expectEqualToSql();
    expect(await reading.stop()).toBeGreaterThan(100);
    expect(reading.epochs).toEqual(['0', '1']);
    expect(reading.problems).toEqual([]);
    expect(await historyTold()).toMatch(/is gone/);
  }, 240_000);

  it.each([
    ['is looked at at once', false],
    ['was written to beyond where it was captured before anybody looks', true],
  ])(
    'R3 F2: a database that was put back to an earlier state is served as it then is: it %s',
    async (_, isLate) => {
      const { dataDirectory } = under.database;
      const copy = `${dataDirectory}.copy`;
      await under.database.stop();
      execFileSync('cp', ['-a', dataDirectory, copy]);
      await under.restartDatabase();
      await patiently(async () => under.sql`UPDATE orders SET amount = amount + ${String(EPOCH)} WHERE id > 0`);
      const later = startCommits(2n);
      await pause(1_000);
      await later.stop();
      await expectEqualToSql();
      expect(epochsOf(await served('orders'))).toBe('2');

      const reading = startReading();
      const [captured] = await under.sql`SELECT pg_current_wal_lsn()::text AS lsn`;
      if (isLate) await under.mesh.halt('ingest', 'SIGKILL');
      await under.database.kill();
      rmSync(dataDirectory, { recursive: true });
      renameSync(copy, dataDirectory);
      await under.restartDatabase();
      const commits = startCommits(1n);
      if (isLate) {
        const past = async (): Promise<unknown> => {
          const [now] =
            await under.sql`SELECT pg_current_wal_lsn() > ${captured?.['lsn']}::pg_lsn AS past, pg_switch_wal()`;
          return now?.['past'];
        };
        await expect.poll(() => patiently(past), patient).toBe(true);
        await pause(200);
        await under.mesh.resume('ingest');
      }
      await expect.poll(() => reading.epochs.at(-1), patient).toBe('1');
      await commits.stop();
      await expectEqualToSql();
      await reading.stop();
      expect(reading.epochs).toEqual(['2', '1']);
      expect(reading.problems).toEqual([]);
      expect(await historyTold()).toMatch(/put back to an earlier state/);
    },
    240_000,
  );
});
