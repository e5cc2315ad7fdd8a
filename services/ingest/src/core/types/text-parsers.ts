/**
 * Values from the text that Postgres writes them as, by the type that the contract gives the column.
 *
 * The session must speak DateStyle=ISO, TimeZone=UTC, bytea_output=hex and extra_float_digits >= 1 (io/pg sets them).
 * No number loses digits: int64 is read as bigint, numeric stays text, a double is read from its shortest exact text.
 * Pure.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { canonicalDecimal } from '@freshet/values/decimal.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from '@freshet/values/scalar.ts';
import { parseArrayText } from './array-text.ts';
import { parseTimestampText } from './timestamp-text.ts';
import { FLOAT4_ARRAY_OID, FLOAT4_OID, type PlainType } from './type-table.ts';
import { ValueRefused } from './value-refused.ts';

/** Turns the text of a value that is not null into the value; throws ValueRefused when it cannot. */
export type TextParser = (text: string) => Scalar;

/** The parser for a column; the oid, of the type that the row was written with, tells float4 from float8. 0: not known. */
export function parserOf(type: PlainType, oid: number): TextParser {
  if (type.kind === Kind.LIST) {
    const element = scalarParser(type.element, oid === FLOAT4_ARRAY_OID);
    return (text) => parseArrayText(text).map((entry) => (entry === null ? null : element(entry)));
  }
  if (type.kind === Kind.VECTOR) return (text) => parseVector(text, type.dimension);
  return scalarParser(type.kind, oid === FLOAT4_OID);
}

function scalarParser(kind: Kind, single: boolean): TextParser {
  switch (kind) {
    case Kind.INT64:
      return parseInt64;
    case Kind.DOUBLE:
      // A float4 is written with as few digits as tell it from its neighbours: 0.1 stands for the float next to 0.1.
      return single ? (text) => Math.fround(parseDouble(text)) : parseDouble;
    case Kind.DECIMAL:
      return parseNumeric;
    case Kind.STRING:
      return (text) => text;
    case Kind.BOOL:
      return parseBool;
    case Kind.BYTES:
      return parseBytea;
    case Kind.TIMESTAMP:
      return parseTimestampText;
    default:
      assert(false, `no text of Postgres has kind ${kind}`);
  }
}

function parseInt64(text: string): bigint {
  if (!/^-?\d{1,19}$/.test(text)) throw new ValueRefused(`"${text.slice(0, 40)}" is not an integer`);
  const value = BigInt(text);
  if (value < INT64_MIN || value > INT64_MAX) throw new ValueRefused(`${text} does not fit in 64 bits`);
  return value;
}

function parseDouble(text: string): number {
  const value = Number(text);
  if (Number.isNaN(value) ? text !== 'NaN' : text.trim() === '') {
    throw new ValueRefused(`"${text.slice(0, 40)}" is not a floating-point number`);
  }
  return value;
}

/** What numeric's output looks like: canonical already, but for what a later server may come up with. */
const CANONICAL = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?|NaN|-?Infinity)$/;
const NEGATIVE_ZERO = /^-0(?:\.0+)?$/;

function parseNumeric(text: string): string {
  if (CANONICAL.test(text) && !NEGATIVE_ZERO.test(text)) return text;
  const canonical = canonicalDecimal(text);
  if (canonical === undefined) throw new ValueRefused(`"${text.slice(0, 40)}" is not a number`);
  return canonical;
}

function parseBool(text: string): boolean {
  if (text === 't') return true;
  if (text === 'f') return false;
  throw new ValueRefused(`"${text.slice(0, 40)}" is neither t nor f`);
}

function parseBytea(text: string): Uint8Array {
  const bytes = Buffer.from(text.slice(2), 'hex');
  // Buffer.from stops at what is not hex instead of saying so.
  if (!text.startsWith('\\x') || bytes.length * 2 !== text.length - 2) {
    throw new ValueRefused('a bytea value is not in hex');
  }
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

function parseVector(text: string, dimension: number): Float32Array {
  const components = /^\[.*\]$/.test(text) ? text.slice(1, -1).split(',').map(Number) : [];
  if (components.length !== dimension || components.some(Number.isNaN)) {
    throw new ValueRefused(`a vector of ${dimension} components is expected`);
  }
  return Float32Array.from(components);
}
