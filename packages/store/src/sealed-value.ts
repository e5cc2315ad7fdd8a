/**
 * A value with its checksum: CRC32C over key and value, little-endian, behind the value. With the key in it, a value
 * that was found under another key is damage too.
 *
 * Pure. LevelDB has checksums of its own over blocks, but the build in use never looks at them.
 */
import { crc32c } from './crc32c.ts';

export const CRC_BYTES = 4;

/** Key and sealed value in one allocation. */
export interface SealedEntry {
  readonly key: Buffer;
  readonly value: Buffer;
}

export function sealEntry(key: Uint8Array, value: Uint8Array): SealedEntry {
  const bytes = Buffer.allocUnsafe(key.length + value.length + CRC_BYTES);
  bytes.set(key);
  return seal(bytes, key.length, value);
}

/** As sealEntry, with a key in two parts, the second with a character per byte. */
export function sealUnder(prefix: Uint8Array, key: string, value: Uint8Array): SealedEntry {
  const bytes = Buffer.allocUnsafe(prefix.length + key.length + value.length + CRC_BYTES);
  bytes.set(prefix);
  bytes.write(key, prefix.length, 'latin1');
  return seal(bytes, prefix.length + key.length, value);
}

function seal(bytes: Buffer, keyLength: number, value: Uint8Array): SealedEntry {
  bytes.set(value, keyLength);
  const end = keyLength + value.length;
  bytes.writeUInt32LE(crc32c(bytes, 0, end), end);
  return { key: bytes.subarray(0, keyLength), value: bytes.subarray(keyLength) };
}

/** The value without its checksum; undefined when they do not agree. */
export function unseal(key: Uint8Array, sealed: Buffer): Buffer | undefined {
  const length = sealed.length - CRC_BYTES;
  if (length < 0) return undefined;
  const crc = crc32c(sealed, 0, length, crc32c(key, 0, key.length));
  return crc === sealed.readUInt32LE(length) ? sealed.subarray(0, length) : undefined;
}
