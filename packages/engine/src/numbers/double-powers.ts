/**
 * Exact sums of doubles and of their squares.
 *
 * The square of a double of ordinary size is a pair of doubles, exactly: the rounded product and its error (Dekker 1971).
 * Products and errors are summed apart, because each sum then nearly always stays a pair of doubles itself
 * (double-cells.ts), and adding to it makes no object. Squares of the very large and the very small would over- or
 * underflow; their sum is one bigint in units of 2^-2148, the square of the smallest double. What is not finite is only
 * counted: no number of it gives a variance.
 *
 * Invariant F1: the four sums are functions of the multiset of numbers, and each is written in its one form.
 */
import type { Cells, Raw } from '../aggregates/aggregate.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { doubleSum } from './double-cells.ts';
import { type DoubleSum, doubleSumToFixed, doubleToFixed } from './exact-double.ts';
import type { Integer, PowerSums, Spread } from './power-sums.ts';
import { productError } from './quotient.ts';

/** Where the cells hold what, from their first one on; a sum of doubles takes two. */
const NON_FINITE = 0;
const SUM = 1;
const PRODUCTS = 3;
const ERRORS = 5;
const EXTREMES = 7;
const WIDTH = 8;

/** Between these the product and its error are exact: 2^-960 has its last bit at 2^-1064. */
const SQUARE_MIN = 2 ** -480;
const SQUARE_MAX = 2 ** 480;

/** Bits in the byte that says which of the rarer sums follow. */
const HAS_NON_FINITE = 1;
const HAS_ERRORS = 2;
const HAS_EXTREMES = 4;

function addSigned(cells: Cells, at: number, value: number, sign: 1 | -1): void {
  if (!Number.isFinite(value)) {
    cells[at + NON_FINITE] = (cells[at + NON_FINITE] as number) + sign;
    return;
  }
  if (value === 0) return;
  doubleSum.add(cells, at + SUM, sign * value);
  const size = Math.abs(value);
  if (size >= SQUARE_MIN && size < SQUARE_MAX) {
    const product = value * value;
    const error = productError(value, value, product);
    doubleSum.add(cells, at + PRODUCTS, sign * product);
    if (error !== 0) doubleSum.add(cells, at + ERRORS, sign * error);
    return;
  }
  const fixed = doubleToFixed(value);
  addExtremes(cells, at, fixed * fixed * BigInt(sign));
}

function addExtremes(cells: Cells, at: number, squares: bigint): void {
  const own = cells[at + EXTREMES] as bigint | 0;
  const sum = own === 0 ? squares : own + squares;
  cells[at + EXTREMES] = sum === 0n ? 0 : sum;
}

/** Numbers that are multiples of 2^-400 and below 2^400 become integers by one product that neither rounds nor overflows. */
const PLAIN_EXPONENT = 400;
const BITS = new Float64Array(1);
const WORDS = new Uint32Array(BITS.buffer);

/** The exponent of the last bit that a normal double has; far more than a plain one's for zero, which has none. */
function lastBit(value: number): number {
  if (value === 0) return PLAIN_EXPONENT;
  BITS[0] = value;
  return (((WORDS[1] as number) >>> 20) & 0x7ff) - 1075;
}

function isPlain(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) < 2 ** PLAIN_EXPONENT;
}

/** n · Σx² − (Σx)² in units no finer than the numbers need; undefined when one of the sums is not a plain pair. */
function plainSpread(cells: Cells, at: number, count: number): Spread | undefined {
  const sum = cells[at + SUM];
  const products = cells[at + PRODUCTS];
  const errors = cells[at + ERRORS];
  if (cells[at + EXTREMES] !== 0 || !isPlain(sum) || !isPlain(products) || !isPlain(errors)) return undefined;
  const sumLow = cells[at + SUM + 1] as number;
  const productsLow = cells[at + PRODUCTS + 1] as number;
  const errorsLow = cells[at + ERRORS + 1] as number;
  const ofSum = sumLow === 0 ? lastBit(sum) : lastBit(sumLow);
  const ofProducts = productsLow === 0 ? lastBit(products) : lastBit(productsLow);
  const ofErrors = errorsLow === 0 ? lastBit(errors) : lastBit(errorsLow);
  const unit = Math.min(ofSum, Math.floor(Math.min(ofProducts, ofErrors) / 2));
  if (2 * unit < -PLAIN_EXPONENT) return undefined;
  const scale = 2 ** -unit;
  const scaleOfSquares = 2 ** (-2 * unit);
  const total = BigInt(sum * scale) + BigInt(sumLow * scale);
  const high = BigInt(products * scaleOfSquares) + BigInt(productsLow * scaleOfSquares);
  const low = BigInt(errors * scaleOfSquares) + BigInt(errorsLow * scaleOfSquares);
  const numerator = BigInt(count) * (high + low) - total * total;
  return unit > 0
    ? { numerator: numerator << BigInt(2 * unit), denominator: 1 }
    : { numerator, denominator: 1n << BigInt(-2 * unit) };
}

/** What a sum of finite doubles is in units of 2^-1074, wherever its cells have it. */
function fixedAt(cells: Cells, at: number): bigint {
  const high = cells[at] as DoubleSum;
  const fixed = doubleSumToFixed(high);
  return typeof high === 'number' ? fixed + doubleToFixed(cells[at + 1] as number) : fixed;
}

function wideSpread(cells: Cells, at: number, count: number): Spread {
  const sum = fixedAt(cells, at + SUM);
  const ordinary = (fixedAt(cells, at + PRODUCTS) + fixedAt(cells, at + ERRORS)) << 1074n;
  const squares = ordinary + BigInt(cells[at + EXTREMES] as Integer);
  return { numerator: BigInt(count) * squares - sum * sum, denominator: 1n << 2148n };
}

export const doublePowers: PowerSums = {
  width: WIDTH,
  numeric: true,
  add: (cells, at, value: Raw) => addSigned(cells, at, value as number, 1),
  retract: (cells, at, value: Raw) => addSigned(cells, at, value as number, -1),
  merge: (cells, at, from, fromAt) => {
    cells[at + NON_FINITE] = (cells[at + NON_FINITE] as number) + (from[fromAt + NON_FINITE] as number);
    for (let sum = SUM; sum < EXTREMES; sum += 2) {
      // Nothing was added to most sums of errors, and merging nothing may not make anything of zero.
      if (from[fromAt + sum] !== 0) doubleSum.merge(cells, at + sum, from, fromAt + sum);
    }
    const extremes = from[fromAt + EXTREMES] as bigint | 0;
    if (extremes !== 0) addExtremes(cells, at, extremes);
  },
  spread: (cells, at, count) => {
    if (cells[at + NON_FINITE] !== 0) return undefined;
    return plainSpread(cells, at, count) ?? wideSpread(cells, at, count);
  },
  write: (writer: ByteWriter, cells, at) => {
    const nonFinite = cells[at + NON_FINITE] as number;
    const extremes = cells[at + EXTREMES] as Integer;
    const hasErrors = doubleSum.result(cells, at + ERRORS) !== 0;
    writer.byte(
      (nonFinite === 0 ? 0 : HAS_NON_FINITE) | (hasErrors ? HAS_ERRORS : 0) | (extremes === 0 ? 0 : HAS_EXTREMES),
    );
    if (nonFinite !== 0) writer.varint(nonFinite);
    doubleSum.write(writer, cells, at + SUM);
    doubleSum.write(writer, cells, at + PRODUCTS);
    if (hasErrors) doubleSum.write(writer, cells, at + ERRORS);
    if (extremes !== 0) writer.bigZigzag(extremes);
  },
  read: (reader: ByteReader, cells, at) => {
    const has = reader.byte();
    if ((has & HAS_NON_FINITE) !== 0) cells[at + NON_FINITE] = reader.varint();
    doubleSum.read(reader, cells, at + SUM);
    doubleSum.read(reader, cells, at + PRODUCTS);
    if ((has & HAS_ERRORS) !== 0) doubleSum.read(reader, cells, at + ERRORS);
    // Small enough for a number on the wire or not: in its cell it is a bigint.
    if ((has & HAS_EXTREMES) !== 0) cells[at + EXTREMES] = BigInt(reader.bigZigzag());
  },
};
