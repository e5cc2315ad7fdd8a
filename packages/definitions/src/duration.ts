/** Durations as definitions write them: "500ms", "10s", "5m", "1h", "7d", "2w". In microseconds everywhere else. */

const UNITS_US = {
  us: 1,
  ms: 1_000,
  s: 1_000_000,
  m: 60_000_000,
  h: 3_600_000_000,
  d: 86_400_000_000,
  w: 604_800_000_000,
} as const;

/** The longest duration: 100 years of 365 days. It keeps every sum of a time and a duration a safe integer. */
export const DURATION_US_MAX: number = 36_500 * UNITS_US.d;

/** A duration as one may be written, with spaces around it. */
export const DURATION_PATTERN: RegExp = /^\s*(\d{1,16})(us|ms|s|m|h|d|w)\s*$/;

/** What a duration may look like, for error messages. */
export const DURATION_FORMS = '500ms, 10s, 5m, 1h, 7d or 2w';

/** The duration in microseconds; undefined when the text is none or it is longer than DURATION_US_MAX. */
export function parseDuration(text: string): number | undefined {
  const match = DURATION_PATTERN.exec(text);
  if (match === null) return undefined;
  const us = Number(match[1]) * UNITS_US[match[2] as keyof typeof UNITS_US];
  return us <= DURATION_US_MAX ? us : undefined;
}

/** The duration in its largest whole unit: 300000000 is "5m", 90000000 is "90s". Weeks are left to those who write them. */
export function formatDuration(us: number | bigint): string {
  const value = Number(us);
  for (const unit of ['d', 'h', 'm', 's', 'ms'] as const) {
    if (value !== 0 && value % UNITS_US[unit] === 0) return `${value / UNITS_US[unit]}${unit}`;
  }
  return value === 0 ? '0s' : `${value}us`;
}
