/**
 * One contribution: what a live row of a mutable source put into a view, as bytes.
 *
 *     u32le   hash of the row key
 *     varint  length of the rest
 *     u8      length of the row key; the row key
 *     f64le   event time, microseconds; -Infinity when it has none
 *     varint  offset of the record that brought it
 *     bits    one for each of the view's inputs (ceil(inputs / 8) bytes): set when it is not null
 *     …       the values of these, by their codecs; nothing for one that is only counted
 *
 * Owns the layout, and reading and writing it. Invariant F1: equal contributions are equal bytes.
 */
import type { Raw } from '../aggregates/aggregate.ts';
import { ByteReader } from '../state/byte-reader.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import type { ViewInput } from '../state/view-plan.ts';

/** A row's identity: a part of the record's bytes, with its hash. */
export interface RowKey {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  readonly hash: number;
}

const HASH_BYTES = 4;
const TIME_BYTES = 8;

const double = new Float64Array(1);
const doubleBytes = new Uint8Array(double.buffer);
/** Where the last part that was read ends. */
let endOfVarint = 0;

export function readHash(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)) >>>
    0
  );
}

function readVarint(bytes: Uint8Array, start: number): number {
  let at = start;
  let value = 0;
  let scale = 1;
  for (;;) {
    const byte = bytes[at++] as number;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) break;
    scale *= 128;
  }
  endOfVarint = at;
  return value;
}

/** Where the contribution at an index ends. */
export function endOf(bytes: Uint8Array, at: number): number {
  const length = readVarint(bytes, at + HASH_BYTES);
  return endOfVarint + length;
}

/** Where the row key of the contribution at an index begins: behind the byte of its length. */
function rowKeyAt(bytes: Uint8Array, at: number): number {
  readVarint(bytes, at + HASH_BYTES);
  return endOfVarint + 1;
}

/** Whether the contribution is of that row. */
export function isOfRow(bytes: Uint8Array, at: number, row: RowKey): boolean {
  if (readHash(bytes, at) !== row.hash) return false;
  const keyAt = rowKeyAt(bytes, at);
  const length = row.end - row.start;
  if (bytes[keyAt - 1] !== length) return false;
  for (let i = 0; i < length; i++) if (bytes[keyAt + i] !== row.bytes[row.start + i]) return false;
  return true;
}

function timeAt(bytes: Uint8Array, at: number): number {
  const keyAt = rowKeyAt(bytes, at);
  return keyAt + (bytes[keyAt - 1] as number);
}

export function readEventTime(bytes: Uint8Array, at: number): number {
  const from = timeAt(bytes, at);
  for (let i = 0; i < TIME_BYTES; i++) doubleBytes[i] = bytes[from + i] as number;
  return double[0] as number;
}

export function readOffset(bytes: Uint8Array, at: number): number {
  return readVarint(bytes, timeAt(bytes, at) + TIME_BYTES);
}

/** The block that was read last, and its reader: to fold a key again, the contributions of a block are read one after another. */
let block: Uint8Array = new Uint8Array(0);
let blockReader = new ByteReader(block);

/** A reader at a place in a block. Making one takes several times as long as reading a value (measured). */
function readerAt(bytes: Uint8Array, at: number): ByteReader {
  if (block !== bytes) {
    blockReader = new ByteReader(bytes);
    block = bytes;
  }
  blockReader.seek(at);
  return blockReader;
}

/** Reads its values into a row of the view, at the places of the inputs. */
export function readInputs(bytes: Uint8Array, at: number, inputs: readonly ViewInput[], into: Raw[]): void {
  readOffset(bytes, at);
  const bitsAt = endOfVarint;
  const valuesAt = bitsAt + ((inputs.length + 7) >> 3);
  let reader: ByteReader | undefined;
  for (let i = 0; i < inputs.length; i++) {
    const { index, codec } = inputs[i] as ViewInput;
    const isThere = (((bytes[bitsAt + (i >> 3)] as number) >> (i & 7)) & 1) === 1;
    if (!isThere) into[index] = null;
    else if (codec === undefined) into[index] = true;
    else {
      reader ??= readerAt(bytes, valuesAt);
      into[index] = codec.read(reader);
    }
  }
}

const writer = new ByteWriter(256);

/** The bytes of a contribution; `row` has the inputs at their places. */
export function encodeContribution(
  key: RowKey,
  eventTimeUs: number,
  offset: number,
  inputs: readonly ViewInput[],
  row: readonly Raw[],
): Uint8Array {
  const w = writer;
  w.reset();
  for (let shift = 0; shift < 32; shift += 8) w.byte((key.hash >>> shift) & 0xff);
  const mark = w.begin();
  w.byte(key.end - key.start);
  for (let i = key.start; i < key.end; i++) w.byte(key.bytes[i] as number);
  double[0] = eventTimeUs;
  for (let i = 0; i < TIME_BYTES; i++) w.byte(doubleBytes[i] as number);
  w.varint(offset);
  for (let from = 0; from < inputs.length; from += 8) {
    let bits = 0;
    for (let i = from; i < inputs.length && i < from + 8; i++) {
      if (row[(inputs[i] as ViewInput).index] !== null) bits |= 1 << (i - from);
    }
    w.byte(bits);
  }
  for (let i = 0; i < inputs.length; i++) {
    const { index, codec } = inputs[i] as ViewInput;
    const value = row[index] as Raw;
    if (value !== null) codec?.write(w, value);
  }
  w.end(mark);
  return w.takeShared();
}
