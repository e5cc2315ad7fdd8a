/**
 * What stands where a record was that was erased: a LogRecord with nothing but `erased`, in exactly as many bytes.
 *
 * As many bytes, so that no frame behind it moves: the lengths and places that heads of segments and indexes in memory say
 * stay true. It holds the checksum of the frame that was there, and a reader gives that as the record's checksum
 * (frame.ts): commits, checkpoints and cursors that name the record still know the log again (R3), and the fold's position
 * is the same whether the record was folded before it was erased or after (F1). What else of the record stays, its place
 * in its lane (F3), is given by whoever erases.
 *
 *     4a len │ 2d crc │ kept fields │ 32 len 00 00 …      the lengths in as many bytes as make it come out even
 *
 * Owns these bytes. Pure.
 */
import { assert } from '@freshet/kit/assert.ts';

/** LogRecord.erased. Change records, which are nearly all, begin with another byte. */
const ERASED_TAG = 0x4a;
const CRC_TAG = 0x2d;
const PADDING_TAG = 0x32;
const ROWS_GONE_TAG = 0x38;
const CRC_BYTES = 5;
/** A checksum alone. Each record that can be erased has a key, and is longer. */
export const ERASED_BYTES_MIN = 2 + CRC_BYTES;
/** From so many bytes on both lengths take four, which is enough for any record. */
const WIDE_FROM = 130;

/**
 * The record that takes the place of one of that length whose frame had the checksum; `kept` are encoded fields of Erased
 * that stay. A change always has room for its own: its operation and its key take more than the checksum.
 */
export function encodeErased(length: number, crc: number, kept: Uint8Array = NOTHING): Uint8Array {
  const narrow = length - ERASED_BYTES_MIN - kept.length;
  assert(narrow >= 0, 'a record that is too short to be erased');
  const bytes = new Uint8Array(length);
  bytes[0] = ERASED_TAG;
  const wide = length >= WIDE_FROM;
  const lengthBytes = wide ? 4 : narrow === 1 ? 2 : 1;
  let at = writeLength(bytes, 1, length - 1 - lengthBytes, lengthBytes);
  bytes[at] = CRC_TAG;
  new DataView(bytes.buffer).setUint32(at + 1, crc, true);
  at += CRC_BYTES;
  bytes.set(kept, at);
  at += kept.length;
  if (at === length) return bytes;
  bytes[at] = PADDING_TAG;
  const inner = wide ? 4 : 1;
  writeLength(bytes, at + 1, length - at - 1 - inner, inner);
  return bytes;
}

const NOTHING = new Uint8Array(0);

/** The checksum of the frame that was there; undefined when the record is not one that was erased. */
export function crcOfErased(record: Uint8Array): number | undefined {
  if (record[0] !== ERASED_TAG) return undefined;
  let at = 1;
  while (at < record.length && (record[at] as number) >= 0x80) at++;
  at++;
  if (record[at] !== CRC_TAG || at + CRC_BYTES > record.length) return undefined;
  return new DataView(record.buffer, record.byteOffset).getUint32(at + 1, true);
}

/**
 * Of an Erase record whose erase is complete: where its partition ended when the entity's records were out of it; undefined
 * for every other record.
 */
export function rowsGoneAt(record: Uint8Array): number | undefined {
  if (record[0] !== ERASED_TAG) return undefined;
  let at = 1;
  while (at < record.length && (record[at] as number) >= 0x80) at++;
  at += 1 + CRC_BYTES;
  if (record[at] !== ROWS_GONE_TAG) return undefined;
  let value = 0;
  // An offset is a safe integer: eight bytes of seven bits.
  for (let i = 0; i < 8; i++) {
    const byte = record[at + 1 + i] ?? 0;
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) return value;
  }
  return undefined;
}

function writeLength(bytes: Uint8Array, at: number, value: number, count: number): number {
  let rest = value;
  for (let i = 0; i < count; i++) {
    bytes[at + i] = (rest & 0x7f) | (i === count - 1 ? 0 : 0x80);
    rest >>>= 7;
  }
  assert(rest === 0, 'a length that does not fit its bytes');
  return at + count;
}
