/**
 * Goal: log time is honest whatever the wall clock does. Method: random steps, forward and back, of a virtual wall
 * clock against its monotonic one; then the cases that have a rule of their own.
 */
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type ClockAlarm, checkClock, LogTime } from './log-time.ts';

const SECOND = 1_000_000;

function make(lastUs = -Infinity) {
  const clock = new VirtualClock();
  const alarms: ClockAlarm[] = [];
  const time = new LogTime({ clock, lastUs, onAlarm: (alarm) => alarms.push(alarm) });
  const step = (us: number): void => clock.setWallUs(clock.nowUs() + us);
  return { clock, time, alarms, step };
}

describe('log time', () => {
  it('never decreases, is never ahead of the wall clock by itself, and gains at most a tenth on the monotonic clock', async () => {
    const moves = fc.array(fc.tuple(fc.nat(3 * SECOND), fc.integer({ min: -3 * SECOND, max: 3 * SECOND })), {
      maxLength: 40,
    });
    await fc.assert(
      fc.asyncProperty(moves, async (steps) => {
        const { clock, time, step } = make();
        let last = time.stamp();
        for (const [passUs, stepUs] of steps) {
          await clock.advance(passUs);
          step(stepUs);
          let now: number;
          try {
            now = time.stamp();
          } catch (error) {
            expect(error).toMatchObject({ code: 'CLOCK_JUMP' });
            return;
          }
          expect(now).toBeGreaterThanOrEqual(last);
          if (now > last) expect(now).toBeLessThanOrEqual(clock.nowUs());
          last = now;
        }
        // What was gained by steps back and forth is bounded by what the monotonic clock counted since the start.
        expect(last - 1_700_000_000 * SECOND).toBeLessThanOrEqual(clock.monotonicUs() * 1.1 + 1);
      }),
      { numRuns: 200 },
    );
  });

  it('follows the wall clock exactly while it behaves', async () => {
    const { clock, time, alarms } = make();
    for (let n = 0; n < 100; n++) {
      await clock.advance(n * 7_919);
      expect(time.stamp()).toBe(clock.nowUs());
    }
    expect(alarms).toEqual([]);
  });

  it('reaches a wall clock that was set forward a little, within ten times the step', async () => {
    const { clock, time, step, alarms } = make();
    time.stamp();
    step(2 * SECOND);
    for (let n = 0; n < 410; n++) {
      await clock.advance(50_000);
      time.stamp();
    }
    expect(time.stamp()).toBe(clock.nowUs());
    expect(alarms).toMatchObject([{ direction: 'forward' }]);
  });

  it('holds when the wall clock is set back, and goes on when it has caught up; also when it is set right again', async () => {
    for (const corrected of [false, true]) {
      const { clock, time, step, alarms } = make();
      const held = time.stamp();
      step(-10 * SECOND);
      await clock.advance(4 * SECOND);
      expect(time.stamp()).toBe(held);
      if (corrected) step(10 * SECOND);
      else await clock.advance(8 * SECOND);
      expect(time.stamp()).toBeGreaterThan(held);
      expect(alarms).toMatchObject([{ direction: 'backward' }]);
    }
  });

  it('halts for good when the wall clock leaps ahead', async () => {
    const { clock, time, step } = make();
    time.stamp();
    step(6 * SECOND);
    expect(() => time.stamp()).toThrowError(/leapt 6\.000 s ahead/);
    step(-6 * SECOND);
    await clock.advance(60 * SECOND);
    expect(() => time.stamp()).toThrowError(/leapt/);
  });

  it('does not go below the last log time of an earlier run', async () => {
    const lastUs = 1_700_000_010 * SECOND;
    const { clock, time } = make(lastUs);
    expect(time.stamp()).toBe(lastUs);
    await clock.advance(11 * SECOND);
    expect(time.stamp()).toBe(1_700_000_011 * SECOND);
  });
});

describe('comparing with the database', () => {
  it('accepts what the round trip and the tolerance allow, and refuses more', () => {
    const at = (differenceUs: number, roundTripUs = 0): void =>
      checkClock({ localUs: 1_000 * SECOND + differenceUs, databaseUs: 1_000 * SECOND, roundTripUs });
    for (const fine of [0, 5 * SECOND, -5 * SECOND]) at(fine);
    at(6 * SECOND, SECOND);
    expect(() => at(6 * SECOND)).toThrowError(/6\.000 s ahead of the database/);
    expect(() => at(-5_000_001)).toThrowError(/behind the database/);
  });
});
