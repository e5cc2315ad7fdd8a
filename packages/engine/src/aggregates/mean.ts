/** mean: the exact sum, rounded once to a double, divided by the number of values. */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { exactSum, SUMMABLE } from '../numbers/exact-sum.ts';
import { ABSENT, type Accumulator, type Aggregate } from './aggregate.ts';
import { inputAmong, kindOf, simpleType } from './types.ts';

interface Mean {
  count: number;
  sum: unknown;
}

function accumulator(kind: Kind): Accumulator<Mean> {
  const sums = exactSum(kind);
  return {
    add: (state, value) => {
      if (state === undefined) return { count: 1, sum: sums.of(value as never) };
      state.count++;
      state.sum = sums.add(state.sum, value as never);
      return state;
    },
    merge: (into, from) => {
      if (into === undefined) return { count: from.count, sum: sums.copy(from.sum) };
      into.count += from.count;
      into.sum = sums.merge(into.sum, from.sum);
      return into;
    },
    // The `+ 0` makes a negative zero positive: a mean of zero has one form.
    result: (state) => (state === undefined ? ABSENT : sums.toDouble(state.sum) / state.count + 0),
    write: (writer, state) => {
      writer.varint(state.count);
      sums.write(writer, state.sum);
    },
    read: (reader) => {
      const count = reader.varint();
      return { count, sum: sums.read(reader) };
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
  accumulator: (input) => accumulator(kindOf(input)) as Accumulator,
};
