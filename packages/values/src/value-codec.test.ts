/**
 * Goal: a value crosses the wire unchanged, and the fast paths write and read what protobuf-es does. Method:
 * properties over every type with nulls, int64 extremes, NaN and -0.
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryReader, BinaryWriter } from '@bufbuild/protobuf/wire';
import { ValueSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arbitraryTyped } from './scalar.testing.ts';
import { kindOfProto, readValue, valueFromProto, valueToProto, writeValue } from './value-codec.ts';

describe('value codec', () => {
  it('brings every value through a message unchanged', () => {
    fc.assert(
      fc.property(arbitraryTyped, ({ type, value }) => {
        const message = valueToProto(type, value);
        expect(kindOfProto(message)).toBe(value === null ? undefined : type.kind);
        const back = valueFromProto(fromBinary(ValueSchema, toBinary(ValueSchema, message)));
        expect(back).toStrictEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it('writes the bytes that protobuf-es writes', () => {
    fc.assert(
      fc.property(arbitraryTyped, ({ type, value }) => {
        const writer = new BinaryWriter();
        writeValue(writer, type, value);
        expect(writer.finish()).toEqual(toBinary(ValueSchema, valueToProto(type, value)));
      }),
      { numRuns: 500 },
    );
  });

  it('reads what protobuf-es writes, in the middle of other bytes', () => {
    fc.assert(
      fc.property(arbitraryTyped, fc.uint8Array({ maxLength: 4 }), ({ type, value }, after) => {
        const body = toBinary(ValueSchema, valueToProto(type, value));
        const reader = new BinaryReader(Uint8Array.from([...body, ...after]));
        expect(readValue(reader, body.length)).toStrictEqual(value);
        expect(reader.pos).toBe(body.length);
      }),
      { numRuns: 500 },
    );
  });

  it('skips fields that it does not know', () => {
    const writer = new BinaryWriter();
    writer.tag(99, 2).string('later');
    writer.tag(1, 0).sint64(7n);
    const bytes = writer.finish();
    expect(readValue(new BinaryReader(bytes), bytes.length)).toBe(7n);
  });

  it('takes an unset value for null', () => {
    expect(valueFromProto(undefined)).toBeNull();
  });
});
