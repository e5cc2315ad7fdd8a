/**
 * How a replica names a row in memory: an entity key of one int64 that is a safe integer is that number, every other key
 * its key string. Most keys are of the first kind; a Map finds numbers in less than half the time that it takes to make
 * and hash a string, and they need no memory of their own.
 *
 * Owns this form, its conversions, and the partition of a number without making its bytes. Does not own the encoding of
 * keys (packages/values/src/key.ts).
 */
import { int64KeyString, keyString } from '@freshet/values/key.ts';

/** A key as Maps in the replica have it. One key has one form. */
export type RowKey = number | string;

// The encoded key of one int64: a tag and eight bytes.
const INT64_TAG = 0x01;
const INT64_LENGTH = 9;

/** The form of encoded key bytes. */
export function rowKeyOf(bytes: Uint8Array): RowKey {
  if (bytes.length !== INT64_LENGTH || bytes[0] !== INT64_TAG) return keyString(bytes);
  const high =
    ((byteAt(bytes, 1) ^ 0x80) << 24) | (byteAt(bytes, 2) << 16) | (byteAt(bytes, 3) << 8) | byteAt(bytes, 4) | 0;
  const low = ((byteAt(bytes, 5) << 24) | (byteAt(bytes, 6) << 16) | (byteAt(bytes, 7) << 8) | byteAt(bytes, 8)) >>> 0;
  const value = high * 0x1_0000_0000 + low;
  return Number.isSafeInteger(value) ? value : keyString(bytes);
}

/** The form of a key string. */
export function rowKeyOfText(text: string): RowKey {
  return text.length === INT64_LENGTH && text.charCodeAt(0) === INT64_TAG
    ? rowKeyOf(Buffer.from(text, 'latin1'))
    : text;
}

/** The form of an entity key of one int64. */
export function rowKeyOfInt64(value: number | bigint): RowKey {
  return typeof value === 'number' && Number.isSafeInteger(value) ? value : int64KeyString(value);
}

/** The key string. */
export function rowKeyText(key: RowKey): string {
  return typeof key === 'number' ? int64KeyString(key) : key;
}

const SEED = 0x9747_b28c;
const M = 0x5bd1_e995;

/** partitionOf(the encoded key of one int64, partitions), for a safe integer. */
export function partitionOfInt64(value: number, partitions: number): number {
  const high = Math.floor(value / 0x1_0000_0000) ^ 0x8000_0000;
  const low = value >>> 0;
  // The nine bytes as murmur2 takes them: tag and high's first three, high's last and low's first three, low's last.
  const first = INT64_TAG | ((high >>> 24) << 8) | (((high >>> 16) & 0xff) << 16) | (((high >>> 8) & 0xff) << 24);
  const second = (high & 0xff) | ((low >>> 24) << 8) | (((low >>> 16) & 0xff) << 16) | (((low >>> 8) & 0xff) << 24);
  let h = mix(mix(SEED ^ INT64_LENGTH, first), second);
  h = Math.imul(h ^ (low & 0xff), M);
  h ^= h >>> 13;
  h = Math.imul(h, M);
  h ^= h >>> 15;
  return (h & 0x7fff_ffff) % partitions;
}

function mix(h: number, block: number): number {
  let k = Math.imul(block, M);
  k ^= k >>> 24;
  return Math.imul(h, M) ^ Math.imul(k, M);
}

function byteAt(bytes: Uint8Array, index: number): number {
  return bytes[index] as number;
}
