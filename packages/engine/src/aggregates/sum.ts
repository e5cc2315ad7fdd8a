/**
 * sum: of int64 exact, OUT_OF_RANGE when beyond int64; of double exact and rounded once at the result; of decimal exact,
 * at the largest scale seen.
 */
import type { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { exactSum, retractCounted, SUMMABLE } from '../numbers/exact-sum.ts';
import { ABSENT, type Accumulator, type Aggregate, type Raw } from './aggregate.ts';
import { inputAmong, kindOf } from './types.ts';

/** Cells: 1, and the sum's own; retractable: how many values, which tells a sum of 0 from nothing. */
function accumulator(kind: Kind, retractable: boolean): Accumulator {
  const sums = exactSum(kind, retractable);
  return {
    width: 1 + sums.width,
    numeric: sums.numeric,
    isOrdered: false,
    isRefolded: false,
    add: (cells, at, value) => {
      cells[at] = retractable ? (cells[at] as number) + 1 : 1;
      sums.add(cells, at + 1, value as never);
    },
    retract: (cells, at, value) => retractCounted(sums, cells, at, value as Raw),
    merge: (cells, at, from, fromAt) => {
      cells[at] = retractable ? (cells[at] as number) + (from[fromAt] as number) : 1;
      sums.merge(cells, at + 1, from, fromAt + 1);
    },
    result: (cells, at) => (cells[at] === 0 ? ABSENT : sums.result(cells, at + 1)),
    write: (writer, cells, at) => {
      if (retractable) writer.varint(cells[at] as number);
      sums.write(writer, cells, at + 1);
    },
    read: (reader, cells, at) => {
      cells[at] = retractable ? reader.varint() : 1;
      sums.read(reader, cells, at + 1);
    },
  };
}

export const sum: Aggregate = {
  name: 'sum',
  inputOptional: false,
  resultType: (input) => inputAmong('sum', input, SUMMABLE),
  accumulator: (input, options) => accumulator(kindOf(input), options?.retractable === true),
};
