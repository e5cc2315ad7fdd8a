/**
 * Decodes freshet.type.v1.Row bytes into columns that are quick to read values from.
 *
 * Owns the wire reading. Which step holds at a time is row-reader.ts. An int64 or timestamp is a number when it is a
 * safe integer, else a bigint. Nothing decoded refers to the bytes.
 */
import { Kind, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Raw } from '../aggregates/aggregate.ts';
import { readList, readText, readVector } from '../record/raw-value.ts';
import { WireCursor } from '../record/wire-cursor.ts';

export interface DecodedColumn {
  /** The kind of the list that the column uses. */
  readonly kind: Kind;
  /** KIND_LIST: the kind of the elements. */
  readonly element: Kind;
  /** One value more than the timeline has steps; the kind's zero where there is none. */
  readonly values: Raw[];
  /** One per value, or undefined when all are PRESENT. */
  readonly statuses: number[] | undefined;
}

export interface DecodedTimeline {
  /** Strictly increasing times in microseconds; value i holds from steps[i - 1] until steps[i]. */
  readonly stepsUs: number[];
  readonly columns: DecodedColumn[];
}

export interface DecodedRow {
  readonly version: number;
  readonly logTimeUs: number;
  /** The newest event time folded, if any. */
  readonly eventTimeUs: number | undefined;
  readonly timelines: DecodedTimeline[];
}

/** A list's element kind is not in the row: pass the features' result types by timeline and column to read lists. */
export type ColumnTypes = readonly (readonly ValueType[])[];

const cursor = new WireCursor();

/** The row. Throws DATA_DAMAGED when the bytes are none. */
export function decodeRow(bytes: Uint8Array, types?: ColumnTypes): DecodedRow {
  cursor.load(bytes);
  let version = 0;
  let logTimeUs = 0;
  let eventTimeUs: number | undefined;
  const timelines: DecodedTimeline[] = [];
  while (cursor.at < cursor.end) {
    const tag = cursor.varint();
    if (tag === 8) version = cursor.varint();
    else if (tag === 16) logTimeUs = Number(cursor.zigzag64());
    else if (tag === 24) eventTimeUs = Number(cursor.zigzag64());
    else if (tag === 34) timelines.push(readTimeline(cursor.part(), types?.[timelines.length]));
    else cursor.skip(tag & 7);
  }
  return { version, logTimeUs, eventTimeUs, timelines };
}

function readTimeline(end: number, types: readonly ValueType[] | undefined): DecodedTimeline {
  let unitUs = 1;
  let first = 0;
  let hasSteps = false;
  const gaps: number[] = [];
  const columns: DecodedColumn[] = [];
  while (cursor.at < end) {
    const tag = cursor.varint();
    if (tag === 8) unitUs = cursor.varint();
    else if (tag === 16) first = Number(cursor.zigzag64());
    else if (tag === 26) readPacked(gaps, () => cursor.varint());
    else if (tag === 32) hasSteps = cursor.varint() !== 0;
    else if (tag === 42) columns.push(readColumn(cursor.part(), types?.[columns.length]));
    else cursor.skip(tag & 7);
  }
  const stepsUs: number[] = [];
  if (hasSteps) {
    let step = first;
    stepsUs.push(step * unitUs);
    for (const gap of gaps) {
      step += gap;
      stepsUs.push(step * unitUs);
    }
  }
  return { stepsUs, columns };
}

function readColumn(end: number, type: ValueType | undefined): DecodedColumn {
  const values: Raw[] = [];
  let kind: Kind = Kind.UNSPECIFIED;
  let statuses: number[] | undefined;
  while (cursor.at < end) {
    const tag = cursor.varint();
    const field = tag >>> 3;
    if (tag === 122) {
      statuses = [];
      readPacked(statuses, () => cursor.varint() || ValueStatus.PRESENT);
    } else if ((tag & 7) === 2 && field >= Kind.INT64 && field <= Kind.VECTOR) {
      kind = field as Kind;
      readEntry(kind, values, type);
    } else {
      cursor.skip(tag & 7);
    }
  }
  return { kind, element: type?.element ?? Kind.UNSPECIFIED, values, statuses };
}

/** One entry, or all of a packed list. */
function readEntry(kind: Kind, values: Raw[], type: ValueType | undefined): void {
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      readPacked(values, () => cursor.zigzag64());
      return;
    case Kind.DOUBLE:
      readPacked(values, () => cursor.double());
      return;
    case Kind.BOOL:
      readPacked(values, () => cursor.varint() !== 0);
      return;
    case Kind.DECIMAL:
    case Kind.STRING:
      values.push(readText(cursor));
      return;
    case Kind.BYTES: {
      const end = cursor.part();
      values.push(cursor.bytes.slice(cursor.at, end));
      cursor.at = end;
      return;
    }
    case Kind.LIST:
      if (type === undefined) throw new Error('a row with lists needs the types of its columns to be decoded');
      values.push(readList(cursor, type));
      return;
    default:
      values.push(readVector(cursor));
  }
}

function readPacked<T>(into: T[], read: () => T): void {
  const end = cursor.part();
  while (cursor.at < end) into.push(read());
}
