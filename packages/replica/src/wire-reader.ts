/**
 * Reads Protobuf wire bytes without making objects: what the read path needs to find one value of a stored row.
 *
 * Owns: varints and skipping. Integers come as a number when it is safe, else as a bigint, so that no digit is lost.
 * Damaged bytes throw DATA_DAMAGED rather than run past the end.
 */
import { FreshetError } from '@freshet/kit/errors.ts';

/** A 64-bit integer: a number when that is exact. */
export type Integer = number | bigint;

export class WireReader {
  buffer: Uint8Array;
  position: number;
  end: number;
  #view: DataView | undefined;

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
    let byte = this.#byte();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 0x80;
    for (let i = 0; i < 6; i++) {
      byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
    this.position -= 7;
    const wide = this.#wide();
    if (wide > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged('an integer beyond 53 bits');
    return Number(wide);
  }

  /** An int64 written as a plain varint (two's complement). */
  int64(): Integer {
    const start = this.position;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 7; i++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
    const last = this.#byte();
    if (last < 0x10) return value + last * scale;
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
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 7; i++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return unzigzag(value);
      scale *= 0x80;
    }
    // Times in microseconds have eight bytes. With fewer than four bits in the last the whole is below 2^53.
    const last = this.#byte();
    if (last < 0x10) return unzigzag(value + last * scale);
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

  #byte(): number {
    if (this.position >= this.end) throw damaged('an integer that ends early');
    return this.buffer[this.position++] as number;
  }

  #wide(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw damaged('an integer of more than ten bytes');
  }
}

/** The integer of a zigzag number below 2^53. */
function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
}

function narrow(value: bigint): Integer {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function damaged(what: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the encoded message has ${what}`);
}
