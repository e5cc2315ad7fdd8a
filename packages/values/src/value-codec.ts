/**
 * Values between memory (scalar.ts) and the wire (freshet.type.v1.Value): as protobuf-es messages, and straight to and
 * from wire bytes for the paths where a message object per value would cost too much.
 *
 * Owns both mappings; value-codec.test.ts holds them to each other. Invariants: int64 and timestamp never pass through
 * a double; null is a Value without a member; the kind decides the member, never the value's look.
 */
import { create } from '@bufbuild/protobuf';
import { type BinaryReader, type BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { Kind, type Value, ValueSchema, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import type { Scalar } from './scalar.ts';

type TypeShape = Pick<ValueType, 'kind' | 'element'>;

/** The value that a message holds; bytes are those of the message, not a copy. Unset is null. */
export function valueFromProto(value: Value | undefined): Scalar {
  if (value === undefined) return null;
  const kind = value.kind;
  switch (kind.case) {
    case undefined:
      return null;
    case 'list':
      return kind.value.elements.map(valueFromProto);
    case 'vector':
      return Float32Array.from(kind.value.components);
    default:
      return kind.value;
  }
}

/** The kind of the member that is set, or undefined for null. */
export function kindOfProto(value: Value): Kind | undefined {
  return value.kind.case === undefined ? undefined : MEMBER_KINDS[value.kind.case];
}

const MEMBER_KINDS = {
  int64: Kind.INT64,
  double: Kind.DOUBLE,
  decimal: Kind.DECIMAL,
  string: Kind.STRING,
  bool: Kind.BOOL,
  bytes: Kind.BYTES,
  timestamp: Kind.TIMESTAMP,
  list: Kind.LIST,
  vector: Kind.VECTOR,
} as const;

/** The message for a value of the type. */
export function valueToProto(type: TypeShape, scalar: Scalar): Value {
  return create(ValueSchema, { kind: member(type, scalar) });
}

function member(type: TypeShape, scalar: Scalar): Value['kind'] {
  if (scalar === null) return { case: undefined };
  switch (type.kind) {
    case Kind.INT64:
      return { case: 'int64', value: bigintOf(scalar) };
    case Kind.TIMESTAMP:
      return { case: 'timestamp', value: bigintOf(scalar) };
    case Kind.DOUBLE:
      assert(typeof scalar === 'number', 'valueToProto: not a double');
      return { case: 'double', value: scalar };
    case Kind.DECIMAL:
      return { case: 'decimal', value: stringOf(scalar) };
    case Kind.STRING:
      return { case: 'string', value: stringOf(scalar) };
    case Kind.BOOL:
      assert(typeof scalar === 'boolean', 'valueToProto: not a boolean');
      return { case: 'bool', value: scalar };
    case Kind.BYTES:
      assert(scalar instanceof Uint8Array, 'valueToProto: not bytes');
      return { case: 'bytes', value: scalar as Uint8Array<ArrayBuffer> };
    case Kind.LIST: {
      const element = elementType(type);
      const elements = listOf(scalar).map((entry) => valueToProto(element, entry));
      return { case: 'list', value: { $typeName: 'freshet.type.v1.ListValue', elements } };
    }
    case Kind.VECTOR:
      assert(scalar instanceof Float32Array, 'valueToProto: not a vector');
      return { case: 'vector', value: { $typeName: 'freshet.type.v1.Vector', components: [...scalar] } };
    default:
      throw new Error(`valueToProto: no value has kind ${type.kind}`);
  }
}

// Field numbers of Value, ListValue and Vector.
const INT64 = 1;
const DOUBLE = 2;
const DECIMAL = 3;
const STRING = 4;
const BOOL = 5;
const BYTES = 6;
const TIMESTAMP = 7;
const LIST = 8;
const VECTOR = 9;
const ELEMENTS = 1;
const COMPONENTS = 1;

/** Writes the fields of a Value message, without its tag and length; nothing for null. */
export function writeValue(writer: BinaryWriter, type: TypeShape, scalar: Scalar): void {
  if (scalar === null) return;
  switch (type.kind) {
    case Kind.INT64:
      writer.tag(INT64, WireType.Varint).sint64(bigintOf(scalar));
      return;
    case Kind.TIMESTAMP:
      writer.tag(TIMESTAMP, WireType.Varint).sint64(bigintOf(scalar));
      return;
    case Kind.DOUBLE:
      assert(typeof scalar === 'number', 'writeValue: not a double');
      writer.tag(DOUBLE, WireType.Bit64).double(scalar);
      return;
    case Kind.DECIMAL:
      writer.tag(DECIMAL, WireType.LengthDelimited).string(stringOf(scalar));
      return;
    case Kind.STRING:
      writer.tag(STRING, WireType.LengthDelimited).string(stringOf(scalar));
      return;
    case Kind.BOOL:
      assert(typeof scalar === 'boolean', 'writeValue: not a boolean');
      writer.tag(BOOL, WireType.Varint).bool(scalar);
      return;
    case Kind.BYTES:
      assert(scalar instanceof Uint8Array, 'writeValue: not bytes');
      writer.tag(BYTES, WireType.LengthDelimited).bytes(scalar);
      return;
    case Kind.LIST:
      writeList(writer, elementType(type), listOf(scalar));
      return;
    case Kind.VECTOR:
      assert(scalar instanceof Float32Array, 'writeValue: not a vector');
      writeVector(writer, scalar);
      return;
    default:
      throw new Error(`writeValue: no value has kind ${type.kind}`);
  }
}

function writeList(writer: BinaryWriter, element: TypeShape, entries: readonly Scalar[]): void {
  writer.tag(LIST, WireType.LengthDelimited).fork();
  for (const entry of entries) {
    writer.tag(ELEMENTS, WireType.LengthDelimited).fork();
    writeValue(writer, element, entry);
    writer.join();
  }
  writer.join();
}

function writeVector(writer: BinaryWriter, components: Float32Array): void {
  writer.tag(VECTOR, WireType.LengthDelimited).fork();
  if (components.length > 0) {
    writer.tag(COMPONENTS, WireType.LengthDelimited).uint32(components.length * 4);
    for (const component of components) writer.float(component);
  }
  writer.join();
}

/**
 * Reads a Value message of `length` bytes from where the reader is. Bytes values are views of the reader's buffer:
 * copy what is kept. Fields that are not known are skipped; of several members the last counts.
 */
export function readValue(reader: BinaryReader, length: number): Scalar {
  const end = reader.pos + length;
  let scalar: Scalar = null;
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    switch (field) {
      case INT64:
      case TIMESTAMP:
        scalar = reader.sint64() as bigint;
        break;
      case DOUBLE:
        scalar = reader.double();
        break;
      case DECIMAL:
      case STRING:
        scalar = reader.string();
        break;
      case BOOL:
        scalar = reader.bool();
        break;
      case BYTES:
        scalar = reader.bytes();
        break;
      case LIST:
        scalar = readList(reader, reader.uint32());
        break;
      case VECTOR:
        scalar = readVector(reader, reader.uint32());
        break;
      default:
        reader.skip(wireType, field);
    }
  }
  return scalar;
}

function readList(reader: BinaryReader, length: number): Scalar[] {
  const end = reader.pos + length;
  const entries: Scalar[] = [];
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    if (field === ELEMENTS) entries.push(readValue(reader, reader.uint32()));
    else reader.skip(wireType, field);
  }
  return entries;
}

function readVector(reader: BinaryReader, length: number): Float32Array {
  const end = reader.pos + length;
  const components: number[] = [];
  while (reader.pos < end) {
    const [field, wireType] = reader.tag();
    if (field !== COMPONENTS) {
      reader.skip(wireType, field);
    } else if (wireType === WireType.LengthDelimited) {
      const packedEnd = reader.uint32() + reader.pos;
      while (reader.pos < packedEnd) components.push(reader.float());
    } else {
      components.push(reader.float());
    }
  }
  return Float32Array.from(components);
}

function elementType(type: TypeShape): TypeShape {
  return { kind: type.element, element: Kind.UNSPECIFIED };
}

function bigintOf(scalar: Scalar): bigint {
  assert(typeof scalar === 'bigint', 'a value of kind int64 or timestamp must be a bigint');
  return scalar;
}

function stringOf(scalar: Scalar): string {
  assert(typeof scalar === 'string', 'a value of kind string or decimal must be a string');
  return scalar;
}

function listOf(scalar: Scalar): readonly Scalar[] {
  assert(Array.isArray(scalar), 'a value of kind list must be an array');
  return scalar as readonly Scalar[];
}
