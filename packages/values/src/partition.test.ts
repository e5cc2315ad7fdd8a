/**
 * Goal: the partitioner is Kafka's. Method: the vectors of Kafka's own UtilsTest, and that the fast path agrees.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyString } from './key.ts';
import { murmur2, partitionOf, partitionOfKeyString } from './partition.ts';

describe('murmur2', () => {
  it.each([
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
    ['abc', 479470107],
  ])('of %s is that of Kafka', (text, hash) => {
    expect(murmur2(new TextEncoder().encode(text))).toBe(hash);
  });
});

describe('partitionOf', () => {
  it('is in range and the same from a key string', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 4096 }), (bytes, partitions) => {
        const partition = partitionOf(bytes, partitions);
        expect(partition).toBeGreaterThanOrEqual(0);
        expect(partition).toBeLessThan(partitions);
        expect(partitionOfKeyString(keyString(bytes), partitions)).toBe(partition);
      }),
    );
  });

  it('drops the sign bit as Kafka does, and does not negate', () => {
    expect(partitionOf(new TextEncoder().encode('21'), 64)).toBe((-973932308 & 0x7fffffff) % 64);
  });
});
