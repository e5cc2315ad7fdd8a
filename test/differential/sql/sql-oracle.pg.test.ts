/**
 * Goal: what the engine's rows say is what SQL says of the same rows (F2): a second oracle, which shares neither code nor
 * author with the first. Method: random histories told as records to the engine and as images to Postgres; features as
 * SQL over the images that are live, at random prefixes and times. How to run more, or one failure again:
 * packages/testkit/src/differential/fuzz-options.ts.
 */
import { assertFuzz, FUZZ_MS_MAX } from '@freshet/testkit/differential/fuzz-options.ts';
import { type RunningPostgres, startPostgres } from '@freshet/testkit/postgres/embedded-postgres.ts';
import postgres, { type Sql } from 'postgres';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareWithSql, sqlRuns } from './sql-comparison.ts';
import type { SqlEngine } from './sql-features.ts';

const RUNS = 60;

let database: RunningPostgres;
let sql: Sql;
let engine: SqlEngine;
beforeAll(async () => {
  database = await startPostgres();
  sql = postgres(database.url, { max: 1, onnotice: () => {} });
  engine = { run: async (text) => [...(await sql.unsafe(text))] };
}, 60_000);
afterAll(async () => {
  await sql?.end({ timeout: 1 });
  await database?.stop();
}, 60_000);

describe('the engine and Postgres', () => {
  it.each(['append', 'mutable'] as const)(
    'F2: agree on every feature over a source of mode %s',
    async (mode) => {
      let compared = 0;
      await assertFuzz(RUNS, sqlRuns(mode), async (run) => {
        compared += await compareWithSql(engine, run);
      });
      expect(compared).toBeGreaterThan(RUNS * 100);
    },
    FUZZ_MS_MAX,
  );
});
