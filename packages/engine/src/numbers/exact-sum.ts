/**
 * Exact sums of int64s, doubles and decimals behind one face, for sum and mean (and later the power sums of variance).
 *
 * Owns the sums' arithmetic and canonical bytes for int64; doubles are double-cells.ts, decimals decimal-sum.ts.
 * Invariant (F1): a sum is a function of the multiset of its addends, and equal sums are written as equal bytes.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { INT64_MAX, INT64_MIN } from '@freshet/values/scalar.ts';
import { type Cells, OUT_OF_RANGE, type Raw, type Result } from '../aggregates/aggregate.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { decimalSum, retractableDecimalSum } from './decimal-sum.ts';
import { doubleSum } from './double-cells.ts';
import { addIntegers, type Integer } from './integers.ts';
import { ratioToDouble } from './quotient.ts';

/** A sum of one kind of number, in a run of cells (../aggregates/aggregate.ts); all zero is the sum of nothing. */
export interface ExactSum {
  readonly width: number;
  readonly numeric: boolean;
  add(cells: Cells, at: number, value: Raw): void;
  /** Takes out a value that was added. Decimals: only of a sum that is retractable. */
  retract(cells: Cells, at: number, value: Raw): void;
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

/** One cell: the sum. */
const int64Sum: ExactSum = {
  width: 1,
  numeric: true,
  add: (cells, at, value) => {
    cells[at] = addIntegers(cells[at] as Integer, value as Integer);
  },
  retract: (cells, at, value) => {
    cells[at] = addIntegers(cells[at] as Integer, -(value as number));
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

/** The kinds that can be summed. */
export const SUMMABLE: readonly Kind[] = [Kind.INT64, Kind.DOUBLE, Kind.DECIMAL];

/** Takes a value out of a count of values followed by their sum; when none is left, all is zero. Always true. */
export function retractCounted(sums: ExactSum, cells: Cells, at: number, value: Raw): boolean {
  const left = (cells[at] as number) - 1;
  cells[at] = left;
  if (left === 0) for (let i = 1; i <= sums.width; i++) cells[at + i] = 0;
  else sums.retract(cells, at + 1, value);
  return true;
}

/** The sum for a summable kind; `retractable`: values are taken out of it again. */
export function exactSum(kind: Kind, retractable: boolean): ExactSum {
  switch (kind) {
    case Kind.INT64:
      return int64Sum;
    case Kind.DOUBLE:
      return doubleSum;
    case Kind.DECIMAL:
      return retractable ? retractableDecimalSum : decimalSum;
    default:
      throw new Error(`no sum for kind ${kind}`);
  }
}
