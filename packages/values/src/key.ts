/**
 * Entity keys as bytes: what decides the partition, names a row in every store, and sorts.
 *
 * Owns the encoding. Does not own which columns make a key (definitions) or the partitioner (partition.ts).
 *
 * A key is its columns' encodings in key order, each a tag byte and a payload that no other payload of the kind is a
 * prefix of, so that keys of the same kinds sort by their bytes as their values do (compare.ts), column by column:
 *
 *     int64      0x01  8 bytes big-endian, sign bit flipped
 *     decimal    0x03  see key-decimal.ts; 1.0 and 1.00 are the same key
 *     string     0x04  UTF-8 with 0x00 written 0x00 0xFF, then 0x00 0x01
 *     bool       0x05  0x00 or 0x01
 *     bytes      0x06  as string
 *     timestamp  0x07  as int64: microseconds since the Unix epoch
 *
 * Doubles (equality is not identity), lists, vectors and null are no keys. Equal values have equal encodings and only
 * they have: decode(encode(v)) is v, but for a decimal's trailing zeros.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { parseDecimal } from './decimal.ts';
import { KeyReader, KeyWriter } from './key-bytes.ts';
import { decodeDecimalKey, encodeDecimalKey } from './key-decimal.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from './scalar.ts';
import { kindName } from './type-name.ts';

/** The longest encoded key, in bytes: keys are repeated in every frame, index and store, so they are bounded. */
export const KEY_BYTES_MAX = 2048;

/** A decimal key has at most this many digits before the point, and after it: more would not fit the key. */
export const DECIMAL_KEY_DIGITS_MAX = 2 * KEY_BYTES_MAX;

/** Kept between calls: with a buffer made for each key, an int64 key took 500 ns instead of 60 (measured). */
const writer = new KeyWriter();
const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

const TAGS: Readonly<Partial<Record<Kind, number>>> = {
  [Kind.INT64]: 0x01,
  [Kind.DECIMAL]: 0x03,
  [Kind.STRING]: 0x04,
  [Kind.BOOL]: 0x05,
  [Kind.BYTES]: 0x06,
  [Kind.TIMESTAMP]: 0x07,
};

/** Whether values of the kind can be in a key. */
export function isKeyKind(kind: Kind): boolean {
  return TAGS[kind] !== undefined;
}

/**
 * The key's bytes. Throws WRONG_KEY, with "key column <index> (<kind>)" as its place, when a value is not of its kind,
 * is null, or the key is over KEY_BYTES_MAX.
 */
export function encodeKey(kinds: readonly Kind[], values: readonly Scalar[]): Uint8Array {
  if (values.length !== kinds.length) {
    throw new FreshetError(
      'WRONG_KEY',
      `The key has ${kinds.length} columns, but ${values.length} values were given.`,
      {
        remedy: 'Give one value for each key column, in key order.',
      },
    );
  }
  writer.reset();
  for (let i = 0; i < kinds.length; i++) {
    writeColumn(kinds[i] ?? Kind.UNSPECIFIED, values[i] ?? null, i);
    if (writer.length > KEY_BYTES_MAX) throw tooLong(kinds[i] ?? Kind.UNSPECIFIED, i);
  }
  return writer.finish();
}

function writeColumn(kind: Kind, value: Scalar, index: number): void {
  const tag = TAGS[kind];
  if (tag === undefined) throw wrongKey(kind, index, `values of kind ${kindName(kind)} cannot be keys`);
  if (value === null) throw wrongKey(kind, index, 'it is null');
  writer.byte(tag);
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      if (typeof value !== 'bigint') throw wrongKey(kind, index, `it is ${describe(value)}`);
      if (value < INT64_MIN || value > INT64_MAX) throw wrongKey(kind, index, `${value} does not fit in 64 bits`);
      writer.int64(value);
      break;
    case Kind.DECIMAL: {
      // Before it is read: a few bytes such as 1e131071 name a number that takes milliseconds.
      if (typeof value === 'string' && isLongDecimal(value)) throw tooLong(kind, index);
      const decimal = typeof value === 'string' ? parseDecimal(value) : undefined;
      if (decimal === undefined) throw wrongKey(kind, index, `it is ${describe(value)}`);
      encodeDecimalKey(writer, decimal);
      break;
    }
    case Kind.STRING:
      if (typeof value !== 'string') throw wrongKey(kind, index, `it is ${describe(value)}`);
      // A lone surrogate has no UTF-8: two different strings would become one key.
      if (!value.isWellFormed()) throw wrongKey(kind, index, 'it is not well-formed Unicode');
      if (value.length > KEY_BYTES_MAX) throw tooLong(kind, index);
      if (!writer.ascii(value)) writer.escaped(utf8Encoder.encode(value));
      break;
    case Kind.BOOL:
      if (typeof value !== 'boolean') throw wrongKey(kind, index, `it is ${describe(value)}`);
      writer.byte(value ? 1 : 0);
      break;
    case Kind.BYTES:
      if (!(value instanceof Uint8Array)) throw wrongKey(kind, index, `it is ${describe(value)}`);
      if (value.length > KEY_BYTES_MAX) throw tooLong(kind, index);
      writer.escaped(value);
      break;
    default:
      throw wrongKey(kind, index, `values of kind ${kindName(kind)} cannot be keys`);
  }
}

/** The values in a key's bytes. Throws WRONG_KEY when they are not an encoding of the kinds. */
export function decodeKey(kinds: readonly Kind[], bytes: Uint8Array): Scalar[] {
  const reader = new KeyReader(bytes);
  const values = kinds.map((kind, index): Scalar => {
    const value = reader.byte() === TAGS[kind] ? readColumn(reader, kind) : undefined;
    if (value === undefined) throw wrongKey(kind, index, 'the bytes are not an encoded key of this kind');
    return value;
  });
  if (!reader.atEnd()) {
    throw new FreshetError('WRONG_KEY', `The encoded key has bytes after its ${kinds.length} columns.`);
  }
  return values;
}

function readColumn(reader: KeyReader, kind: Kind): Scalar | undefined {
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return reader.int64();
    case Kind.DECIMAL:
      return decodeDecimalKey(reader);
    case Kind.STRING: {
      const content = reader.escaped();
      return content === undefined ? undefined : utf8(content);
    }
    case Kind.BOOL: {
      const byte = reader.byte();
      return byte === 0 || byte === 1 ? byte === 1 : undefined;
    }
    case Kind.BYTES:
      return reader.escaped();
    default:
      return undefined;
  }
}

function utf8(content: Uint8Array): string | undefined {
  try {
    return utf8Decoder.decode(content);
  } catch {
    return undefined;
  }
}

function wrongKey(kind: Kind, index: number, reason: string): FreshetError {
  return new FreshetError(
    'WRONG_KEY',
    `Key column ${index} must be a value of kind ${kindName(kind)}, but ${reason}.`,
    {
      place: `key column ${index} (${kindName(kind)})`,
      remedy: 'Give a value of that kind; see the entity in the definitions for its key.',
    },
  );
}

function tooLong(kind: Kind, index: number): FreshetError {
  return wrongKey(kind, index, `the encoded key is longer than ${KEY_BYTES_MAX} bytes`);
}

function describe(value: Exclude<Scalar, null>): string {
  if (value instanceof Uint8Array) return 'bytes';
  if (value instanceof Float32Array) return 'a vector';
  if (typeof value === 'object') return 'a list';
  return typeof value === 'bigint' ? 'an integer' : `a ${typeof value}`;
}

/**
 * The key's bytes as a string with one character per byte: the key of maps in memory. Such strings compare with `<`
 * as the bytes do.
 */
export function keyString(bytes: Uint8Array): string {
  if (bytes.length <= KEY_BYTES_MAX) return String.fromCharCode.apply(null, bytes as unknown as number[]);
  let text = '';
  for (let i = 0; i < bytes.length; i += KEY_BYTES_MAX) text += keyString(bytes.subarray(i, i + KEY_BYTES_MAX));
  return text;
}

/** The bytes of a key string, in an array of their own. */
export function keyBytes(key: string): Uint8Array {
  const bytes = new Uint8Array(key.length);
  for (let i = 0; i < bytes.length; i++) {
    const unit = key.charCodeAt(i);
    assert(unit <= 0xff, 'keyBytes: not a key string');
    bytes[i] = unit;
  }
  return bytes;
}

/** keyString(encodeKey([INT64], [value])), without the detour by bytes: the reads' fast path. Takes a safe integer or a bigint. */
export function int64KeyString(value: bigint | number): string {
  let high: number;
  let low: number;
  if (typeof value === 'bigint') {
    if (value < INT64_MIN || value > INT64_MAX) throw wrongKey(Kind.INT64, 0, `${value} does not fit in 64 bits`);
    high = Number(value >> 32n);
    low = Number(value & 0xffffffffn);
  } else {
    assert(Number.isSafeInteger(value), 'int64KeyString: not a safe integer');
    high = Math.floor(value / 0x1_0000_0000);
    low = value >>> 0;
  }
  return String.fromCharCode(
    0x01,
    ((high >> 24) & 0xff) ^ 0x80,
    (high >> 16) & 0xff,
    (high >> 8) & 0xff,
    high & 0xff,
    low >>> 24,
    (low >> 16) & 0xff,
    (low >> 8) & 0xff,
    low & 0xff,
  );
}

function isLongDecimal(text: string): boolean {
  if (text.length > 2 * DECIMAL_KEY_DIGITS_MAX) return true;
  const exponent = /[eE]([+-]?\d{1,7})$/.exec(text)?.[1];
  return exponent !== undefined && Math.abs(Number(exponent)) > DECIMAL_KEY_DIGITS_MAX;
}
