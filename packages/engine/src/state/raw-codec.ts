/** The canonical bytes of one value of a known kind inside a key's state. */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import type { Raw } from '../aggregates/aggregate.ts';
import type { ByteReader } from './byte-reader.ts';
import type { ByteWriter } from './byte-writer.ts';

export interface RawCodec {
  write(writer: ByteWriter, value: Raw): void;
  read(reader: ByteReader): Raw;
}

const INTEGER: RawCodec = {
  write: (writer, value) => writer.zigzag(value as number | bigint),
  read: (reader) => reader.zigzag(true),
};

const CODECS: ReadonlyMap<Kind, RawCodec> = new Map<Kind, RawCodec>([
  [Kind.INT64, INTEGER],
  [Kind.TIMESTAMP, INTEGER],
  [Kind.DOUBLE, { write: (writer, value) => writer.double(value as number), read: (reader) => reader.double() }],
  [Kind.DECIMAL, { write: (writer, value) => writer.string(value as string), read: (reader) => reader.string() }],
  [Kind.STRING, { write: (writer, value) => writer.string(value as string), read: (reader) => reader.string() }],
  [Kind.BOOL, { write: (writer, value) => writer.bool(value as boolean), read: (reader) => reader.bool() }],
  [Kind.BYTES, { write: (writer, value) => writer.bytes(value as Uint8Array), read: (reader) => reader.bytes() }],
  [Kind.VECTOR, { write: writeVector, read: readVector }],
]);

/** The codec for a kind; `element` is the kind of a list's elements. */
export function rawCodec(kind: Kind, element: Kind = Kind.UNSPECIFIED): RawCodec {
  if (kind === Kind.LIST) return listCodec(rawCodec(element));
  const codec = CODECS.get(kind);
  assert(codec !== undefined, `no codec for kind ${kind}`);
  return codec;
}

function listCodec(element: RawCodec): RawCodec {
  return {
    write: (writer, value) => {
      const elements = value as readonly Raw[];
      writer.varint(elements.length);
      for (const one of elements) {
        writer.bool(one !== null);
        if (one !== null) element.write(writer, one);
      }
    },
    read: (reader) => {
      const elements: Raw[] = [];
      for (let left = reader.varint(); left > 0; left--) elements.push(reader.bool() ? element.read(reader) : null);
      return elements;
    },
  };
}

function writeVector(writer: ByteWriter, value: Raw): void {
  const components = value as Float32Array;
  writer.varint(components.length);
  for (const component of components) writer.float(component);
}

function readVector(reader: ByteReader): Raw {
  const components = new Float32Array(reader.varint());
  for (let i = 0; i < components.length; i++) components[i] = reader.float();
  return components;
}
