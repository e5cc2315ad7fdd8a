/**
 * The place in its lane of a record of the log, found without decoding the rest of it: a log is read through for nothing else,
 * and to make a message of each record took ten times as long.
 *
 *     LogRecord { change | truncate | erased { 1 route · 2 generation · 3 lane · 4 sequence · change: 11 known_at } | table { 1 change } }
 *
 * Owns the numbers of these fields, which record-place.test.ts holds against the generated code. Pure.
 */
import { BinaryReader } from '@bufbuild/protobuf/wire';
import type { RowPlace } from './quarantine.ts';

/** A row's place, and when its commit was; undefined: the record does not tell, or not any more. */
export interface Placed extends RowPlace {
  readonly atUs: number | undefined;
}

const CHANGE = 1;
const TRUNCATE = 6;
const TABLE = 8;
const ERASED = 9;
const TABLE_CHANGE = 1;

/** The place of a record, also of one that was erased; undefined: it has none. */
export function placeOf(record: Uint8Array): Placed | undefined {
  const reader = new BinaryReader(record);
  const [kind] = reader.tag();
  reader.uint32();
  switch (kind) {
    case CHANGE:
    case TRUNCATE:
    case ERASED:
      return readPlaced(reader, kind === CHANGE);
    case TABLE: {
      if (reader.pos === reader.len || reader.tag()[0] !== TABLE_CHANGE) return undefined;
      reader.uint32();
      return readPlaced(reader, true);
    }
    default:
      return undefined;
  }
}

/** Of the message that begins here and goes on to the record's end. */
function readPlaced(reader: BinaryReader, isChange: boolean): Placed | undefined {
  let [route, generation, lane, part] = [0, 0, 0, 0];
  let [major, minor] = [0n, 0n];
  let atUs: number | undefined;
  let isPlaced = false;
  while (reader.pos < reader.len) {
    const [field, wireType] = reader.tag();
    if (field === 1) route = reader.uint32();
    else if (field === 2) generation = reader.uint32();
    else if (field === 3) lane = reader.uint32();
    else if (field === 4) {
      isPlaced = true;
      for (const end = reader.uint32() + reader.pos; reader.pos < end; ) {
        const [inner, innerType] = reader.tag();
        if (inner === 1) major = BigInt(reader.uint64());
        else if (inner === 2) minor = BigInt(reader.uint64());
        else if (inner === 3) part = reader.uint32();
        else reader.skip(innerType, inner);
      }
    } else if (field === 11 && isChange) atUs = Number(reader.sint64());
    else reader.skip(wireType, field);
  }
  return isPlaced ? { route, generation, lane, major, minor: Number(minor), part, atUs } : undefined;
}
