/**
 * Goal: a record's place is what decoding all of it says, for every kind of record, also for one that was erased.
 * Method: random records of the generated code, and what that reads of them; FRESHET_FUZZ_SEED repeats a run.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ErasedSchema, LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { encodeErased } from '@freshet/log/erased-record.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { placeOf } from './record-place.ts';

const seed = Number(process.env['FRESHET_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 31));

const uint32 = fc.oneof(fc.nat({ max: 200 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
const uint64 = fc.oneof(fc.bigInt(0n, 200n), fc.bigInt(0n, 2n ** 64n - 1n));
const sequence = fc.record({ major: uint64, minor: uint32.map(BigInt), part: fc.nat({ max: 1 }) });
const placed = fc.record(
  { route: uint32, generation: uint32, lane: fc.nat({ max: 4 }), sequence },
  { requiredKeys: ['route', 'generation', 'lane'] },
);
const bytes = fc.uint8Array({ maxLength: 300 });
const change = fc.record(
  {
    place: placed,
    entityKey: bytes,
    rowKey: bytes,
    traceparent: fc.string(),
    eventTimeUs: fc.maxSafeInteger().map(BigInt),
    knownAtUs: fc.maxSafeInteger().map(BigInt),
    row: fc.array(
      fc.string().map((value) => ({ kind: { case: 'string' as const, value } })),
      { maxLength: 3 },
    ),
  },
  { requiredKeys: ['place'] },
);

const record = fc.oneof(
  change.map(({ place, ...rest }) => encodeRecord({ case: 'change', value: { ...place, ...rest } })),
  change.map(({ place, ...rest }) => encodeRecord({ case: 'table', value: { change: { ...place, ...rest } } })),
  fc.constant(encodeRecord({ case: 'table', value: {} })),
  placed.map((value) => encodeRecord({ case: 'truncate', value })),
  fc.tuple(placed, fc.nat({ max: 200 }), uint32).map(([place, more, crc]) => {
    const kept = toBinary(ErasedSchema, create(ErasedSchema, place));
    return encodeErased(7 + kept.length + more, crc, kept);
  }),
  uint64.map((at) => encodeErased(60, 1, toBinary(ErasedSchema, create(ErasedSchema, { rowsGoneAt: at })))),
  fc.constant(encodeRecord({ case: 'tick', value: {} })),
  uint32.map((route) => encodeRecord({ case: 'routeBegin', value: { route, generation: 1 } })),
  uint32.map((route) => encodeRecord({ case: 'snapshotEnd', value: { route, generation: 1 } })),
  bytes.map((entityKey) => encodeRecord({ case: 'erase', value: { entity: 'user', entityKey, routes: [1] } })),
);

/** By a message of all of it. */
function decoded(from: Uint8Array): unknown {
  const { kind } = fromBinary(LogRecordSchema, from);
  const value = kind.case === 'table' ? kind.value.change : kind.value;
  if (value === undefined || !('sequence' in value) || value.sequence === undefined) return undefined;
  const { route, generation, lane } = value;
  const { major, minor, part } = value.sequence;
  const atUs = 'knownAtUs' in value && value.knownAtUs !== undefined ? Number(value.knownAtUs) : undefined;
  return { route, generation, lane, major, minor: Number(minor), part, atUs };
}

it(`is found as decoding finds it; seed ${seed}`, () => {
  fc.assert(
    fc.property(record, (from) => {
      expect(placeOf(from)).toEqual(decoded(from));
    }),
    { seed, numRuns: 2_000 },
  );
});
