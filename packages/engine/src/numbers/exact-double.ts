/**
 * Exact sums of doubles: order-free, retractable, rounded once.
 *
 * A sum is a non-overlapping expansion (Shewchuk 1997): doubles of ascending magnitude whose mathematical sum is exact.
 * Nearly always it has one or two members, and while it has one it is a plain number. Expansions cannot hold
 * sums near the end of the doubles' range, where adding two overflows; such a sum is one bigint in units of 2^-1074,
 * the smallest double, so that 1e308 + 1e308 - 1e308 is 1e308. NaN and the infinities are counted apart.
 *
 * Invariant (F1): encoding is canonical. The form is a function of the exact value alone: normalise() is applied on
 * write, whatever the order in which values came. Exact zero is +0.
 */
import { assert } from '@freshet/kit/assert.ts';
import { ratioToDouble } from './quotient.ts';

/** Non-finite addends by kind. */
export interface NonFinite {
  nan: number;
  positive: number;
  negative: number;
}

/** A sum that neither one double nor a finite expansion is. */
export interface WideSum {
  /** The expansion; empty when `fixed` is set. */
  partials: number[];
  /** The sum in units of 2^-1074 when it does not fit an expansion. */
  fixed: bigint | undefined;
  nonFinite: NonFinite | undefined;
}

/**
 * A plain number is a finite sum that is exactly this double; a list of numbers is a finite sum that is an expansion,
 * ascending, of two or more members (sums of cents are: 0.1 + 0.2 has two).
 */
export type DoubleSum = number | number[] | WideSum;

/** Beyond this, sums are held as bigints; far enough below 2^1024 that no intermediate overflows. */
export const EXPANSION_MAX = 2 ** 1000;

/** The sum with a double added; changes and returns `sum` when it is not a plain number. */
export function addDouble(sum: DoubleSum, value: number): DoubleSum {
  if (typeof sum === 'number') {
    const total = sum + value;
    const virtual = total - sum;
    const error = sum - (total - virtual) + (value - virtual);
    // Overflow and non-finite values fail this comparison, and end up in the slow path.
    if (Math.abs(total) < EXPANSION_MAX) return error === 0 ? total + 0 : [error, total];
    return addToWide(toWide(sum), value);
  }
  if (!Array.isArray(sum)) return addToWide(sum, value);
  return Math.abs(value) < EXPANSION_MAX ? addToExpansion(sum, value) : addToWide(toWide(sum), value);
}

/** The sum with a double taken out that was added; changes and returns `sum` when it is not a plain number. */
export function retractDouble(sum: DoubleSum, value: number): DoubleSum {
  if (Number.isFinite(value)) return normaliseDoubleSum(addDouble(sum, -value));
  const wide = toWide(sum);
  const counts = nonFiniteOf(wide);
  if (Number.isNaN(value)) counts.nan--;
  else if (value > 0) counts.positive--;
  else counts.negative--;
  if (counts.nan === 0 && counts.positive === 0 && counts.negative === 0) wide.nonFinite = undefined;
  return normaliseDoubleSum(wide);
}

/** Two members plus one value nearly always stay two: no loop, nothing allocated. */
function addToExpansion(sum: number[], value: number): DoubleSum {
  if (sum.length === 2) {
    const low = sum[0] as number;
    const high = sum[1] as number;
    const s1 = low + value;
    const v1 = s1 - low;
    if (low - (s1 - v1) + (value - v1) === 0) {
      const s2 = high + s1;
      const v2 = s2 - high;
      const e2 = high - (s2 - v2) + (s1 - v2);
      if (Math.abs(s2) < EXPANSION_MAX) {
        if (e2 === 0) return s2 + 0;
        sum[0] = e2;
        sum[1] = s2;
        return sum;
      }
    }
  }
  growExpansion(sum, value);
  if (!isBelowMax(sum)) return toWide(sum);
  return sum.length > 1 ? sum : (sum[0] ?? 0);
}

/** `into` with all of `from` added; never changes or keeps `from`. */
export function mergeDoubleSums(into: DoubleSum, from: DoubleSum): DoubleSum {
  if (typeof from === 'number') return addDouble(into, from);
  let result: DoubleSum = into;
  if (Array.isArray(from)) {
    for (let i = 0; i < from.length; i++) result = addDouble(result, from[i] as number);
    return result;
  }
  for (const partial of from.partials) result = addDouble(result, partial);
  if (from.fixed === undefined && from.nonFinite === undefined) return result;
  const wide = toWide(result);
  if (from.fixed !== undefined) {
    wide.fixed = toFixed(wide) + from.fixed;
    wide.partials = [];
  }
  if (from.nonFinite !== undefined) {
    const counts = nonFiniteOf(wide);
    counts.nan += from.nonFinite.nan;
    counts.positive += from.nonFinite.positive;
    counts.negative += from.nonFinite.negative;
  }
  return wide;
}

/** The sum, rounded once to the nearest double, ties to even. */
export function roundDoubleSum(sum: DoubleSum): number {
  if (typeof sum === 'number') return sum;
  if (Array.isArray(sum)) return roundExpansion(sum);
  const counts = sum.nonFinite;
  if (counts !== undefined) {
    if (counts.nan > 0 || (counts.positive > 0 && counts.negative > 0)) return Number.NaN;
    if (counts.positive > 0) return Number.POSITIVE_INFINITY;
    if (counts.negative > 0) return Number.NEGATIVE_INFINITY;
  }
  return sum.fixed === undefined ? roundExpansion(sum.partials) : fixedToDouble(sum.fixed);
}

/** The canonical form: equal sums become deeply equal. Returns a new object, or a plain number. */
export function normaliseDoubleSum(sum: DoubleSum): DoubleSum {
  if (typeof sum === 'number') return sum;
  if (Array.isArray(sum)) {
    // Of two members the upper one is already the sum rounded once when adding the lower one does not change it.
    if (sum.length === 2 && (sum[0] as number) + (sum[1] as number) === sum[1] && isBelowMax(sum)) return sum;
    return normaliseDoubleSum({ partials: sum, fixed: undefined, nonFinite: undefined });
  }
  let partials = canonicalExpansion(sum.partials);
  let fixed = sum.fixed;
  if (fixed !== undefined) {
    const head = fixedToDouble(fixed);
    if (Math.abs(head) < EXPANSION_MAX) {
      partials = fixedToExpansion(fixed);
      fixed = undefined;
    }
  } else if (Math.abs(partials.at(-1) ?? 0) >= EXPANSION_MAX) {
    fixed = toFixed(sum);
    partials = [];
  }
  if (fixed === undefined && sum.nonFinite === undefined) return partials.length > 1 ? partials : (partials[0] ?? 0);
  return { partials, fixed, nonFinite: sum.nonFinite === undefined ? undefined : { ...sum.nonFinite } };
}

function isBelowMax(expansion: readonly number[]): boolean {
  return Math.abs(expansion.at(-1) ?? 0) < EXPANSION_MAX;
}

/** Takes over the members of an expansion. */
function toWide(sum: DoubleSum): WideSum {
  if (typeof sum === 'number') return { partials: sum === 0 ? [] : [sum], fixed: undefined, nonFinite: undefined };
  return Array.isArray(sum) ? { partials: sum, fixed: undefined, nonFinite: undefined } : sum;
}

function nonFiniteOf(sum: WideSum): NonFinite {
  sum.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
  return sum.nonFinite;
}

function addToWide(sum: WideSum, value: number): DoubleSum {
  if (!Number.isFinite(value)) {
    const counts = nonFiniteOf(sum);
    if (Number.isNaN(value)) counts.nan++;
    else if (value > 0) counts.positive++;
    else counts.negative++;
    return sum;
  }
  if (sum.fixed !== undefined) {
    sum.fixed += doubleToFixed(value);
    return sum;
  }
  if (Math.abs(value) >= EXPANSION_MAX || !isBelowMax(sum.partials)) {
    sum.fixed = toFixed(sum) + doubleToFixed(value);
    sum.partials = [];
    return sum;
  }
  growExpansion(sum.partials, value);
  return sum;
}

/** Adds a double to an expansion in place, dropping zeros (the inner loop of Python's fsum). */
function growExpansion(partials: number[], value: number): void {
  let carry = value;
  let kept = 0;
  for (let i = 0; i < partials.length; i++) {
    let small = partials[i] as number;
    if (Math.abs(carry) < Math.abs(small)) {
      const swap = carry;
      carry = small;
      small = swap;
    }
    const high = carry + small;
    const low = small - (high - carry);
    if (low !== 0) partials[kept++] = low;
    carry = high;
  }
  partials.length = kept;
  if (carry !== 0) partials.push(carry);
}

/** The expansion's sum rounded once: the top two decide, and the sign of what is below breaks a tie. */
function roundExpansion(partials: readonly number[]): number {
  let at = partials.length - 1;
  if (at < 0) return 0;
  let high = partials[at--] as number;
  let low = 0;
  while (at >= 0) {
    const x = high;
    const y = partials[at--] as number;
    high = x + y;
    low = y - (high - x);
    if (low !== 0) break;
  }
  if (at >= 0 && ((low < 0 && (partials[at] as number) < 0) || (low > 0 && (partials[at] as number) > 0))) {
    // The part that was cut is exactly half a unit, and there is more beyond it on the same side.
    const twice = low * 2;
    const next = high + twice;
    if (twice === next - high) return next;
  }
  return high;
}

/** The expansion in which each member is the sum of itself and all below it, rounded once: unique for its value. */
function canonicalExpansion(partials: readonly number[]): number[] {
  const rest = [...partials];
  const canonical: number[] = [];
  while (rest.length > 0) {
    const head = roundExpansion(rest);
    assert(head !== 0, 'an expansion without zeros sums to zero');
    canonical.push(head);
    growExpansion(rest, -head);
  }
  return canonical.reverse();
}

const VIEW = new DataView(new ArrayBuffer(8));

/** A finite double in units of 2^-1074. */
function doubleToFixed(value: number): bigint {
  VIEW.setFloat64(0, value);
  const bits = VIEW.getBigUint64(0);
  const exponent = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xf_ffff_ffff_ffffn;
  const magnitude = exponent === 0 ? fraction : (fraction | 0x10_0000_0000_0000n) << BigInt(exponent - 1);
  return value < 0 ? -magnitude : magnitude;
}

function toFixed(sum: WideSum): bigint {
  if (sum.fixed !== undefined) return sum.fixed;
  let total = 0n;
  for (const partial of sum.partials) total += doubleToFixed(partial);
  return total;
}

/** The nearest double to a count of 2^-1074, ties to even; an infinity beyond the range. */
export function fixedToDouble(fixed: bigint): number {
  const negative = fixed < 0n;
  const magnitude = negative ? -fixed : fixed;
  const bits = magnitude.toString(2).length;
  if (magnitude === 0n) return 0;
  const shift = Math.max(0, bits - 53);
  let mantissa = magnitude >> BigInt(shift);
  const cut = magnitude - (mantissa << BigInt(shift));
  const half = shift === 0 ? 0n : 1n << BigInt(shift - 1);
  if (shift > 0 && (cut > half || (cut === half && (mantissa & 1n) === 1n))) mantissa += 1n;
  // mantissa <= 2^53 is exact as a double; scaling by powers of two in two steps neither rounds nor overflows early.
  const scaled = scaleDown(Number(mantissa), shift);
  return negative ? -scaled : scaled;
}

/** value * 2^(shift - 1074), exact, because the value has at most 53 bits and the shift kept its lowest at 2^-1074. */
function scaleDown(value: number, shift: number): number {
  const exponent = shift - 1074;
  if (exponent > 971) return Number.POSITIVE_INFINITY;
  if (exponent >= -1022) return value * 2 ** exponent;
  return value * 2 ** -1022 * 2 ** (exponent + 1022);
}

/** The sum divided by a count, rounded once. */
export function divideDoubleSum(sum: DoubleSum, count: number): number {
  const wide = toWide(sum);
  if (wide.nonFinite !== undefined) return roundDoubleSum(wide);
  return ratioToDouble(toFixed(wide), BigInt(count) << 1074n);
}

function fixedToExpansion(fixed: bigint): number[] {
  const descending: number[] = [];
  let rest = fixed;
  while (rest !== 0n) {
    const head = fixedToDouble(rest);
    descending.push(head);
    rest -= doubleToFixed(head);
  }
  return descending.reverse();
}
