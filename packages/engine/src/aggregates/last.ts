/**
 * last: the non-null value of the newest event, by (event time, offset). Events without an event time come before all
 * that have one.
 */
import type { Kind, ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { rawCodec } from '../state/raw-codec.ts';
import { ABSENT, type Accumulator, type Aggregate, type Cells, NO_EVENT_TIME, type Raw } from './aggregate.ts';
import { isNumeric } from './types.ts';

/** Cells: the newest event's offset plus 1, its event time, its value. */
function accumulator(kind: Kind, element: Kind): Accumulator {
  const codec = rawCodec(kind, element);
  const offer = (cells: Cells, at: number, value: Raw, eventTimeUs: number, offsetAfter: number): void => {
    const newestUs = cells[at + 1] as number;
    const isNewer = eventTimeUs > newestUs || (eventTimeUs === newestUs && offsetAfter > (cells[at] as number));
    if (cells[at] !== 0 && !isNewer) return;
    cells[at] = offsetAfter;
    cells[at + 1] = eventTimeUs;
    cells[at + 2] = value;
  };
  return {
    width: 3,
    numeric: isNumeric(kind),
    isOrdered: true,
    isRefolded: true,
    add: (cells, at, value, eventTimeUs, offset) => offer(cells, at, value as Raw, eventTimeUs, offset + 1),
    retract: (cells, at, _value, _eventTimeUs, offset) => cells[at] !== offset + 1,
    merge: (cells, at, from, fromAt) =>
      offer(cells, at, from[fromAt + 2] as Raw, from[fromAt + 1] as number, from[fromAt] as number),
    result: (cells, at) => (cells[at] === 0 ? ABSENT : (cells[at + 2] as Raw)),
    write: (writer, cells, at) => {
      const eventTimeUs = cells[at + 1] as number;
      writer.varint((cells[at] as number) - 1);
      writer.bool(eventTimeUs !== NO_EVENT_TIME);
      if (eventTimeUs !== NO_EVENT_TIME) writer.zigzag(eventTimeUs);
      codec.write(writer, cells[at + 2] as Raw);
    },
    read: (reader, cells, at) => {
      cells[at] = reader.varint() + 1;
      cells[at + 1] = reader.bool() ? reader.zigzag() : NO_EVENT_TIME;
      cells[at + 2] = codec.read(reader);
    },
  };
}

export const last: Aggregate = {
  name: 'last',
  inputOptional: false,
  resultType: (input) => input ?? 'last needs an input column',
  accumulator: (input: ValueType | undefined) => {
    if (input === undefined) throw new Error('last was planned without an input type');
    return accumulator(input.kind, input.element);
  },
};
