/**
 * Reads what ByteWriter writes, from bytes that were checked when they were stored: running over the end is a damaged
 * state, reported as DATA_DAMAGED.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { NonFinite } from '../numbers/exact-double.ts';
import { normaliseInteger } from '../numbers/integers.ts';

const UTF8 = new TextDecoder('utf-8', { ignoreBOM: true });

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Reads on at an index. */
  seek(at: number): void {
    this.#at = at;
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  byte(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  bool(): boolean {
    return this.byte() !== 0;
  }

  /** An unsigned safe integer. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw damaged();
  }

  /** A signed 64-bit integer. */
  zigzag(): number;
  zigzag(wide: true): number | bigint;
  zigzag(wide?: true): number | bigint {
    const start = this.#at;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.byte();
      // The eighth byte holds bits 49 to 55, of which only the lowest four fit a safe integer.
      if (i === 7 && byte > 0x0f) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      scale *= 128;
    }
    this.#at = start;
    const result = normaliseInteger(this.#bigZigzag64());
    if (wide !== true && typeof result === 'bigint') throw damaged();
    return result;
  }

  bigZigzag(): number | bigint {
    const length = this.varint();
    if (length === 0) return this.zigzag();
    const from = this.#advance(length);
    let hex = '0x';
    for (let i = from; i < from + length; i++) hex += (this.#bytes[i] as number).toString(16).padStart(2, '0');
    return unzigzag(BigInt(hex));
  }

  double(): number {
    return this.#view.getFloat64(this.#advance(8), true);
  }

  float(): number {
    return this.#view.getFloat32(this.#advance(4), true);
  }

  /** A copy: the source may be a buffer that is reused. */
  bytes(): Uint8Array {
    const length = this.varint();
    const from = this.#advance(length);
    return this.#bytes.slice(from, from + length);
  }

  string(): string {
    const length = this.varint();
    const from = this.#advance(length);
    return UTF8.decode(this.#bytes.subarray(from, from + length));
  }

  /** A copy of all that is left. */
  rest(): Uint8Array {
    const from = this.#at;
    this.#at = this.#bytes.length;
    return this.#bytes.slice(from);
  }

  nonFinite(): NonFinite | undefined {
    if (!this.bool()) return undefined;
    const nan = this.varint();
    const positive = this.varint();
    return { nan, positive, negative: this.varint() };
  }

  #bigZigzag64(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt(unzigzag(value));
    }
    throw damaged();
  }

  #advance(by: number): number {
    const at = this.#at;
    if (at + by > this.#bytes.length) throw damaged();
    this.#at = at + by;
    return at;
  }
}

function unzigzag(value: bigint): number | bigint {
  return normaliseInteger(value & 1n ? -((value + 1n) >> 1n) : value >> 1n);
}

function damaged(): FreshetError {
  return new FreshetError('DATA_DAMAGED', 'A stored key state cannot be read.', {
    remedy: 'Delete the shard: it is folded again from the log.',
  });
}
