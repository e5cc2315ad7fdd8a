/**
 * A cursor over protobuf wire bytes that allocates nothing: what the record reader and the row decoder are made of.
 * Running over the end, or a malformed varint, is DATA_DAMAGED.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { normaliseInteger } from '../numbers/integers.ts';

const EMPTY = new Uint8Array(0);

export class WireCursor {
  bytes: Uint8Array = EMPTY;
  at = 0;
  end = 0;
  #view: DataView = new DataView(EMPTY.buffer);

  /** Stands at the start of the bytes. */
  load(bytes: Uint8Array): void {
    this.bytes = bytes;
    this.at = 0;
    this.end = bytes.length;
    // Records are slices of few large buffers, so one view serves many of them.
    if (this.#view.buffer !== bytes.buffer) this.#view = new DataView(bytes.buffer);
  }

  /** An unsigned varint below 2^53; larger ones lose digits (see varint64). */
  varint(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    let value = first & 0x7f;
    let scale = 128;
    for (let i = 1; i < 10; i++) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw this.damaged();
  }

  /** An unsigned 64-bit varint: a number when it is safe. */
  varint64(): number | bigint {
    const start = this.at;
    const value = this.varint();
    if (value <= Number.MAX_SAFE_INTEGER && this.at - start <= 8) return value;
    return normaliseInteger(this.#bigVarint(start));
  }

  /** A signed 64-bit zigzag varint: a number when it is safe. */
  zigzag64(): number | bigint {
    const start = this.at;
    const value = this.varint();
    if (this.at - start <= 8 && value <= Number.MAX_SAFE_INTEGER) {
      return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
    const wide = this.#bigVarint(start);
    return normaliseInteger(wide & 1n ? -((wide + 1n) >> 1n) : wide >> 1n);
  }

  double(): number {
    const at = this.#advance(8);
    return this.#view.getFloat64(this.bytes.byteOffset + at, true);
  }

  float(): number {
    const at = this.#advance(4);
    return this.#view.getFloat32(this.bytes.byteOffset + at, true);
  }

  /** Reads a length and returns the end of the part that begins at `at`. */
  part(): number {
    const length = this.varint();
    const end = this.at + length;
    if (end > this.end) throw this.damaged();
    return end;
  }

  /** Passes over a field whose tag was read. */
  skip(wireType: number): void {
    switch (wireType) {
      case 0:
        this.varint();
        return;
      case 1:
        this.#advance(8);
        return;
      case 2:
        this.at = this.part();
        return;
      case 5:
        this.#advance(4);
        return;
      default:
        throw this.damaged();
    }
  }

  damaged(): FreshetError {
    return new FreshetError('DATA_DAMAGED', `An encoded message cannot be read at byte ${this.at}.`);
  }

  #byte(): number {
    if (this.at >= this.end) throw this.damaged();
    return this.bytes[this.at++] as number;
  }

  #advance(by: number): number {
    const at = this.at;
    if (at + by > this.end) throw this.damaged();
    this.at = at + by;
    return at;
  }

  #bigVarint(start: number): bigint {
    let value = 0n;
    for (let i = start; i < this.at; i++) {
      value |= BigInt((this.bytes[i] as number) & 0x7f) << BigInt(7 * (i - start));
    }
    return BigInt.asUintN(64, value);
  }
}
