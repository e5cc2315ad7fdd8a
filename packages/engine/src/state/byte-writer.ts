/**
 * A growing buffer with the primitives that hot encoders need: protobuf varints, zigzag, doubles, UTF-8, and length
 * prefixes that are written after what they measure. Used for rows (protobuf) and key states (state/state-codec.ts).
 *
 * Numbers are safe integers or, where a parameter says so, bigints. A writer is reused: reset() and take() per message.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { NonFinite } from '../numbers/exact-double.ts';

const UTF8 = new TextEncoder();
/** Zigzag doubles a number; beyond this the result would not be a safe integer. */
const ZIGZAG_MAX = 2 ** 52 - 1;
/** What four bytes of a varint hold. */
const LOW_BITS = 2 ** 28;

/** An array with a buffer of its own costs about a microsecond (measured), a part of a shared one a tenth of it. */
const SLAB_BYTES = 32_768;

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;
  #slab = new Uint8Array(0);
  #slabAt = 0;

  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#at;
  }

  reset(): void {
    this.#at = 0;
  }

  /** A copy of what was written since reset(). */
  take(): Uint8Array {
    return this.#bytes.slice(0, this.#at);
  }

  /** As take(), but the copy shares a larger buffer with those before and after it: for bytes that are soon let go of. */
  takeShared(): Uint8Array {
    const length = this.#at;
    if (length > SLAB_BYTES / 4) return this.take();
    if (this.#slabAt + length > this.#slab.length) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#slabAt = 0;
    }
    const copy = this.#slab.subarray(this.#slabAt, this.#slabAt + length);
    copy.set(this.#bytes.subarray(0, length));
    this.#slabAt += length;
    return copy;
  }

  byte(value: number): void {
    if (this.#at === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#at++] = value;
  }

  bool(value: boolean): void {
    this.byte(value ? 1 : 0);
  }

  /** An unsigned safe integer. */
  varint(value: number): void {
    if (this.#at + 10 > this.#bytes.length) this.#grow(10);
    let rest = value;
    if (rest > 0x7fff_ffff) {
      // Times and the like: four bytes at once, then what is left is small; a remainder of doubles is slow.
      rest = Math.floor(value / LOW_BITS);
      const low = value - rest * LOW_BITS;
      this.#bytes[this.#at++] = (low & 0x7f) | 0x80;
      this.#bytes[this.#at++] = ((low >>> 7) & 0x7f) | 0x80;
      this.#bytes[this.#at++] = ((low >>> 14) & 0x7f) | 0x80;
      this.#bytes[this.#at++] = (low >>> 21) | 0x80;
    }
    while (rest > 0x7f) {
      this.#bytes[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#at++] = rest;
  }

  /** An unsigned bigint below 2^64. */
  bigVarint(value: bigint): void {
    let rest = value;
    while (rest > 0x7fn) {
      this.byte(Number(rest & 0x7fn) | 0x80);
      rest >>= 7n;
    }
    this.byte(Number(rest));
  }

  /** A signed 64-bit integer, as protobuf's sint64. */
  zigzag(value: number | bigint): void {
    if (typeof value === 'number' && value <= ZIGZAG_MAX && value >= -ZIGZAG_MAX) {
      this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
      return;
    }
    const wide = BigInt(value);
    this.bigVarint(wide >= 0n ? wide << 1n : (-wide << 1n) - 1n);
  }

  /** A signed integer of any size: its zigzag as a length and big-endian bytes, shortest form. */
  bigZigzag(value: number | bigint): void {
    if (typeof value === 'number' && value <= ZIGZAG_MAX && value >= -ZIGZAG_MAX) {
      this.byte(0);
      this.varint(value >= 0 ? value * 2 : -value * 2 - 1);
      return;
    }
    const wide = BigInt(value);
    const hex = (wide >= 0n ? wide << 1n : (-wide << 1n) - 1n).toString(16);
    const padded = hex.length % 2 === 0 ? hex : `0${hex}`;
    this.varint(padded.length / 2);
    for (let i = 0; i < padded.length; i += 2) this.byte(Number.parseInt(padded.slice(i, i + 2), 16));
  }

  /** Little-endian; every NaN as the one NaN. */
  double(value: number): void {
    if (this.#at + 8 > this.#bytes.length) this.#grow(8);
    if (Number.isNaN(value)) this.#view.setBigUint64(this.#at, 0x7ff8_0000_0000_0000n, true);
    else this.#view.setFloat64(this.#at, value, true);
    this.#at += 8;
  }

  float(value: number): void {
    if (this.#at + 4 > this.#bytes.length) this.#grow(4);
    if (Number.isNaN(value)) this.#view.setUint32(this.#at, 0x7fc0_0000, true);
    else this.#view.setFloat32(this.#at, value, true);
    this.#at += 4;
  }

  raw(bytes: Uint8Array): void {
    if (this.#at + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** A length and the bytes. */
  bytes(bytes: Uint8Array): void {
    this.varint(bytes.length);
    this.raw(bytes);
  }

  /** A length and the text in UTF-8. */
  string(text: string): void {
    const length = text.length;
    const start = this.#at;
    if (length < 128) {
      if (start + 1 + length > this.#bytes.length) this.#grow(1 + length);
      this.#bytes[start] = length;
      let i = 0;
      for (; i < length; i++) {
        const unit = text.charCodeAt(i);
        if (unit > 0x7f) break;
        this.#bytes[start + 1 + i] = unit;
      }
      if (i === length) {
        this.#at = start + 1 + length;
        return;
      }
    }
    this.bytes(UTF8.encode(text));
  }

  /** Counts of non-finite addends, or that there are none. */
  nonFinite(counts: NonFinite | undefined): void {
    this.bool(counts !== undefined);
    if (counts === undefined) return;
    this.varint(counts.nan);
    this.varint(counts.positive);
    this.varint(counts.negative);
  }

  /** Starts a length-prefixed part; end() with the mark writes the length. */
  begin(): number {
    this.byte(0);
    return this.#at;
  }

  /** Ends the part that begin() started. */
  end(mark: number): void {
    const length = this.#at - mark;
    if (length < 0x80) {
      this.#bytes[mark - 1] = length;
      return;
    }
    const extra = length < 0x4000 ? 1 : length < 0x20_0000 ? 2 : length < 0x1000_0000 ? 3 : 4;
    assert(length < 2 ** 31, 'a part is too long to encode');
    if (this.#at + extra > this.#bytes.length) this.#grow(extra);
    this.#bytes.copyWithin(mark + extra, mark, this.#at);
    const finish = this.#at + extra;
    this.#at = mark - 1;
    this.varint(length);
    this.#at = finish;
  }

  /** Drops the part's mark and whatever was written since begin(). */
  cancel(mark: number): void {
    this.#at = mark - 1;
  }

  #grow(by: number): void {
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + by + 16));
    bytes.set(this.#bytes.subarray(0, this.#at));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}
