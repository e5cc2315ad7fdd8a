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
  | 'too_large';

/** Where a row came from. Entries of one lane are in ascending (major, minor, part). */
export interface RowPlace {
  readonly route: number;
  readonly generation: number;
  readonly lane: number;
  readonly major: bigint;
  readonly minor: number;
  readonly part: number;
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
}

/** The name of a lane, under which the entries' order holds. */
export function laneName(place: RowPlace): string {
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
