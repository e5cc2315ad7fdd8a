/**
 * The one order of values: what min, max and sorted output follow, and what encoded keys sort by.
 *
 * Owns the order. Does not own the order's encoding in keys (key.ts) or decimal arithmetic (decimal.ts).
 *
 * The order is total on the values of one type: null is below everything; doubles are as in Postgres (NaN above all,
 * and equal to itself) but -0 is below +0, so that two values are equal only when they are the same; strings are by
 * code point, which is the order of their UTF-8 bytes; false is below true; lists and vectors are lexicographic.
 * Decimals are by number: 1.0 and 1.00 are equal.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert } from '@freshet/kit/assert.ts';
import { compareDecimal, decimalOf } from './decimal.ts';
import type { Scalar } from './scalar.ts';

/**
 * Negative when a is before b, 0 when they are equal, positive when a is after b. Both must be values of the kind or
 * null; a list's elements are of the kind `element`.
 */
export function compareScalar(kind: Kind, a: Scalar, b: Scalar, element: Kind = Kind.UNSPECIFIED): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? -1 : 1;
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      assert(typeof a === 'bigint' && typeof b === 'bigint', 'compareScalar: not integers');
      return a < b ? -1 : a > b ? 1 : 0;
    case Kind.DOUBLE:
      assert(typeof a === 'number' && typeof b === 'number', 'compareScalar: not doubles');
      return compareDoubles(a, b);
    case Kind.DECIMAL:
      assert(typeof a === 'string' && typeof b === 'string', 'compareScalar: not decimals');
      return a === b ? 0 : compareDecimal(decimalOf(a), decimalOf(b));
    case Kind.STRING:
      assert(typeof a === 'string' && typeof b === 'string', 'compareScalar: not strings');
      return compareStrings(a, b);
    case Kind.BOOL:
      assert(typeof a === 'boolean' && typeof b === 'boolean', 'compareScalar: not booleans');
      return Number(a) - Number(b);
    case Kind.BYTES:
      assert(a instanceof Uint8Array && b instanceof Uint8Array, 'compareScalar: not bytes');
      return compareBytes(a, b);
    case Kind.LIST:
      assert(Array.isArray(a) && Array.isArray(b), 'compareScalar: not lists');
      return compareLists(element, a as readonly Scalar[], b as readonly Scalar[]);
    case Kind.VECTOR:
      assert(a instanceof Float32Array && b instanceof Float32Array, 'compareScalar: not vectors');
      return compareVectors(a, b);
    default:
      throw new Error(`compareScalar: no order for kind ${kind}`);
  }
}

/** Numbers ascending, -0 before +0, NaN last and equal to itself. */
export function compareDoubles(a: number, b: number): number {
  if (a < b) return -1;
  if (a > b) return 1;
  if (a === b) return a !== 0 || Object.is(a, b) ? 0 : Object.is(a, -0) ? -1 : 1;
  return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
}

/** By code point, which is the order of the UTF-8 bytes and not that of JavaScript's `<`. */
export function compareStrings(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return codePointRank(x) - codePointRank(y);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above U+FFFF: they rank above U+E000 to U+FFFF, though their units are lower. */
function codePointRank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

/** Lexicographic by unsigned byte; a prefix is before what continues it. */
export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function compareLists(element: Kind, a: readonly Scalar[], b: readonly Scalar[]): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const order = compareScalar(element, a[i] as Scalar, b[i] as Scalar);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

function compareVectors(a: Float32Array, b: Float32Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const order = compareDoubles(a[i] as number, b[i] as number);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}
