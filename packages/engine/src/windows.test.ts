/**
 * Goal: panes and their reach are those of the design, also before the epoch and at the ends of the safe integers.
 * Method: hand-computed cases, and fast-check against bigint arithmetic and the definition of window(T).
 */
import { create } from '@bufbuild/protobuf';
import { WindowSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LIFETIME, rolling, SECOND_US, tumbling } from './testing/plans.testing.ts';
import { defaultPaneUs, floorDiv, MAX_PANES, oldestPane, paneAt, windowShape } from './windows.ts';

const time = fc.integer({ min: -(2 ** 52), max: 2 ** 52 });

describe('floorDiv', () => {
  it('equals floor division of bigints', () => {
    const a = fc.oneof(time, fc.maxSafeInteger());
    fc.assert(
      fc.property(
        a,
        fc.oneof(
          fc.integer({ min: 1, max: 1000 }),
          fc.maxSafeNat().map((n) => n + 1),
        ),
        (n, by) => {
          const [x, y] = [BigInt(n), BigInt(by)];
          const floor = x >= 0n ? x / y : -((-x + y - 1n) / y);
          expect(floorDiv(n, by)).toBe(Number(floor));
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it.each([
    [-1, 10, -1],
    [-10, 10, -1],
    [-11, 10, -2],
    [0, 10, 0],
    [9, 10, 0],
    [Number.MAX_SAFE_INTEGER, 3, 3_002_399_751_580_330],
    [Number.MIN_SAFE_INTEGER, 2, -4_503_599_627_370_496],
    [Number.MIN_SAFE_INTEGER, 53, -169_947_155_749_831],
  ])('of %d by %d is %d', (a, b, expected) => {
    expect(floorDiv(a, b)).toBe(expected);
  });
});

describe('defaultPaneUs', () => {
  it.each([
    [300, 5],
    [3600, 60],
    [86_400, 1440],
    [60, 1],
    [10, 1],
    [7, 1],
    [61, 1],
    [119, 1],
    [121, 1],
    [130, 2],
    [630, 10],
  ])('of %d s is %d s', (lengthS, paneS) => {
    expect(defaultPaneUs(lengthS * SECOND_US)).toBe(paneS * SECOND_US);
  });

  it('is the largest whole-second divisor that is at most max(1 s, length / 60)', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20_000 }), (lengthS) => {
        let expected = 1;
        for (let pane = 1; pane <= lengthS / 60; pane++) if (lengthS % pane === 0) expected = pane;
        expect(defaultPaneUs(lengthS * SECOND_US)).toBe(expected * SECOND_US);
      }),
    );
  });

  it('takes a length that is no multiple of a second as one pane', () => {
    expect(defaultPaneUs(1_500_000)).toBe(1_500_000);
    expect(defaultPaneUs(1)).toBe(1);
  });
});

describe('reach', () => {
  it('of rolling: a pane is reachable at T exactly while it is in window(T) = [floor_g(T - W), ∞)', () => {
    fc.assert(
      fc.property(
        time,
        time,
        fc.integer({ min: 1, max: 30 }),
        fc.integer({ min: 1, max: MAX_PANES }),
        (at, t, pane, n) => {
          const shape = windowShape(create(WindowSchema, rolling(pane * n, pane)));
          const g = pane * SECOND_US;
          const start = floorDiv(t - n * g, g) * g;
          const isInWindow = floorDiv(at, g) * g >= start;
          expect(paneAt(shape, at) >= oldestPane(shape, t)).toBe(isInWindow);
        },
      ),
    );
  });

  it.each([true, false])(
    'of tumbling, closed %s: a window is reachable until it is shown for the last time',
    (closed) => {
      fc.assert(
        fc.property(time, time, fc.integer({ min: 1, max: 100 }), (at, t, length) => {
          const shape = windowShape(create(WindowSchema, tumbling(length, closed)));
          const w = length * SECOND_US;
          const shownUntil = (floorDiv(at, w) + (closed ? 2 : 1)) * w;
          expect(paneAt(shape, at) >= oldestPane(shape, t)).toBe(shownUntil > t);
        }),
      );
    },
  );

  it('of lifetime: always', () => {
    const shape = windowShape(create(WindowSchema, LIFETIME));
    expect(paneAt(shape, -5)).toBe(0);
    expect(oldestPane(shape, 2 ** 52)).toBe(0);
  });
});
