/** The hash that spreads the rows of a key over leaves: the finish of murmur2 over the row key's bytes, 32 bits. */

const M = 0x5bd1e995;

export function rowHash(bytes: Uint8Array, start: number, end: number): number {
  let h = (0x9747b28c ^ (end - start)) | 0;
  for (let i = start; i < end; i++) h = Math.imul(h ^ (bytes[i] as number), M);
  h ^= h >>> 13;
  h = Math.imul(h, M);
  return (h ^ (h >>> 15)) >>> 0;
}
