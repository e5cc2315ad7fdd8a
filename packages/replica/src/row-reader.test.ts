/**
 * Goal: reads are right across versions and steps, and what they keep is bounded.
 * Method: a table of rows read in turns, with a cache of a few steps.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { describe, expect, it } from 'vitest';
import { toLatin1 } from './latin1.ts';
import { countRow, countView } from './replica.testing.ts';
import { rowLayout } from './row-layout.ts';
import { RowReader } from './row-reader.ts';
import { ViewTable } from './view-table.ts';

const layout = rowLayout(countView(1));

describe('RowReader', () => {
  it('R4: keeps at most twice its limit of steps', () => {
    const reader = new RowReader(10);
    const table = new ViewTable('', 1);
    for (let i = 0; i < 100; i++) table.put(`k${i}`, i, toLatin1(countRow(i)));
    for (let turn = 0; turn < 3; turn++) {
      for (let i = 0; i < 100; i++) {
        expect(reader.read(table, layout, `k${i}`, 5).value(0)).toBe(i);
        // A row that is read all the time keeps its step.
        expect(reader.read(table, layout, 'k7', 5)).toBe(table.rows.get('k7')?.step);
      }
    }
    expect([...table.rows.values()].filter((row) => row.step !== undefined).length).toBeLessThanOrEqual(20);
    expect(reader.size).toBeLessThanOrEqual(20);
  });

  it('R2: a newer version is read at once, an older one never', () => {
    const reader = new RowReader();
    const table = new ViewTable('', 1);
    table.put('k', 4, toLatin1(countRow(4)));
    expect(reader.read(table, layout, 'k', 0).version).toBe(4);
    table.put('k', 3, toLatin1(countRow(3)));
    expect(reader.read(table, layout, 'k', 0).version).toBe(4);
    table.put('k', 9, toLatin1(countRow(9)));
    expect(reader.read(table, layout, 'k', 0).value(0)).toBe(9);
    table.put('k', 10, '');
    expect(reader.read(table, layout, 'k', 0)).toBe(layout.empty);
    table.put('k', 9, toLatin1(countRow(9)));
    expect(reader.read(table, layout, 'k', 0)).toBe(layout.empty);
  });

  it('F2: takes the step that the time falls into, forwards and backwards', () => {
    const reader = new RowReader();
    const table = new ViewTable('', 1);
    const row = create(RowSchema, {
      version: 1n,
      logTimeUs: 5n,
      timelines: [{ unitUs: 10n, firstStep: 1n, gaps: [2n], hasSteps: true, columns: [{ int64s: [7n, 3n, 0n] }] }],
    });
    table.put('k', 1, toLatin1(toBinary(RowSchema, row)));
    const at = (tUs: number): unknown => reader.read(table, layout, 'k', tUs).value(0);
    expect([-100, 0, 9, 10, 29, 30, 1e15, 29, 9].map(at)).toEqual([7, 7, 7, 3, 3, 0, 0, 3, 7]);
  });
});
