/**
 * Goal: the oracle's arithmetic is right, since everything is compared with it. Method: hand-computed cases, and
 * properties against what the language rounds correctly itself (Number of a BigInt, Number of a decimal literal).
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decimalText, divideExact, doubleUnits, roundToDouble, sumDecimals, sumDoubles } from './exact.ts';

const sumOf = (...values: number[]): number => roundToDouble(sumDoubles(values));

describe('sums of doubles', () => {
  it('round once', () => {
    expect(sumOf(0.1, 0.2)).toBe(0.1 + 0.2);
    expect(sumOf(0.1, 0.2, -0.1, -0.2)).toBe(0);
    expect(sumOf(1, 1e100, 1, -1e100)).toBe(2);
    expect(sumOf(1e308, 1e308, -1e308)).toBe(1e308);
    expect(sumOf(Number.MAX_VALUE, Number.MAX_VALUE)).toBe(Infinity);
    expect(sumOf(-Number.MAX_VALUE, -Number.MAX_VALUE)).toBe(-Infinity);
    expect(sumOf(Number.MIN_VALUE, Number.MIN_VALUE)).toBe(2 * Number.MIN_VALUE);
    expect(sumOf(2 ** 53, 1)).toBe(2 ** 53); // a tie, to even
    expect(sumOf(2 ** 53, 1, Number.MIN_VALUE)).toBe(2 ** 53 + 2); // just above the tie
  });

  it('have no signed zero, and know the infinities and NaN', () => {
    expect(sumOf(-0, -0)).toBe(0);
    expect(sumOf(Infinity, 1)).toBe(Infinity);
    expect(sumOf(-Infinity, Number.MAX_VALUE)).toBe(-Infinity);
    expect(sumOf(Infinity, -Infinity)).toBeNaN();
    expect(sumOf(NaN, 1)).toBeNaN();
  });

  it('of one double are that double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true }), (value) => {
        expect(sumOf(value)).toBe(value === 0 ? 0 : value);
      }),
    );
  });

  it('of two doubles are what the processor says, which rounds a single addition correctly', () => {
    const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(finite, finite, (a, b) => {
        expect(sumOf(a, b)).toBe(a + b === 0 ? 0 : a + b);
      }),
    );
  });

  it('count in units of the smallest double', () => {
    expect(doubleUnits(Number.MIN_VALUE)).toBe(1n);
    expect(doubleUnits(-1)).toBe(-(1n << 1074n));
    expect(doubleUnits(2 ** -1022)).toBe(1n << 52n);
  });
});

describe('sums of decimals', () => {
  it('keep the greatest scale', () => {
    expect(decimalText(sumDecimals(['1.5', '2.25', '3']))).toBe('6.75');
    expect(decimalText(sumDecimals(['0.10', '-0.1']))).toBe('0.00');
    expect(decimalText(sumDecimals(['-0.05', '0.01']))).toBe('-0.04');
    expect(decimalText(sumDecimals(['7']))).toBe('7');
    expect(decimalText(sumDecimals(['Infinity', '1']))).toBe('Infinity');
    expect(decimalText(sumDecimals(['Infinity', '-Infinity']))).toBe('NaN');
  });

  it('round to the double that the literal names', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.nat(400), (unscaled, scale) => {
        const text = decimalText({ sum: { numerator: unscaled, denominator: 1n }, scale });
        expect(roundToDouble(sumDecimals([text]).sum)).toBe(Number(text));
      }),
    );
  });
});

describe('integers', () => {
  it('round to the double that Number gives', () => {
    fc.assert(
      fc.property(fc.bigInt(), (value) => {
        expect(roundToDouble({ numerator: value, denominator: 1n })).toBe(Number(value));
      }),
    );
  });
});

describe('quotients', () => {
  it('round once', () => {
    const mean = (...values: number[]): number => roundToDouble(divideExact(sumDoubles(values), BigInt(values.length)));
    expect(mean(Number.MAX_VALUE, Number.MAX_VALUE)).toBe(Number.MAX_VALUE);
    expect(mean(Number.MIN_VALUE, 0)).toBe(0); // a tie, to even
    expect(mean(3 * Number.MIN_VALUE, 0)).toBe(2 * Number.MIN_VALUE);
    expect(mean(2 ** 53, 1, 0)).toBe(3002399751580331); // 2^53 + 1 is a multiple of 3 and no double
    expect(mean(Infinity, 1)).toBe(Infinity);
  });

  it('of a double by a count are what the processor says, which rounds a single division correctly', () => {
    const finite = fc.double({ noNaN: true, noDefaultInfinity: true });
    fc.assert(
      fc.property(finite, fc.integer({ min: 1, max: 2 ** 31 - 1 }), (value, count) => {
        expect(roundToDouble(divideExact(sumDoubles([value]), BigInt(count))) + 0).toBe(value / count + 0);
      }),
    );
  });
});
