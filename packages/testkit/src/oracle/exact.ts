/**
 * Exact arithmetic for the oracle: sums and quotients without any rounding, and one rounding to a double at the end.
 *
 * Owns its own numbers on purpose: it shares no code with the engine, so that an error there cannot hide here. A finite
 * double is m * 2^e and becomes a BigInt in units of 2^-1074 (the smallest double); a decimal is a BigInt in units of
 * 10^-scale. Slow and plain.
 */

/** What a sum of numbers is: an exact ratio, or what the infinities and NaN among them make of it. */
export type ExactSum = { readonly numerator: bigint; readonly denominator: bigint } | 'NaN' | 'Infinity' | '-Infinity';

/** Decimals beside the ratio: the digits after the point that the sum is written with. */
export interface DecimalSum {
  readonly sum: ExactSum;
  readonly scale: number;
}

const SMALLEST_EXPONENT = 1074n;
const bits = new DataView(new ArrayBuffer(8));

/** A finite double in units of 2^-1074. */
export function doubleUnits(value: number): bigint {
  bits.setFloat64(0, value);
  const raw = bits.getBigUint64(0);
  const exponent = (raw >> 52n) & 0x7ffn;
  const fraction = raw & 0xfffffffffffffn;
  // Subnormals have no hidden bit and share the exponent of the smallest normal numbers.
  const magnitude = exponent === 0n ? fraction : (fraction | (1n << 52n)) << (exponent - 1n);
  return raw >> 63n === 1n ? -magnitude : magnitude;
}

/** The exact sum of doubles. The sum of zeros is +0 whatever their signs: an exact number has no signed zero. */
export function sumDoubles(values: readonly number[]): ExactSum {
  const special = specialOf(values.map((value) => (Number.isFinite(value) ? '' : String(value))));
  if (special !== undefined) return special;
  return {
    numerator: values.reduce((sum, value) => sum + doubleUnits(value), 0n),
    denominator: 1n << SMALLEST_EXPONENT,
  };
}

/** The exact sum of decimals in canonical text; its scale is the greatest scale among them. */
export function sumDecimals(values: readonly string[]): DecimalSum {
  const special = specialOf(values.map((value) => (/^-?\d/.test(value) ? '' : value)));
  if (special !== undefined) return { sum: special, scale: 0 };
  const scale = values.reduce((most, value) => Math.max(most, fractionOf(value).length), 0);
  const numerator = values.reduce((sum, value) => sum + decimalUnits(value, scale), 0n);
  return { sum: { numerator, denominator: 10n ** BigInt(scale) }, scale };
}

/** A finite decimal in units of 10^-scale; the scale must not be below its own. */
export function decimalUnits(text: string, scale: number): bigint {
  const digits = text.replace('.', '') + '0'.repeat(scale - fractionOf(text).length);
  return BigInt(digits);
}

/** The digits after the point. */
export function fractionOf(text: string): string {
  return text.split('.')[1] ?? '';
}

/** The canonical text of a decimal sum. */
export function decimalText({ sum, scale }: DecimalSum): string {
  if (typeof sum === 'string') return sum;
  const digits = String(sum.numerator < 0n ? -sum.numerator : sum.numerator).padStart(scale + 1, '0');
  const sign = sum.numerator < 0n ? '-' : '';
  const point = digits.length - scale;
  return sign + digits.slice(0, point) + (scale > 0 ? `.${digits.slice(point)}` : '');
}

/** An exact sum divided by a positive count: the ratio stays exact, and NaN and the infinities stay what they are. */
export function divideExact(sum: ExactSum, count: bigint): ExactSum {
  if (typeof sum === 'string') return sum;
  return { numerator: sum.numerator, denominator: sum.denominator * count };
}

/**
 * The variance of numbers by its definition: the sum of the squared distances from the mean, divided by the count less
 * `less`. NaN when one of them is not finite.
 */
export function varianceOf(kind: 'int64' | 'double' | 'decimal', values: readonly unknown[], less: bigint): ExactSum {
  const units = unitsOf(kind, values);
  if (units === undefined) return 'NaN';
  const n = BigInt(values.length);
  const total = units.values.reduce((sum, value) => sum + value, 0n);
  // A distance times n is an integer number of units.
  const squares = units.values.reduce((sum, value) => sum + (n * value - total) ** 2n, 0n);
  return { numerator: squares, denominator: n * n * (n - less) * units.perOne * units.perOne };
}

/** The numbers as counts of one unit; undefined when one is not finite. */
function unitsOf(
  kind: 'int64' | 'double' | 'decimal',
  values: readonly unknown[],
): { readonly values: bigint[]; readonly perOne: bigint } | undefined {
  if (kind === 'int64') return { values: values as bigint[], perOne: 1n };
  if (kind === 'double') {
    const doubles = values as number[];
    return doubles.every(Number.isFinite)
      ? { values: doubles.map(doubleUnits), perOne: 1n << SMALLEST_EXPONENT }
      : undefined;
  }
  const texts = values as string[];
  if (!texts.every((text) => /^-?\d/.test(text))) return undefined;
  const scale = texts.reduce((most, text) => Math.max(most, fractionOf(text).length), 0);
  return { values: texts.map((text) => decimalUnits(text, scale)), perOne: 10n ** BigInt(scale) };
}

/** The square root of what is not negative, as a ratio that rounds to a double as the root itself does. */
export function rootOf(value: ExactSum): ExactSum {
  if (typeof value === 'string') return value;
  // Finer than a quarter of the smallest double; an inexact root lies strictly between two counts of that, as does the middle.
  const bitsBelow = 1100n;
  const scaled = value.numerator << (2n * bitsBelow);
  const whole = scaled / value.denominator;
  const root = integerRootOf(whole);
  const isExact = root * root === whole && whole * value.denominator === scaled;
  return { numerator: 2n * root + (isExact ? 0n : 1n), denominator: 2n << bitsBelow };
}

/** From above: each step of Newton's ends at or above the root. */
function integerRootOf(value: bigint): bigint {
  if (value === 0n) return 0n;
  let root = 1n << BigInt(Math.ceil(bitLength(value) / 2));
  for (;;) {
    const next = (root + value / root) / 2n;
    if (next >= root) return root;
    root = next;
  }
}

/** The double nearest to an exact sum, ties to even, beyond the range an infinity: one rounding. */
export function roundToDouble(sum: ExactSum): number {
  if (typeof sum === 'string') return Number(sum);
  const { numerator, denominator } = sum;
  if (numerator < 0n) return -roundToDouble({ numerator: -numerator, denominator });
  if (numerator === 0n) return 0;
  // Find e with 2^52 <= numerator / (denominator * 2^e) < 2^53, but no smaller than the smallest double's exponent.
  let e = bitLength(numerator) - bitLength(denominator) - 53;
  if (numerator >= shift(denominator, e + 53)) e += 1;
  if (e < -1074) e = -1074;
  const scaledNumerator = e < 0 ? numerator << BigInt(-e) : numerator;
  const scaledDenominator = e < 0 ? denominator : denominator << BigInt(e);
  let mantissa = scaledNumerator / scaledDenominator;
  const rest = 2n * (scaledNumerator % scaledDenominator);
  if (rest > scaledDenominator || (rest === scaledDenominator && mantissa % 2n === 1n)) mantissa += 1n;
  // mantissa <= 2^53 is exact as a number; multiplying in two halves never rounds before the final overflow.
  const half = Math.trunc(e / 2);
  return Number(mantissa) * 2 ** half * 2 ** (e - half);
}

function specialOf(values: readonly string[]): 'NaN' | 'Infinity' | '-Infinity' | undefined {
  const up = values.includes('Infinity');
  const down = values.includes('-Infinity');
  if (values.includes('NaN') || (up && down)) return 'NaN';
  if (up) return 'Infinity';
  return down ? '-Infinity' : undefined;
}

function bitLength(value: bigint): number {
  return value.toString(2).length;
}

/** value * 2^by, rounded up, for a comparison with an integer: numerator >= ceil(x) iff numerator >= x. */
function shift(value: bigint, by: number): bigint {
  if (by >= 0) return value << BigInt(by);
  const unit = 1n << BigInt(-by);
  return (value + unit - 1n) / unit;
}
