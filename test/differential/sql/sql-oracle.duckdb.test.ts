/**
 * Goal and method: as sql-oracle.pg.test.ts, with DuckDB in this process instead of Postgres, over the history as it is
 * exported from the log that holds it; the export by itself is held against what the history says is live.
 */
import { assertFuzz, FUZZ_MS_MAX } from '@freshet/testkit/differential/fuzz-options.ts';
import { describe, expect, it } from 'vitest';
import { COLUMNS, type Image, type KnownImage, statements, tell } from './dml-history.ts';
import { openDuckDb } from './duckdb.ts';
import { exportedImages } from './export-log.ts';
import { compareWithSql, sqlRuns } from './sql-comparison.ts';
import { definitionsUnderTest } from './sql-features.ts';

const RUNS = 20;
const EXPORTS = 200;

/** The rows that are there before a position of the log, as texts. */
function liveAt(images: readonly KnownImage[], position: number): string[] {
  const rows = new Map<bigint, Image | undefined>();
  for (const { off, row, image } of images) if (off < position) rows.set(row, image);
  const live = [...rows.values()].filter((image) => image !== undefined);
  return live.map((image) => COLUMNS.map(({ name }) => String(image[name])).join('|')).sort();
}

it.each(['append', 'mutable'] as const)('F2: a log of mode %s tells all that was said of its rows', async (mode) => {
  await assertFuzz(EXPORTS, statements(mode), async (list) => {
    const history = tell(list, definitionsUnderTest(mode), mode);
    const exported = await exportedImages(history);
    for (const cut of history.cuts) expect(liveAt(exported, cut)).toEqual(liveAt(history.images, cut));
  });
});

describe('the engine and DuckDB over an exported log', () => {
  it.each(['append', 'mutable'] as const)(
    'F2: agree on every feature over a source of mode %s',
    async (mode) => {
      const engine = await openDuckDb();
      let compared = 0;
      await assertFuzz(RUNS, sqlRuns(mode), async (run) => {
        compared += await compareWithSql(engine, run, exportedImages);
      });
      expect(compared).toBeGreaterThan(RUNS * 100);
    },
    FUZZ_MS_MAX,
  );
});
