/**
 * Functions that replace those of the CEL library, because its own are not pure or lose digits:
 *
 *     getFullYear() and its like   go through the machine's time zone (wrong in the hour that daylight saving skips)
 *     string < string              compares UTF-16 units, not code points
 *     int(string), double(string)  take "", " 1 " and "0x10"
 *     timestamp(int)               takes milliseconds; CEL says seconds
 *     timestamp(string)            is limited to what JSON allows, and keeps nanoseconds, which values do not have
 *     text + text, list + list     have no bound: s + s of s + s of … doubles with every step (limits.ts)
 *
 * Invariant F1: nothing here reads a clock, a locale or a time zone.
 */

import {
  type CelFunc,
  type CelList,
  CelScalar,
  celFunc,
  celList,
  celMethod,
  listType,
  objectType,
} from '@bufbuild/cel';
import { create } from '@bufbuild/protobuf';
import { DurationSchema, type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { compareStrings } from '@freshet/values/compare.ts';
import { MADE_ITEMS_MAX, MADE_LENGTH_MAX } from '../limits.ts';
import { payFor } from './meter.ts';

const { BOOL, BYTES, DOUBLE, DYN, INT, STRING } = CelScalar;
const LIST = listType(DYN);
const TIMESTAMP = objectType(TimestampSchema);
const DURATION = objectType(DurationSchema);

const INT_TEXT = /^[+-]?\d{1,19}$/;
const DOUBLE_TEXT = /^(?:[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|NaN|[+-]?Infinity)$/;
const ZONE_TEXT = /^(?:UTC|([+-]?)(\d\d):(\d\d))$/;
const TIMESTAMP_TEXT = /^(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))$/;
const DAY_MS = 86_400_000;

/** Seconds since the epoch that a Timestamp can hold: the years 1 to 9999. */
const SECONDS_MIN = -62_135_596_800n;
const SECONDS_MAX = 253_402_300_799n;

/** A timestamp of microseconds as CEL has it. */
export function timestampFromUs(us: number | bigint): Timestamp {
  const wide = BigInt(us);
  let seconds = wide / 1_000_000n;
  let rest = wide % 1_000_000n;
  if (rest < 0n) {
    rest += 1_000_000n;
    seconds -= 1n;
  }
  if (seconds < SECONDS_MIN || seconds > SECONDS_MAX) throw new Error('timestamp outside the years 1 to 9999');
  return create(TimestampSchema, { seconds, nanos: Number(rest) * 1000 });
}

/** Microseconds of a CEL timestamp; what is finer is cut, towards the past. */
export function usFromTimestamp(timestamp: Timestamp): bigint {
  return timestamp.seconds * 1_000_000n + BigInt(Math.floor(timestamp.nanos / 1000));
}

function intFromText(text: string): bigint {
  if (!INT_TEXT.test(text)) throw new Error(`'${text}' is no int`);
  const value = BigInt(text.startsWith('+') ? text.slice(1) : text);
  if (BigInt.asIntN(64, value) !== value) throw new Error(`'${text}' is beyond int`);
  return value;
}

function doubleFromText(text: string): number {
  if (!DOUBLE_TEXT.test(text)) throw new Error(`'${text}' is no double`);
  return Number(text);
}

function timestampFromText(text: string): Timestamp {
  const match = TIMESTAMP_TEXT.exec(text);
  if (match === null) throw new Error(`'${text}' is no RFC 3339 timestamp`);
  const [year, month, day, hour, minute, second] = match.slice(1, 7).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  const isReal = date.getUTCMonth() === month - 1 && date.getUTCDate() === day && year >= 1;
  if (!isReal || hour > 23 || minute > 59 || second > 59) throw new Error(`'${text}' is no real time`);
  const offsetMinutes = match[8] === undefined ? 0 : Number(match[9]) * 60 + Number(match[10]);
  const offset = match[8] === '-' ? -offsetMinutes : offsetMinutes;
  const micros = Number((match[7] ?? '').padEnd(6, '0').slice(0, 6));
  const seconds = date.getTime() / 1000 + hour * 3600 + minute * 60 + second - offset * 60;
  return timestampFromUs(BigInt(seconds) * 1_000_000n + BigInt(micros));
}

/** The instant moved by the zone's offset, so that its UTC parts are the zone's local ones. */
function localDate(timestamp: Timestamp, zone: string | undefined): Date {
  let offsetMinutes = 0;
  if (zone !== undefined) {
    const match = ZONE_TEXT.exec(zone);
    if (match === null) throw new Error(`'${zone}' is neither UTC nor an offset such as +02:00`);
    if (match[2] !== undefined)
      offsetMinutes = (Number(match[2]) * 60 + Number(match[3])) * (match[1] === '-' ? -1 : 1);
  }
  return new Date(Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / 1_000_000) + offsetMinutes * 60_000);
}

function dayOfYear(date: Date): number {
  const start = new Date(0);
  start.setUTCFullYear(date.getUTCFullYear(), 0, 1);
  return Math.floor((date.getTime() - start.getTime()) / DAY_MS);
}

const TIME_PARTS: readonly (readonly [string, (date: Date) => number])[] = [
  ['getFullYear', (date) => date.getUTCFullYear()],
  ['getMonth', (date) => date.getUTCMonth()],
  ['getDate', (date) => date.getUTCDate()],
  ['getDayOfMonth', (date) => date.getUTCDate() - 1],
  ['getDayOfWeek', (date) => date.getUTCDay()],
  ['getDayOfYear', dayOfYear],
  ['getHours', (date) => date.getUTCHours()],
  ['getMinutes', (date) => date.getUTCMinutes()],
  ['getSeconds', (date) => date.getUTCSeconds()],
  ['getMilliseconds', (date) => date.getUTCMilliseconds()],
];

function timePart(name: string, part: (date: Date) => number): CelFunc[] {
  return [
    celMethod(name, TIMESTAMP, [], INT, function () {
      return BigInt(part(localDate(this.message, undefined)));
    }),
    celMethod(name, TIMESTAMP, [STRING], INT, function (zone) {
      return BigInt(part(localDate(this.message, zone)));
    }),
  ];
}

/** Before it is made. */
function checkMade(length: number, max: number): void {
  if (length > max) throw new Error(`the result is longer than ${max}`);
  payFor(length);
}

function joinBytes(a: Uint8Array, b: Uint8Array): Uint8Array {
  checkMade(a.length + b.length, MADE_LENGTH_MAX);
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function joinTexts(a: string, b: string): string {
  checkMade(a.length + b.length, MADE_LENGTH_MAX);
  return a + b;
}

function joinLists(a: CelList, b: CelList): CelList {
  checkMade(a.size + b.size, MADE_ITEMS_MAX);
  // Flat, and not a chain of views of views, through which every reading would recurse.
  return celList([...a, ...b]);
}

/** The replacements. */
export const PURE_FUNCTIONS: readonly CelFunc[] = [
  celFunc('_+_', [STRING, STRING], STRING, joinTexts),
  celFunc('_+_', [BYTES, BYTES], BYTES, joinBytes),
  celFunc('_+_', [LIST, LIST], LIST, joinLists),
  celFunc('_<_', [STRING, STRING], BOOL, (a, b) => compareStrings(a, b) < 0),
  celFunc('_<=_', [STRING, STRING], BOOL, (a, b) => compareStrings(a, b) <= 0),
  celFunc('_>_', [STRING, STRING], BOOL, (a, b) => compareStrings(a, b) > 0),
  celFunc('_>=_', [STRING, STRING], BOOL, (a, b) => compareStrings(a, b) >= 0),
  celFunc('int', [STRING], INT, intFromText),
  celFunc('double', [STRING], DOUBLE, doubleFromText),
  celFunc('timestamp', [STRING], TIMESTAMP, timestampFromText),
  celFunc('timestamp', [INT], TIMESTAMP, (seconds) => timestampFromUs(seconds * 1_000_000n)),
  celMethod('getMilliseconds', DURATION, [], INT, function () {
    return BigInt(Math.trunc(this.message.nanos / 1_000_000));
  }),
  ...TIME_PARTS.flatMap(([name, part]) => timePart(name, part)),
];
