/**
 * Goal and method: as sql-oracle.pg.test.ts, with DuckDB in this process instead of Postgres. Without its package it is
 * skipped, and its title says why.
 */
import { assertFuzz } from '@freshet/testkit/differential/fuzz-options.ts';
import { describe, expect, it } from 'vitest';
import { openDuckDb } from './duckdb.ts';
import { compareWithSql, sqlRuns } from './sql-comparison.ts';

const RUNS = 20;

const engine = await openDuckDb();
const why = typeof engine === 'string' ? ` (skipped: ${engine})` : '';

describe.skipIf(typeof engine === 'string')(`the engine and DuckDB${why}`, () => {
  it.each(['append', 'mutable'] as const)(
    'F2: agree on every feature over a source of mode %s',
    async (mode) => {
      let compared = 0;
      await assertFuzz(RUNS, sqlRuns(mode), async (run) => {
        if (typeof engine === 'string') return;
        compared += await compareWithSql(engine, run);
      });
      expect(compared).toBeGreaterThan(RUNS * 100);
    },
    600_000,
  );
});
