/**
 * Goal: the encoder by hand writes exactly what protobuf-es writes. Method: random changes of every kind of value,
 * encoded both ways, compared byte by byte.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import {
  Kind,
  type Value,
  ValueSchema,
  type ValueType,
  ValueTypeSchema,
} from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ChangeHead, encodeChange, encodeTick, tableChange } from './record-writer.ts';

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -300n, max: 300n }),
  fc.constantFrom(
    -(2n ** 63n),
    2n ** 63n - 1n,
    2n ** 53n,
    -(2n ** 53n),
    2n ** 52n,
    -(2n ** 52n),
    2n ** 52n - 1n,
    2n ** 31n,
  ),
);
const uint64 = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat().map(BigInt));
const text = fc.oneof(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary', maxLength: 300 }));

type Case = readonly [kind: Kind, value: Scalar, message: Value];
const value = (kind: NonNullable<Parameters<typeof create<typeof ValueSchema>>[1]>['kind']): Value =>
  create(ValueSchema, kind === undefined ? {} : { kind });

const scalar: fc.Arbitrary<Case> = fc.oneof(
  int64.map((v): Case => [Kind.INT64, v, value({ case: 'int64', value: v })]),
  int64.map((v): Case => [Kind.TIMESTAMP, v, value({ case: 'timestamp', value: v })]),
  fc.double().map((v): Case => [Kind.DOUBLE, v, value({ case: 'double', value: v })]),
  text.map((v): Case => [Kind.STRING, v, value({ case: 'string', value: v })]),
  fc.constantFrom('0', '-1.50', 'NaN').map((v): Case => [Kind.DECIMAL, v, value({ case: 'decimal', value: v })]),
  fc.boolean().map((v): Case => [Kind.BOOL, v, value({ case: 'bool', value: v })]),
  fc.uint8Array({ maxLength: 300 }).map((v): Case => [Kind.BYTES, v, value({ case: 'bytes', value: v })]),
  fc.constantFrom(Kind.INT64, Kind.STRING, Kind.BOOL).map((kind): Case => [kind, null, value(undefined)]),
);

type Column = readonly [type: ValueType, value: Scalar, message: Value];
const column: fc.Arbitrary<Column> = fc.oneof(
  { weight: 4, arbitrary: scalar.map(([kind, v, m]): Column => [create(ValueTypeSchema, { kind }), v, m]) },
  {
    weight: 1,
    arbitrary: fc.array(fc.oneof(int64, fc.constant(null)), { maxLength: 40 }).map(
      (list): Column => [
        create(ValueTypeSchema, { kind: Kind.LIST, element: Kind.INT64 }),
        list,
        value({
          case: 'list',
          value: { elements: list.map((v) => (v === null ? {} : { kind: { case: 'int64', value: v } })) },
        }),
      ],
    ),
  },
  {
    weight: 1,
    arbitrary: fc
      .float32Array({ maxLength: 50 })
      .map(
        (vector): Column => [
          create(ValueTypeSchema, { kind: Kind.VECTOR, dimension: vector.length }),
          vector,
          value({ case: 'vector', value: { components: [...vector] } }),
        ],
      ),
  },
);

const head = fc.record({
  route: fc.nat(),
  generation: fc.nat({ max: 300 }),
  lane: fc.nat({ max: 3 }),
  major: uint64,
  minor: uint64,
  part: fc.nat({ max: 1 }),
  operation: fc.constantFrom(Operation.INSERT, Operation.UPDATE, Operation.DELETE, Operation.READ),
  entityKey: fc.uint8Array({ maxLength: 40 }),
  contractVersion: fc.nat({ max: 200 }),
  eventTimeUs: fc.option(fc.oneof(int64, fc.maxSafeInteger()), { nil: undefined }),
  traceparent: fc.constantFrom('', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'),
  knownAtUs: fc.option(fc.oneof(int64, fc.maxSafeInteger()), { nil: undefined }),
  rowKey: fc.option(fc.uint8Array({ maxLength: 64 }), { nil: undefined }),
  oldRowKey: fc.option(fc.uint8Array({ maxLength: 64 }), { nil: undefined }),
});

function byProtobuf(h: ChangeHead, row: Value[]): Uint8Array {
  const { major, minor, part = 0, eventTimeUs, knownAtUs, traceparent = '', rowKey, oldRowKey, ...rest } = h;
  return toBinary(
    LogRecordSchema,
    create(LogRecordSchema, {
      kind: {
        case: 'change',
        value: {
          ...rest,
          traceparent,
          ...(rowKey === undefined ? {} : { rowKey }),
          ...(oldRowKey === undefined ? {} : { oldRowKey }),
          sequence: { major: BigInt(major), minor: BigInt(minor), part },
          row,
          ...(eventTimeUs === undefined ? {} : { eventTimeUs: BigInt(eventTimeUs) }),
          ...(knownAtUs === undefined ? {} : { knownAtUs: BigInt(knownAtUs) }),
        },
      },
    }),
  );
}

describe('encodeChange', () => {
  it('writes the bytes that protobuf-es writes, for every kind of value', () => {
    fc.assert(
      fc.property(head, fc.array(column, { maxLength: 12 }), (h, columns) => {
        const bytes = encodeChange(
          h,
          columns.map((c) => c[1]),
          columns.map((c) => c[0]),
        );
        expect(
          Buffer.from(bytes).equals(
            byProtobuf(
              h,
              columns.map((c) => c[2]),
            ),
          ),
        ).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('puts a change into a table change as protobuf-es does', () => {
    fc.assert(
      fc.property(head, fc.array(column, { maxLength: 12 }), (h, columns) => {
        const change = encodeChange(
          h,
          columns.map((c) => c[1]),
          columns.map((c) => c[0]),
        );
        const { kind } = fromBinary(LogRecordSchema, change);
        if (kind.case !== 'change') throw new Error('no change');
        const whole = create(LogRecordSchema, { kind: { case: 'table', value: { change: kind.value } } });
        expect(Buffer.from(tableChange(change)).equals(toBinary(LogRecordSchema, whole))).toBe(true);
      }),
    );
  });

  it('moves what follows when a length takes two, three or four bytes', () => {
    for (const length of [127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 3_000_000]) {
      const h: ChangeHead = {
        route: 1,
        generation: 1,
        lane: 2,
        major: 1,
        minor: 0,
        operation: Operation.INSERT,
        entityKey: new Uint8Array(9),
        contractVersion: 1,
      };
      const long = 'ü'.repeat(Math.floor(length / 2)) + 'x'.repeat(length % 2);
      const bytes = encodeChange(h, [long], [create(ValueTypeSchema, { kind: Kind.STRING })]);
      expect(Buffer.from(bytes).equals(byProtobuf(h, [value({ case: 'string', value: long })]))).toBe(true);
    }
  });

  it('refuses a value that is not of its type', () => {
    const h: ChangeHead = {
      route: 1,
      generation: 1,
      lane: 2,
      major: 1,
      minor: 0,
      operation: Operation.INSERT,
      entityKey: new Uint8Array(9),
      contractVersion: 1,
    };
    for (const [kind, wrong] of [
      [Kind.INT64, 1],
      [Kind.DOUBLE, 1n],
      [Kind.STRING, 1n],
      [Kind.BOOL, 'true'],
      [Kind.LIST, 1n],
      [Kind.VECTOR, [1]],
    ] as const) {
      const thrown = ((): unknown => {
        try {
          return encodeChange(h, [wrong as Scalar], [create(ValueTypeSchema, { kind, element: Kind.INT64 })]);
        } catch (error) {
          return error;
        }
      })();
      expect(isFreshetError(thrown, 'INVALID_REQUEST')).toBe(true);
    }
  });

  it('keeps results apart: an encoded record does not change when the next is encoded', () => {
    const type = [create(ValueTypeSchema, { kind: Kind.STRING })];
    const h: ChangeHead = {
      route: 1,
      generation: 1,
      lane: 2,
      major: 1,
      minor: 0,
      operation: Operation.INSERT,
      entityKey: new Uint8Array(9),
      contractVersion: 1,
    };
    const first = encodeChange(h, ['first'], type);
    const copy = first.slice();
    encodeChange(h, ['other'], type);
    expect(first).toEqual(copy);
  });
});

describe('encodeTick', () => {
  it('is a tick', () => {
    expect(fromBinary(LogRecordSchema, encodeTick()).kind.case).toBe('tick');
  });
});
