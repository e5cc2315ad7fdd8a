/**
 * Writing and reading the parts of an encoded key. Owns the byte forms that key.ts and key-decimal.ts compose; knows
 * nothing of columns. Readers answer undefined for bytes that no writer makes; they never throw.
 */

const SIGN = 1n << 63n;

/** Escape of a zero byte in the content, and end of the content, each after a zero byte. */
const ESCAPED_ZERO = 0xff;
const END = 0x01;

/** Appends to a growing buffer. */
export class KeyWriter {
  #bytes = new Uint8Array(64);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /** Forgets what was written; the buffer stays. */
  reset(): void {
    this.#length = 0;
  }

  get length(): number {
    return this.#length;
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  /** 8 bytes big-endian with the sign bit flipped, so that they sort as the integers do. */
  int64(value: bigint): void {
    this.#grow(8);
    this.#view.setBigUint64(this.#length, BigInt.asUintN(64, value) ^ SIGN);
    this.#length += 8;
  }

  /** 4 bytes big-endian, sign bit flipped; all bits turned when inverted. */
  int32(value: number, inverted: boolean): void {
    this.#grow(4);
    const flipped = (value ^ 0x8000_0000) >>> 0;
    this.#view.setUint32(this.#length, inverted ? ~flipped >>> 0 : flipped);
    this.#length += 4;
  }

  /** Content of any length, ended so that it sorts before whatever continues it. */
  escaped(content: Uint8Array): void {
    this.#grow(content.length + 2);
    for (const value of content) {
      this.byte(value);
      if (value === 0) this.byte(ESCAPED_ZERO);
    }
    this.byte(0);
    this.byte(END);
  }

  /** A text of ASCII without zeros, as escaped() writes it; false, with nothing written, when it is not one. */
  ascii(text: string): boolean {
    this.#grow(text.length + 2);
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i);
      if (unit === 0 || unit > 0x7f) return false;
      this.#bytes[this.#length + i] = unit;
    }
    this.#length += text.length;
    this.byte(0);
    this.byte(END);
    return true;
  }

  /** What was written, in an array of its own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  #grow(more: number): void {
    if (this.#length + more <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + more));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

/** Reads what a KeyWriter wrote. */
export class KeyReader {
  readonly #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  atEnd(): boolean {
    return this.#position === this.#bytes.length;
  }

  byte(): number | undefined {
    return this.#bytes[this.#position++];
  }

  int64(): bigint | undefined {
    const at = this.#take(8);
    if (at === undefined) return undefined;
    return BigInt.asIntN(64, this.#view().getBigUint64(at) ^ SIGN);
  }

  int32(inverted: boolean): number | undefined {
    const at = this.#take(4);
    if (at === undefined) return undefined;
    const stored = this.#view().getUint32(at);
    return ((inverted ? ~stored : stored) ^ 0x8000_0000) | 0;
  }

  escaped(): Uint8Array | undefined {
    const content: number[] = [];
    for (;;) {
      const value = this.byte();
      if (value === undefined) return undefined;
      if (value !== 0) {
        content.push(value);
        continue;
      }
      const mark = this.byte();
      if (mark === END) return Uint8Array.from(content);
      if (mark !== ESCAPED_ZERO) return undefined;
      content.push(0);
    }
  }

  #take(count: number): number | undefined {
    const at = this.#position;
    if (at + count > this.#bytes.length) return undefined;
    this.#position = at + count;
    return at;
  }

  #view(): DataView {
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
  }
}
