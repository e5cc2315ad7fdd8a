/**
 * Reads freshet.type.v1.Value bytes into Raw values. The field numbers of Value's members are the numbers of Kind; a
 * member of another kind than the column's reads as null, as a missing one does.
 */
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Raw } from '../aggregates/aggregate.ts';
import { asciiText } from './latin1.ts';
import type { WireCursor } from './wire-cursor.ts';

const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true });

/** The value of a Value message that reaches from the cursor to `end`; leaves the cursor at `end`. */
export function readRawValue(cursor: WireCursor, end: number, type: ValueType): Raw {
  let value: Raw = null;
  while (cursor.at < end) {
    const tag = cursor.varint();
    const kind = tag >>> 3;
    if (kind === type.kind) value = readMember(cursor, type);
    else cursor.skip(tag & 7);
  }
  return value;
}

function readMember(cursor: WireCursor, type: ValueType): Raw {
  switch (type.kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return cursor.zigzag64();
    case Kind.DOUBLE:
      return cursor.double();
    case Kind.DECIMAL:
    case Kind.STRING:
      return readText(cursor);
    case Kind.BOOL:
      return cursor.varint() !== 0;
    case Kind.BYTES: {
      const end = cursor.part();
      // A copy: the record is only valid until the next batch is taken.
      const bytes = cursor.bytes.slice(cursor.at, end);
      cursor.at = end;
      return bytes;
    }
    case Kind.LIST:
      return readList(cursor, type);
    case Kind.VECTOR:
      return readVector(cursor);
    default:
      throw cursor.damaged();
  }
}

/** A length and UTF-8 text. */
export function readText(cursor: WireCursor): string {
  const end = cursor.part();
  const start = cursor.at;
  cursor.at = end;
  // Short ASCII, which nearly all of it is, goes around the decoder's fixed cost.
  const short = end - start <= 32 ? asciiText(cursor.bytes, start, end) : undefined;
  return short ?? UTF8.decode(cursor.bytes.subarray(start, end));
}

/** A length and a ListValue. */
export function readList(cursor: WireCursor, type: ValueType): Raw {
  const end = cursor.part();
  const element: ValueType = { ...type, kind: type.element, element: Kind.UNSPECIFIED };
  const elements: Raw[] = [];
  while (cursor.at < end) {
    const tag = cursor.varint();
    if (tag === 10) elements.push(readRawValue(cursor, cursor.part(), element));
    else cursor.skip(tag & 7);
  }
  return elements;
}

/** A length and a Vector. */
export function readVector(cursor: WireCursor): Raw {
  const end = cursor.part();
  const components: number[] = [];
  while (cursor.at < end) {
    const tag = cursor.varint();
    if (tag === 10) {
      const last = cursor.part();
      while (cursor.at < last) components.push(cursor.float());
    } else if (tag === 13) {
      components.push(cursor.float());
    } else {
      cursor.skip(tag & 7);
    }
  }
  return Float32Array.from(components);
}
