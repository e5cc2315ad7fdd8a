/**
 * Goal: one total order for each kind. Method: examples of the corners, and the laws of an order as properties.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareScalar, compareStrings } from './compare.ts';
import { arbitraryScalar, SCALAR_KINDS } from './scalar.testing.ts';
import type { Scalar } from './scalar.ts';
import { kindName } from './type-name.ts';

describe('compareScalar', () => {
  it.each<[string, Kind, Scalar[]]>([
    [
      'doubles',
      Kind.DOUBLE,
      [null, Number.NEGATIVE_INFINITY, -1, -0, 0, 5e-324, 1, Number.POSITIVE_INFINITY, Number.NaN],
    ],
    ['integers', Kind.INT64, [null, -(2n ** 63n), -1n, 0n, 2n ** 53n, 2n ** 53n + 1n, 2n ** 63n - 1n]],
    ['decimals', Kind.DECIMAL, [null, '-Infinity', '-10', '-9.99', '0', '9', '10', 'Infinity', 'NaN']],
    ['strings', Kind.STRING, [null, '', 'A', 'a', 'aa', 'é', '\uE000', '\uFFFD', '\u{10000}', '\u{10FFFF}']],
    ['booleans', Kind.BOOL, [null, false, true]],
    ['bytes', Kind.BYTES, [null, new Uint8Array(), Uint8Array.of(0), Uint8Array.of(0, 0), Uint8Array.of(255)]],
    [
      'vectors',
      Kind.VECTOR,
      [Float32Array.of(-1), Float32Array.of(1), Float32Array.of(1, 0), Float32Array.of(Number.NaN)],
    ],
  ])('orders %s', (_, kind, ordered) => {
    for (const [i, a] of ordered.entries()) {
      for (const [j, b] of ordered.entries()) expect(Math.sign(compareScalar(kind, a, b))).toBe(Math.sign(i - j));
    }
  });

  it('orders lists by their elements', () => {
    const ordered: Scalar[] = [[], [null], [1n], [1n, 5n], [2n]];
    for (const [i, a] of ordered.entries()) {
      for (const [j, b] of ordered.entries()) {
        expect(Math.sign(compareScalar(Kind.LIST, a, b, Kind.INT64))).toBe(Math.sign(i - j));
      }
    }
  });

  it('finds decimals of the same number equal', () => {
    expect(compareScalar(Kind.DECIMAL, '1.0', '1.00')).toBe(0);
  });

  it('orders strings as their UTF-8 bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
        expect(Math.sign(compareStrings(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
  });

  it.each(SCALAR_KINDS.map((kind) => [kindName(kind), kind] as const))('is an order of %s', (_, kind) => {
    const value = arbitraryScalar(kind);
    const sign = (a: Scalar, b: Scalar): number => Math.sign(compareScalar(kind, a, b));
    fc.assert(
      fc.property(value, value, value, (a, b, c) => {
        expect(sign(a, a)).toBe(0);
        expect(sign(a, b) + sign(b, a)).toBe(0);
        if (sign(a, b) <= 0 && sign(b, c) <= 0) expect(sign(a, c)).toBeLessThanOrEqual(0);
      }),
    );
  });
});
