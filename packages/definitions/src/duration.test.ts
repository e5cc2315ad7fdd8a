/** Goal: durations read and print without loss. Method: the written forms, and the round trip as a property. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DURATION_US_MAX, formatDuration, parseDuration } from './duration.ts';

describe('durations', () => {
  it.each([
    ['500ms', 500_000],
    ['10s', 10_000_000],
    ['5m', 300_000_000],
    ['1h', 3_600_000_000],
    ['7d', 604_800_000_000],
    ['2w', 1_209_600_000_000],
    ['1us', 1],
    ['36500d', DURATION_US_MAX],
  ])('reads %s', (text, us) => {
    expect(parseDuration(text)).toBe(us);
  });

  it.each(['', '5', '5 m', '-5m', '1.5h', 'm', '5min', '36501d', '9999999999999999w', '1h30m'])(
    'refuses %j',
    (text) => {
      expect(parseDuration(text)).toBeUndefined();
    },
  );

  it.each<[number | bigint, string]>([
    [300_000_000, '5m'],
    [90_000_000n, '90s'],
    [86_400_000_000, '1d'],
    [1_500, '1500us'],
    [0, '0s'],
  ])('prints %s', (us, text) => {
    expect(formatDuration(us)).toBe(text);
  });

  it('reads what it prints', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (us) => {
        if (us <= DURATION_US_MAX) expect(parseDuration(formatDuration(us))).toBe(us);
      }),
    );
  });
});
