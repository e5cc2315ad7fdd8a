/** Goal: rows encoded by hand are what protobuf-es would have made. Method: random rows, decoded by the schema. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { SubscribeChangesResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { keyString } from '@freshet/values/key.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rowField, viewRowsField } from './row-field.ts';

const row = fc.record({
  key: fc.uint8Array({ minLength: 1, maxLength: 200 }),
  version: fc.oneof(fc.nat(200), fc.maxSafeNat()),
  row: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ minLength: 1, maxLength: 20_000, size: 'max' })),
});
const view = fc.record({
  viewId: fc.uint8Array({ minLength: 16, maxLength: 16 }),
  rows: fc.array(row, { maxLength: 8 }),
});

describe('encoded rows', () => {
  it('R1: decode to the rows that they were made of, views and rows in their order', () => {
    fc.assert(
      fc.property(fc.array(view, { maxLength: 4 }), (views) => {
        const frame = create(SubscribeChangesResponseSchema, { shard: 3 });
        frame.$unknown = views.map(({ viewId, rows }) => {
          const fields = rows.map((r) => rowField(keyString(r.key), { version: r.version, bytes: r.row }));
          const bytes = fields.reduce((sum, field) => sum + field.length, 0);
          return viewRowsField(viewId, fields, bytes);
        });
        const received = fromBinary(SubscribeChangesResponseSchema, toBinary(SubscribeChangesResponseSchema, frame));
        const expected = create(SubscribeChangesResponseSchema, {
          shard: 3,
          rows: views.map(({ viewId, rows }) => ({
            viewId,
            rows: rows.map((r) => ({ ...r, version: BigInt(r.version) })),
          })),
        });
        expect(toBinary(SubscribeChangesResponseSchema, received)).toEqual(
          toBinary(SubscribeChangesResponseSchema, expected),
        );
      }),
      { numRuns: 50 },
    );
  });
});
