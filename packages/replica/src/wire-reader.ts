/**
 * Reads Protobuf wire bytes without making objects: what the read path needs to find one value of a stored row.
 *
 * Owns: varints and skipping. Integers come as a number when it is safe, else as a bigint, so that no digit is lost.
 * Damaged bytes throw DATA_DAMAGED rather than run past the end.
 */
import { FreshetError } from '@freshet/kit/errors.ts';

/** A 64-bit integer: a number when that is exact. */
export type Integer = number | bigint;

/** What the upper half of a varint counts; and below what it is for the whole to be below 2^53. */
const HIGH = 2 ** 28;
const HIGH_MAX = 2 ** 25;

export class WireReader {
  buffer: Uint8Array;
  position: number;
  end: number;
  #view: DataView | undefined;
  #ended = false;

  constructor(buffer: Uint8Array, position = 0, end = buffer.length) {
    this.buffer = buffer;
    this.position = position;
    this.end = end;
  }

  /** Reads from other bytes from now on. */
  reset(buffer: Uint8Array, position: number, end: number): void {
    if (buffer !== this.buffer) this.#view = undefined;
    this.buffer = buffer;
    this.position = position;
    this.end = end;
  }

  /** Goes on with a part of the same bytes. */
  within(position: number, end: number): void {
    this.position = position;
    this.end = end;
  }

  get more(): boolean {
    return this.position < this.end;
  }

  /** An unsigned varint of up to 53 bits, such as a tag, a length or an enum. */
  varint(): number {
    const start = this.position;
    if (start < this.end) {
      const byte = this.buffer[start] as number;
      if (byte < 0x80) {
        this.position = start + 1;
        return byte;
      }
    }
    const low = this.#low();
    if (this.#ended) return low;
    const high = this.#high();
    if (high >= 0) return high * HIGH + low;
    this.position = start;
    const wide = this.#wide();
    if (wide > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged('an integer beyond 53 bits');
    return Number(wide);
  }

  /** An int64 written as a plain varint (two's complement). */
  int64(): Integer {
    const start = this.position;
    const low = this.#low();
    if (this.#ended) return low;
    const high = this.#high();
    if (high >= 0) return high * HIGH + low;
    this.position = start;
    return narrow(BigInt.asIntN(64, this.#wide()));
  }

  /** So many int64s, one after the other. */
  int64s(count: number): Integer[] {
    const { buffer, end } = this;
    const values = new Array<Integer>(count);
    let at = this.position;
    for (let i = 0; i < count; i++) {
      // Most have up to four bytes, which are read here, without a call for each.
      const start = at;
      let byte = at < end ? (buffer[at++] as number) : 0x80;
      let value = byte & 0x7f;
      for (let shift = 7; byte >= 0x80 && shift < 28 && at < end; shift += 7) {
        byte = buffer[at++] as number;
        value |= (byte & 0x7f) << shift;
      }
      if (byte < 0x80) values[i] = value;
      else {
        this.position = start;
        values[i] = this.int64();
        at = this.position;
      }
    }
    this.position = at;
    return values;
  }

  /** A sint64 (zigzag). */
  sint64(): Integer {
    const start = this.position;
    const low = this.#low();
    if (this.#ended) return (low >>> 1) ^ -(low & 1);
    const high = this.#high();
    if (high >= 0) {
      const half = high * (HIGH / 2) + (low >>> 1);
      return (low & 1) === 0 ? half : -half - 1;
    }
    this.position = start;
    const wide = BigInt.asUintN(64, this.#wide());
    return narrow((wide & 1n) === 0n ? wide >> 1n : -(wide >> 1n) - 1n);
  }

  /** The double whose eight bytes begin at the place. */
  double(at: number): number {
    if (at < 0 || at + 8 > this.end) throw damaged('a double that ends early');
    this.#view ??= new DataView(this.buffer.buffer, this.buffer.byteOffset, this.buffer.byteLength);
    return this.#view.getFloat64(at, true);
  }

  /** The length of a length-delimited field, checked against what is there. */
  length(): number {
    const length = this.varint();
    if (length > this.end - this.position) throw damaged('a field that is longer than its message');
    return length;
  }

  /** How many whole varints there are up to the end. */
  countVarints(): number {
    let count = 0;
    for (let at = this.position; at < this.end; at++) if ((this.buffer[at] as number) < 0x80) count += 1;
    return count;
  }

  /** Skips varints. */
  skipVarints(count: number): void {
    let left = count;
    let at = this.position;
    while (left > 0) {
      if (at >= this.end) throw damaged('a list that ends early');
      if ((this.buffer[at] as number) < 0x80) left -= 1;
      at += 1;
    }
    this.position = at;
  }

  /** Skips the rest of a field with the tag. */
  skip(tag: number): void {
    switch (tag & 7) {
      case 0:
        this.skipVarints(1);
        return;
      case 1:
        this.advance(8);
        return;
      case 2:
        this.advance(this.length());
        return;
      case 5:
        this.advance(4);
        return;
      default:
        throw damaged(`wire type ${tag & 7}`);
    }
  }

  advance(bytes: number): void {
    if (bytes > this.end - this.position) throw damaged('a field that is longer than its message');
    this.position += bytes;
  }

  // A varint of up to eight bytes in two halves of 28 bits: whole numbers of 32 bits take no arithmetic of doubles. Times in
  // microseconds have eight bytes.

  /** The bits of up to four bytes; #ended tells whether that was all of it. */
  #low(): number {
    const { buffer, end } = this;
    let at = this.position;
    let value = 0;
    let byte = 0x80;
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= end) throw damaged('an integer that ends early');
      byte = buffer[at++] as number;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    this.#ended = byte < 0x80;
    this.position = at;
    return value;
  }

  /** The bits of up to four bytes more; -1 when there are more still, or the whole is not below 2^53. */
  #high(): number {
    const { buffer, end } = this;
    let at = this.position;
    let value = 0;
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= end) throw damaged('an integer that ends early');
      const byte = buffer[at++] as number;
      value |= (byte & 0x7f) << shift;
      if (byte >= 0x80) continue;
      this.position = at;
      return value < HIGH_MAX ? value : -1;
    }
    return -1;
  }

  #wide(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      if (this.position >= this.end) throw damaged('an integer that ends early');
      const byte = this.buffer[this.position++] as number;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw damaged('an integer of more than ten bytes');
  }
}

function narrow(value: bigint): Integer {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function damaged(what: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the encoded message has ${what}`);
}
