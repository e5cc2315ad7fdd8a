/**
 * Goal: the tail in memory gives the newest records, whole and contiguous, within its bytes. Method: random pieces
 * pushed into small rings, every offset taken from them with several limits, against the list of all records.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { scanFrames } from './frame.ts';
import { encodePieces } from './pieces.ts';
import { TailRing } from './tail-ring.ts';

it('F3, R4: any offset that is there gives the records from it on, within the limit; the ring keeps to its bytes', () => {
  const appends = fc.array(fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 5 }), {
    maxLength: 15,
  });
  fc.assert(
    fc.property(appends, fc.nat(4_000), fc.nat(400), (lists, bytesMax, takeMax) => {
      const ring = new TailRing(7, bytesMax);
      const all: Uint8Array[] = [];
      for (const lengths of lists) {
        const records = lengths.map((length, index) => new Uint8Array(length).fill(all.length + index));
        for (const piece of encodePieces(records, 7 + all.length, 5)) ring.push(piece);
        all.push(...records);
        expect(ring.bytes).toBeLessThanOrEqual(bytesMax);
      }
      const end = 7 + all.length;
      for (let offset = 0; offset <= end; offset++) {
        const taken = ring.take(offset, takeMax);
        if (offset < ring.start || offset >= end) {
          expect(taken).toBeUndefined();
          continue;
        }
        const records: Uint8Array[] = [];
        const expected = { offset, logTimeUsMin: 5 };
        const run = scanFrames(taken!.frames, 0, expected, (entry) => records.push(entry.record));
        expect(run.fault).toBeUndefined();
        expect(taken).toMatchObject({ firstOffset: offset, count: records.length });
        expect(records).toEqual(all.slice(offset - 7, offset - 7 + records.length));
        expect(records.length === 1 || taken!.frames.length <= takeMax).toBe(true);
      }
    }),
    { numRuns: 200 },
  );
});
