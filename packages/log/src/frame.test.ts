/**
 * Goal: frames come back as they were written, and nothing else passes for one. Method: round trips of random records;
 * every single bit of a run of frames flipped; every length of a run cut short.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  commitMark,
  dataViewOf,
  encodeFrame,
  FRAME_HEADER_BYTES,
  findLaterCommit,
  frameBytes,
  scanFrames,
  walkFrames,
} from './frame.ts';
import type { LogEntry } from './log.ts';

const record = fc.uint8Array({ minLength: 1, maxLength: 300 });
const logTimeUs = fc.oneof(fc.maxSafeInteger(), fc.integer());

function framesOf(records: readonly Uint8Array[], firstOffset: number, timeUs: number): Uint8Array {
  const bytes = new Uint8Array(records.reduce((sum, r) => sum + frameBytes(r.length), 0));
  let at = 0;
  for (const [index, r] of records.entries()) {
    at = encodeFrame(bytes, dataViewOf(bytes), at, firstOffset + index, timeUs, commitMark(index, records.length), r);
  }
  expect(at).toBe(bytes.length);
  return bytes;
}

function scan(bytes: Uint8Array, offset: number, logTimeUsMin = -Infinity) {
  const entries: LogEntry[] = [];
  const run = scanFrames(bytes, 0, { offset, logTimeUsMin }, (entry) => entries.push(entry));
  return { ...run, entries };
}

describe('a run of frames', () => {
  it('gives back records, offsets and log times, of any sign and up to 2^53', () => {
    fc.assert(
      fc.property(
        fc.array(record, { maxLength: 10 }),
        fc.maxSafeInteger().map(Math.abs),
        logTimeUs,
        (records, n, timeUs) => {
          const first = Math.min(n, Number.MAX_SAFE_INTEGER - 10);
          const run = scan(framesOf(records, first, timeUs), first);
          expect(run.fault).toBeUndefined();
          expect(run.entries.map((entry) => entry.record)).toEqual(records);
          expect(run.entries.map((entry) => entry.offset)).toEqual(records.map((_, index) => first + index));
          for (const entry of run.entries) expect(entry.logTimeUs).toBe(timeUs);
        },
      ),
    );
  });

  it('has this layout', () => {
    const bytes = framesOf([Uint8Array.of(0xaa, 0xbb)], 0x0102030405, -2);
    expect(Buffer.from(bytes).toString('hex')).toMatch(/^02000000.{8}0504030201000000feffffffffffffff01000000aabb$/);
  });

  it('L1: cut at any byte it is the whole frames before, and short', () => {
    const records = [Uint8Array.of(1), Uint8Array.of(2, 3), new Uint8Array(40).fill(4)];
    const bytes = framesOf(records, 5, 1_000);
    const ends = [29, 59, 127];
    expect(bytes.length).toBe(127);
    for (let length = 0; length < bytes.length; length++) {
      const run = scan(bytes.subarray(0, length), 5);
      expect(run.count).toBe(ends.filter((end) => end <= length).length);
      expect(run.end).toBe(ends.findLast((end) => end <= length) ?? 0);
      expect(run.fault?.kind).toBe(run.end === length ? undefined : 'short');
    }
  });

  it('L1: with any bit flipped it is the whole frames before, and never a wrong record', () => {
    const records = [new Uint8Array(9).fill(1), new Uint8Array(11).fill(2), new Uint8Array(7).fill(3)];
    const bytes = framesOf(records, 5, 1_000);
    const ends = [37, 76, 111];
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const flipped = bytes.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const run = scan(flipped, 5);
      expect(run.count).toBe(ends.filter((end) => end <= bit >> 3).length);
      expect(run.fault).toBeDefined();
      expect(run.entries.map((entry) => entry.record)).toEqual(records.slice(0, run.count));
    }
  });

  it('F3: is refused at another offset than the expected one, and before the last log time', () => {
    const bytes = framesOf([Uint8Array.of(1), Uint8Array.of(2)], 5, 1_000);
    expect(scan(bytes, 4).fault).toMatchObject({ kind: 'damaged', reason: 'offset 5 stands where 4 must be' });
    expect(scan(bytes, 5, 1_001).fault?.kind).toBe('damaged');
    expect(scan(bytes, 5, 1_000).fault).toBeUndefined();
  });

  it('zeros are no frames', () => {
    expect(scan(new Uint8Array(200), 0)).toMatchObject({ count: 0, fault: { kind: 'damaged' } });
    expect(walkFrames(new Uint8Array(200), 0, 200, 0)).toMatchObject({ count: 0, end: 0 });
  });
});

describe('commits', () => {
  it('L1: a run counts through the last record that ends a commit', () => {
    const counts = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(counts, fc.double({ min: 0, max: 1, noNaN: true }), (commits, cut) => {
        const ends = [{ count: 0, end: 0 }];
        let bytes: Uint8Array = new Uint8Array(0);
        for (const count of commits) {
          const first = ends.at(-1)!.count;
          const records = Array.from({ length: count }, () => new Uint8Array(7));
          bytes = Buffer.concat([bytes, framesOf(records, first, 1)]);
          ends.push({ count: first + count, end: bytes.length });
        }
        const length = Math.floor(bytes.length * cut);
        const { whole } = scan(bytes.subarray(0, length), 0);
        expect(whole).toMatchObject(ends.findLast(({ end }) => end <= length)!);
      }),
    );
  });
});

describe('walking by headers', () => {
  it('finds the same boundaries as scanning, and stops at a count', () => {
    fc.assert(
      fc.property(
        fc.array(record, { minLength: 1, maxLength: 10 }),
        fc.nat(10),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (records, count, cut) => {
          const bytes = framesOf(records, 3, 0);
          const end = Math.floor(bytes.length * cut);
          const { count: whole, end: wholeEnd } = scan(bytes.subarray(0, end), 3);
          expect(walkFrames(bytes, 0, end, 3)).toEqual({ count: whole, end: wholeEnd, fault: undefined });
          const some = walkFrames(bytes, 0, bytes.length, 3, count);
          expect(some.count).toBe(Math.min(count, records.length));
          expect(some.end).toBe(records.slice(0, count).reduce((sum, r) => sum + frameBytes(r.length), 0));
        },
      ),
    );
  });
});

describe('looking for a later commit', () => {
  it('finds one at any distance, and none in noise, in the past or beyond what fits', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), record, fc.nat(5), (noise, r, ahead) => {
        const place = (offset: number): Uint8Array => Buffer.concat([noise, framesOf([r], offset, 9)]);
        const fits = Math.ceil((noise.length + frameBytes(r.length)) / (FRAME_HEADER_BYTES + 1));
        if (1 + ahead <= fits) expect(findLaterCommit(place(101 + ahead), 0, 100)?.offset).toBe(101 + ahead);
        expect(findLaterCommit(place(100), 0, 100)).toBeUndefined();
        expect(findLaterCommit(place(101 + fits), 0, 100)).toBeUndefined();
        expect(findLaterCommit(noise, 0, 100)).toBeUndefined();
        // The second record of a commit that began with offset 100 may have survived a power cut without the first.
        const second = new Uint8Array(frameBytes(r.length));
        encodeFrame(second, dataViewOf(second), 0, 101, 9, commitMark(1, 2), r);
        const behind = Buffer.concat([noise, new Uint8Array(FRAME_HEADER_BYTES + 1), second]);
        expect(findLaterCommit(behind, 0, 100)).toBeUndefined();
        expect(findLaterCommit(behind, 0, 99)?.offset).toBe(101);
      }),
    );
  });
});
