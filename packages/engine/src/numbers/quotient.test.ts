/**
 * Goal: a mean is rounded once. Method: what plain arithmetic answers against exact integers; and both against what the
 * processor and Number() round correctly themselves.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { dividePair, ratioToDouble } from './quotient.ts';

const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
const count = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 2 ** 31 - 1 }));

/** A double as a count of 2^-1074. */
function units(value: number): bigint {
  let exponent = 0;
  let rest = value;
  while (!Number.isInteger(rest)) {
    rest *= 2;
    exponent++;
  }
  return BigInt(rest) << BigInt(1074 - exponent);
}

describe('ratioToDouble', () => {
  it('rounds as a division of two doubles does', () => {
    fc.assert(
      fc.property(finite, count, (value, by) => {
        expect(ratioToDouble(units(value), BigInt(by) << 1074n)).toBe(value / by + 0);
      }),
      { numRuns: 2000 },
    );
  });

  it('rounds integers as Number does', () => {
    fc.assert(
      fc.property(fc.bigInt(), (value) => {
        expect(ratioToDouble(value, 1n)).toBe(Number(value));
      }),
    );
    expect(ratioToDouble(2n ** 1024n, 1n)).toBe(Number.POSITIVE_INFINITY);
    expect(ratioToDouble(-(2n ** 1024n), 1n)).toBe(Number.NEGATIVE_INFINITY);
  });

  it('rounds at the edge of what a double can be', () => {
    const tiny = 1n << 1074n;
    expect(ratioToDouble(1n, tiny * 2n)).toBe(0);
    expect(ratioToDouble(3n, tiny * 2n)).toBe(2 * Number.MIN_VALUE);
    expect(ratioToDouble(1n, tiny * 2n - 1n)).toBe(Number.MIN_VALUE);
    expect(ratioToDouble(10n ** 400n + 1n, 10n ** 400n)).toBe(1);
  });
});

describe('dividePair', () => {
  it('answers as exact integers do, or not at all', () => {
    const pair = fc.oneof(
      fc.tuple(finite, finite),
      // Near ties: numbers of few bits, and a small rest.
      fc.tuple(
        fc.integer({ min: -(2 ** 53), max: 2 ** 53 }),
        fc.integer({ min: -8, max: 8 }).map((n) => n / 16),
      ),
      fc.tuple(fc.double({ min: 0.01, max: 1e6, noNaN: true }), fc.double({ min: -1e-12, max: 1e-12, noNaN: true })),
    );
    let answered = 0;
    fc.assert(
      fc.property(pair, count, ([a, b], by) => {
        const high = a + b;
        fc.pre(Number.isFinite(high));
        const low = Math.abs(a) > Math.abs(b) ? b - (high - a) : a - (high - b);
        const quotient = dividePair(high, low, by);
        if (quotient === undefined) return;
        answered++;
        expect(quotient).toBe(ratioToDouble(units(high) + units(low), BigInt(by) << 1074n));
      }),
      { numRuns: 5000 },
    );
    expect(answered).toBeGreaterThan(2500);
  });
});
