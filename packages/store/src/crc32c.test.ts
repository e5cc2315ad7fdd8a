/** Goal: the checksum is CRC32C, whichever way it is computed. Method: known answers, and both ways on random bytes. */
import { crc32c as nativeCrc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { crc32c } from './crc32c.ts';

it('gives the known answers of RFC 3720', () => {
  const ascending = Uint8Array.from({ length: 32 }, (_, index) => index);
  expect(crc32c(new Uint8Array(32), 0, 32)).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff), 0, 32)).toBe(0x62a8ab43);
  expect(crc32c(ascending, 0, 32)).toBe(0x46dd794e);
  expect(crc32c(new TextEncoder().encode('123456789'), 0, 9)).toBe(0xe3069283);
});

it('is the same by table and natively, for any range', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 0, maxLength: 500 }), fc.nat(500), fc.nat(500), (bytes, a, b) => {
      const start = Math.min(a, b, bytes.length);
      const end = Math.min(Math.max(a, b), bytes.length);
      expect(crc32c(bytes, start, end)).toBe(nativeCrc32c(bytes.slice(start, end)));
    }),
    { numRuns: 500 },
  );
});

it('goes on from the bytes before, wherever they are cut', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, at) => {
      const cut = Math.min(at, bytes.length);
      const whole = nativeCrc32c(bytes);
      expect(crc32c(bytes, cut, bytes.length, crc32c(bytes, 0, cut))).toBe(whole);
      expect(crc32c(bytes.slice(cut), 0, bytes.length - cut, crc32c(bytes, 0, cut))).toBe(whole);
    }),
    { numRuns: 500 },
  );
});
