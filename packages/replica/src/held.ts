/**
 * How the read path keeps one value between a row's bytes and an answer's bytes: as near to the wire as it can, so that
 * most values are never decoded. Owns the form and its conversion from and to values.
 *
 *     int64, timestamp   the number, or a bigint when a number would lose digits
 *     double             the number
 *     bool               0 or 1
 *     every other kind   its bytes as an element of ValueColumn's list: UTF-8, bytes, an encoded ListValue or Vector
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  Kind,
  ListValueSchema,
  type Value,
  ValueSchema,
  type ValueType,
  VectorSchema,
} from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueFromProto, valueToProto } from '@freshet/values/value-codec.ts';
import { type Integer, WireReader } from './wire-reader.ts';

export type Held = Integer | Uint8Array;

const NO_BYTES = new Uint8Array(0);

/** Whether values of the kind are kept as numbers. */
export function isNumberKind(kind: Kind): boolean {
  return kind === Kind.INT64 || kind === Kind.TIMESTAMP || kind === Kind.DOUBLE || kind === Kind.BOOL;
}

/** What a column holds where there is no value. */
export function zeroOf(kind: Kind): Held {
  return isNumberKind(kind) ? 0 : NO_BYTES;
}

/** The value as the read path keeps it. */
export function held(kind: Kind, value: Value): Held {
  switch (value.kind.case) {
    case 'int64':
    case 'timestamp': {
      const number = Number(value.kind.value);
      return Number.isSafeInteger(number) ? number : value.kind.value;
    }
    case 'double':
      return value.kind.value;
    case 'bool':
      return Number(value.kind.value);
    case undefined:
      return zeroOf(kind);
    default: {
      // The member's own encoding, after its tag and length.
      const reader = new WireReader(toBinary(ValueSchema, value));
      reader.varint();
      const length = reader.length();
      return reader.buffer.subarray(reader.position, reader.position + length);
    }
  }
}

/** A value that there is, of the type, as the read path keeps it. */
export function heldOf(type: ValueType, value: Exclude<Scalar, null>): Held {
  switch (typeof value) {
    case 'number':
      return value;
    case 'bigint': {
      const number = Number(value);
      return Number.isSafeInteger(number) ? number : value;
    }
    case 'boolean':
      return Number(value);
    case 'string':
      return Buffer.from(value, 'utf8');
    default:
      return value instanceof Uint8Array ? value : held(type.kind, valueToProto(type, value));
  }
}

/** The value itself. */
export function scalarOf(kind: Kind, value: Held): Scalar {
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return BigInt(value as Integer);
    case Kind.DOUBLE:
      return value as number;
    case Kind.BOOL:
      return value !== 0;
    default:
      break;
  }
  assert(value instanceof Uint8Array, 'a value that is not of its kind');
  switch (kind) {
    case Kind.STRING:
    case Kind.DECIMAL:
      return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('utf8');
    case Kind.LIST:
      return fromBinary(ListValueSchema, value).elements.map(valueFromProto);
    case Kind.VECTOR:
      return Float32Array.from(fromBinary(VectorSchema, value).components);
    default:
      return value;
  }
}
