/**
 * Dates and times as Postgres writes them with DateStyle=ISO, as microseconds since the Unix epoch:
 *
 *     2026-11-22 10:20:30.123456+00    0044-03-15 BC    10000-01-01 00:00:00+05:30
 *
 * A text without an offset is UTC. Postgres' range is covered from 4713 BC to 294247-01-10; the 29 years after that,
 * which Postgres has too because it counts from 2000, do not fit. The calendar is the proleptic Gregorian one. Pure.
 */
import { INT64_MAX } from '@freshet/values/scalar.ts';
import { ValueRefused } from './value-refused.ts';

const PATTERN =
  /^(\d{4,})-(\d\d)-(\d\d)(?: (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?(?:([+-])(\d\d)(?::(\d\d)(?::(\d\d))?)?)?( BC)?$/;

/** Throws ValueRefused for infinity, which is no time, and for text that is none. */
export function parseTimestampText(text: string): bigint {
  const match = PATTERN.exec(text);
  if (match === null) {
    if (text === 'infinity' || text === '-infinity') throw new ValueRefused(`${text} is not a time`);
    throw new ValueRefused(`"${text}" is not a timestamp`);
  }
  const written = Number(match[1]);
  // There is no year 0: 1 BC is the year before 1 AD.
  const year = match[12] === undefined ? written : 1 - written;
  const days = daysFromCivil(year, Number(match[2]), Number(match[3]));
  let seconds = days * 86_400;
  if (match[4] !== undefined) seconds += Number(match[4]) * 3600 + Number(match[5]) * 60 + Number(match[6]);
  if (match[8] !== undefined) {
    const offset = Number(match[9]) * 3600 + Number(match[10] ?? 0) * 60 + Number(match[11] ?? 0);
    seconds -= match[8] === '-' ? -offset : offset;
  }
  const micros = match[7] === undefined ? 0 : Number(match[7].padEnd(6, '0'));
  const us = seconds * 1_000_000 + micros;
  if (Number.isSafeInteger(us)) return BigInt(us);
  const exact = BigInt(seconds) * 1_000_000n + BigInt(micros);
  if (exact > INT64_MAX) throw new ValueRefused(`${text} is beyond the times that 64 bits of microseconds reach`);
  return exact;
}

/** Days from 1970-01-01 to a date of the proleptic Gregorian calendar (after Howard Hinnant's algorithm). */
function daysFromCivil(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year;
  const era = Math.floor(y / 400);
  const yearOfEra = y - era * 400;
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1;
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear;
  return era * 146_097 + dayOfEra - 719_468;
}
