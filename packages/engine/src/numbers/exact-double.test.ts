/**
 * Goal: sums of doubles are exact, rounded once, and have one form (F1). Method: fast-check over doubles of every
 * magnitude, against sums of bigints in units of the smallest double; and the cases that naive sums get wrong.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ByteReader } from '../state/byte-reader.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { readDoubleSum, writeDoubleSum } from './double-sum-codec.ts';
import {
  addDouble,
  type DoubleSum,
  fixedToDouble,
  mergeDoubleSums,
  normaliseDoubleSum,
  roundDoubleSum,
} from './exact-double.ts';

function sumOf(values: readonly number[]): DoubleSum {
  return values.reduce<DoubleSum>(addDouble, 0);
}

function bytesOf(sum: DoubleSum): Uint8Array {
  const writer = new ByteWriter();
  writeDoubleSum(writer, sum);
  return writer.take();
}

/** A double in units of 2^-1074, by repeated exact scaling: not the way of the code under test. */
function toUnits(value: number): bigint {
  let scaled = value;
  let shift = 0n;
  // Dividing by two is exact while the result is not subnormal, and 2^53 bounds what BigInt takes exactly.
  while (Math.abs(scaled) >= 2 ** 53) {
    scaled /= 2;
    shift += 1n;
  }
  let down = 0n;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    down += 1n;
  }
  return (BigInt(scaled) << (shift + 1074n)) >> down;
}

const finite = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.double({ noNaN: true, min: -1000, max: 1000 }),
  fc.constantFrom(
    1e308,
    -1e308,
    Number.MAX_VALUE,
    -Number.MAX_VALUE,
    Number.MIN_VALUE,
    -0,
    0,
    2 ** -1022,
    0.1,
    2 ** 1000,
  ),
);

describe('exact sums of doubles', () => {
  it('equal the sums of bigints, rounded once', () => {
    fc.assert(
      fc.property(fc.array(finite, { maxLength: 12 }), (values) => {
        const units = values.reduce((total, value) => total + toUnits(value), 0n);
        expect(Object.is(roundDoubleSum(sumOf(values)), fixedToDouble(units))).toBe(true);
      }),
      { numRuns: 2000 },
    );
  });

  it('round a bigint as Number() does, where it can', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 300n), max: 2n ** 300n }), (value) => {
        expect(fixedToDouble(value << 1074n)).toBe(Number(value));
      }),
    );
  });

  it('F1: have the same bytes in any order and any partition', () => {
    const anyDouble = fc.oneof(finite, fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY));
    fc.assert(
      fc.property(fc.array(anyDouble, { maxLength: 12 }), fc.nat(12), fc.boolean(), (values, cut, swap) => {
        const whole = bytesOf(sumOf(values));
        const left = sumOf(values.slice(0, cut));
        const right = sumOf(values.slice(cut));
        const merged = swap
          ? mergeDoubleSums(structuredClone(right), left)
          : mergeDoubleSums(structuredClone(left), right);
        expect(bytesOf(merged)).toEqual(whole);
        expect(bytesOf(sumOf([...values].reverse()))).toEqual(whole);
        expect(bytesOf(readDoubleSum(new ByteReader(whole)))).toEqual(whole);
      }),
      { numRuns: 2000 },
    );
  });

  it('return to plain zero when everything is taken out again', () => {
    fc.assert(
      fc.property(fc.array(finite, { maxLength: 12 }), (values) => {
        expect(normaliseDoubleSum(sumOf([...values, ...values.map((value) => -value)]))).toBe(0);
      }),
    );
  });

  it.each([
    [[1e308, 1e308, -1e308], 1e308],
    [[1e16, 1, -1e16], 1],
    [[0.1, 0.2, 0.3], 0.6],
    [[2 ** 53, 1, 1], 2 ** 53 + 2],
    [[2 ** 53, 1], 2 ** 53],
    [[2 ** 53, 1, 2 ** -60], 2 ** 53 + 2],
    [[Number.MAX_VALUE, Number.MAX_VALUE], Number.POSITIVE_INFINITY],
    [[-0, -0], 0],
    [[1, Number.NaN], Number.NaN],
    [[Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], Number.NaN],
    [[Number.POSITIVE_INFINITY, -1e308], Number.POSITIVE_INFINITY],
  ])('sum %j to %d', (values, expected) => {
    expect(roundDoubleSum(sumOf(values))).toBe(expected);
  });
});
