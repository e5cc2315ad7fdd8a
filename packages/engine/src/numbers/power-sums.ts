/**
 * Exact sums of numbers and of their squares: what a variance is computed from, whatever the order of the numbers, with
 * any of them taken out again.
 *
 * Owns those of int64s and decimals; doubles are double-powers.ts. Does not own how many numbers there are
 * (../aggregates/variance.ts).
 *
 * Invariant F1: the cells' bytes are a function of the multiset of numbers. A decimal's scale is none of its value here:
 * what is stored is at the least scale that holds it, so that taking out 1.555 leaves no trace.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { powerOfTen } from '@freshet/values/decimal.ts';
import type { Cells, Raw } from '../aggregates/aggregate.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { doublePowers } from './double-powers.ts';
import { addIntegers, normaliseInteger, parseSmallDecimal } from './integers.ts';

/** An integer as the engine holds it (integers.ts). */
export type Integer = number | bigint;

/** n · Σx² − (Σx)² of n numbers, as a fraction; never negative, and the denominator is positive. */
export interface Spread {
  readonly numerator: Integer;
  readonly denominator: Integer;
}

/** Sums of one kind of number, in a run of cells (../aggregates/aggregate.ts); all zero is those of nothing. */
export interface PowerSums {
  readonly width: number;
  readonly numeric: boolean;
  add(cells: Cells, at: number, value: Raw): void;
  /** Takes out a number that was added. */
  retract(cells: Cells, at: number, value: Raw): void;
  /** Adds sums that lie elsewhere; neither changes them nor keeps what may change. */
  merge(cells: Cells, at: number, from: Cells, fromAt: number): void;
  /** The spread of that many numbers; undefined when one of them is NaN or an infinity. */
  spread(cells: Cells, at: number, count: number): Spread | undefined;
  write(writer: ByteWriter, cells: Cells, at: number): void;
  /** Into cells that are zero. */
  read(reader: ByteReader, cells: Cells, at: number): void;
}

/** Products of numbers up to this are safe integers. */
const FACTOR_MAX = Math.floor(Math.sqrt(Number.MAX_SAFE_INTEGER));

export function times(a: Integer, b: Integer): Integer {
  if (typeof a === 'number' && typeof b === 'number') {
    const product = a * b;
    // + 0: zero has one form.
    if (Number.isSafeInteger(product)) return product + 0;
  }
  return normaliseInteger(BigInt(a) * BigInt(b));
}

function minus(a: Integer, b: Integer): Integer {
  if (typeof a === 'number' && typeof b === 'number') {
    const difference = a - b;
    if (Number.isSafeInteger(difference)) return difference;
  }
  return normaliseInteger(BigInt(a) - BigInt(b));
}

function square(value: Integer): Integer {
  if (typeof value === 'number' && value <= FACTOR_MAX && value >= -FACTOR_MAX) return value * value;
  return times(value, value);
}

function spreadOf(sum: Integer, squares: Integer, count: number): Integer {
  return minus(times(squares, count), square(sum));
}

/** Cells: the sum, the sum of squares. */
const int64Powers: PowerSums = {
  width: 2,
  numeric: true,
  add: (cells, at, value) => {
    cells[at] = addIntegers(cells[at] as Integer, value as Integer);
    cells[at + 1] = addIntegers(cells[at + 1] as Integer, square(value as Integer));
  },
  retract: (cells, at, value) => {
    cells[at] = minus(cells[at] as Integer, value as Integer);
    cells[at + 1] = minus(cells[at + 1] as Integer, square(value as Integer));
  },
  merge: (cells, at, from, fromAt) => {
    cells[at] = addIntegers(cells[at] as Integer, from[fromAt] as Integer);
    cells[at + 1] = addIntegers(cells[at + 1] as Integer, from[fromAt + 1] as Integer);
  },
  spread: (cells, at, count) => ({
    numerator: spreadOf(cells[at] as Integer, cells[at + 1] as Integer, count),
    denominator: 1,
  }),
  write: (writer, cells, at) => {
    writer.bigZigzag(cells[at] as Integer);
    writer.bigZigzag(cells[at + 1] as Integer);
  },
  read: (reader, cells, at) => {
    cells[at] = reader.bigZigzag();
    cells[at + 1] = reader.bigZigzag();
  },
};

/** Where the cells of decimals hold what, from their first one on. */
const NON_FINITE = 0;
const SCALE = 1;
const SUM = 2;
const SQUARES = 3;

/** Brings the sums to a scale that is not below their own. */
function raiseScale(cells: Cells, at: number, scale: number): void {
  const by = scale - (cells[at + SCALE] as number);
  if (by === 0) return;
  cells[at + SCALE] = scale;
  cells[at + SUM] = times(cells[at + SUM] as Integer, normaliseInteger(powerOfTen(by)));
  cells[at + SQUARES] = times(cells[at + SQUARES] as Integer, normaliseInteger(powerOfTen(2 * by)));
}

function addUnscaled(cells: Cells, at: number, sum: Integer, squares: Integer, scale: number): void {
  const own = cells[at + SCALE] as number;
  if (scale > own) raiseScale(cells, at, scale);
  const by = own - scale;
  const first = by > 0 ? times(sum, normaliseInteger(powerOfTen(by))) : sum;
  const second = by > 0 ? times(squares, normaliseInteger(powerOfTen(2 * by))) : squares;
  cells[at + SUM] = addIntegers(cells[at + SUM] as Integer, first);
  cells[at + SQUARES] = addIntegers(cells[at + SQUARES] as Integer, second);
}

function addDecimal(cells: Cells, at: number, text: string, sign: 1 | -1): void {
  const value = parseSmallDecimal(text);
  if (typeof value === 'string') {
    cells[at + NON_FINITE] = (cells[at + NON_FINITE] as number) + sign;
    return;
  }
  const { unscaled, scale } = value;
  addUnscaled(cells, at, times(unscaled, sign), times(square(unscaled), sign), scale);
}

/** The least scale at which both sums are integers, and the sums at it. In steps of halves: a scale may be thousands. */
function leastScale(cells: Cells, at: number): { scale: number; sum: Integer; squares: Integer } {
  let scale = cells[at + SCALE] as number;
  let sum = cells[at + SUM] as Integer;
  let squares = cells[at + SQUARES] as Integer;
  // Squares are never negative: without any, every number is zero.
  if (squares === 0) return { scale: 0, sum: 0, squares: 0 };
  for (let by = 2 ** Math.floor(Math.log2(Math.max(scale, 1))); by >= 1; by /= 2) {
    while (by <= scale) {
      const fewer = shorten(sum, by);
      const fewerSquares = fewer === undefined ? undefined : shorten(squares, 2 * by);
      if (fewer === undefined || fewerSquares === undefined) break;
      sum = fewer;
      squares = fewerSquares;
      scale -= by;
    }
  }
  return { scale, sum, squares };
}

/** The integer without that many zeros at its end; undefined when it has not as many. */
function shorten(value: Integer, zeros: number): Integer | undefined {
  if (value === 0) return 0;
  if (typeof value === 'number') {
    if (zeros > 15) return undefined;
    const unit = 10 ** zeros;
    return value % unit === 0 ? value / unit : undefined;
  }
  const unit = powerOfTen(zeros);
  return value % unit === 0n ? normaliseInteger(value / unit) : undefined;
}

/** Cells: how many are not finite, the scale, the sum at that scale, the sum of squares at twice that scale. */
const decimalPowers: PowerSums = {
  width: 4,
  numeric: true,
  add: (cells, at, value) => addDecimal(cells, at, value as string, 1),
  retract: (cells, at, value) => addDecimal(cells, at, value as string, -1),
  merge: (cells, at, from, fromAt) => {
    cells[at + NON_FINITE] = (cells[at + NON_FINITE] as number) + (from[fromAt + NON_FINITE] as number);
    const sum = from[fromAt + SUM] as Integer;
    const squares = from[fromAt + SQUARES] as Integer;
    addUnscaled(cells, at, sum, squares, from[fromAt + SCALE] as number);
  },
  spread: (cells, at, count) => {
    if (cells[at + NON_FINITE] !== 0) return undefined;
    const numerator = spreadOf(cells[at + SUM] as Integer, cells[at + SQUARES] as Integer, count);
    return { numerator, denominator: normaliseInteger(powerOfTen(2 * (cells[at + SCALE] as number))) };
  },
  write: (writer, cells, at) => {
    const { scale, sum, squares } = leastScale(cells, at);
    writer.varint(cells[at + NON_FINITE] as number);
    writer.varint(scale);
    writer.bigZigzag(sum);
    writer.bigZigzag(squares);
  },
  read: (reader, cells, at) => {
    cells[at + NON_FINITE] = reader.varint();
    cells[at + SCALE] = reader.varint();
    cells[at + SUM] = reader.bigZigzag();
    cells[at + SQUARES] = reader.bigZigzag();
  },
};

/** The sums for a kind that can be summed. */
export function powerSums(kind: Kind): PowerSums {
  switch (kind) {
    case Kind.INT64:
      return int64Powers;
    case Kind.DOUBLE:
      return doublePowers;
    case Kind.DECIMAL:
      return decimalPowers;
    default:
      throw new Error(`no power sums for kind ${kind}`);
  }
}
