/**
 * Goal: decimals are exact and have one canonical text. Method: examples of every form, and properties against
 * BigInt arithmetic at a common scale.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addDecimal,
  canonicalDecimal,
  compareDecimal,
  type Decimal,
  decimalToDouble,
  formatDecimal,
  negateDecimal,
  parseDecimal,
} from './decimal.ts';

const finite = fc.record({ unscaled: fc.bigInt({ min: -(10n ** 45n), max: 10n ** 45n }), scale: fc.nat(30) });
const decimal: fc.Arbitrary<Decimal> = fc.oneof(
  { weight: 8, arbitrary: finite },
  fc.constantFrom<Decimal>('NaN', 'Infinity', '-Infinity'),
);

describe('decimal text', () => {
  it.each([
    ['0', '0'],
    ['-0', '0'],
    ['-0.00', '0.00'],
    ['+007.50', '7.50'],
    ['.5', '0.5'],
    ['5.', '5'],
    ['1e3', '1000'],
    ['1.25E-3', '0.00125'],
    ['12.5e1', '125'],
    ['-1234567890123456789012345678901234567890.1', '-1234567890123456789012345678901234567890.1'],
    ['NaN', 'NaN'],
    ['-Infinity', '-Infinity'],
  ])('reads %s as %s', (text, canonical) => {
    expect(canonicalDecimal(text)).toBe(canonical);
  });

  it.each(['', '.', '-', 'e5', '1e', '1,5', ' 1', '1 ', '0x10', 'nan', '1e99999999', '1e200000', '1e-20000', '--1'])(
    'refuses %j',
    (text) => {
      expect(parseDecimal(text)).toBeUndefined();
    },
  );

  it('parse and format are inverse', () => {
    fc.assert(
      fc.property(decimal, (d) => {
        expect(parseDecimal(formatDecimal(d))).toEqual(d);
      }),
    );
  });
});

describe('decimal arithmetic', () => {
  it('adds exactly at the larger scale', () => {
    fc.assert(
      fc.property(finite, finite, (a, b) => {
        const sum = addDecimal(a, b);
        expect(sum).toEqual(addDecimal(b, a));
        if (typeof sum === 'string') throw new Error('finite numbers have a finite sum');
        expect(sum.scale).toBe(Math.max(a.scale, b.scale));
        const common = 10n ** 60n;
        const at = (d: { unscaled: bigint; scale: number }): bigint => (d.unscaled * common) / 10n ** BigInt(d.scale);
        expect(at(sum)).toBe(at(a) + at(b));
        expect(compareDecimal(addDecimal(sum, negateDecimal(b)), a)).toBe(0);
      }),
    );
  });

  it('adds the special values as Postgres does', () => {
    const one: Decimal = { unscaled: 1n, scale: 0 };
    expect(addDecimal('NaN', one)).toBe('NaN');
    expect(addDecimal('Infinity', one)).toBe('Infinity');
    expect(addDecimal(one, '-Infinity')).toBe('-Infinity');
    expect(addDecimal('Infinity', '-Infinity')).toBe('NaN');
    expect(addDecimal('Infinity', 'Infinity')).toBe('Infinity');
    expect(negateDecimal('Infinity')).toBe('-Infinity');
  });

  it('is totally ordered, whatever the scale', () => {
    expect(compareDecimal({ unscaled: 10n, scale: 1 }, { unscaled: 100n, scale: 2 })).toBe(0);
    const ordered: Decimal[] = [
      '-Infinity',
      { unscaled: -1n, scale: 0 },
      { unscaled: 1n, scale: 9 },
      'Infinity',
      'NaN',
    ];
    for (const [i, a] of ordered.entries()) {
      for (const [j, b] of ordered.entries()) expect(Math.sign(compareDecimal(a, b))).toBe(Math.sign(i - j));
    }
  });

  it('rounds to the nearest double, ties to even, however long the digits', () => {
    expect(decimalToDouble({ unscaled: 2n ** 53n + 1n, scale: 0 })).toBe(2 ** 53);
    expect(decimalToDouble({ unscaled: (2n ** 53n + 1n) * 10n ** 100n + 1n, scale: 100 })).toBe(2 ** 53 + 2);
    expect(decimalToDouble({ unscaled: (2n ** 53n + 1n) * 10n ** 900n + 1n, scale: 900 })).toBe(2 ** 53 + 2);
    expect(decimalToDouble({ unscaled: 10n ** 400n, scale: 0 })).toBe(Number.POSITIVE_INFINITY);
    expect(decimalToDouble('NaN')).toBeNaN();
  });
});
