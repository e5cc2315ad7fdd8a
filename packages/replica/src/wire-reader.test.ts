/**
 * Goal: integers are read as protobuf-es writes them, none with a digit lost, and damage never reads past the end.
 * Method: integers of every size, most of them around the sizes at which the reader takes another way.
 */
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WireReader } from './wire-reader.ts';

/** Integers around the powers of two, where varints grow and numbers end. */
const integer = fc
  .tuple(fc.integer({ min: 0, max: 63 }), fc.bigInt({ min: -3n, max: 3n }), fc.boolean())
  .map(([power, near, negative]) => BigInt.asIntN(64, (negative ? -1n : 1n) * (1n << BigInt(power)) + near));

/** How the reader is to return it. */
function held(value: bigint): number | bigint {
  return Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

describe('WireReader', () => {
  it('reads int64s and sint64s of every size', () => {
    fc.assert(
      fc.property(fc.array(integer), (values) => {
        const plain = new BinaryWriter();
        const zigzag = new BinaryWriter();
        for (const value of values) {
          plain.int64(value);
          zigzag.sint64(value);
        }
        const bytes = plain.finish();
        const one = new WireReader(bytes);
        expect(values.map(() => one.int64())).toEqual(values.map(held));
        const all = new WireReader(bytes);
        expect(all.countVarints()).toBe(values.length);
        expect(all.int64s(values.length)).toEqual(values.map(held));
        expect([one.more, all.more]).toEqual([false, false]);
        const signed = new WireReader(zigzag.finish());
        expect(values.map(() => signed.sint64())).toEqual(values.map(held));
      }),
      { numRuns: 500 },
    );
  });

  it('throws DATA_DAMAGED where the bytes end early, whatever lies after them', () => {
    const damaged = expect.objectContaining({ code: 'DATA_DAMAGED' });
    for (let length = 0; length <= 9; length++) {
      // After the end there is what would make the integer whole.
      const bytes = new Uint8Array(20).fill(0x80, 0, length);
      for (const read of ['varint', 'int64', 'sint64'] as const) {
        expect(() => new WireReader(bytes, 0, length)[read]()).toThrow(damaged);
      }
      expect(() => new WireReader(bytes, 0, length).int64s(1)).toThrow(damaged);
      if (length < 8) expect(() => new WireReader(bytes, 0, length).double(0)).toThrow(damaged);
    }
  });
});
