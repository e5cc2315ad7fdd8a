/**
 * What an aggregate is: the small algebra that the fold, the panes and the rows are written against. Each aggregate is
 * one file of this folder plus one line in table.ts.
 *
 * An accumulator (`A`) holds what a pane knows about one feature. `undefined` is the unit: nothing was added yet.
 * Laws, held by aggregate.test.ts for every aggregate: merge is associative and commutative, adding values one by one in
 * any order equals merging their parts, and equal contents are written as equal bytes (F1).
 */
import type { ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { ByteReader } from '../state/byte-reader.ts';
import type { ByteWriter } from '../state/byte-writer.ts';

/**
 * A value inside the engine: a Scalar, except that an int64 or timestamp is a number when it is a safe integer (else a
 * bigint): arithmetic on most data then makes no bigint. One value has one representation.
 */
export type Raw = Scalar;

/** The result when there is no value: nothing is in the window. */
export const ABSENT: unique symbol = Symbol('absent');
/** The result when the exact one does not fit the result type. */
export const OUT_OF_RANGE: unique symbol = Symbol('out of range');

export type Result = Raw | typeof ABSENT | typeof OUT_OF_RANGE;

/** The event time of an event that has none: before all times. */
export const NO_EVENT_TIME: number = Number.NEGATIVE_INFINITY;

/** An aggregate for inputs of one type. */
export interface Accumulator<A = unknown> {
  /**
   * The accumulator with one more value. May change and return `state`. `value` is never null, and is undefined only
   * for a count of rows. Offsets and event times order equal candidates.
   */
  add(state: A | undefined, value: Raw | undefined, eventTimeUs: number, offset: number): A;
  /** `into` with `from` added to it. May change and return `into`; neither changes nor keeps `from` if it is mutable. */
  merge(into: A | undefined, from: A): A;
  /** The feature's value; of undefined: the value of an empty window. */
  result(state: A | undefined): Result;
  /** Writes the accumulator canonically: equal contents give equal bytes. */
  write(writer: ByteWriter, state: A): void;
  read(reader: ByteReader): A;
}

/** An aggregate, as definitions name it. */
export interface Aggregate {
  readonly name: string;
  /** Whether it can be used without an input column. */
  readonly inputOptional: boolean;
  /** The type of the result for an input type (undefined: rows), or, as a sentence, why it cannot be. */
  resultType(input: ValueType | undefined): ValueType | string;
  /** The fold for an input type; only for types that resultType takes. */
  accumulator(input: ValueType | undefined): Accumulator;
}
