/**
 * Exact sums of int64s, doubles and decimals behind one face, for sum and mean (and later the power sums of variance).
 *
 * Owns the sums' arithmetic and canonical bytes for int64 and decimal; doubles are exact-double.ts.
 * Invariant (F1): a sum is a function of the multiset of its addends, and equal sums are written as equal bytes.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { decimalToDouble, formatDecimal, powerOfTen } from '@freshet/values/decimal.ts';
import { INT64_MAX, INT64_MIN } from '@freshet/values/scalar.ts';
import { OUT_OF_RANGE, type Raw, type Result } from '../aggregates/aggregate.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { readDoubleSum, writeDoubleSum } from './double-sum-codec.ts';
import {
  addDouble,
  copyDoubleSum,
  type DoubleSum,
  mergeDoubleSums,
  type NonFinite,
  roundDoubleSum,
} from './exact-double.ts';
import { normaliseInteger, parseSmallDecimal } from './integers.ts';

/** A sum of one kind of number. `S` is immutable or owned by whoever holds it: see each function. */
export interface ExactSum<S> {
  /** The sum of one value. */
  of(value: Raw): S;
  /** May change and return `sum`. */
  add(sum: S, value: Raw): S;
  /** May change and return `into`; neither changes nor keeps `from` if it is mutable. */
  merge(into: S, from: S): S;
  /** A sum equal to `sum` that can be changed without changing it. */
  copy(sum: S): S;
  /** The sum in the kind of its addends. */
  result(sum: S): Result;
  /** The sum, rounded once to a double. */
  toDouble(sum: S): number;
  write(writer: ByteWriter, sum: S): void;
  read(reader: ByteReader): S;
}

type Integer = number | bigint;

function addIntegers(a: Integer, b: Integer): Integer {
  if (typeof a === 'number' && typeof b === 'number') {
    const total = a + b;
    if (Number.isSafeInteger(total)) return total;
  }
  return normaliseInteger(BigInt(a) + BigInt(b));
}

const int64Sum: ExactSum<Integer> = {
  of: (value) => value as Integer,
  add: (sum, value) => addIntegers(sum, value as Integer),
  merge: addIntegers,
  copy: (sum) => sum,
  result: (sum) => (typeof sum === 'bigint' && (sum > INT64_MAX || sum < INT64_MIN) ? OUT_OF_RANGE : sum),
  toDouble: Number,
  write: (writer, sum) => writer.bigZigzag(sum),
  read: (reader) => reader.bigZigzag(),
};

const doubleSum: ExactSum<DoubleSum> = {
  of: (value) => addDouble(0, value as number),
  add: (sum, value) => addDouble(sum, value as number),
  merge: mergeDoubleSums,
  copy: copyDoubleSum,
  result: roundDoubleSum,
  toDouble: roundDoubleSum,
  write: writeDoubleSum,
  read: readDoubleSum,
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

function addDecimalText(sum: DecimalSum, text: string): DecimalSum {
  const value = parseSmallDecimal(text);
  if (typeof value !== 'string') {
    addFinite(sum, value.unscaled, value.scale);
    return sum;
  }
  sum.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
  if (value === 'NaN') sum.nonFinite.nan++;
  else if (value === 'Infinity') sum.nonFinite.positive++;
  else sum.nonFinite.negative++;
  return sum;
}

function decimalText(sum: DecimalSum): string {
  const counts = sum.nonFinite;
  if (counts !== undefined) {
    if (counts.nan > 0 || (counts.positive > 0 && counts.negative > 0)) return 'NaN';
    return counts.positive > 0 ? 'Infinity' : '-Infinity';
  }
  return formatDecimal({ unscaled: BigInt(sum.unscaled), scale: sum.scale });
}

function decimalSumToDouble(sum: DecimalSum): number {
  if (sum.nonFinite !== undefined) return Number(decimalText(sum));
  return decimalToDouble({ unscaled: BigInt(sum.unscaled), scale: sum.scale });
}

const decimalSum: ExactSum<DecimalSum> = {
  of: (value) => addDecimalText({ unscaled: 0, scale: 0, nonFinite: undefined }, value as string),
  add: (sum, value) => addDecimalText(sum, value as string),
  merge: (into, from) => {
    addFinite(into, from.unscaled, from.scale);
    if (from.nonFinite !== undefined) {
      into.nonFinite ??= { nan: 0, positive: 0, negative: 0 };
      into.nonFinite.nan += from.nonFinite.nan;
      into.nonFinite.positive += from.nonFinite.positive;
      into.nonFinite.negative += from.nonFinite.negative;
    }
    return into;
  },
  copy: (sum) => ({ ...sum, nonFinite: sum.nonFinite === undefined ? undefined : { ...sum.nonFinite } }),
  result: decimalText,
  toDouble: decimalSumToDouble,
  write: (writer, sum) => {
    writer.varint(sum.scale);
    writer.bigZigzag(sum.unscaled);
    writer.nonFinite(sum.nonFinite);
  },
  read: (reader) => {
    const scale = reader.varint();
    const unscaled = reader.bigZigzag();
    return { unscaled, scale, nonFinite: reader.nonFinite() };
  },
};

/** The kinds that can be summed. */
export const SUMMABLE: readonly Kind[] = [Kind.INT64, Kind.DOUBLE, Kind.DECIMAL];

/** The sum for a summable kind. */
export function exactSum(kind: Kind): ExactSum<unknown> {
  switch (kind) {
    case Kind.INT64:
      return int64Sum as ExactSum<unknown>;
    case Kind.DOUBLE:
      return doubleSum as ExactSum<unknown>;
    case Kind.DECIMAL:
      return decimalSum as ExactSum<unknown>;
    default:
      throw new Error(`no sum for kind ${kind}`);
  }
}
