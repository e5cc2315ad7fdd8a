/**
 * Chance that can be had again: a seeded generator (sfc32) with independent branches by name, so that a change in how
 * often one part asks does not change what another part gets.
 */

export class Random {
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;
  readonly #seed: string;

  constructor(seed: string | number) {
    this.#seed = String(seed);
    [this.#a, this.#b, this.#c] = [hash(`${this.#seed}/a`), hash(`${this.#seed}/b`), hash(`${this.#seed}/c`)];
    for (let i = 0; i < 12; i++) this.uint32();
  }

  /** A generator of its own, the same for the same seed and name. */
  branch(name: string): Random {
    return new Random(`${this.#seed}/${name}`);
  }

  uint32(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#counter++) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return sum >>> 0;
  }

  /** In [0, 1). */
  real(): number {
    return this.uint32() / 2 ** 32;
  }

  /** A whole number in [low, high]. */
  between(low: number, high: number): number {
    return low + Math.floor(this.real() * (high - low + 1));
  }

  /** True once in so many times. */
  oneIn(times: number): boolean {
    return this.real() * times < 1;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.between(0, items.length - 1)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }
}

/** FNV-1a, then mixed: names that differ in a letter give seeds that have nothing in common. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
