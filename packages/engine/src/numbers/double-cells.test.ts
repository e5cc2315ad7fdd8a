/**
 * Goal: a sum in two cells is the sum that it would be as an object (F1). Method: fast-check over cents, doubles of every
 * magnitude and what is not finite, against exact-double.ts, which is held to bigints; parts merged, means by them.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Cells } from '../aggregates/aggregate.ts';
import { ByteReader } from '../state/byte-reader.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { zeroCells } from '../state/cells.ts';
import { doubleSum } from './double-cells.ts';
import { writeDoubleSum } from './double-sum-codec.ts';
import { addDouble, type DoubleSum, divideDoubleSum, roundDoubleSum } from './exact-double.ts';

const AT = 1;
const value = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: -1_000_000, max: 1_000_000 }).map((cents) => cents / 100) },
  { weight: 2, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
  { weight: 1, arbitrary: fc.constantFrom(0.1, 1e16, -1e16, 1e308, -1e308, 2 ** 1000, 5e-324, Number.NaN, Infinity) },
);
const values = fc.array(value, { maxLength: 30 });

function cellsOf(list: readonly number[]): Cells {
  const cells = zeroCells(4, true);
  for (const one of list) doubleSum.add(cells, AT, one);
  return cells;
}

function bytesOf(write: (writer: ByteWriter) => void): Uint8Array {
  const writer = new ByteWriter();
  write(writer);
  return writer.take();
}

describe('a sum in cells', () => {
  it('F1: has the bytes, the result and the mean of the sum as an object, in parts and after being stored', () => {
    let pairs = 0;
    fc.assert(
      fc.property(values, fc.nat(30), fc.integer({ min: 1, max: 1000 }), (list, cut, count) => {
        const expected = list.reduce<DoubleSum>(addDouble, 0);
        const bytes = bytesOf((writer) => writeDoubleSum(writer, expected));
        const merged = cellsOf(list.slice(0, cut));
        const part = cellsOf(list.slice(cut));
        doubleSum.merge(merged, AT, part, AT);
        const stored = zeroCells(4, true);
        doubleSum.read(new ByteReader(bytes), stored, AT);
        for (const cells of [cellsOf(list), merged, stored]) {
          expect(bytesOf((writer) => doubleSum.write(writer, cells, AT))).toEqual(bytes);
          expect(doubleSum.result(cells, AT)).toBe(roundDoubleSum(expected));
          expect(doubleSum.quotient(cells, AT, count)).toBe(divideDoubleSum(expected, count));
          expect([cells[0], cells[3]]).toEqual([0, 0]);
          if (typeof cells[AT] === 'number') pairs++;
        }
        expect(part).toEqual(cellsOf(list.slice(cut)));
      }),
      { numRuns: 2000 },
    );
    expect(pairs, 'most sums are pairs').toBeGreaterThan(1000);
  });
});
