/**
 * variance and stddev, of the sample (divided by n − 1; of one value there is none) and, as variance_pop and stddev_pop,
 * of the population (divided by n). From exact power sums, so that (n·Σx² − (Σx)²) loses nothing however far the values
 * lie from zero, and rounded once to a double.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { SUMMABLE } from '../numbers/exact-sum.ts';
import { type Integer, powerSums, type Spread, times } from '../numbers/power-sums.ts';
import { ratioToDouble, rootOfRatioToDouble } from '../numbers/quotient.ts';
import { ABSENT, type Accumulator, type Aggregate, type Raw } from './aggregate.ts';
import { inputAmong, kindOf, simpleType } from './types.ts';

interface Variant {
  readonly name: string;
  /** What is taken from the count to divide by. */
  readonly less: 0 | 1;
  readonly isRoot: boolean;
}

/** The spread divided by n times (n − less), or the root of that. */
function quotient({ numerator, denominator }: Spread, count: number, { less, isRoot }: Variant): number {
  const divisor: Integer = times(denominator, times(count, count - less));
  if (isRoot) return rootOfRatioToDouble(BigInt(numerator), BigInt(divisor));
  if (typeof numerator === 'number' && typeof divisor === 'number') return numerator / divisor;
  return ratioToDouble(BigInt(numerator), BigInt(divisor));
}

/** Cells: how many values, and the power sums' own. */
function accumulator(kind: Kind, variant: Variant): Accumulator {
  const sums = powerSums(kind);
  const width = 1 + sums.width;
  return {
    width,
    numeric: sums.numeric,
    isOrdered: false,
    isRefolded: false,
    add: (cells, at, value) => {
      cells[at] = (cells[at] as number) + 1;
      sums.add(cells, at + 1, value as Raw);
    },
    retract: (cells, at, value) => {
      const count = (cells[at] as number) - 1;
      cells[at] = count;
      if (count > 0) sums.retract(cells, at + 1, value as Raw);
      else for (let i = at; i < at + width; i++) cells[i] = 0;
      return true;
    },
    merge: (cells, at, from, fromAt) => {
      cells[at] = (cells[at] as number) + (from[fromAt] as number);
      sums.merge(cells, at + 1, from, fromAt + 1);
    },
    result: (cells, at) => {
      const count = cells[at] as number;
      if (count <= variant.less) return ABSENT;
      const spread = sums.spread(cells, at + 1, count);
      return spread === undefined ? Number.NaN : quotient(spread, count, variant);
    },
    write: (writer, cells, at) => {
      writer.varint(cells[at] as number);
      sums.write(writer, cells, at + 1);
    },
    read: (reader, cells, at) => {
      cells[at] = reader.varint();
      sums.read(reader, cells, at + 1);
    },
  };
}

function aggregate(variant: Variant): Aggregate {
  return {
    name: variant.name,
    inputOptional: false,
    resultType: (input) => {
      const type = inputAmong(variant.name, input, SUMMABLE);
      return typeof type === 'string' ? type : simpleType(Kind.DOUBLE);
    },
    accumulator: (input) => accumulator(kindOf(input), variant),
  };
}

export const variance: Aggregate = aggregate({ name: 'variance', less: 1, isRoot: false });
export const variancePop: Aggregate = aggregate({ name: 'variance_pop', less: 0, isRoot: false });
export const stddev: Aggregate = aggregate({ name: 'stddev', less: 1, isRoot: true });
export const stddevPop: Aggregate = aggregate({ name: 'stddev_pop', less: 0, isRoot: true });
