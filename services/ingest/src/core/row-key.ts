/**
 * The key of a row of a mutable source: by it, and by nothing else, a fold finds what the row put in.
 *
 *     for each identity column, in the identity's order:  0                           null
 *                                                          length + 1, then the text   length as an unsigned LEB128, in bytes
 *
 * As it is when it has at most KEY_BYTES_MAX bytes, else its SHA-256. Equal identities have equal keys, whichever way the
 * row came: COPY and pgoutput write a value the same in sessions of the same settings. A decimal goes without the zeros at
 * its end, because a change of its scale rewrites them without telling. Pure.
 */
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { sha256 } from '@noble/hashes/sha2.js';

/** Longer ones are hashed. */
export const KEY_BYTES_MAX = 64;

/** The key of the texts of the identity columns; `types` are the columns'. */
export function encodeRowKey(texts: readonly (string | null)[], types: readonly ValueType[]): Uint8Array {
  const parts = texts.map((text, i) => (text === null ? null : Buffer.from(canonical(text, types[i]), 'utf8')));
  const length = parts.reduce((sum, part) => sum + (part === null ? 1 : lengthBytes(part.length + 1) + part.length), 0);
  const key = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    at = writeLength(key, at, part === null ? 0 : part.length + 1);
    if (part === null) continue;
    key.set(part, at);
    at += part.length;
  }
  return length <= KEY_BYTES_MAX ? key : sha256(key);
}

/** Whether two keys are of the same row. */
export function sameRowKey(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function canonical(text: string, type: ValueType | undefined): string {
  if (type?.kind !== Kind.DECIMAL || !text.includes('.')) return text;
  let end = text.length;
  while (text[end - 1] === '0') end -= 1;
  return text.slice(0, text[end - 1] === '.' ? end - 1 : end);
}

function lengthBytes(length: number): number {
  let bytes = 1;
  for (let rest = length >>> 7; rest > 0; rest >>>= 7) bytes += 1;
  return bytes;
}

function writeLength(key: Uint8Array, at: number, length: number): number {
  let rest = length;
  let end = at;
  for (; rest > 0x7f; rest >>>= 7) key[end++] = (rest & 0x7f) | 0x80;
  key[end++] = rest;
  return end;
}
