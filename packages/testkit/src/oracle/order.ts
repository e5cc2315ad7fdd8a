/**
 * The oracle's own total orders over values, by which min and max choose, and its own idea of "the same value".
 *
 * Doubles: -Infinity < ... < -0 < +0 < ... < Infinity < NaN. Decimals: by number, NaN greatest, and of equal numbers
 * the one with fewer digits after the point is less (1 < 1.0), so that the order is total over texts. Strings: by code
 * point (the order of their UTF-8 bytes). Bytes: unsigned, a prefix first. false < true.
 */
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { decimalUnits, fractionOf } from './exact.ts';

/** Negative, zero or positive. Neither may be null; lists and vectors have no order. */
export function compareOracle(kind: Kind, a: Scalar, b: Scalar): number {
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return sign(BigInt(a as bigint) - BigInt(b as bigint));
    case Kind.DOUBLE:
      return compareDoubles(a as number, b as number);
    case Kind.DECIMAL:
      return compareDecimals(a as string, b as string);
    case Kind.STRING:
      return compareSequences(Array.from(a as string, codePoint), Array.from(b as string, codePoint));
    case Kind.BYTES:
      return compareSequences([...(a as Uint8Array)], [...(b as Uint8Array)]);
    case Kind.BOOL:
      return Number(a) - Number(b);
    default:
      throw new Error(`kind ${kind} has no order`);
  }
}

/** Whether two values of a type are the same to the last bit; every NaN is the same. */
export function sameValue(type: ValueType, a: Scalar, b: Scalar): boolean {
  if (a === null || b === null) return a === b;
  switch (type.kind) {
    case Kind.DOUBLE:
      return typeof a === 'number' && Object.is(a, b);
    case Kind.BYTES:
      return a instanceof Uint8Array && b instanceof Uint8Array && Buffer.compare(a, b) === 0;
    case Kind.VECTOR:
      return (
        a instanceof Float32Array &&
        b instanceof Float32Array &&
        a.length === b.length &&
        a.every((component, i) => Object.is(component, b[i]))
      );
    case Kind.LIST: {
      if (!Array.isArray(a) || !Array.isArray(b) || a.length !== b.length) return false;
      const element = { kind: type.element } as ValueType;
      const other: readonly Scalar[] = b;
      return a.every((value: Scalar, i) => sameValue(element, value, other[i] ?? null));
    }
    default:
      return a === b;
  }
}

function compareDoubles(a: number, b: number): number {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  if (a !== b) return a < b ? -1 : 1;
  return Number(Object.is(b, -0)) - Number(Object.is(a, -0));
}

const DECIMAL_SPECIALS = ['-Infinity', '', 'Infinity', 'NaN'];

function compareDecimals(a: string, b: string): number {
  const rank = (text: string): number => Math.max(DECIMAL_SPECIALS.indexOf(text), /^-?\d/.test(text) ? 1 : 0);
  if (rank(a) !== 1 || rank(b) !== 1) return rank(a) - rank(b);
  const scale = Math.max(fractionOf(a).length, fractionOf(b).length);
  const difference = decimalUnits(a, scale) - decimalUnits(b, scale);
  return difference === 0n ? fractionOf(a).length - fractionOf(b).length : sign(difference);
}

function compareSequences(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

function codePoint(character: string): number {
  return character.codePointAt(0) ?? 0;
}

function sign(value: bigint): number {
  return value < 0n ? -1 : Number(value > 0n);
}
