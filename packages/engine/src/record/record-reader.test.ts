/**
 * Goal: the reader sees in any record what protobuf-es sees. Method: fast-check over Change messages with every kind of
 * value; damaged bytes are refused and never read beyond.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ChangeSchema, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind, ValueSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { keyString } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueFromProto, valueToProto } from '@freshet/values/value-codec.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_EVENT_TIME } from '../aggregates/aggregate.ts';
import { scalarOf } from '../rows/row-reader.ts';
import { encodeRecord, type } from '../testing/plans.testing.ts';
import { RecordKind, RecordReader } from './record-reader.ts';

const INT64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const TEXT = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.constant('\ufeffbom'),
);

const VALUES: readonly { readonly kind: Kind; readonly element: Kind; readonly value: fc.Arbitrary<Scalar> }[] = [
  { kind: Kind.INT64, element: Kind.UNSPECIFIED, value: fc.oneof(INT64, fc.bigInt({ min: -5n, max: 5n })) },
  { kind: Kind.DOUBLE, element: Kind.UNSPECIFIED, value: fc.double() },
  {
    kind: Kind.DECIMAL,
    element: Kind.UNSPECIFIED,
    value: fc.constantFrom('0', '-1.50', 'NaN', '123456789012345678901'),
  },
  { kind: Kind.STRING, element: Kind.UNSPECIFIED, value: TEXT.filter((text) => text.isWellFormed()) },
  { kind: Kind.BOOL, element: Kind.UNSPECIFIED, value: fc.boolean() },
  { kind: Kind.BYTES, element: Kind.UNSPECIFIED, value: fc.uint8Array({ maxLength: 20 }) },
  { kind: Kind.TIMESTAMP, element: Kind.UNSPECIFIED, value: INT64 },
  { kind: Kind.LIST, element: Kind.INT64, value: fc.array(fc.option(INT64), { maxLength: 4 }) },
  { kind: Kind.LIST, element: Kind.STRING, value: fc.array(fc.option(fc.string()), { maxLength: 4 }) },
  { kind: Kind.VECTOR, element: Kind.UNSPECIFIED, value: fc.float32Array({ maxLength: 5 }) },
];

const column = fc
  .constantFrom(...VALUES)
  .chain(({ kind, element, value }) =>
    fc.option(value, { nil: null }).map((scalar) => ({ type: type(kind, element), scalar })),
  );

const head = fc.record({
  route: fc.nat(2 ** 31),
  generation: fc.nat(),
  lane: fc.nat(),
  sequence: fc.record({
    major: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    minor: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    part: fc.nat(),
  }),
  operation: fc.constantFrom(Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.READ),
  entityKey: fc.uint8Array({ maxLength: 40 }),
  contractVersion: fc.nat(),
  eventTimeUs: fc.option(fc.bigInt({ min: -(2n ** 53n) + 1n, max: 2n ** 53n - 1n }), { nil: undefined }),
  traceparent: fc.string(),
  knownAtUs: fc.option(INT64, { nil: undefined }),
});

describe('RecordReader', () => {
  it('reads changes as protobuf-es does', () => {
    const reader = new RecordReader();
    fc.assert(
      fc.property(head, fc.array(column, { maxLength: 80 }), ({ eventTimeUs, knownAtUs, ...rest }, columns) => {
        const row = columns.map((one) => valueToProto(one.type, one.scalar));
        const change = create(ChangeSchema, {
          ...rest,
          row,
          ...(eventTimeUs === undefined ? {} : { eventTimeUs }),
          ...(knownAtUs === undefined ? {} : { knownAtUs }),
        });
        // In the middle of a larger buffer, as records are.
        const bytes = toBinary(LogRecordSchema, create(LogRecordSchema, { kind: { case: 'change', value: change } }));
        const buffer = new Uint8Array(bytes.length + 24).fill(0xff);
        buffer.set(bytes, 13);
        reader.load(buffer.subarray(13, 13 + bytes.length));
        expect(reader.kind).toBe(RecordKind.CHANGE);
        expect([reader.route, reader.generation, reader.lane]).toEqual([rest.route, rest.generation, rest.lane]);
        expect([BigInt(reader.major), BigInt(reader.minor), reader.part]).toEqual(Object.values(rest.sequence));
        expect(reader.operation).toBe(rest.operation);
        expect(reader.key).toBe(keyString(rest.entityKey));
        expect(reader.contractVersion).toBe(rest.contractVersion);
        expect(reader.eventTimeUs).toBe(eventTimeUs === undefined ? NO_EVENT_TIME : Number(eventTimeUs));
        // In any order, and twice.
        for (const index of [...columns.keys(), ...[...columns.keys()].reverse()]) {
          const { type: columnType } = columns[index]!;
          const read = scalarOf(columnType.kind, reader.column(index, columnType), columnType.element);
          expect(read).toEqual(valueFromProto(row[index]));
        }
        expect(reader.column(columns.length, type(Kind.INT64))).toBeNull();
        expect(reader.column(-1, type(Kind.INT64))).toBeNull();
      }),
      { numRuns: 300 },
    );
  });

  it('reads a value of another kind than the column as null', () => {
    const reader = new RecordReader();
    const row = [create(ValueSchema, { kind: { case: 'string', value: '5' } })];
    reader.load(encodeRecord({ case: 'change', value: { row } }));
    expect(reader.column(0, type(Kind.INT64))).toBeNull();
    expect(reader.column(0, type(Kind.STRING))).toBe('5');
  });

  it('tells the kinds of records apart and clears what was read before', () => {
    const reader = new RecordReader();
    reader.load(encodeRecord({ case: 'change', value: { route: 3, generation: 4, lane: 5, eventTimeUs: 6n } }));
    reader.load(encodeRecord({ case: 'routeBegin', value: { route: 7, generation: 8 } }));
    expect([reader.kind, reader.route, reader.generation]).toEqual([RecordKind.ROUTE_BEGIN, 7, 8]);
    reader.load(encodeRecord({ case: 'snapshotEnd', value: { route: 9 } }));
    expect([reader.kind, reader.route, reader.generation]).toEqual([RecordKind.SNAPSHOT_END, 9, 0]);
    reader.load(encodeRecord({ case: 'change', value: { route: 1 } }));
    expect([reader.lane, reader.eventTimeUs, reader.key]).toEqual([0, NO_EVENT_TIME, '']);
    reader.load(
      encodeRecord({ case: 'truncate', value: { route: 2, generation: 1, lane: 3, sequence: { major: 9n } } }),
    );
    expect([reader.kind, reader.route, reader.lane, reader.major]).toEqual([RecordKind.TRUNCATE, 2, 3, 9]);
    for (const kind of ['tick', 'definitions', 'erase', 'table'] as const) {
      reader.load(encodeRecord({ case: kind, value: {} }));
      expect(reader.kind).toBe(RecordKind[kind.toUpperCase() as 'TICK']);
    }
    reader.load(new Uint8Array(0));
    expect(reader.kind).toBe(RecordKind.NONE);
  });

  it('clamps event times beyond the safe integers', () => {
    const reader = new RecordReader();
    reader.load(encodeRecord({ case: 'change', value: { eventTimeUs: 2n ** 62n } }));
    expect(reader.eventTimeUs).toBe(Number.MAX_SAFE_INTEGER);
    reader.load(encodeRecord({ case: 'change', value: { eventTimeUs: -(2n ** 62n) } }));
    expect(reader.eventTimeUs).toBe(Number.MIN_SAFE_INTEGER);
  });

  it('refuses damaged bytes with DATA_DAMAGED or reads them as something, but never beyond their end', () => {
    const reader = new RecordReader();
    const sample = encodeRecord({
      case: 'change',
      value: {
        route: 1,
        sequence: { major: 300n },
        entityKey: new Uint8Array(9),
        row: [{ kind: { case: 'int64', value: 5n } }],
      },
    });
    fc.assert(
      fc.property(fc.nat(sample.length), fc.nat(sample.length - 1), fc.nat(255), (length, at, byte) => {
        const bytes = sample.slice(0, length);
        if (at < length) bytes[at] = byte;
        try {
          reader.load(bytes);
          for (let i = 0; i < 3; i++) reader.column(i, type(Kind.INT64));
        } catch (error) {
          expect(isFreshetError(error, 'DATA_DAMAGED')).toBe(true);
        }
      }),
      { numRuns: 1000 },
    );
    expect(fromBinary(LogRecordSchema, sample).kind.case).toBe('change');
  });
});
