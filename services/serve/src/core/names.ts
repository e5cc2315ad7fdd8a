/**
 * Texts that come again and again in requests, such as the names of services and key columns: found by their bytes, so
 * that no call pays for making them, and so that Maps find them by a hash that is known already.
 *
 * Owns the memory of texts. Invariant R4: so many texts of so many bytes, whatever callers send.
 */
const SLOTS = 512;
const KEPT_BYTES_MAX = 64;

interface Known {
  readonly bytes: Uint8Array;
  readonly text: string;
}

export class Names {
  readonly #slots: (Known | undefined)[] = new Array<Known | undefined>(SLOTS).fill(undefined);

  /** The UTF-8 text between two positions of the buffer. */
  text(buffer: Buffer, start: number, end: number): string {
    if (end - start > KEPT_BYTES_MAX) return buffer.toString('utf8', start, end);
    let hash = end - start;
    for (let at = start; at < end; at++) hash = (Math.imul(hash, 31) + (buffer[at] as number)) | 0;
    const slot = (hash ^ (hash >>> 9)) & (SLOTS - 1);
    const known = this.#slots[slot];
    if (known !== undefined && same(known.bytes, buffer, start, end)) return known.text;
    const text = buffer.toString('utf8', start, end);
    this.#slots[slot] = { bytes: Uint8Array.prototype.slice.call(buffer, start, end), text };
    return text;
  }
}

function same(known: Uint8Array, buffer: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== buffer[start + i]) return false;
  return true;
}
