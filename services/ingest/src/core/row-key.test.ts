/**
 * Goal: rows have the same key exactly when they have the same identity. Method: generated identities, most of them alike.
 */
import { create } from '@bufbuild/protobuf';
import { Kind, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeRowKey, KEY_BYTES_MAX, sameRowKey } from './row-key.ts';

const text = create(ValueTypeSchema, { kind: Kind.STRING });
const decimal = create(ValueTypeSchema, { kind: Kind.DECIMAL });

function keyOf(...texts: (string | null)[]): Uint8Array {
  return encodeRowKey(
    texts,
    texts.map(() => text),
  );
}

describe('encodeRowKey', () => {
  it('F2: tells identities apart, null and lengths at their edges among them, and nothing else', () => {
    const part = fc.oneof(
      fc.constantFrom(null, '', 'a', '\0', 'ü', '1'),
      fc.string({ unit: fc.constantFrom('a', '\0', '\u0001', 'é'), maxLength: 5 }),
      fc.nat({ max: 300 }).map((length) => 'x'.repeat(length)),
      fc.constantFrom(126, 127, 128, 16_382, 16_383).map((length) => 'y'.repeat(length)),
    );
    const identity = fc.array(part, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(identity, identity, (a, b) => {
        const same = JSON.stringify(a) === JSON.stringify(b);
        expect(sameRowKey(keyOf(...a), keyOf(...b))).toBe(same);
        expect(sameRowKey(keyOf(...a), keyOf(...a))).toBe(true);
        expect(keyOf(...a).length).toBeLessThanOrEqual(KEY_BYTES_MAX);
      }),
      { numRuns: 2_000 },
    );
  });

  it('never runs two columns together', () => {
    const keys = [
      keyOf('ab', 'c'),
      keyOf('a', 'bc'),
      keyOf('abc'),
      keyOf('abc', null),
      keyOf(null, 'abc'),
      keyOf('abc', ''),
    ];
    expect(new Set(keys.map((key) => Buffer.from(key).toString('hex'))).size).toBe(keys.length);
  });

  it('is the text itself, with its length, up to 64 bytes, and 32 bytes beyond', () => {
    expect(Buffer.from(keyOf('17')).toString('hex')).toBe('033137');
    expect(keyOf('x'.repeat(63))).toHaveLength(64);
    expect(keyOf('x'.repeat(64))).toHaveLength(32);
  });

  it('takes a decimal for the number that it is: a change of scale rewrites it without telling', () => {
    for (const [a, b] of [
      ['1', '1.00'],
      ['-2.5', '-2.5000'],
      ['100', '100.0'],
      ['0', '0.00'],
    ] as const) {
      expect(sameRowKey(encodeRowKey([a], [decimal]), encodeRowKey([b], [decimal]))).toBe(true);
    }
    expect(sameRowKey(encodeRowKey(['10'], [decimal]), encodeRowKey(['1'], [decimal]))).toBe(false);
    expect(sameRowKey(encodeRowKey(['1.0'], [text]), encodeRowKey(['1'], [text]))).toBe(false);
  });
});
