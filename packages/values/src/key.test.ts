/**
 * Goal: an encoded key is one to one with its value and sorts as it. Method: properties over every kind and over
 * composite keys, int64 extremes and zero bytes included; examples pin the bytes, which are at rest.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareScalar } from './compare.ts';
import { decodeKey, encodeKey, int64KeyString, isKeyKind, KEY_BYTES_MAX, keyBytes, keyString } from './key.ts';
import { arbitraryScalar, KEY_KINDS } from './scalar.testing.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from './scalar.ts';

const kinds = fc.array(fc.constantFrom(...KEY_KINDS), { minLength: 1, maxLength: 4 });
const keyOf = (k: readonly Kind[]): fc.Arbitrary<Scalar[]> => fc.tuple(...k.map(arbitraryScalar));

function compareKeys(k: readonly Kind[], a: readonly Scalar[], b: readonly Scalar[]): number {
  for (const [i, kind] of k.entries()) {
    const order = compareScalar(kind, a[i]!, b[i]!);
    if (order !== 0) return Math.sign(order);
  }
  return 0;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

describe('encodeKey', () => {
  it('sorts as the values do, and equal bytes are equal values', () => {
    const pair = kinds.chain((k) => fc.tuple(fc.constant(k), keyOf(k), keyOf(k), fc.boolean()));
    fc.assert(
      fc.property(pair, ([k, a, other, share]) => {
        const b = share ? [a[0]!, ...other.slice(1)] : other;
        const [x, y] = [encodeKey(k, a), encodeKey(k, b)];
        const order = compareKeys(k, a, b);
        expect(Buffer.compare(x, y)).toBe(order);
        const [s, t] = [keyString(x), keyString(y)];
        expect(s < t ? -1 : s > t ? 1 : 0).toBe(order);
      }),
      { numRuns: 1000 },
    );
  });

  it('decodes to the same values', () => {
    fc.assert(
      fc.property(
        kinds.chain((k) => fc.tuple(fc.constant(k), keyOf(k))),
        ([k, values]) => {
          const bytes = encodeKey(k, values);
          const back = decodeKey(k, bytes);
          expect(compareKeys(k, back, values)).toBe(0);
          expect(encodeKey(k, back)).toEqual(bytes);
          expect(keyBytes(keyString(bytes))).toEqual(bytes);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('never decodes bytes that it would not write', () => {
    fc.assert(
      fc.property(kinds, fc.uint8Array({ maxLength: 24 }), (k, bytes) => {
        let values: Scalar[];
        try {
          values = decodeKey(k, bytes);
        } catch (error) {
          expect(isFreshetError(error, 'WRONG_KEY')).toBe(true);
          return;
        }
        expect(encodeKey(k, values)).toEqual(bytes);
      }),
      { numRuns: 1000 },
    );
  });

  it.each<[Kind, Scalar, string]>([
    [Kind.INT64, 1n, '018000000000000001'],
    [Kind.INT64, INT64_MIN, '010000000000000000'],
    [Kind.INT64, INT64_MAX, '01ffffffffffffffff'],
    [Kind.TIMESTAMP, -1n, '077fffffffffffffff'],
    [Kind.STRING, 'a\0b', '046100ff620001'],
    [Kind.BYTES, Uint8Array.of(0, 255), '0600ffff0001'],
    [Kind.BOOL, true, '0501'],
    [Kind.DECIMAL, '0.00', '0303'],
    [Kind.DECIMAL, '12.50', '0304800000020d3300'],
    [Kind.DECIMAL, '-12.5', '03027ffffffdf2ccff'],
    [Kind.DECIMAL, 'NaN', '0306'],
  ])('keeps its bytes: kind %i, %s', (kind, value, expected) => {
    expect(hex(encodeKey([kind], [value]))).toBe(expected);
  });

  it('takes 1.0 and 1.00 for the same key', () => {
    expect(encodeKey([Kind.DECIMAL], ['1.0'])).toEqual(encodeKey([Kind.DECIMAL], ['1.00']));
    expect(encodeKey([Kind.DECIMAL], ['1e3'])).toEqual(encodeKey([Kind.DECIMAL], ['1000.000']));
  });

  it.each<[string, Kind, Scalar]>([
    ['null', Kind.INT64, null],
    ['a number for an integer', Kind.INT64, 1],
    ['an integer beyond 64 bits', Kind.INT64, INT64_MAX + 1n],
    ['a text for an integer', Kind.INT64, '1'],
    ['an integer for a text', Kind.STRING, 1n],
    ['ill-formed Unicode', Kind.STRING, '\ud800'],
    ['a text that is no decimal', Kind.DECIMAL, 'one'],
    ['a double', Kind.DOUBLE, 1],
    ['a list', Kind.LIST, []],
    ['a vector', Kind.VECTOR, Float32Array.of(1)],
    ['no kind', Kind.UNSPECIFIED, 1n],
    ['a kind of the future', 77 as Kind, 1n],
    ['a text that is too long', Kind.STRING, 'x'.repeat(KEY_BYTES_MAX)],
    ['bytes that are too many', Kind.BYTES, new Uint8Array(KEY_BYTES_MAX + 1)],
  ])('refuses %s, naming the column', (_, kind, value) => {
    try {
      encodeKey([Kind.BOOL, kind], [true, value]);
      expect.unreachable();
    } catch (error) {
      if (!isFreshetError(error, 'WRONG_KEY')) throw error;
      expect(error.message).toContain('column 1');
      expect(error.place).toContain('key column 1');
      expect(error.remedy).not.toBe('');
    }
  });

  it('refuses a wrong number of values', () => {
    expect(() => encodeKey([Kind.INT64], [])).toThrow(/1 columns/);
  });

  it('says which kinds can be keys', () => {
    expect(KEY_KINDS.every(isKeyKind)).toBe(true);
    expect(isKeyKind(Kind.DOUBLE)).toBe(false);
    expect(isKeyKind(Kind.UNSPECIFIED)).toBe(false);
  });
});

describe('int64KeyString', () => {
  it('is the key string of the encoded key', () => {
    fc.assert(
      fc.property(arbitraryScalar(Kind.INT64), (value) => {
        const expected = keyString(encodeKey([Kind.INT64], [value]));
        expect(int64KeyString(value as bigint)).toBe(expected);
        const number = Number(value);
        if (Number.isSafeInteger(number)) expect(int64KeyString(number)).toBe(expected);
      }),
    );
  });

  it('refuses what does not fit', () => {
    expect(() => int64KeyString(INT64_MAX + 1n)).toThrow(/64 bits/);
  });
});
