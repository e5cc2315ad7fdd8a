/** mean: the exact sum divided by the number of values, rounded once to a double. */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { exactSum, retractCounted, SUMMABLE } from '../numbers/exact-sum.ts';
import { ABSENT, type Accumulator, type Aggregate, type Raw } from './aggregate.ts';
import { inputAmong, kindOf, simpleType } from './types.ts';

/** Cells: how many values, and their sum's own. */
function accumulator(kind: Kind, retractable: boolean): Accumulator {
  const sums = exactSum(kind, retractable);
  return {
    width: 1 + sums.width,
    numeric: sums.numeric,
    isOrdered: false,
    isRefolded: false,
    add: (cells, at, value) => {
      cells[at] = (cells[at] as number) + 1;
      sums.add(cells, at + 1, value as never);
    },
    retract: (cells, at, value) => retractCounted(sums, cells, at, value as Raw),
    merge: (cells, at, from, fromAt) => {
      cells[at] = (cells[at] as number) + (from[fromAt] as number);
      sums.merge(cells, at + 1, from, fromAt + 1);
    },
    result: (cells, at) => {
      const count = cells[at] as number;
      return count === 0 ? ABSENT : sums.quotient(cells, at + 1, count);
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

export const mean: Aggregate = {
  name: 'mean',
  inputOptional: false,
  resultType: (input) => {
    const type = inputAmong('mean', input, SUMMABLE);
    return typeof type === 'string' ? type : simpleType(Kind.DOUBLE);
  },
  accumulator: (input, options) => accumulator(kindOf(input), options?.retractable === true),
};
