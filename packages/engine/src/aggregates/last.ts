/**
 * last: the non-null value of the newest event, by (event time, offset). Events without an event time come before all
 * that have one.
 */
import type { Kind, ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { rawCodec } from '../state/raw-codec.ts';
import { ABSENT, type Accumulator, type Aggregate, NO_EVENT_TIME, type Raw } from './aggregate.ts';

/** Changed in place by add() alone: a merge only passes on the one that it found newer. */
interface Newest {
  value: Raw;
  eventTimeUs: number;
  offset: number;
}

function isNewer(a: Newest, eventTimeUs: number, offset: number): boolean {
  return a.eventTimeUs > eventTimeUs || (a.eventTimeUs === eventTimeUs && a.offset > offset);
}

function accumulator(kind: Kind, element: Kind): Accumulator<Newest> {
  const codec = rawCodec(kind, element);
  return {
    add: (state, value, eventTimeUs, offset) => {
      if (state === undefined) return { value: value as Raw, eventTimeUs, offset };
      if (isNewer(state, eventTimeUs, offset)) return state;
      state.value = value as Raw;
      state.eventTimeUs = eventTimeUs;
      state.offset = offset;
      return state;
    },
    merge: (into, from) => (into !== undefined && isNewer(into, from.eventTimeUs, from.offset) ? into : from),
    result: (state) => (state === undefined ? ABSENT : state.value),
    write: (writer, state) => {
      writer.varint(state.offset);
      writer.bool(state.eventTimeUs !== NO_EVENT_TIME);
      if (state.eventTimeUs !== NO_EVENT_TIME) writer.zigzag(state.eventTimeUs);
      codec.write(writer, state.value);
    },
    read: (reader) => {
      const offset = reader.varint();
      const eventTimeUs = reader.bool() ? reader.zigzag() : NO_EVENT_TIME;
      return { value: codec.read(reader), eventTimeUs, offset };
    },
  };
}

export const last: Aggregate = {
  name: 'last',
  inputOptional: false,
  resultType: (input) => input ?? 'last needs an input column',
  accumulator: (input: ValueType | undefined) => {
    if (input === undefined) throw new Error('last was planned without an input type');
    return accumulator(input.kind, input.element) as Accumulator;
  },
};
