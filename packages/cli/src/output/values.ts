/** Feature values and key values, between the wire and text. Numbers keep every digit: int64 is never a double. */
import { Kind, type Value, type ValueColumn, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** One value of a column: as JSON has it, and as people read it. */
export interface ShownValue {
  readonly json: unknown;
  readonly text: string;
  readonly status: 'present' | 'absent' | 'defaulted' | 'out_of_range';
}

const STATUS: Readonly<Record<number, ShownValue['status']>> = {
  [ValueStatus.UNSPECIFIED]: 'present',
  [ValueStatus.PRESENT]: 'present',
  [ValueStatus.ABSENT]: 'absent',
  [ValueStatus.DEFAULTED]: 'defaulted',
  [ValueStatus.OUT_OF_RANGE]: 'out_of_range',
};

/** Value i of a column. JSON: int64, decimal and timestamp as text, as in Protobuf's JSON; bytes in base64. */
export function valueAt(column: ValueColumn, i: number): ShownValue {
  const status = STATUS[column.statuses[i] ?? ValueStatus.PRESENT] ?? 'present';
  if (status === 'absent' || status === 'out_of_range') return { json: null, text: '–', status };
  const shown = rawAt(column, i);
  return { ...shown, status };
}

function rawAt(column: ValueColumn, i: number): { json: unknown; text: string } {
  // Exactly one of the lists is used; it has an entry for every value.
  const int64 = column.int64s[i];
  if (int64 !== undefined) return both(int64.toString());
  const double = column.doubles[i];
  if (double !== undefined) return showDouble(double);
  const decimal = column.decimals[i];
  if (decimal !== undefined) return both(decimal);
  const string = column.strings[i];
  if (string !== undefined) return { json: string, text: showString(string) };
  const bool = column.bools[i];
  if (bool !== undefined) return { json: bool, text: String(bool) };
  const bytes = column.bytes[i];
  if (bytes !== undefined) return showBytes(bytes);
  const timestamp = column.timestamps[i];
  if (timestamp !== undefined) return both(timestampText(timestamp));
  const list = column.lists[i];
  if (list !== undefined) return showList(list.elements.map(showValue));
  const vector = column.vectors[i];
  if (vector !== undefined) return showList(vector.components.map(showDouble));
  return { json: null, text: '–' };
}

function showValue({ kind }: Value): { json: unknown; text: string } {
  switch (kind.case) {
    case 'int64':
      return both(kind.value.toString());
    case 'double':
      return showDouble(kind.value);
    case 'decimal':
      return both(kind.value);
    case 'string':
      return { json: kind.value, text: showString(kind.value) };
    case 'bool':
      return { json: kind.value, text: String(kind.value) };
    case 'bytes':
      return showBytes(kind.value);
    case 'timestamp':
      return both(timestampText(kind.value));
    default:
      return { json: null, text: 'null' };
  }
}

function both(text: string): { json: unknown; text: string } {
  return { json: text, text };
}

function showDouble(value: number): { json: unknown; text: string } {
  return { json: Number.isFinite(value) ? value : String(value), text: Object.is(value, -0) ? '-0' : String(value) };
}

function showBytes(bytes: Uint8Array): { json: unknown; text: string } {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { json: buffer.toString('base64'), text: `0x${buffer.toString('hex')}` };
}

/** Plain when it is one printable line, else in quotes with escapes. */
function showString(value: string): string {
  return /^[^\p{Cc}\s"](?:[^\p{Cc}]*[^\p{Cc}\s])?$/u.test(value) ? value : JSON.stringify(value);
}

const ELEMENTS_SHOWN_MAX = 8;

function showList(elements: readonly { json: unknown; text: string }[]): { json: unknown; text: string } {
  const shown = elements.slice(0, ELEMENTS_SHOWN_MAX).map((element) => element.text);
  const more = elements.length > ELEMENTS_SHOWN_MAX ? `, … ${elements.length} in all` : '';
  return { json: elements.map((element) => element.json), text: `[${shown.join(', ')}${more}]` };
}

/** Microseconds since the Unix epoch as ISO 8601 with all six digits; beyond what a Date can hold, the number. */
export function timestampText(us: bigint): string {
  const seconds = us >= 0n ? us / 1_000_000n : -((-us + 999_999n) / 1_000_000n);
  const fraction = us - seconds * 1_000_000n;
  if (seconds < -62_135_596_800n || seconds > 253_402_300_799n) return `${us}us`;
  const date = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return `${date}.${fraction.toString().padStart(6, '0')}Z`;
}

/** A key's value from the command line. Throws WRONG_KEY that says what is expected. */
export function parseKeyValue(name: string, kind: Kind, text: string): bigint | string | boolean | Uint8Array {
  switch (kind) {
    case Kind.INT64:
      return parseInt64(name, text, 'a whole number of 64 bits, such as 42');
    case Kind.TIMESTAMP:
      return parseTimestamp(name, text);
    case Kind.BOOL:
      if (text === 'true' || text === 'false') return text === 'true';
      throw wrongKey(name, text, 'true or false');
    case Kind.BYTES:
      if (/^0x([0-9a-fA-F]{2})*$/.test(text)) return Buffer.from(text.slice(2), 'hex');
      throw wrongKey(name, text, 'bytes in hexadecimal, such as 0x00ff');
    case Kind.DECIMAL:
      if (/^-?\d+(\.\d+)?$|^NaN$|^-?Infinity$/.test(text)) return text;
      throw wrongKey(name, text, 'a decimal number, such as 12.50');
    default:
      return text;
  }
}

function parseInt64(name: string, text: string, expected: string): bigint {
  if (!/^[+-]?\d{1,20}$/.test(text)) throw wrongKey(name, text, expected);
  const value = BigInt(text.replace(/^\+/, ''));
  if (BigInt.asIntN(64, value) !== value) throw wrongKey(name, text, expected);
  return value;
}

function parseTimestamp(name: string, text: string): bigint {
  if (/^-?\d+us$/.test(text)) return parseInt64(name, text.slice(0, -2), 'microseconds of 64 bits');
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6}))?Z$/.exec(text);
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}Z`);
  if (Number.isNaN(ms))
    throw wrongKey(
      name,
      text,
      'a time in UTC, such as 2026-01-31T12:00:00.000001Z, or microseconds, such as 1700000000000000us',
    );
  return BigInt(ms) * 1000n + BigInt((match?.[2] ?? '').padEnd(6, '0'));
}

function wrongKey(name: string, text: string, expected: string): FreshetError {
  return new FreshetError('WRONG_KEY', `the key ${name} cannot be "${text}"`, {
    remedy: `give ${expected}`,
    place: `--key ${name}`,
  });
}

/** Microseconds as people read them: "850 µs", "12.3 ms", "4.2 s", "3 min". */
export function durationText(us: number): string {
  const size = Math.abs(us);
  if (size < 1_000) return `${us} µs`;
  if (size < 1_000_000) return `${(us / 1_000).toFixed(1)} ms`;
  if (size < 120_000_000) return `${(us / 1_000_000).toFixed(1)} s`;
  if (size < 7_200_000_000) return `${Math.round(us / 60_000_000)} min`;
  return `${(us / 3_600_000_000).toFixed(1)} h`;
}

/** "1,234,567" */
export function countText(value: bigint | number): string {
  return value.toString().replace(/\B(?=(\d{3})+$)/g, ',');
}
