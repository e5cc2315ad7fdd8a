/**
 * Goal: what is trimmed is allowed and wanted, nothing else, and every limit that is not kept is told with its numbers
 * and a remedy. Method: cases by hand; then random logs, checkpoints and limits against the rules one by one.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { SegmentSummary } from './log.ts';
import { decideRetention, duration, type RetainedPartition, size } from './retention.ts';

const HOUR_US = 3_600_000_000;

/** Segments of ten records and 100 bytes each, an hour apart, the newest of hour `hours - 1`. */
function hourly(partition: number, hours: number, allowedBelow: number | undefined): RetainedPartition {
  const segments = Array.from(
    { length: hours },
    (_, hour): SegmentSummary => ({
      firstOffset: hour * 10,
      end: hour * 10 + 10,
      bytes: 100,
      newestLogTimeUs: hour * HOUR_US,
    }),
  );
  return { partition, segments, allowedBelow };
}

describe('by age', () => {
  it('segments go whose newest record is older than the limit', () => {
    const decision = decideRetention([hourly(0, 10, 1_000)], { ageUs: 4 * HOUR_US });
    expect(decision).toEqual({ trims: [{ partition: 0, below: 50 }], overruns: [] });
  });

  it('L2: what lies at or above the checkpoint stays, and is told', () => {
    const decision = decideRetention([hourly(3, 10, 29)], { ageUs: 4 * HOUR_US });
    expect(decision.trims).toEqual([{ partition: 3, below: 20 }]);
    expect(decision.overruns).toMatchObject([
      { limit: 'age', reason: 'checkpoint-behind', partition: 3, over: 3 * HOUR_US },
    ]);
    expect(decision.overruns[0]?.message).toBe(
      'partition 3 keeps records that are 3.0 h older than the limit of 4.0 h: its oldest verified checkpoint is at ' +
        'offset 29, and one at 50 or later would be needed',
    );
    expect(decision.overruns[0]?.remedy).toMatch(/shard 3/);
  });

  it('L2: without a known checkpoint nothing goes, and that is told', () => {
    const decision = decideRetention([hourly(1, 10, undefined)], { ageUs: HOUR_US, bytes: 300 });
    expect(decision.trims).toEqual([]);
    expect(decision.overruns.map(({ limit, reason }) => `${limit} ${reason}`)).toEqual([
      'age no-checkpoint',
      'bytes no-checkpoint',
    ]);
  });

  it('the newest record of the whole log is now: a quiet partition ages too, but its last segment never goes', () => {
    const decision = decideRetention([hourly(0, 10, 1_000), hourly(1, 3, 1_000)], { ageUs: HOUR_US });
    expect(decision.trims).toEqual([
      { partition: 0, below: 80 },
      { partition: 1, below: 20 },
    ]);
    expect(decision.overruns).toEqual([]);
  });
});

describe('by bytes', () => {
  it('the oldest go first, of whichever partition, until the rest fits', () => {
    const young = hourly(1, 4, 1_000);
    const later = {
      ...young,
      segments: young.segments.map((s) => ({ ...s, newestLogTimeUs: s.newestLogTimeUs! + 2 * HOUR_US })),
    };
    const decision = decideRetention([hourly(0, 4, 1_000), later], { bytes: 500 });
    expect(decision.trims).toEqual([{ partition: 0, below: 30 }]);
  });

  it('a partition that may not go is told, and others make room only for what is theirs', () => {
    const decision = decideRetention([hourly(0, 4, undefined), hourly(1, 4, 1_000)], { bytes: 600 });
    expect(decision.trims).toEqual([{ partition: 1, below: 10 }]);
    expect(decision.overruns).toMatchObject([{ limit: 'bytes', reason: 'no-checkpoint', partition: 0, over: 100 }]);
  });

  it('segments that take records cannot go: a limit below them is told as such', () => {
    const decision = decideRetention([hourly(0, 1, 1_000), hourly(1, 1, 1_000)], { bytes: 150 });
    expect(decision.trims).toEqual([]);
    expect(decision.overruns).toMatchObject([{ limit: 'bytes', reason: 'open-segments', over: 50 }]);
  });
});

it('no limits: nothing goes, nothing is told; an empty log neither', () => {
  expect(decideRetention([hourly(0, 9, 90)], {})).toEqual({ trims: [], overruns: [] });
  const empty = { partition: 0, segments: [], allowedBelow: undefined };
  expect(decideRetention([empty], { ageUs: 1, bytes: 1 })).toEqual({ trims: [], overruns: [] });
});

const partitions = fc.array(
  fc.record({
    sizes: fc.array(
      fc.record({
        records: fc.integer({ min: 1, max: 9 }),
        bytes: fc.integer({ min: 73, max: 500 }),
        waitUs: fc.nat(5_000_000),
      }),
      { maxLength: 8 },
    ),
    start: fc.nat(100),
    allowed: fc.option(fc.nat(150), { nil: undefined }),
  }),
  { minLength: 1, maxLength: 5 },
);

it('L2: on any log, with any checkpoints and limits, the rules hold', () => {
  const limits = fc.record({
    ageUs: fc.option(fc.nat(20_000_000), { nil: undefined }),
    bytes: fc.option(fc.nat(8_000), { nil: undefined }),
  });
  fc.assert(
    fc.property(partitions, limits, (shapes, { ageUs, bytes }) => {
      const retained = shapes.map(({ sizes, start, allowed }, partition): RetainedPartition => {
        let end = start;
        let us = 0;
        const segments = sizes.map(({ records, bytes: taken, waitUs }) => {
          us += waitUs;
          end += records;
          return { firstOffset: end - records, end, bytes: taken, newestLogTimeUs: us };
        });
        return { partition, segments, allowedBelow: allowed };
      });
      const { trims, overruns } = decideRetention(retained, { ageUs, bytes });
      const below = (partition: number): number => trims.find((trim) => trim.partition === partition)?.below ?? 0;
      const newestUs = Math.max(...retained.flatMap(({ segments }) => segments.map((s) => s.newestLogTimeUs!)));
      let kept = 0;
      let oldestGoneUs = -Infinity;
      for (const { partition, segments, allowedBelow } of retained) {
        const gone = segments.filter(({ end }) => end <= below(partition));
        const left = segments.slice(gone.length);
        if (gone.length > 0) {
          expect(below(partition)).toBeLessThanOrEqual(allowedBelow ?? -1);
          expect(left.length).toBeGreaterThan(0);
          oldestGoneUs = Math.max(oldestGoneUs, gone.at(-1)!.newestLogTimeUs!);
        }
        kept += left.reduce((sum, segment) => sum + segment.bytes, 0);
        // Too old, and neither gone nor the last one: only for want of a checkpoint, and told.
        const tooOld = left.slice(0, -1).filter((s) => ageUs !== undefined && newestUs - s.newestLogTimeUs! > ageUs);
        const told = overruns.some((overrun) => overrun.limit === 'age' && overrun.partition === partition);
        expect(told).toBe(tooOld.length > 0);
        if (tooOld.length > 0) expect(tooOld[0]!.end).toBeGreaterThan(allowedBelow ?? -1);
      }
      expect(overruns.some(({ limit }) => limit === 'bytes')).toBe(bytes !== undefined && kept > bytes);
      // Without a limit of age nothing goes that did not have to make room.
      if (ageUs === undefined && trims.length > 0) expect(kept).toBeGreaterThan((bytes ?? 0) - 500);
      for (const { message, remedy, over } of overruns) {
        expect(message.length * remedy.length).toBeGreaterThan(0);
        expect(over).toBeGreaterThan(0);
      }
    }),
    { numRuns: 2_000 },
  );
});

it('sizes and durations are for people', () => {
  expect([0, 1_023, 1_536, 5 * 1024 ** 3].map(size)).toEqual(['0 B', '1023 B', '1.5 KiB', '5.0 GiB']);
  expect([1.5e6, 600e6, 3 * HOUR_US, 72 * HOUR_US].map(duration)).toEqual(['1.5 s', '10.0 min', '3.0 h', '3.0 d']);
});
