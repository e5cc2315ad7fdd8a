/**
 * Goal: the hand-written request reader and response writer speak the same wire format as protobuf-es.
 * Method: random messages through both. Requests also in forms that protobuf-es does not write but must be read:
 * unpacked lists, unknown fields, members that come twice.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import {
  type GetFeaturesRequest,
  GetFeaturesRequestSchema,
  GetFeaturesResponseSchema,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FeaturePlanSchema, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueColumnSchema, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Catalog } from '@freshet/replica/catalog.ts';
import { buildCatalog } from '@freshet/replica/catalog.ts';
import type { Held } from '@freshet/replica/held.ts';
import { definitions } from '@freshet/replica/replica.testing.ts';
import { RowBatch } from '@freshet/replica/row-batch.ts';
import { Step } from '@freshet/replica/row-step.ts';
import { ViewTable } from '@freshet/replica/view-table.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BackwardWriter } from './backward-writer.ts';
import { readRequest } from './read-request.ts';
import { Selections } from './selection.ts';
import { writeResponse } from './write-response.ts';

const int64 = fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.bigInt({ min: -300n, max: 300n }));

const arbitraryRequest = fc
  .record({
    service: fc.string({ unit: 'grapheme' }),
    features: fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 4 }),
    rowInfo: fc.boolean(),
    keys: fc.array(
      fc.record({
        name: fc.string(),
        values: fc.oneof(
          fc.array(int64).map((values) => ({ case: 'int64s' as const, value: { values } })),
          fc.array(fc.string({ unit: 'grapheme' })).map((values) => ({ case: 'strings' as const, value: { values } })),
          fc.array(fc.uint8Array()).map((values) => ({ case: 'bytes' as const, value: { values } })),
          fc.array(fc.boolean()).map((values) => ({ case: 'bools' as const, value: { values } })),
          fc.constant({ case: undefined }),
        ),
      }),
      { maxLength: 3 },
    ),
    request: fc.array(
      fc.record({
        name: fc.string({ unit: 'grapheme' }),
        values: fc.oneof(
          fc.constant(undefined),
          fc
            .array(int64)
            .map((int64s) => create(ValueColumnSchema, { int64s, statuses: int64s.map(() => ValueStatus.ABSENT) })),
          fc.array(fc.double()).map((doubles) => create(ValueColumnSchema, { doubles })),
        ),
      }),
      { maxLength: 3 },
    ),
  })
  .map(({ request: data, ...rest }) => {
    const columns = data.map(({ name, values }) => ({ name, ...(values === undefined ? {} : { values }) }));
    return create(GetFeaturesRequestSchema, { ...rest, request: columns });
  });

/** The request as the reader returns it. */
function asRead(request: GetFeaturesRequest): unknown {
  return {
    service: request.service,
    features: request.features,
    rowInfo: request.rowInfo,
    data: request.request.map(({ name, values }) => ({ name, values })),
    keys: request.keys.map(({ name, values }) => ({
      name,
      keys: values.case === undefined ? undefined : { form: values.case, values: values.value.values },
    })),
  };
}

function comparable(read: ReturnType<typeof readRequest>): unknown {
  return {
    ...read,
    keys: read.keys.map(({ name, keys }) => ({
      name,
      keys:
        keys === undefined
          ? undefined
          : {
              form: keys.form,
              values: keys.values.map((value) => {
                if (keys.form === 'int64s') return BigInt(value as number | bigint);
                if (keys.form === 'strings') return (value as Buffer).toString('utf8');
                return keys.form === 'bytes' ? Uint8Array.from(value as Buffer) : value;
              }),
            },
    })),
  };
}

describe('readRequest', () => {
  it('reads what protobuf-es writes', () => {
    fc.assert(
      fc.property(arbitraryRequest, (request) => {
        const bytes = Buffer.from(toBinary(GetFeaturesRequestSchema, request));
        expect(comparable(readRequest(bytes))).toEqual(asRead(request));
      }),
    );
  });

  it('reads unpacked lists, unknown fields and doubled members as protobuf-es does', () => {
    const list = new BinaryWriter()
      .tag(1, 0)
      .int64(5n)
      .tag(1, 0)
      .int64(-6n)
      .tag(1, 2)
      .bytes(Uint8Array.of(7, 8))
      .finish();
    const keys = new BinaryWriter()
      .tag(9, 5)
      .fixed32(1)
      .tag(1, 2)
      .string('a')
      .tag(2, 2)
      .bytes(list)
      .tag(1, 2)
      .string('user_id')
      .tag(2, 2)
      .bytes(Uint8Array.of(0x08, 0x09))
      .finish();
    const bytes = new BinaryWriter()
      .tag(1, 2)
      .string('first')
      .tag(3, 2)
      .bytes(keys)
      .tag(77, 1)
      .fixed64(3n)
      .tag(78, 0)
      .uint64(2n ** 64n - 1n)
      .tag(1, 2)
      .string('last')
      .tag(4, 0)
      .bool(true)
      .finish();
    expect(comparable(readRequest(Buffer.from(bytes)))).toEqual(asRead(fromBinary(GetFeaturesRequestSchema, bytes)));
  });

  it('reads any bytes as a request or as an error, and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          readRequest(Buffer.from(bytes));
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/^(INVALID_REQUEST|REQUEST_TOO_LARGE)$/) });
        }
      }),
      { numRuns: 1000 },
    );
  });
});

const KINDS = [Kind.INT64, Kind.DOUBLE, Kind.STRING, Kind.BOOL, Kind.BYTES, Kind.TIMESTAMP] as const;

function arbitraryHeld(kind: Kind): fc.Arbitrary<Held> {
  const narrow = (value: bigint): Held => (Number.isSafeInteger(Number(value)) ? Number(value) : value);
  if (kind === Kind.DOUBLE) return fc.double();
  if (kind === Kind.BOOL) return fc.constantFrom(0, 1);
  if (kind === Kind.STRING) return fc.string({ unit: 'grapheme' }).map((text) => Buffer.from(text, 'utf8'));
  if (kind === Kind.BYTES) return fc.uint8Array({ maxLength: 300 });
  return int64.map(narrow);
}

function catalogOf(kinds: readonly Kind[]): Catalog {
  const view = create(ViewPlanSchema, {
    viewId: new Uint8Array(16),
    name: 'v',
    entity: { name: 'e', key: [{ name: 'id', kind: Kind.INT64 }] },
    features: kinds.map((kind, i) =>
      create(FeaturePlanSchema, { name: `f${i}`, aggregate: 'last', inputType: { kind }, resultType: { kind } }),
    ),
  });
  return buildCatalog([definitions(1, [view])], () => [new ViewTable('', 1)], 1);
}

const arbitraryAnswer = fc
  .tuple(fc.array(fc.constantFrom(...KINDS), { minLength: 1, maxLength: 5 }), fc.integer({ min: 0, max: 20 }))
  .chain(([kinds, entities]) =>
    fc.record({
      kinds: fc.constant(kinds),
      steps: fc.array(
        fc.tuple(
          fc.tuple(...kinds.map(arbitraryHeld)),
          fc.oneof(
            fc.constant(kinds.map(() => ValueStatus.PRESENT)),
            fc.tuple(
              ...kinds.map(() => fc.constantFrom(ValueStatus.PRESENT, ValueStatus.ABSENT, ValueStatus.DEFAULTED)),
            ),
          ),
          fc.integer({ min: -1, max: Number.MAX_SAFE_INTEGER - 1 }),
          fc.integer({ min: -(2 ** 52), max: 2 ** 52 }),
        ),
        { minLength: entities, maxLength: entities },
      ),
      asOfUs: fc.integer({ min: -5, max: Number.MAX_SAFE_INTEGER }),
      completeThroughUs: fc.integer({ min: -5, max: 2 ** 51 }),
      rowInfo: fc.boolean(),
    }),
  );

describe('writeResponse', () => {
  it('writes what protobuf-es would, whatever the values', () => {
    const writer = new BackwardWriter();
    const batch = new RowBatch();
    fc.assert(
      fc.property(arbitraryAnswer, ({ kinds, steps, asOfUs, completeThroughUs, rowInfo }) => {
        const selection = new Selections().select(catalogOf(kinds), '', ['v:*']);
        const rows = steps.map(([values, statuses, version, eventTimeUs]) =>
          Step.of({ from: 0, until: 1 }, values, statuses, version, eventTimeUs),
        );
        batch.begin(rows.length);
        rows.forEach((row, i) => {
          batch.set(i, row);
        });
        const answer = { selection, count: rows.length, batches: [batch], rowInfo };
        const bytes = writeResponse(writer, answer, asOfUs, completeThroughUs);
        const response = create(GetFeaturesResponseSchema, {
          columns: kinds.map((kind, f) => {
            const values = rows.map((row) => row.value(f));
            const statuses = rows.map((row) => row.statuses[f] as ValueStatus);
            return {
              name: `v:f${f}`,
              values: {
                int64s: kind === Kind.INT64 ? values.map((v) => BigInt(v as number)) : [],
                timestamps: kind === Kind.TIMESTAMP ? values.map((v) => BigInt(v as number)) : [],
                doubles: kind === Kind.DOUBLE ? (values as number[]) : [],
                bools: kind === Kind.BOOL ? values.map((v) => v === 1) : [],
                strings: kind === Kind.STRING ? values.map((v) => (v as Buffer).toString('utf8')) : [],
                bytes: kind === Kind.BYTES ? values.map((v) => Uint8Array.from(v as Uint8Array)) : [],
                statuses: statuses.every((s) => s === ValueStatus.PRESENT) ? [] : statuses,
              },
            };
          }),
          asOfUs: BigInt(asOfUs),
          completeThroughUs: BigInt(completeThroughUs),
          rows: rowInfo
            ? [
                {
                  view: 'v',
                  versionsPlusOne: rows.map((r) => BigInt(r.version + 1)),
                  eventTimesUs: rows.map((r) => BigInt(r.eventTimeUs)),
                },
              ]
            : [],
        });
        // The very bytes: the writer is canonical too.
        expect(bytes.equals(toBinary(GetFeaturesResponseSchema, response))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it('writes integers around every power of two as protobuf-es does', () => {
    const writer = new BackwardWriter();
    for (let power = 0; power <= 53; power++) {
      for (const value of [2 ** power - 2, 2 ** power - 1, 2 ** power].filter(
        (v) => v >= 0 && Number.isSafeInteger(v),
      )) {
        writer.varint(value);
        expect(writer.finish().equals(new BinaryWriter().uint64(BigInt(value)).finish())).toBe(true);
        for (const signed of [value, -value]) {
          writer.sint64(signed);
          expect(writer.finish().equals(new BinaryWriter().sint64(BigInt(signed)).finish())).toBe(true);
        }
      }
    }
  });

  it('R4: gives back the buffer that one very large answer needed', () => {
    const writer = new BackwardWriter();
    writer.bytes(new Uint8Array(9 * 1024 * 1024));
    expect(writer.finish()).toHaveLength(9 * 1024 * 1024);
    expect(writer.buffer.length).toBeLessThan(1024 * 1024);
  });

  it('counts entities as they come, in however many pieces', () => {
    const pieces = (count: number, piece: readonly number[]): Buffer => {
      const column = Array.from({ length: count }, () => piece).flat();
      return Buffer.from([0x1a, ...varint(column.length), ...column]);
    };
    const one = [0x12, 0x02, 0x08, 0x01];
    expect(readRequest(pieces(1000, one)).keys[0]?.keys?.values.length).toBe(1000);
    expect(() => readRequest(pieces(1001, one))).toThrow(expect.objectContaining({ code: 'REQUEST_TOO_LARGE' }));
    // Nothing in half a million pieces is still nothing.
    expect(readRequest(pieces(500_000, [0x12, 0x00])).keys[0]?.keys?.values).toEqual([]);
  });
});

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(value >>> 7)];
}
