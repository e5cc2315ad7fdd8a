/**
 * A growing buffer with the protobuf wire format's writers, for messages that are encoded by hand on the hot path.
 * Pure. Unlike protobuf-es' BinaryWriter it makes no object per field and no bigint arithmetic for small numbers.
 */
import { assert } from '@freshet/kit/assert.ts';

export const WIRE_VARINT = 0;
export const WIRE_FIXED64 = 1;
export const WIRE_BYTES = 2;

const UTF8 = new TextEncoder();
const SAFE_MAX = BigInt(Number.MAX_SAFE_INTEGER);
/** Below this a number's zigzag is itself a safe integer. */
const ZIGZAG_SAFE = 2 ** 52;

export class ByteSink {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;

  constructor(capacity = 1024) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Forgets what was written. */
  clear(): void {
    this.#at = 0;
  }

  /** A copy of what was written. */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  /** A field's tag; the field number must be below 16. */
  tag(field: number, wireType: number): void {
    this.#reserve(1);
    this.#bytes[this.#at++] = (field << 3) | wireType;
  }

  /** A number from 0 to 2^53 - 1. */
  varint(value: number): void {
    this.#reserve(10);
    let rest = value;
    while (rest > 0x7fff_ffff) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest = Math.floor(rest / 128);
    }
    this.#low(rest);
  }

  /** An unsigned 64-bit number. */
  varint64(value: bigint): void {
    if (value <= SAFE_MAX) {
      this.varint(Number(value));
      return;
    }
    this.#reserve(10);
    this.#wide(value);
  }

  /** A signed 64-bit number, zigzag. */
  sint64(value: bigint): void {
    // Comparing numbers is cheaper than comparing bigints; a bigint beyond 2^52 does not round below it.
    const narrow = Number(value);
    if (narrow < ZIGZAG_SAFE && narrow > -ZIGZAG_SAFE) this.#zigzag(narrow);
    else this.#wideZigzag(value);
  }

  /** A safe integer as a signed 64-bit number, zigzag. */
  sintNumber(value: number): void {
    if (value < ZIGZAG_SAFE && value > -ZIGZAG_SAFE) this.#zigzag(value);
    else this.#wideZigzag(BigInt(value));
  }

  double(value: number): void {
    this.#reserve(8);
    this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  float(value: number): void {
    this.#reserve(4);
    this.#view.setFloat32(this.#at, value, true);
    this.#at += 4;
  }

  /** Length and content. */
  bytes(content: Uint8Array): void {
    this.varint(content.length);
    this.#reserve(content.length);
    this.#bytes.set(content, this.#at);
    this.#at += content.length;
  }

  /** Length and content in UTF-8. */
  string(content: string): void {
    const mark = this.begin();
    const length = content.length;
    // A UTF-16 unit takes at most three bytes.
    this.#reserve(length * 3);
    let index = 0;
    for (; index < length; index++) {
      const unit = content.charCodeAt(index);
      if (unit > 0x7f) break;
      this.#bytes[this.#at + index] = unit;
    }
    this.#at += index;
    if (index < length) {
      const rest = index === 0 ? content : content.slice(index);
      this.#at += UTF8.encodeInto(rest, this.#bytes.subarray(this.#at)).written;
    }
    this.end(mark);
  }

  /** Opens a length-delimited part, with room for a length below 128. Give the result to end(). */
  begin(): number {
    this.#reserve(1);
    return this.#at++;
  }

  /** Closes the part: writes its length before it, and moves it when the length takes more than one byte. */
  end(mark: number): void {
    const length = this.#at - mark - 1;
    if (length < 0x80) {
      this.#bytes[mark] = length;
      return;
    }
    const extra = length < 0x4000 ? 1 : length < 0x20_0000 ? 2 : length < 0x1000_0000 ? 3 : 4;
    this.#reserve(extra);
    this.#bytes.copyWithin(mark + 1 + extra, mark + 1, this.#at);
    const after = this.#at + extra;
    this.#at = mark;
    this.varint(length);
    assert(this.#at === mark + 1 + extra, 'a length that took other bytes than reckoned');
    this.#at = after;
  }

  #zigzag(value: number): void {
    this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
  }

  #wideZigzag(value: bigint): void {
    this.#reserve(10);
    this.#wide(value >= 0n ? value << 1n : (-value << 1n) - 1n);
  }

  #wide(value: bigint): void {
    let rest = value;
    while (rest > 0x7fff_ffffn) {
      this.#bytes[this.#at++] = Number(rest & 0x7fn) | 0x80;
      rest >>= 7n;
    }
    this.#low(Number(rest));
  }

  #low(value: number): void {
    let rest = value;
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  #reserve(count: number): void {
    if (this.#at + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + count));
    larger.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = larger;
    this.#view = new DataView(larger.buffer);
  }
}
