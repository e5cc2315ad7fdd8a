/**
 * Goal: a key has one form in the replica, and a number is in the partition of its bytes.
 * Method: random keys of every kind against the encoding and the partitioner of packages/values.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { encodeKey, keyString } from '@freshet/values/key.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { partitionOfInt64, rowKeyOf, rowKeyOfInt64, rowKeyOfText, rowKeyText } from './row-key.ts';

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 54n), max: 2n ** 54n }),
  fc.bigInt({ min: -300n, max: 300n }),
);

describe('a row key', () => {
  it('of one int64 is the number if that is safe, and is in the partition of its bytes', () => {
    fc.assert(
      fc.property(int64, fc.integer({ min: 1, max: 4096 }), (value, partitions) => {
        const bytes = encodeKey([Kind.INT64], [value]);
        const number = Number(value);
        const key = rowKeyOf(bytes);
        expect(typeof key).toBe(Number.isSafeInteger(number) ? 'number' : 'string');
        expect(rowKeyOfInt64(Number.isSafeInteger(number) ? number : value)).toBe(key);
        expect(rowKeyText(key)).toBe(keyString(bytes));
        expect(rowKeyOfText(keyString(bytes))).toBe(key);
        if (typeof key === 'number') expect(partitionOfInt64(key, partitions)).toBe(partitionOf(bytes, partitions));
      }),
      { numRuns: 1000 },
    );
  });

  it('of any other kind is its key string', () => {
    const columns = fc.array(
      fc.oneof(
        fc.string().map((value) => [Kind.STRING, value] as const),
        int64.map((value) => [Kind.INT64, value] as const),
        int64.map((value) => [Kind.TIMESTAMP, value] as const),
        fc.uint8Array().map((value) => [Kind.BYTES, value] as const),
      ),
      { minLength: 1, maxLength: 3 },
    );
    fc.assert(
      fc.property(columns, (key) => {
        fc.pre(key.length > 1 || key[0]?.[0] !== Kind.INT64);
        const bytes = encodeKey(
          key.map(([kind]) => kind),
          key.map(([, value]) => value),
        );
        expect(rowKeyOf(bytes)).toBe(keyString(bytes));
        expect(rowKeyOfText(keyString(bytes))).toBe(keyString(bytes));
        expect(rowKeyText(keyString(bytes))).toBe(keyString(bytes));
      }),
    );
  });
});
