/**
 * Goal: the codec by hand writes and reads the message that storage.proto says.
 * Method: random changes, encoded by hand and decoded by protobuf-es, and the other way round.
 */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { JournalEntrySchema } from '@freshet/gen/freshet/compute/v1/storage_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeJournalEntry, encodeJournalEntry } from './journal-codec.ts';

const key = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes).toString('latin1'));
const changed = fc
  .uniqueArray(fc.tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.uniqueArray(key, { maxLength: 20 })), {
    selector: ([id]) => Buffer.from(id).toString('hex'),
    maxLength: 5,
  })
  .map((views) => new Map(views.map(([id, keys]) => [Buffer.from(id).toString('hex'), new Set(keys)])));

describe('the journal codec', () => {
  it('writes what protobuf-es reads, and reads what protobuf-es writes', () => {
    fc.assert(
      fc.property(changed, fc.integer({ min: 1, max: 0xffffffff }), (views, recordCrc) => {
        const bytes = encodeJournalEntry(recordCrc, views);
        const entry = fromBinary(JournalEntrySchema, bytes);
        expect(entry.chain).toHaveLength(16);
        expect(entry.recordCrc).toBe(recordCrc);
        const read = entry.views.map(
          (view) =>
            [
              Buffer.from(view.viewId).toString('hex'),
              new Set(view.keys.map((k) => Buffer.from(k).toString('latin1'))),
            ] as const,
        );
        expect(new Map(read)).toEqual(views);

        const again = toBinary(JournalEntrySchema, create(JournalEntrySchema, entry));
        expect(decodeJournalEntry(Buffer.from(again))).toEqual({ recordCrc, changed: views });
      }),
    );
  });
});
