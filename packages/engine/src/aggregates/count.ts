/** count: how many rows, or how many non-null values of a column. An empty window counts 0, which is PRESENT. */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Accumulator, Aggregate } from './aggregate.ts';
import { simpleType } from './types.ts';

/** One cell: the count. */
const counting: Accumulator = {
  width: 1,
  numeric: true,
  isOrdered: false,
  isRefolded: false,
  add: (cells, at) => {
    cells[at] = (cells[at] as number) + 1;
  },
  retract: (cells, at) => {
    cells[at] = (cells[at] as number) - 1;
    return true;
  },
  merge: (cells, at, from, fromAt) => {
    cells[at] = (cells[at] as number) + (from[fromAt] as number);
  },
  result: (cells, at) => cells[at] as number,
  write: (writer, cells, at) => writer.varint(cells[at] as number),
  read: (reader, cells, at) => {
    cells[at] = reader.varint();
  },
};

export const count: Aggregate = {
  name: 'count',
  inputOptional: true,
  resultType: () => simpleType(Kind.INT64),
  accumulator: () => counting,
};
