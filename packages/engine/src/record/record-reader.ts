/**
 * Reads freshet.log.v1.LogRecord bytes into fields of one reused object: nothing is allocated but the entity key, and
 * columns are decoded only when asked for. Record kinds that are rare are decoded by protobuf-es elsewhere.
 *
 * Owns the wire reading of Change. record-reader.test.ts holds it to protobuf-es.
 */
import type { ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import type { ByteWriter } from '../state/byte-writer.ts';
import { latin1 } from './latin1.ts';
import { readRawValue } from './raw-value.ts';
import { WireCursor } from './wire-cursor.ts';

/** The field numbers of LogRecord.kind. */
export const RecordKind = {
  NONE: 0,
  CHANGE: 1,
  ROUTE_BEGIN: 2,
  SNAPSHOT_END: 3,
  DEFINITIONS: 4,
  TICK: 5,
  TRUNCATE: 6,
  ERASE: 7,
  TABLE: 8,
  ERASED: 9,
} as const;

/** A sequence number that may be beyond the safe integers; JavaScript orders the two types by value. */
export type Major = number | bigint;

export class RecordReader {
  /** A field number of LogRecord.kind; NONE when the record holds nothing known. */
  kind = 0;
  route = 0;
  generation = 0;
  lane = 0;
  major: Major = 0;
  minor: Major = 0;
  part = 0;
  operation = 0;
  /** The entity key as a key string. */
  key = '';
  contractVersion = 0;
  /** NO_EVENT_TIME when unknown; clamped to the safe integers, which reach from the year 1684 to 2255. */
  eventTimeUs: number = NO_EVENT_TIME;
  /** Where in `bytes` the row's identity lies; empty for append sources. */
  rowKeyStart = 0;
  rowKeyEnd = 0;
  /** Where the row's identity before the update lies, when it was another one; else empty. */
  oldRowKeyStart = 0;
  oldRowKeyEnd = 0;

  readonly #cursor = new WireCursor();
  #columnCount = 0;
  #columnStarts = new Int32Array(64);
  #columnEnds = new Int32Array(64);

  /** The record's bytes; only lent. */
  get bytes(): Uint8Array {
    return this.#cursor.bytes;
  }

  /** Reads the record; the bytes must stay unchanged until the next call. */
  load(record: Uint8Array): void {
    const cursor = this.#cursor;
    cursor.load(record);
    this.kind = RecordKind.NONE;
    while (cursor.at < cursor.end) {
      const tag = cursor.varint();
      const field = tag >>> 3;
      if ((tag & 7) !== 2 || field > RecordKind.ERASED) {
        cursor.skip(tag & 7);
        continue;
      }
      const end = cursor.part();
      this.kind = field;
      if (field === RecordKind.CHANGE || field === RecordKind.TRUNCATE) this.#readChange(end, field);
      else if (field === RecordKind.TABLE) this.#readTable(end);
      else if (field === RecordKind.ERASED) this.#readChange(end, field);
      else if (field === RecordKind.ROUTE_BEGIN || field === RecordKind.SNAPSHOT_END) this.#readRoute(end);
      else cursor.at = end;
    }
  }

  /** The column's value, null when the row has no such column or it is of another kind. */
  column(index: number, type: ValueType): Raw {
    if (index < 0 || index >= this.#columnCount) return null;
    this.#cursor.at = this.#columnStarts[index] as number;
    return readRawValue(this.#cursor, this.#columnEnds[index] as number, type);
  }

  /** Writes the row's columns, encoded as they are, each with its length. */
  writeColumns(writer: ByteWriter): void {
    const { bytes } = this.#cursor;
    for (let i = 0; i < this.#columnCount; i++) {
      writer.bytes(bytes.subarray(this.#columnStarts[i], this.#columnEnds[i]));
    }
  }

  /** A change in an envelope: it is read as one, under its own kind. */
  #readTable(end: number): void {
    const cursor = this.#cursor;
    this.#clearChange();
    while (cursor.at < end) {
      const tag = cursor.varint();
      if (tag === 10) this.#readChange(cursor.part(), RecordKind.CHANGE);
      else cursor.skip(tag & 7);
    }
  }

  #clearChange(): void {
    this.route = 0;
    this.generation = 0;
    this.lane = 0;
    this.major = 0;
    this.minor = 0;
    this.part = 0;
    this.operation = 0;
    this.key = '';
    this.contractVersion = 0;
    this.eventTimeUs = NO_EVENT_TIME;
    this.rowKeyStart = 0;
    this.rowKeyEnd = 0;
    this.oldRowKeyStart = 0;
    this.oldRowKeyEnd = 0;
    this.#columnCount = 0;
  }

  #readChange(end: number, kind: number): void {
    const cursor = this.#cursor;
    this.#clearChange();
    while (cursor.at < end) {
      const tag = cursor.varint();
      switch (tag) {
        case 8:
          this.route = cursor.varint();
          break;
        case 16:
          this.generation = cursor.varint();
          break;
        case 24:
          this.lane = cursor.varint();
          break;
        case 34:
          this.#readSequence();
          break;
        default:
          if (kind === RecordKind.CHANGE) this.#readChangeBody(tag);
          else cursor.skip(tag & 7);
      }
    }
  }

  #readChangeBody(tag: number): void {
    const cursor = this.#cursor;
    switch (tag) {
      case 40:
        this.operation = cursor.varint();
        return;
      case 50: {
        const end = cursor.part();
        this.key = latin1(cursor.bytes, cursor.at, end);
        cursor.at = end;
        return;
      }
      case 56:
        this.contractVersion = cursor.varint();
        return;
      case 66:
        this.#addColumn(cursor.part());
        return;
      case 72:
        this.eventTimeUs = clamp(cursor.zigzag64());
        return;
      case 98:
        this.rowKeyEnd = cursor.part();
        this.rowKeyStart = cursor.at;
        cursor.at = this.rowKeyEnd;
        return;
      case 106:
        this.oldRowKeyEnd = cursor.part();
        this.oldRowKeyStart = cursor.at;
        cursor.at = this.oldRowKeyEnd;
        return;
      default:
        cursor.skip(tag & 7);
    }
  }

  #addColumn(end: number): void {
    const index = this.#columnCount++;
    if (index === this.#columnStarts.length) this.#growColumns();
    this.#columnStarts[index] = this.#cursor.at;
    this.#columnEnds[index] = end;
    this.#cursor.at = end;
  }

  #growColumns(): void {
    const starts = new Int32Array(this.#columnStarts.length * 2);
    const ends = new Int32Array(starts.length);
    starts.set(this.#columnStarts);
    ends.set(this.#columnEnds);
    this.#columnStarts = starts;
    this.#columnEnds = ends;
  }

  #readSequence(): void {
    const cursor = this.#cursor;
    const end = cursor.part();
    while (cursor.at < end) {
      const tag = cursor.varint();
      if (tag === 8) this.major = cursor.varint64();
      else if (tag === 16) this.minor = cursor.varint64();
      else if (tag === 24) this.part = cursor.varint();
      else cursor.skip(tag & 7);
    }
  }

  #readRoute(end: number): void {
    const cursor = this.#cursor;
    this.route = 0;
    this.generation = 0;
    while (cursor.at < end) {
      const tag = cursor.varint();
      if (tag === 8) this.route = cursor.varint();
      else if (tag === 16) this.generation = cursor.varint();
      else cursor.skip(tag & 7);
    }
  }
}

function clamp(timeUs: number | bigint): number {
  if (typeof timeUs === 'number') return timeUs;
  return timeUs > 0n ? Number.MAX_SAFE_INTEGER : Number.MIN_SAFE_INTEGER;
}
