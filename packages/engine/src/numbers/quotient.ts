/** Quotients of exact numbers, and square roots of such quotients, rounded once: what means and deviations are. */

/** Between these nothing below over- or underflows. */
const PLAIN_MIN = 2 ** -900;
const PLAIN_MAX = 2 ** 900;
/** Veltkamp's constant: splits a double into halves whose products are exact. */
const SPLITTER = 2 ** 27 + 1;
/** More than all rounding errors below together, relative to the correction. */
const DOUBT = 1 + 2 ** -30;

/**
 * (high + low) / count rounded once, ties to even; undefined when plain arithmetic cannot tell. Low is at most half a
 * unit in high's last place, count a positive safe integer.
 */
export function dividePair(high: number, low: number, count: number): number | undefined {
  // A division of two doubles is rounded once by itself. Adding 0 makes a negative zero positive: zero has one form.
  if (low === 0) return high / count + 0;
  const size = Math.abs(high);
  if (!(size > PLAIN_MIN && size < PLAIN_MAX)) return undefined;
  const quotient = high / count;
  const product = quotient * count;
  const rest = high - product - productError(quotient, count, product) + low;
  const correction = rest / count;
  const result = quotient + correction;
  const cut = correction - (result - quotient);
  // What is cut is known but for its last digits: near half a unit they would decide.
  return result + cut * DOUBT === result ? result : undefined;
}

/** a * b - product, exactly (Dekker 1971), if nothing over- or underflows: between 2^-480 and 2^480 nothing does. */
export function productError(a: number, b: number, product: number): number {
  const aScaled = SPLITTER * a;
  const aHigh = aScaled - (aScaled - a);
  const aLow = a - aHigh;
  const bScaled = SPLITTER * b;
  const bHigh = bScaled - (bScaled - b);
  const bLow = b - bHigh;
  return aHigh * bHigh - product + aHigh * bLow + aLow * bHigh + aLow * bLow;
}

/** numerator / denominator rounded once to a double, ties to even, an infinity beyond the range. The denominator is positive. */
export function ratioToDouble(numerator: bigint, denominator: bigint): number {
  if (numerator === 0n) return 0;
  // Taken from 0: what is too small for a double is +0 on either side.
  if (numerator < 0n) return 0 - ratioToDouble(-numerator, denominator);
  // Two bits more than a double has, and never finer than half of 2^-1074; what is cut is told by one bit more.
  const exponent = Math.max(bitLength(numerator) - bitLength(denominator) - 55, -1076);
  const scaled = exponent < 0 ? numerator << BigInt(-exponent) : numerator;
  const divisor = exponent < 0 ? denominator : denominator << BigInt(exponent);
  const whole = scaled / divisor;
  const sticky = whole * divisor === scaled ? 0n : 1n;
  return scaleBits((whole << 1n) | sticky, exponent - 1);
}

/** value * 2^exponent rounded once; the value has 54 bits or more unless the result is subnormal. */
function scaleBits(value: bigint, exponent: number): number {
  // Down to 53 bits, or to multiples of 2^-1074 where these are coarser.
  const cut = Math.max(bitLength(value) - 53, -1074 - exponent, 0);
  const unit = BigInt(cut);
  let mantissa = value >> unit;
  const below = value - (mantissa << unit);
  const half = cut === 0 ? 0n : 1n << (unit - 1n);
  if (cut > 0 && (below > half || (below === half && (mantissa & 1n) === 1n))) mantissa += 1n;
  const scale = exponent + cut;
  if (scale > 971) return Number.POSITIVE_INFINITY;
  const top = Number(mantissa);
  // Exact in two steps: the mantissa fits, and the result is a multiple of the smallest double.
  return scale >= -1022 ? top * 2 ** scale : top * 2 ** -1022 * 2 ** (scale + 1022);
}

/**
 * The square root of numerator / denominator rounded once to a double, ties to even, an infinity beyond the range. The
 * numerator is not negative, the denominator positive.
 */
export function rootOfRatioToDouble(numerator: bigint, denominator: bigint): number {
  if (numerator === 0n) return 0;
  // An even exponent that leaves 110 bits or more of the ratio: of these the root has 55, as many as scaleBits asks for.
  const spare = bitLength(numerator) - bitLength(denominator) - 111;
  const exponent = spare - (spare & 1);
  const scaled = exponent < 0 ? numerator << BigInt(-exponent) : numerator;
  const divisor = exponent < 0 ? denominator : denominator << BigInt(exponent);
  const whole = scaled / divisor;
  const root = integerRoot(whole);
  const sticky = root * root === whole && whole * divisor === scaled ? 0n : 1n;
  return scaleBits((root << 1n) | sticky, exponent / 2 - 1);
}

/** The greatest integer whose square is not above the value, which has at most 112 bits. */
function integerRoot(value: bigint): bigint {
  // The first guess is right to some 50 bits of 56; one step of Newton's squares what is wrong with it.
  let root = BigInt(Math.floor(Math.sqrt(Number(value))));
  if (root === 0n) return 0n;
  root = (root + value / root) >> 1n;
  while (root * root > value) root -= 1n;
  while ((root + 1n) * (root + 1n) <= value) root += 1n;
  return root;
}

function bitLength(value: bigint): number {
  const hex = value.toString(16);
  return 4 * hex.length + 28 - Math.clz32(Number.parseInt(hex.charAt(0), 16));
}
