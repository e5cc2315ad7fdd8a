/**
 * What an aggregate is: the small algebra that the fold, the panes and the rows are written against. Each aggregate is
 * one file of this folder plus one line in table.ts.
 *
 * An accumulator is a run of `width` cells in the flat array of a key's state (../state/panes.ts). All zero is the unit:
 * nothing was added yet; and the first cell is 0 only then. Cells hold numbers wherever they can, because an array of
 * numbers alone is one block of memory for V8, with nothing in it to allocate or to trace; anything else may be put into
 * a cell, and costs what objects cost.
 * Laws, held by aggregate.test.ts for every aggregate: merge is associative and commutative, adding values one by one in
 * any order equals merging their parts, and equal contents are written as equal bytes (F1). What was added and retracted
 * leaves no trace: the bytes are those of the values that are left.
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

/** The array that accumulators lie in. */
export type Cells = unknown[];

/** The result when there is no value: nothing is in the window. */
export const ABSENT: unique symbol = Symbol('absent');
/** The result when the exact one does not fit the result type. */
export const OUT_OF_RANGE: unique symbol = Symbol('out of range');

export type Result = Raw | typeof ABSENT | typeof OUT_OF_RANGE;

/** The event time of an event that has none: before all times. */
export const NO_EVENT_TIME: number = Number.NEGATIVE_INFINITY;

/** An aggregate for inputs of one type. */
export interface Accumulator {
  /** How many cells it takes. */
  readonly width: number;
  /**
   * Whether event times and offsets decide among equal values, so that an update that leaves a row's input and pane as
   * they were may change what is in the cells. Else adding the new image and retracting the old changes nothing.
   */
  readonly isOrdered: boolean;
  /** Whether retract() may say that it cannot tell what is left. */
  readonly isRefolded: boolean;
  /** Whether nearly all of its cells hold nothing but numbers. */
  readonly numeric: boolean;
  /**
   * Adds a value to the accumulator at an index. It is never null, and is undefined only for a count of rows. Offsets
   * and event times order equal candidates.
   */
  add(cells: Cells, at: number, value: Raw | undefined, eventTimeUs: number, offset: number): void;
  /**
   * Takes out a value that was added, in whatever order; false when that cannot be told from what is in the cells: they
   * are then as they were, and have to be made again of what is left. Only of an accumulator that is retractable, and
   * never leaves one that nothing is in other than all zero.
   */
  retract(cells: Cells, at: number, value: Raw | undefined, eventTimeUs: number, offset: number): boolean;
  /** Adds to the accumulator at `at` what is in one that is not the unit. Neither changes `from` nor keeps what may change. */
  merge(cells: Cells, at: number, from: Cells, fromAt: number): void;
  /** The feature's value; of the unit: the value of an empty window. */
  result(cells: Cells, at: number): Result;
  /** Writes an accumulator that is not the unit, canonically: equal contents give equal bytes. */
  write(writer: ByteWriter, cells: Cells, at: number): void;
  /** Reads it into cells that are zero. */
  read(reader: ByteReader, cells: Cells, at: number): void;
}

/** An aggregate, as definitions name it. */
export interface Aggregate {
  readonly name: string;
  /** Whether it can be used without an input column. */
  readonly inputOptional: boolean;
  /** The type of the result for an input type (undefined: rows), or, as a sentence, why it cannot be. */
  resultType(input: ValueType | undefined): ValueType | string;
  /** The fold for an input type; only for types that resultType takes. */
  accumulator(input: ValueType | undefined, options?: AccumulatorOptions): Accumulator;
}

export interface AccumulatorOptions {
  /** Whether values are taken out again (mutable sources): some accumulators have to keep more then. By default not. */
  readonly retractable: boolean;
}
