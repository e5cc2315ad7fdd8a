/** Ids as hex strings, the keys of maps in memory, and as bytes, the form on the wire. */
import { assert } from './assert.ts';

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function toHex(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += DIGITS[byte];
  return text;
}

export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  assert(text.length % 2 === 0, 'hex has two digits a byte');
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}
