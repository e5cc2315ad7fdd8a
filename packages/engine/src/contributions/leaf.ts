/**
 * A run of contributions of one key in one block of bytes, by (hash of the row key, offset) ascending.
 *
 * Owns finding, putting in, taking out, and cutting in two. Does not own which leaf a row is in (contribution-tree.ts). A
 * block and not objects: a live row then costs its bytes and little more, and a commit copies them as they are.
 */
import { assert } from '@freshet/kit/assert.ts';
import { endOf, isOfRow, type RowKey, readHash, readOffset } from './contribution.ts';

const NO_BYTES = new Uint8Array(0);

/** A place in the order of contributions. */
export interface Bound {
  readonly hash: number;
  readonly offset: number;
}

export const FIRST_BOUND: Bound = { hash: 0, offset: 0 };

export function isBefore(a: Bound, b: Bound): boolean {
  return a.hash < b.hash || (a.hash === b.hash && a.offset < b.offset);
}

export class Leaf {
  /** Those of `length` count. */
  bytes: Uint8Array = NO_BYTES;
  length = 0;
  count = 0;

  /** Where the first contribution is that is not before the hash, or `length`. */
  find(hash: number): number {
    let at = 0;
    while (at < this.length && readHash(this.bytes, at) < hash) at = endOf(this.bytes, at);
    return at;
  }

  /** Where the next contribution of the row is, from an index on that find() or this gave; -1: there is none. */
  findRow(row: RowKey, from: number): number {
    for (let at = from; at < this.length && readHash(this.bytes, at) === row.hash; at = endOf(this.bytes, at)) {
      if (isOfRow(this.bytes, at, row)) return at;
    }
    return -1;
  }

  /** Puts one in that is newer than all of its hash. */
  insert(contribution: Uint8Array): void {
    const hash = readHash(contribution, 0);
    let at = this.find(hash);
    while (at < this.length && readHash(this.bytes, at) === hash) at = endOf(this.bytes, at);
    const length = this.length + contribution.length;
    if (length > this.bytes.length) {
      // A key with one row has no room to spare; one with many is copied seldom.
      const grown = new Uint8Array(this.count === 0 ? length : length + (length >> 1));
      grown.set(this.bytes.subarray(0, at));
      grown.set(this.bytes.subarray(at, this.length), at + contribution.length);
      this.bytes = grown;
    } else {
      this.bytes.copyWithin(at + contribution.length, at, this.length);
    }
    this.bytes.set(contribution, at);
    this.length = length;
    this.count++;
  }

  removeAt(at: number): void {
    const end = endOf(this.bytes, at);
    this.bytes.copyWithin(at, end, this.length);
    this.length -= end - at;
    this.count--;
  }

  /** Takes out all for which it is so; how many. */
  removeAll(isGone: (bytes: Uint8Array, at: number) => boolean): number {
    const before = this.count;
    for (let at = 0; at < this.length; ) {
      if (isGone(this.bytes, at)) this.removeAt(at);
      else at = endOf(this.bytes, at);
    }
    return before - this.count;
  }

  /** Moves the upper half into another leaf, which is empty; where that begins. */
  splitInto(upper: Leaf): Bound {
    assert(this.count > 1, 'a leaf of one contribution is split');
    let at = 0;
    for (let i = this.count >> 1; i > 0; i--) at = endOf(this.bytes, at);
    const bound = { hash: readHash(this.bytes, at), offset: readOffset(this.bytes, at) };
    upper.bytes = this.bytes.slice(at, this.length);
    upper.length = upper.bytes.length;
    upper.count = this.count - (this.count >> 1);
    this.bytes = this.bytes.slice(0, at);
    this.length = at;
    this.count >>= 1;
    return bound;
  }

  /** Takes over what a leaf behind this one has. */
  append(upper: Leaf): void {
    const bytes = new Uint8Array(this.length + upper.length);
    bytes.set(this.bytes.subarray(0, this.length));
    bytes.set(upper.bytes.subarray(0, upper.length), this.length);
    this.bytes = bytes;
    this.length = bytes.length;
    this.count += upper.count;
  }
}
