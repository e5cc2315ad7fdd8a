/**
 * Writes Protobuf from its end to its beginning into one buffer that is used again and again: the length of a message
 * is then known before it is written, and nothing is written twice or measured first.
 *
 * Owns the buffer. Every method puts its bytes before what was written so far; a message's fields are written in
 * reverse, then its length and tag.
 *
 * R4: an answer of more than ANSWER_BYTES_MAX is refused before it is made. A value may have 64 KiB and a call may ask
 * for 50,000 of them.
 */
import { ANSWER_BYTES_MAX, checkLimit } from './limits.ts';

const INITIAL_BYTES = 64 * 1024;
// A buffer that one very large answer made larger than this is given back.
const KEPT_BYTES = 4 * 1024 * 1024;
const TOO_LARGE = { what: 'bytes to be answered with', remedy: 'Ask for fewer entities or features at once.' } as const;

export class BackwardWriter {
  buffer: Buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  /** The same bytes. */
  view: DataView = viewOf(this.buffer);
  /** Where the bytes written so far begin. */
  position: number = INITIAL_BYTES;

  /** How many bytes are written. */
  get length(): number {
    return this.buffer.length - this.position;
  }

  /**
   * Makes room; the caller may then write so many bytes into the buffer itself. Throws REQUEST_TOO_LARGE when that would
   * be more than an answer may have.
   */
  ensure(bytes: number): void {
    if (bytes <= this.position) return;
    const used = this.length;
    const { remedy, what } = TOO_LARGE;
    checkLimit(used + bytes, ANSWER_BYTES_MAX, what, remedy);
    const grown = Buffer.allocUnsafeSlow(Math.max(Math.min(this.buffer.length * 2, ANSWER_BYTES_MAX), used + bytes));
    this.buffer.copy(grown, grown.length - used, this.position);
    this.buffer = grown;
    this.view = viewOf(grown);
    this.position = grown.length - used;
  }

  bytes(bytes: Uint8Array): void {
    this.ensure(bytes.length);
    this.position -= bytes.length;
    this.buffer.set(bytes, this.position);
  }

  /** An unsigned integer that is safe. */
  varint(value: number): void {
    this.ensure(10);
    this.position = putVarint(this.buffer, this.position, value);
  }

  /** A sint64 (zigzag). */
  sint64(value: number | bigint): void {
    this.ensure(10);
    this.position = putSint64(this.buffer, this.position, value);
  }

  /** The tag and length of a length-delimited field whose content is everything written since the mark. */
  delimit(tag: number, mark: number): void {
    this.varint(this.length - mark);
    this.varint(tag);
  }

  /** The bytes as a buffer of their own; the writer is empty again. */
  finish(): Buffer {
    const { length } = this;
    const out = Buffer.allocUnsafe(length);
    this.buffer.copy(out, 0, this.position);
    this.reset();
    return out;
  }

  /** Forgets what was written. */
  reset(): void {
    if (this.buffer.length > KEPT_BYTES) {
      this.buffer = Buffer.allocUnsafeSlow(INITIAL_BYTES);
      this.view = viewOf(this.buffer);
    }
    this.position = this.buffer.length;
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}

// What four bytes of a varint hold.
const LOW = 2 ** 28;

/** Puts a varint before the position; returns the new position. The value is a safe integer from 0. */
export function putVarint(buffer: Uint8Array, position: number, value: number): number {
  if (value < LOW) return putSmall(buffer, position, value);
  // Times are of this size. A varint has its low bits first, so what is above 28 bits is put first here.
  const high = Math.floor(value / LOW);
  const low = value - high * LOW;
  const at = putSmall(buffer, position, high) - 4;
  buffer[at] = (low & 0x7f) | 0x80;
  buffer[at + 1] = ((low >>> 7) & 0x7f) | 0x80;
  buffer[at + 2] = ((low >>> 14) & 0x7f) | 0x80;
  buffer[at + 3] = (low >>> 21) | 0x80;
  return at;
}

/** putVarint for less than 2^28. */
function putSmall(buffer: Uint8Array, position: number, value: number): number {
  let at = position;
  if (value >= 0x20_0000) buffer[--at] = value >>> 21;
  if (value >= 0x4000) buffer[--at] = ((value >>> 14) & 0x7f) | (value >= 0x20_0000 ? 0x80 : 0);
  if (value >= 0x80) buffer[--at] = ((value >>> 7) & 0x7f) | (value >= 0x4000 ? 0x80 : 0);
  buffer[--at] = (value & 0x7f) | (value >= 0x80 ? 0x80 : 0);
  return at;
}

// Twice as much is still a safe integer.
const ZIGZAG_SAFE = 2 ** 52;

/** Puts a zigzag varint before the position; returns the new position. */
export function putSint64(buffer: Uint8Array, position: number, value: number | bigint): number {
  if (typeof value === 'number' && value < ZIGZAG_SAFE && value >= -ZIGZAG_SAFE) {
    return putVarint(buffer, position, value >= 0 ? value * 2 : -value * 2 - 1);
  }
  const wide = BigInt(value);
  let rest = BigInt.asUintN(64, (wide << 1n) ^ (wide >> 63n));
  const bytes: number[] = [];
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  buffer.set(bytes, position - bytes.length);
  return position - bytes.length;
}
