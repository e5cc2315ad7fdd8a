/** Ids as hex strings, the keys of maps in memory, and as bytes, the form on the wire. */
import { assert } from './assert.ts';

export function toHex(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

export function fromHex(text: string): Uint8Array<ArrayBuffer> {
  assert(text.length % 2 === 0, 'hex has two digits a byte');
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++)
    bytes[i] = (digitOf(text.charCodeAt(2 * i)) << 4) | digitOf(text.charCodeAt(2 * i + 1));
  return bytes;
}

function digitOf(unit: number): number {
  if (unit >= 0x30 && unit <= 0x39) return unit - 0x30;
  const letter = unit | 0x20;
  assert(letter >= 0x61 && letter <= 0x66, 'hex has the digits 0 to f');
  return letter - 0x57;
}
