/**
 * Exact decimal numbers, as Postgres' numeric has them: any number of digits, a scale that is part of the text, and
 * NaN, Infinity, -Infinity.
 *
 * Owns parsing, canonical text, order and exact addition. Does not own rounding: nothing here loses a digit.
 * The canonical text is that of ValueColumn.decimals: an optional minus, digits without leading zeros, and when the
 * scale is positive a point and exactly scale digits. Zero is never negative. The order is Postgres': -Infinity, the
 * numbers, Infinity, NaN; every value equals itself.
 */
import { assert } from '@freshet/kit/assert.ts';

/** A finite decimal: unscaled / 10^scale. The scale is never negative. */
export interface FiniteDecimal {
  readonly unscaled: bigint;
  readonly scale: number;
}

export type Decimal = FiniteDecimal | 'NaN' | 'Infinity' | '-Infinity';

/** Postgres' numeric has at most this many digits before the point. */
export const DECIMAL_INTEGER_DIGITS_MAX = 131_072;
/** Postgres' numeric has at most this many digits after the point. */
export const DECIMAL_SCALE_MAX = 16_383;

const PATTERN = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,7}))?$/;

/**
 * The number that the text names, or undefined when it names none. Takes what Postgres and YAML write: a sign, leading
 * zeros, a point, an exponent, and NaN or (±)Infinity. Refuses what is beyond Postgres' limits.
 */
export function parseDecimal(text: string): Decimal | undefined {
  if (text === 'NaN' || text === 'Infinity' || text === '-Infinity') return text;
  const match = PATTERN.exec(text);
  if (match === null) return undefined;
  const whole = match[2] ?? '';
  const fraction = match[3] ?? '';
  if (whole.length + fraction.length === 0) return undefined;
  if (whole.length + fraction.length > DECIMAL_INTEGER_DIGITS_MAX + DECIMAL_SCALE_MAX) return undefined;
  const exponent = Number(match[4] ?? '0');
  const shiftedScale = fraction.length - exponent;
  const scale = Math.max(0, shiftedScale);
  if (scale > DECIMAL_SCALE_MAX || -shiftedScale > DECIMAL_INTEGER_DIGITS_MAX) return undefined;
  let unscaled = BigInt(whole + fraction);
  if (shiftedScale < 0) unscaled *= powerOfTen(-shiftedScale);
  return { unscaled: match[1] === '-' ? -unscaled : unscaled, scale };
}

/** The number that a canonical text names; for text that was checked when it came in. */
export function decimalOf(text: string): Decimal {
  const decimal = parseDecimal(text);
  assert(decimal !== undefined, 'a decimal value holds text that is no decimal');
  return decimal;
}

/** The canonical text; keeps the scale: 1.50 stays 1.50. */
export function formatDecimal(decimal: Decimal): string {
  if (typeof decimal === 'string') return decimal;
  const { unscaled, scale } = decimal;
  const negative = unscaled < 0n;
  const digits = (negative ? -unscaled : unscaled).toString();
  const sign = negative ? '-' : '';
  if (scale === 0) return sign + digits;
  const padded = digits.padStart(scale + 1, '0');
  return `${sign}${padded.slice(0, -scale)}.${padded.slice(-scale)}`;
}

/** The canonical text of a number written in another way, or undefined when it is no number. */
export function canonicalDecimal(text: string): string | undefined {
  const decimal = parseDecimal(text);
  return decimal === undefined ? undefined : formatDecimal(decimal);
}

/** Negative when a is before b, 0 when they are the same number whatever their scales, positive when a is after b. */
export function compareDecimal(a: Decimal, b: Decimal): number {
  if (typeof a === 'string' || typeof b === 'string') return specialRank(a) - specialRank(b);
  const scale = Math.max(a.scale, b.scale);
  const x = unscaledAt(a, scale);
  const y = unscaledAt(b, scale);
  return x < y ? -1 : x > y ? 1 : 0;
}

function specialRank(decimal: Decimal): number {
  switch (decimal) {
    case '-Infinity':
      return -1;
    case 'Infinity':
      return 1;
    case 'NaN':
      return 2;
    default:
      return 0;
  }
}

/** The exact sum, at the larger of the two scales. Infinities of both signs, and anything with NaN, give NaN. */
export function addDecimal(a: Decimal, b: Decimal): Decimal {
  if (typeof a === 'string' || typeof b === 'string') {
    if (a === 'NaN' || b === 'NaN') return 'NaN';
    if (typeof a !== 'string') return b;
    if (typeof b !== 'string') return a;
    return a === b ? a : 'NaN';
  }
  const scale = Math.max(a.scale, b.scale);
  return { unscaled: unscaledAt(a, scale) + unscaledAt(b, scale), scale };
}

/** The same number with the sign turned. */
export function negateDecimal(a: Decimal): Decimal {
  switch (a) {
    case 'NaN':
      return 'NaN';
    case 'Infinity':
      return '-Infinity';
    case '-Infinity':
      return 'Infinity';
    default:
      return { unscaled: -a.unscaled, scale: a.scale };
  }
}

/** The nearest double, ties to even. A number beyond the doubles gives an infinity. */
export function decimalToDouble(decimal: Decimal): number {
  // The language lets Number() round digits after the 20th loosely; V8 rounds correctly whatever the length, and
  // decimal.test.ts holds it to that.
  return Number(formatDecimal(decimal));
}

/** The unscaled value at a scale that is not below the number's own. */
export function unscaledAt(decimal: FiniteDecimal, scale: number): bigint {
  assert(scale >= decimal.scale, 'unscaledAt would lose digits');
  return scale === decimal.scale ? decimal.unscaled : decimal.unscaled * powerOfTen(scale - decimal.scale);
}

/** Powers that money and measurements need; larger ones are computed when asked for. */
const POWERS: readonly bigint[] = Array.from({ length: 40 }, (_, exponent) => 10n ** BigInt(exponent));

/** 10 to the power of a non-negative integer. */
export function powerOfTen(exponent: number): bigint {
  return POWERS[exponent] ?? 10n ** BigInt(exponent);
}
