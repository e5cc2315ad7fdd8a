/** Goal: bytes and their digits are one for one. Method: every byte there is, and texts that are none. */
import { expect, test } from 'vitest';
import { fromHex, toHex } from './hex.ts';

test('every byte goes to two digits and back', () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  const text = toHex(bytes);
  expect(text).toHaveLength(512);
  expect(text.slice(0, 8)).toBe('00010203');
  expect(text.slice(-4)).toBe('feff');
  expect(fromHex(text)).toStrictEqual(bytes);
  expect(fromHex(text.toUpperCase())).toStrictEqual(bytes);
});

test('a part of a buffer is that part only', () => {
  expect(toHex(Uint8Array.of(1, 2, 3, 4).subarray(1, 3))).toBe('0203');
  expect(toHex(new Uint8Array(0))).toBe('');
});

test('what is no hex is refused', () => {
  for (const text of ['0', '0g', 'x1', '@@', '``', '//', '::']) expect(() => fromHex(text)).toThrow('hex has');
});
