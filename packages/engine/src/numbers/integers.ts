/** Integers as the engine holds them: a number when safe, else a bigint; and decimals short enough to need no bigint. */
import { type Decimal, decimalOf } from '@freshet/values/decimal.ts';

const SAFE_MAX = BigInt(Number.MAX_SAFE_INTEGER);

/** The one representation of an integer: a number when it is safe. */
export function normaliseInteger(value: bigint | number): number | bigint {
  if (typeof value === 'number') return value;
  return value <= SAFE_MAX && value >= -SAFE_MAX ? Number(value) : value;
}

/** A number when it is safe. */
export type Integer = number | bigint;

export function addIntegers(a: Integer, b: Integer): Integer {
  if (typeof a === 'number' && typeof b === 'number') {
    const total = a + b;
    if (Number.isSafeInteger(total)) return total;
  }
  return normaliseInteger(BigInt(a) + BigInt(b));
}

interface SmallDecimal {
  readonly unscaled: number | bigint;
  readonly scale: number;
}

/** Texts up to this long have at most 15 digits, which a number holds exactly. */
const SMALL_TEXT_MAX = 15;

/** The decimal that a canonical text names; without a bigint when it has few digits, as money has. */
export function parseSmallDecimal(text: string): SmallDecimal | Exclude<Decimal, object> {
  const length = text.length;
  if (length > SMALL_TEXT_MAX) return parseLongDecimal(text);
  let unscaled = 0;
  let scale = -1;
  let at = text.charCodeAt(0) === 0x2d ? 1 : 0;
  const negative = at === 1;
  for (; at < length; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit >= 0 && digit <= 9) {
      unscaled = unscaled * 10 + digit;
      if (scale >= 0) scale++;
    } else if (digit === -2 && scale < 0) {
      scale = 0;
    } else {
      return parseLongDecimal(text);
    }
  }
  return { unscaled: negative && unscaled !== 0 ? -unscaled : unscaled, scale: Math.max(scale, 0) };
}

function parseLongDecimal(text: string): SmallDecimal | Exclude<Decimal, object> {
  const decimal = decimalOf(text);
  if (typeof decimal === 'string') return decimal;
  return { unscaled: normaliseInteger(decimal.unscaled), scale: decimal.scale };
}
