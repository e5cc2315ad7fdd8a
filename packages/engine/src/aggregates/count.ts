/** count: how many rows, or how many non-null values of a column. An empty window counts 0, which is PRESENT. */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Accumulator, Aggregate } from './aggregate.ts';
import { simpleType } from './types.ts';

const counting: Accumulator<number> = {
  add: (state) => (state === undefined ? 1 : state + 1),
  merge: (into, from) => (into === undefined ? from : into + from),
  result: (state) => state ?? 0,
  write: (writer, state) => writer.varint(state),
  read: (reader) => reader.varint(),
};

export const count: Aggregate = {
  name: 'count',
  inputOptional: true,
  resultType: () => simpleType(Kind.INT64),
  accumulator: () => counting as Accumulator,
};
