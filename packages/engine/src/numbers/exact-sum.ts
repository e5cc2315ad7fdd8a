/**
 * Exact sums of int64s, doubles and decimals behind one face, for sum and mean (and later the power sums of variance).
 *
 * Owns the sums' arithmetic and canonical bytes for int64 and decimal; doubles are double-cells.ts.
 * Invariant (F1): a sum is a function of the multiset of its addends, and equal sums are written as equal bytes.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { formatDecimal, powerOfTen } from '@freshet/values/decimal.ts';
import { INT64_MAX, INT64_MIN } from '@freshet/values/scalar.ts';
import { type Cells, OUT_OF_RANGE, type Raw, type Result } from '../aggregates/aggregate.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { doubleSum } from './double-cells.ts';
import type { NonFinite } from './exact-double.ts';
import { normaliseInteger, parseSmallDecimal } from './integers.ts';
import { ratioToDouble } from './quotient.ts';

/** A sum of one kind of number, in a run of cells (../aggregates/aggregate.ts); all zero is the sum of nothing. */
export interface ExactSum {
  readonly width: number;
  readonly numeric: boolean;
  add(cells: Cells, at: number, value: Raw): void;
  /** Adds a sum that lies elsewhere; neither changes it nor keeps what may change. */
  merge(cells: Cells, at: number, from: Cells, fromAt: number): void;
  /** The sum in the kind of its addends. */
  result(cells: Cells, at: number): Result;
  /** The sum divided by a count, rounded once to a double. */
  quotient(cells: Cells, at: number, count: number): number;
  write(writer: ByteWriter, cells: Cells, at: number): void;
  /** Into cells that are zero. */
  read(reader: ByteReader, cells: Cells, at: number): void;
}

type Integer = number | bigint;

function addIntegers(a: Integer, b: Integer): Integer {
  if (typeof a === 'number' && typeof b === 'number') {
    const total = a + b;
    if (Number.isSafeInteger(total)) return total;
  }
  return normaliseInteger(BigInt(a) + BigInt(b));
}

/** One cell: the sum. */
const int64Sum: ExactSum = {
  width: 1,
  numeric: true,
  add: (cells, at, value) => {
    cells[at] = addIntegers(cells[at] as Integer, value as Integer);
  },
  merge: (cells, at, from, fromAt) => {
    cells[at] = addIntegers(cells[at] as Integer, from[fromAt] as Integer);
  },
  result: (cells, at) => {
    const sum = cells[at] as Integer;
    return typeof sum === 'bigint' && (sum > INT64_MAX || sum < INT64_MIN) ? OUT_OF_RANGE : sum;
  },
  quotient: (cells, at, count) => {
    const sum = cells[at] as Integer;
    return typeof sum === 'number' ? sum / count + 0 : ratioToDouble(sum, BigInt(count));
  },
  write: (writer, cells, at) => writer.bigZigzag(cells[at] as Integer),
  read: (reader, cells, at) => {
    cells[at] = reader.bigZigzag();
  },
};

/** A sum of decimals at the largest scale seen; what is not finite is counted apart. */
interface DecimalSum {
  unscaled: Integer;
  scale: number;
  nonFinite: NonFinite | undefined;
}

function rescale(unscaled: Integer, by: number): Integer {
  return by === 0 ? unscaled : normaliseInteger(BigInt(unscaled) * powerOfTen(by));
}

function addFinite(sum: DecimalSum, unscaled: Integer, scale: number): void {
  if (scale > sum.scale) {
    sum.unscaled = rescale(sum.unscaled, scale - sum.scale);
    sum.scale = scale;
  }
  sum.unscaled = addIntegers(sum.unscaled, rescale(unscaled, sum.scale - scale));
}

function addDecimalText(sum: DecimalSum, text: string): void {
  const value = parseSmallDecimal(text);
  if (typeof value !== 'string') {
    addFinite(sum, value.unscaled, value.scale);
    return;
  }
  sum.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
  if (value === 'NaN') sum.nonFinite.nan++;
  else if (value === 'Infinity') sum.nonFinite.positive++;
  else sum.nonFinite.negative++;
}

function decimalText(sum: DecimalSum): string {
  const counts = sum.nonFinite;
  if (counts !== undefined) {
    if (counts.nan > 0 || (counts.positive > 0 && counts.negative > 0)) return 'NaN';
    return counts.positive > 0 ? 'Infinity' : '-Infinity';
  }
  return formatDecimal({ unscaled: BigInt(sum.unscaled), scale: sum.scale });
}

function mergeDecimals(into: DecimalSum, from: DecimalSum): void {
  addFinite(into, from.unscaled, from.scale);
  if (from.nonFinite === undefined) return;
  into.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
  into.nonFinite.nan += from.nonFinite.nan;
  into.nonFinite.positive += from.nonFinite.positive;
  into.nonFinite.negative += from.nonFinite.negative;
}

/** The cell's sum, made when it is still zero. */
function ownDecimalSum(cells: Cells, at: number): DecimalSum {
  let sum = cells[at] as DecimalSum | 0;
  if (sum === 0) {
    sum = { unscaled: 0, scale: 0, nonFinite: undefined };
    cells[at] = sum;
  }
  return sum;
}

/** One cell: 0 or a DecimalSum. */
const decimalSum: ExactSum = {
  width: 1,
  numeric: false,
  add: (cells, at, value) => addDecimalText(ownDecimalSum(cells, at), value as string),
  merge: (cells, at, from, fromAt) => mergeDecimals(ownDecimalSum(cells, at), from[fromAt] as DecimalSum),
  result: (cells, at) => decimalText(cells[at] as DecimalSum),
  quotient: (cells, at, count) => {
    const sum = cells[at] as DecimalSum;
    if (sum.nonFinite !== undefined) return Number(decimalText(sum));
    return ratioToDouble(BigInt(sum.unscaled), powerOfTen(sum.scale) * BigInt(count));
  },
  write: (writer, cells, at) => {
    const sum = cells[at] as DecimalSum;
    writer.varint(sum.scale);
    writer.bigZigzag(sum.unscaled);
    writer.nonFinite(sum.nonFinite);
  },
  read: (reader, cells, at) => {
    const scale = reader.varint();
    const unscaled = reader.bigZigzag();
    cells[at] = { unscaled, scale, nonFinite: reader.nonFinite() } satisfies DecimalSum;
  },
};

/** The kinds that can be summed. */
export const SUMMABLE: readonly Kind[] = [Kind.INT64, Kind.DOUBLE, Kind.DECIMAL];

/** The sum for a summable kind. */
export function exactSum(kind: Kind): ExactSum {
  switch (kind) {
    case Kind.INT64:
      return int64Sum;
    case Kind.DOUBLE:
      return doubleSum;
    case Kind.DECIMAL:
      return decimalSum;
    default:
      throw new Error(`no sum for kind ${kind}`);
  }
}
