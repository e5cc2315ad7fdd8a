/**
 * Goal: a stage says how many rows it has, and tells them while they come, so that an append knows what it has to do.
 * Method: rows cut into pieces anywhere, some with line feeds in them; read back from a simulated disk.
 */
import { silentLogger } from '@freshet/kit/logger.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { expect, it } from 'vitest';
import type { TableToStage } from '../core/source-database.ts';
import { rowsToAppend } from './snapshot-rows.ts';
import { StageStore } from './snapshot-stage.ts';

const TABLE: TableToStage = {
  schema: 'public',
  table: 'notes',
  partitioned: false,
  columns: ['id', 'text'],
  typeOids: [20, 25],
};
/** As COPY writes them: three rows, the second with a line feed and a backslash in its text. */
const COPIED = '1\tone\n2\ttwo\\nlines \\\\\n3\t\\N\n';
const ROUTE = { broadcast: false, table: { schema: 'public', table: 'notes' } } as Parameters<
  typeof rowsToAppend
>[1][0];

it.each([1, 3, 7, 1000])('counts rows that come in pieces of %i bytes', async (size) => {
  const store = new StageStore(new SimulatedDisk(), '/stages', silentLogger);
  async function* copy(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < COPIED.length; at += size) yield Buffer.from(COPIED.slice(at, at + size));
  }
  let told = 0;
  await store.write('s', 1n, [TABLE], { copy }, (rows) => {
    told += rows;
  });
  const stage = (await store.load()).get('s')!;
  const rows = [];
  for await (const some of store.rows(stage, stage.tables[0]!)) rows.push(...some);
  expect(rows).toEqual([
    ['1', 'one'],
    ['2', 'two\nlines \\'],
    ['3', null],
  ]);
  expect({ told, said: stage.tables[0]!.rows }).toEqual({ told: 3, said: 3 });
  expect(rowsToAppend(stage, [ROUTE])).toBe(3);
  expect(rowsToAppend(stage, [ROUTE, { ...ROUTE, broadcast: true }]), 'once for each reading').toBe(6);
  const { rows: _, ...older } = stage.tables[0]!;
  expect(rowsToAppend({ ...stage, tables: [older] }, [ROUTE]), 'of an older version').toBeUndefined();
});
