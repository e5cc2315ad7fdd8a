/**
 * How many keys an instance has, and a digest of which they are and at which versions, that does not depend on an order:
 * a sum, so that a commit adds what it puts and takes away what that replaces.
 *
 * A version is the offset of the record that last changed a key, and by F1 that names the state; that the bytes under a
 * key are what was written is for each value's own checksum to say. What no checksum of a value can show, shows here:
 * keys that vanished, that came back, or that went back to an older state, as an older file of a store brings them.
 *
 * Pure. Two sums modulo 2^32 of two hashes: that damage leaves both alone is one chance in 2^64.
 */

/** The version of a key that is not there. */
export const NO_VERSION = -1;

const SIZE = 2 ** 32;

export class KeySet {
  keys: number;
  #low: number;
  #high: number;

  constructor(keys = 0, digest = 0n) {
    this.keys = keys;
    this.#low = Number(digest & 0xffff_ffffn);
    this.#high = Number(digest >> 32n);
  }

  /** 64 bits. */
  get digest(): bigint {
    return (BigInt(this.#high) << 32n) | BigInt(this.#low);
  }

  copy(): KeySet {
    return new KeySet(this.keys, this.digest);
  }

  equals(other: KeySet): boolean {
    return this.keys === other.keys && this.#low === other.#low && this.#high === other.#high;
  }

  /** The key has another version now; NO_VERSION before: it is new, after: it is gone. */
  replace(key: string, before: number, after: number): void {
    let low = 0x9747b28c;
    let high = 0x2f0b4a27;
    for (let i = 0; i < key.length; i++) {
      const code = key.charCodeAt(i);
      low = Math.imul(low ^ code, 0x5bd1e995);
      low ^= low >>> 15;
      high = Math.imul(high ^ code, 0x01000193) + code;
    }
    if (before !== NO_VERSION) {
      this.keys -= 1;
      this.#low = (this.#low - mix(low, before) + SIZE) % SIZE;
      this.#high = (this.#high - mix(high, before) + SIZE) % SIZE;
    }
    if (after !== NO_VERSION) {
      this.keys += 1;
      this.#low = (this.#low + mix(low, after)) % SIZE;
      this.#high = (this.#high + mix(high, after)) % SIZE;
    }
  }
}

/** A hash of a hash and a version, from 0 to 2^32 - 1: the finish of murmur3 over both halves of the version. */
function mix(hash: number, version: number): number {
  let h = Math.imul(hash ^ ((version % SIZE) | 0), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13) ^ Math.floor(version / SIZE), 0xc2b2ae35);
  h ^= h >>> 16;
  h = Math.imul(h, 0x27d4eb2f);
  return (h ^ (h >>> 15)) >>> 0;
}
