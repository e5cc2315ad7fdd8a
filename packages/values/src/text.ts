/**
 * Values as text for people and for what people type: command lines, YAML defaults, tables.
 *
 * Owns reading and printing of one value of a known type. Does not own JSON over HTTP (Protobuf's JSON mapping does
 * that). Invariant: parse(print(v)) is v for every scalar kind.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { canonicalDecimal } from './decimal.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from './scalar.ts';

/** The value of a scalar kind that a text means, or undefined when it means none. Bytes are in hex, timestamps ISO 8601. */
export function parseText(kind: Kind, text: string): Scalar | undefined {
  switch (kind) {
    case Kind.INT64:
      return parseInt64(text);
    case Kind.DOUBLE:
      return parseDouble(text);
    case Kind.DECIMAL:
      return canonicalDecimal(text);
    case Kind.STRING:
      return text;
    case Kind.BOOL:
      return text === 'true' ? true : text === 'false' ? false : undefined;
    case Kind.BYTES:
      return parseHex(text);
    case Kind.TIMESTAMP:
      return parseTimestamp(text);
    default:
      return undefined;
  }
}

/** The value as text; null is "null". Lists print their elements as their kind, vectors their components. */
export function printText(kind: Kind, value: Scalar, element: Kind = Kind.UNSPECIFIED): string {
  if (value === null) return 'null';
  if (kind === Kind.TIMESTAMP && typeof value === 'bigint') return printTimestamp(value);
  if (value instanceof Uint8Array) return printHex(value);
  if (value instanceof Float32Array) return `[${value.join(', ')}]`;
  if (typeof value === 'object') return `[${value.map((entry) => printText(element, entry)).join(', ')}]`;
  return Object.is(value, -0) ? '-0' : String(value);
}

function parseInt64(text: string): bigint | undefined {
  if (!/^[+-]?\d{1,19}$/.test(text)) return undefined;
  const value = BigInt(text.replace(/^\+/, ''));
  return value < INT64_MIN || value > INT64_MAX ? undefined : value;
}

function parseDouble(text: string): number | undefined {
  if (text === 'NaN' || text === 'Infinity' || text === '-Infinity') return Number(text);
  return /^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$/.test(text) ? Number(text) : undefined;
}

function parseHex(text: string): Uint8Array | undefined {
  if (!/^([0-9a-fA-F]{2})*$/.test(text)) return undefined;
  return Uint8Array.from({ length: text.length / 2 }, (_, i) => Number.parseInt(text.slice(2 * i, 2 * i + 2), 16));
}

function printHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const TIMESTAMP =
  /^([+-]\d{6}|\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?(Z|[+-]\d\d(?::?\d\d)?)?)?$/;

/** Microseconds since the Unix epoch; a text without an offset is UTC. "<n>us" is taken as it is. Undefined when it is no such time. */
export function parseTimestamp(text: string): bigint | undefined {
  if (/^-?\d{1,19}us$/.test(text)) return parseInt64(text.slice(0, -2));
  const match = TIMESTAMP.exec(text);
  if (match === null) return undefined;
  const [, year = '', month = '', day = '', hour = '00', minute = '00', second = '00', fraction = '', zone = 'Z'] =
    match;
  const wallMs = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  // Date.parse takes the 30th of February for the 1st or 2nd of March: what comes back must be what went in.
  if (Number.isNaN(wallMs) || new Date(wallMs).getUTCDate() !== Number(day) || Number(hour) > 23) return undefined;
  const offsetMinutes = zoneMinutes(zone);
  if (offsetMinutes === undefined) return undefined;
  return BigInt(wallMs - offsetMinutes * 60_000) * 1000n + BigInt(fraction.padEnd(6, '0'));
}

function zoneMinutes(zone: string): number | undefined {
  if (zone === 'Z') return 0;
  const hours = Number(zone.slice(1, 3));
  const minutes = Number(zone.slice(3).replace(':', '') || '0');
  if (hours > 23 || minutes > 59) return undefined;
  return (zone.startsWith('-') ? -1 : 1) * (hours * 60 + minutes);
}

/** ISO 8601 in UTC, to the microsecond; a time beyond the calendar that JavaScript has is "<n>us". */
export function printTimestamp(us: bigint): string {
  const micros = ((us % 1000n) + 1000n) % 1000n;
  const ms = Number((us - micros) / 1000n);
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return `${us}us`;
  return date.toISOString().replace('Z', `${micros.toString().padStart(3, '0')}Z`);
}
