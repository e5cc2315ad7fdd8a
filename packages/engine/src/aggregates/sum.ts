/**
 * sum: of int64 exact, OUT_OF_RANGE when beyond int64; of double exact and rounded once at the result; of decimal exact,
 * at the largest scale seen.
 */
import type { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { exactSum, SUMMABLE } from '../numbers/exact-sum.ts';
import { ABSENT, type Accumulator, type Aggregate } from './aggregate.ts';
import { inputAmong, kindOf } from './types.ts';

/** Cells: 1, and the sum's own. */
function accumulator(kind: Kind): Accumulator {
  const sums = exactSum(kind);
  return {
    width: 1 + sums.width,
    numeric: sums.numeric,
    add: (cells, at, value) => {
      cells[at] = 1;
      sums.add(cells, at + 1, value as never);
    },
    merge: (cells, at, from, fromAt) => {
      cells[at] = 1;
      sums.merge(cells, at + 1, from, fromAt + 1);
    },
    result: (cells, at) => (cells[at] === 0 ? ABSENT : sums.result(cells, at + 1)),
    write: (writer, cells, at) => sums.write(writer, cells, at + 1),
    read: (reader, cells, at) => {
      cells[at] = 1;
      sums.read(reader, cells, at + 1);
    },
  };
}

export const sum: Aggregate = {
  name: 'sum',
  inputOptional: false,
  resultType: (input) => inputAmong('sum', input, SUMMABLE),
  accumulator: (input) => accumulator(kindOf(input)),
};
