/**
 * Encodes log records. `Change` has an encoder by hand, because every row of every source passes it; the other kinds
 * are rare and go through protobuf-es.
 *
 * Keeps: the bytes equal what protobuf-es would write for the same message (record-writer.test.ts). Pure.
 */
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, type Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { ByteSink, WIRE_BYTES, WIRE_FIXED64, WIRE_VARINT } from './byte-sink.ts';

/** What a change says beside its row. Field meanings: proto/freshet/log/v1/log.proto. */
export interface ChangeHead {
  readonly route: number;
  readonly generation: number;
  readonly lane: number;
  /** Sequence.major: unsigned, up to 64 bits. */
  readonly major: bigint | number;
  /** Sequence.minor: unsigned, up to 64 bits. */
  readonly minor: bigint | number;
  /** Sequence.part; 0 when left out. */
  readonly part?: number | undefined;
  readonly operation: Operation;
  readonly entityKey: Uint8Array;
  readonly contractVersion: number;
  /** Microseconds since the Unix epoch; left out: unknown. */
  readonly eventTimeUs?: bigint | number | undefined;
  readonly traceparent?: string | undefined;
  /** Microseconds since the Unix epoch. */
  readonly knownAtUs?: bigint | number | undefined;
  /** Mutable sources: which row this is; left out for append sources. */
  readonly rowKey?: Uint8Array | undefined;
  /** Updates: the row's key before, when it is another one. */
  readonly oldRowKey?: Uint8Array | undefined;
}

// One buffer for all: encoding is synchronous, and a result is copied out before the next begins.
const sink = new ByteSink(4096);

/**
 * The LogRecord of a row change. Values are in the contract's order, with the contract's types; empty for a delete.
 * Throws INVALID_REQUEST when a value is not of its type.
 */
export function encodeChange(head: ChangeHead, values: readonly Scalar[], types: readonly ValueType[]): Uint8Array {
  sink.clear();
  sink.tag(1, WIRE_BYTES);
  const change = sink.begin();
  writeChange(head, values, types);
  sink.end(change);
  return sink.take();
}

/**
 * The LogRecord of a broadcast table's change, of that of the change: a TableChange holds its Change under the number by
 * which a LogRecord holds one, so the bytes go in as they are.
 */
export function tableChange(change: Uint8Array): Uint8Array {
  sink.clear();
  sink.tag(8, WIRE_BYTES);
  sink.bytes(change);
  return sink.take();
}

/** Any record through protobuf-es: `encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } })`. */
export function encodeRecord(kind: NonNullable<MessageInitShape<typeof LogRecordSchema>['kind']>): Uint8Array {
  return toBinary(LogRecordSchema, create(LogRecordSchema, { kind }));
}

/** The record that says that time went on. */
export function encodeTick(): Uint8Array {
  return encodeRecord({ case: 'tick', value: {} });
}

function writeChange(head: ChangeHead, values: readonly Scalar[], types: readonly ValueType[]): void {
  assert(values.length <= types.length, 'a row with more values than its contract has columns');
  number(1, head.route);
  number(2, head.generation);
  number(3, head.lane);
  sink.tag(4, WIRE_BYTES);
  const sequence = sink.begin();
  number(1, head.major);
  number(2, head.minor);
  number(3, head.part ?? 0);
  sink.end(sequence);
  number(5, head.operation);
  bytes(6, head.entityKey);
  number(7, head.contractVersion);
  for (let index = 0; index < values.length; index++) {
    sink.tag(8, WIRE_BYTES);
    const value = sink.begin();
    const type = types[index] as ValueType;
    writeScalar(type.kind, type, values[index] as Scalar, index);
    sink.end(value);
  }
  signed(9, head.eventTimeUs);
  if (head.traceparent !== undefined && head.traceparent !== '') {
    sink.tag(10, WIRE_BYTES);
    sink.string(head.traceparent);
  }
  signed(11, head.knownAtUs);
  bytes(12, head.rowKey);
  bytes(13, head.oldRowKey);
}

/** A bytes field without presence: empty ones are left out. */
function bytes(field: number, value: Uint8Array | undefined): void {
  if (value === undefined || value.length === 0) return;
  sink.tag(field, WIRE_BYTES);
  sink.bytes(value);
}

/** An unsigned field without presence: 0 is left out. */
function number(field: number, value: bigint | number): void {
  if (typeof value === 'bigint') {
    if (value === 0n) return;
    sink.tag(field, WIRE_VARINT);
    sink.varint64(value);
  } else if (value !== 0) {
    sink.tag(field, WIRE_VARINT);
    sink.varint(value);
  }
}

/** A sint64 field with presence. */
function signed(field: number, value: bigint | number | undefined): void {
  if (value === undefined) return;
  sink.tag(field, WIRE_VARINT);
  if (typeof value === 'bigint') sink.sint64(value);
  else sink.sintNumber(value);
}

/** The fields of a freshet.type.v1.Value; nothing for null. A member of a oneof is written even when it is zero. */
function writeScalar(kind: Kind, type: ValueType, value: Scalar, column: number): void {
  if (value === null) return;
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      if (typeof value !== 'bigint') break;
      sink.tag(kind === Kind.INT64 ? 1 : 7, WIRE_VARINT);
      sink.sint64(value);
      return;
    case Kind.DOUBLE:
      if (typeof value !== 'number') break;
      sink.tag(2, WIRE_FIXED64);
      sink.double(value);
      return;
    case Kind.DECIMAL:
    case Kind.STRING:
      if (typeof value !== 'string') break;
      sink.tag(kind === Kind.DECIMAL ? 3 : 4, WIRE_BYTES);
      sink.string(value);
      return;
    case Kind.BOOL:
      if (typeof value !== 'boolean') break;
      sink.tag(5, WIRE_VARINT);
      sink.varint(value ? 1 : 0);
      return;
    case Kind.BYTES:
      if (!(value instanceof Uint8Array)) break;
      sink.tag(6, WIRE_BYTES);
      sink.bytes(value);
      return;
    case Kind.LIST:
      if (!Array.isArray(value)) break;
      writeList(type, value as readonly Scalar[], column);
      return;
    case Kind.VECTOR:
      if (!(value instanceof Float32Array)) break;
      writeVector(value);
      return;
    default:
      break;
  }
  throw new FreshetError('INVALID_REQUEST', `the value of column ${column} is not of its type (kind ${kind})`);
}

function writeList(type: ValueType, elements: readonly Scalar[], column: number): void {
  sink.tag(8, WIRE_BYTES);
  const list = sink.begin();
  for (const element of elements) {
    sink.tag(1, WIRE_BYTES);
    const body = sink.begin();
    writeScalar(type.element, type, element, column);
    sink.end(body);
  }
  sink.end(list);
}

function writeVector(components: Float32Array): void {
  sink.tag(9, WIRE_BYTES);
  const vector = sink.begin();
  if (components.length > 0) {
    sink.tag(1, WIRE_BYTES);
    sink.varint(components.length * 4);
    for (const component of components) sink.float(component);
  }
  sink.end(vector);
}
