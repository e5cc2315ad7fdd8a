/**
 * sum: of int64 exact, OUT_OF_RANGE when beyond int64; of double exact and rounded once at the result; of decimal exact,
 * at the largest scale seen.
 */
import type { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { exactSum, SUMMABLE } from '../numbers/exact-sum.ts';
import { ABSENT, type Accumulator, type Aggregate } from './aggregate.ts';
import { inputAmong, kindOf } from './types.ts';

function accumulator(kind: Kind): Accumulator {
  const sums = exactSum(kind);
  return {
    add: (state, value) => (state === undefined ? sums.of(value as never) : sums.add(state, value as never)),
    merge: (into, from) => (into === undefined ? sums.copy(from) : sums.merge(into, from)),
    result: (state) => (state === undefined ? ABSENT : sums.result(state)),
    write: (writer, state) => sums.write(writer, state),
    read: (reader) => sums.read(reader),
  };
}

export const sum: Aggregate = {
  name: 'sum',
  inputOptional: false,
  resultType: (input) => inputAmong('sum', input, SUMMABLE),
  accumulator: (input) => accumulator(kindOf(input)),
};
