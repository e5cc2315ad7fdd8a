/**
 * What is put aside because it must not reach a fold: a row with the reason and everything needed to look into it and,
 * later, to release it. Pure; quarantine-file.ts keeps the entries.
 */

/** Why a row was put aside. */
export type QuarantineReason =
  /** The key cannot be encoded: too long, or of another kind. */
  | 'bad_key'
  /** The event time column is null. */
  | 'null_event_time'
  /** The event time leads ingest's clock by more than the source's max_skew. */
  | 'event_time_ahead'
  /** The event time is before 1684 or after 2255: microseconds then are no safe integers. */
  | 'event_time_out_of_range'
  /** A column's value cannot be taken: an infinite timestamp, a nested array. */
  | 'bad_value'
  /** The server did not send a large value because it did not change, and nothing tells what it was (I2). */
  | 'unchanged_value'
  /** The record is larger than a log takes. */
  | 'too_large'
  /** The table has a shape that breaks the contract. */
  | 'shape'
  /** Values of a column that is read were computed anew in the table: rows since, and those of before, mean other things. */
  | 'values'
  /** The rows come by another name, or from another table of the name. */
  | 'moved'
  /** The table tells its rows apart otherwise now, or does not: which row it is about is not known. */
  | 'identity'
  /** Null in a column that the contract says has none. */
  | 'null_value'
  /** A label that the contract's enum does not have. */
  | 'unknown_label'
  /** It breaks a value rule of its source. */
  | 'rule'
  /** Nothing is wrong with it: it came behind a row that is held, and waits for it. */
  | 'behind';

/** Where a row came from. Entries of one lane are in ascending (major, minor, part). */
export interface RowPlace {
  readonly route: number;
  readonly generation: number;
  readonly lane: number;
  readonly major: bigint;
  readonly minor: number;
  readonly part: number;
}

/** A table as the stream described it when a row came. */
export interface EntryShape {
  readonly id: number;
  readonly schema: string;
  readonly table: string;
  readonly replicaIdentity: string;
  /** Name, type's oid, type's modifier, 1 when it is part of the identity. */
  readonly columns: readonly (readonly [name: string, typeOid: number, typeModifier: number, identity: 0 | 1])[];
}

export interface QuarantineEntry extends RowPlace {
  readonly source: string;
  /** "database/schema.table". */
  readonly table: string;
  readonly operation: number;
  readonly reason: QuarantineReason;
  /** The reason in a sentence. */
  readonly detail: string;
  readonly contractVersion: number;
  /** Microseconds since the Unix epoch, by ingest's clock. */
  readonly atUs: number;
  /** The commit's time, microseconds; null for a snapshot's row. */
  readonly committedUs: number | null;
  /** The row's columns as the server wrote them; a column that it did not send is left out. */
  readonly values: Readonly<Record<string, string | null>>;
  /** What it holds: all later rows of its route, or those of its keys. Left out: nothing but itself. */
  readonly held?: 'table' | 'key' | undefined;
  /** What is held of: the encoded entity keys of the row and of what it was before, in hex. */
  readonly keys?: readonly string[] | undefined;
  /** The types of the columns, by the contract's order, where the table had others than the contract; else left out. */
  readonly typeOids?: readonly number[] | undefined;
  /** Held rows: the table as the stream described it. Their values are by its columns' names. */
  readonly shape?: EntryShape | undefined;
  /** Held updates: what was told of the row before. */
  readonly old?: { readonly whole: boolean; readonly values: Readonly<Record<string, string | null>> } | undefined;
  /** A held row that is none: the table was emptied. */
  readonly truncates?: boolean | undefined;
  /** It passed when it came first, did not come to the log, and may not be read any more: it is not in its lane's order. */
  readonly late?: boolean | undefined;
  /** Lines before it were lost of the file: rows of its lane that are before it may yet come, and then go there. */
  readonly ahead?: boolean | undefined;
  /** It is released: what goes to the log, decided once and durably, so that whatever ends the release it is the same again. */
  readonly releasing?: ReleasedRecord | undefined;
}

/** The record of a row that was put aside alone and is released. */
export interface ReleasedRecord {
  /** Undefined: of every partition, as a broadcast table's rows are. */
  readonly partition?: number | undefined;
  /** In base64. */
  readonly record: string;
}

/** The name of a lane, under which the entries' order holds. */
export function laneName(place: Pick<RowPlace, 'route' | 'generation' | 'lane'>): string {
  return `${place.route}/${place.generation}/${place.lane}`;
}

/** The name of a row's place, for sets of them. */
export function placeName(place: RowPlace): string {
  return `${laneName(place)}/${place.major}/${place.minor}/${place.part}`;
}

/** Negative when a is before b in their lane, 0 when they are the same row. */
export function comparePlaces(a: RowPlace, b: RowPlace): number {
  if (a.major !== b.major) return a.major < b.major ? -1 : 1;
  return a.minor - b.minor || a.part - b.part;
}
