/**
 * Goal: what is lost again and again is read anew later and later, to a bound, and at once when it had lived for a while.
 * Method: times and chance by hand.
 */
import { expect, it } from 'vitest';
import { RebuildPace } from './rebuild-pace.ts';

const SECOND = 1_000_000;

/** When it is due, seconds after it was lost. */
function dueIn(pace: RebuildPace, nowUs: number): number {
  let seconds = 0;
  while (pace.waits('history', nowUs + seconds * SECOND) !== undefined) seconds += 0.5;
  return seconds;
}

it('waits longer each time, to ten minutes, and not the first time', () => {
  const pace = new RebuildPace(() => 0.999_999);
  const waits = Array.from({ length: 10 }, (_, i) => {
    pace.lost('history', 'gone', { nowUs: i * SECOND });
    return dueIn(pace, i * SECOND);
  });
  expect(waits).toEqual([0, 5, 10, 20, 40, 80, 160, 320, 600, 600]);
  const half = new RebuildPace(() => 0);
  for (let i = 0; i < 3; i++) half.lost('history', 'gone', { nowUs: 0 });
  expect(dueIn(half, 0)).toBe(5);
});

it('begins at once again after it lived for ten minutes, counted from when it was read', () => {
  const pace = new RebuildPace(() => 0.999_999);
  const lose = (nowUs: number): number => {
    pace.lost('history', 'gone', { nowUs });
    return dueIn(pace, nowUs);
  };
  expect([lose(0), lose(3_600 * SECOND)]).toEqual([0, 5]);
  pace.alive('history', 4_000 * SECOND);
  pace.alive('history', 4_500 * SECOND);
  expect(lose(4_599 * SECOND)).toBe(10);
  pace.alive('history', 5_000 * SECOND);
  expect(lose(5_600 * SECOND)).toBe(0);
});

it('keeps each by itself, and says how often and when', () => {
  const pace = new RebuildPace(() => 0);
  for (let i = 0; i < 4; i++) pace.lost(7, 'the table moved', { nowUs: 0, generation: i });
  expect(pace.waits(8, 0)).toBeUndefined();
  expect(pace.waits(7, 0)).toMatchObject({
    code: 'SOURCE_NOT_READY',
    message: 'the table moved; it was lost 4 times in a row',
    remedy: expect.stringContaining('in 10 s') as string,
  });
});

it('counts a generation once, however often it is found that it is lost', () => {
  const pace = new RebuildPace(() => 0);
  for (const generation of [1, 1, 1, 2]) pace.lost(7, 'the table moved', { nowUs: 0, generation });
  expect(pace.waits(7, 0)?.message).toBe('the table moved; it was lost 2 times in a row');
});
