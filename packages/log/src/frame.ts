/**
 * How a record lies on disk and on the wire: a frame.
 *
 *     u32 length | u32 crc32c | u64 offset | i64 log_time_us | u32 mark | record (length bytes)     all little-endian
 *
 * The checksum covers all after it. The length is not covered: a wrong length makes the checksum run over the wrong
 * bytes, which fails as well. A record is 1 byte to 16 MiB long.
 *
 * The mark is the record's place in its commit, which is what one fsync made durable: twice its index, plus one for
 * the last. It tells after a power cut, which may leave any part of the last commit, whether a hole with records behind
 * it is that or damage (a commit begins only when the one before is durable), and lets a commit count whole or not.
 *
 * Owns: encoding, decoding and judging frames. Pure; knows no files. Does not own what a verdict leads to: a torn tail
 * is cut by segment-recovery.ts, damage is refused by whoever reads.
 * Invariants: L1 (a record is wholly there or not at all: a frame counts only if its checksum holds, and it is the
 * next one in offset and not before the last one in log time).
 */
import { assert } from '@freshet/kit/assert.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import { crcOfErased } from './erased-record.ts';
import type { LogEntry } from './log.ts';

export const FRAME_HEADER_BYTES = 28;
export const RECORD_BYTES_MAX = 16 * 1024 * 1024;

/** How many bytes the frame of a record takes. */
export function frameBytes(recordBytes: number): number {
  return FRAME_HEADER_BYTES + recordBytes;
}

/** The mark of a record: its place among the records of its commit. */
export function commitMark(index: number, count: number): number {
  return index * 2 + (index === count - 1 ? 1 : 0);
}

/** Writes a frame at a position of the target and returns the position after it. The record must be 1 B to 16 MiB. */
export function encodeFrame(
  target: Uint8Array,
  view: DataView,
  at: number,
  offset: number,
  logTimeUs: number,
  mark: number,
  record: Uint8Array,
): number {
  const length = record.length;
  assert(length > 0 && length <= RECORD_BYTES_MAX, 'a record of a length that was not checked');
  const end = at + FRAME_HEADER_BYTES + length;
  view.setUint32(at, length, true);
  setInt64(view, at + 8, offset);
  setInt64(view, at + 16, logTimeUs);
  view.setUint32(at + 24, mark, true);
  target.set(record, at + FRAME_HEADER_BYTES);
  view.setUint32(at + 4, crc32c(target, at + 8, end), true);
  return end;
}

/** What a frame must follow: the offset it must have and the log time it must not be before. */
export interface Expectation {
  readonly offset: number;
  readonly logTimeUsMin: number;
}

/** The judgement of the bytes at a position. */
export type FrameVerdict =
  /** A whole, right frame. */
  | { readonly kind: 'ok'; readonly entry: LogEntry; readonly next: number }
  /** Too few bytes for the frame that its header announces, or for a header. */
  | { readonly kind: 'short'; readonly need: number }
  /** The bytes are not the frame that must be here. */
  | { readonly kind: 'damaged'; readonly reason: string };

/**
 * Judges the frame at a position of the bytes, which end where the array ends. The entry's record is a view of the
 * bytes, not a copy.
 */
export function decodeFrame(bytes: Uint8Array, view: DataView, at: number, expected: Expectation): FrameVerdict {
  const available = bytes.length - at;
  if (available < FRAME_HEADER_BYTES) return { kind: 'short', need: FRAME_HEADER_BYTES };
  const length = view.getUint32(at, true);
  if (length === 0 || length > RECORD_BYTES_MAX) {
    return { kind: 'damaged', reason: `a record of ${length} bytes cannot be` };
  }
  const end = at + FRAME_HEADER_BYTES + length;
  if (end > bytes.length) return { kind: 'short', need: FRAME_HEADER_BYTES + length };
  const crc = view.getUint32(at + 4, true);
  if (crc32c(bytes, at + 8, end) !== crc) return { kind: 'damaged', reason: 'the checksum does not hold' };
  const offset = getInt64(view, at + 8);
  if (offset !== expected.offset) {
    return { kind: 'damaged', reason: `offset ${offset} stands where ${expected.offset} must be` };
  }
  const logTimeUs = getInt64(view, at + 16);
  if (logTimeUs < expected.logTimeUsMin) return { kind: 'damaged', reason: 'its log time is before the last one' };
  const record = bytes.subarray(at + FRAME_HEADER_BYTES, end);
  return { kind: 'ok', entry: { offset, logTimeUs, record, crc: crcOfErased(record) ?? crc }, next: end };
}

/** Some right frames back to back. */
export interface FrameRunPart {
  /** How many. */
  readonly count: number;
  /** Where the last of them ends. */
  readonly end: number;
  /** Log time of the last of them, or the expectation's. */
  readonly logTimeUs: number;
  /** Checksum of the last of them, if any. */
  readonly crc: number | undefined;
}

/** The judgement of a run of frames: those that are whole and right, from the start. */
export interface FrameRun extends FrameRunPart {
  /** The run through the last record that ends a commit. */
  readonly whole: FrameRunPart;
  /** How the bytes after the last right frame fail; undefined when there are none. */
  readonly fault: Exclude<FrameVerdict, { kind: 'ok' }> | undefined;
}

/** Judges frames from a position to the end of the bytes, and hands each right one to the visitor. */
export function scanFrames(
  bytes: Uint8Array,
  from: number,
  expected: Expectation,
  visit: (entry: LogEntry, at: number) => void,
): FrameRun {
  const view = dataViewOf(bytes);
  let at = from;
  let count = 0;
  let logTimeUs = expected.logTimeUsMin;
  let crc: number | undefined;
  let whole: FrameRunPart = { count, end: at, logTimeUs, crc };
  while (at < bytes.length) {
    const verdict = decodeFrame(bytes, view, at, { offset: expected.offset + count, logTimeUsMin: logTimeUs });
    if (verdict.kind !== 'ok') return { count, end: at, logTimeUs, crc, whole, fault: verdict };
    visit(verdict.entry, at);
    logTimeUs = verdict.entry.logTimeUs;
    crc = verdict.entry.crc;
    count++;
    const endsCommit = view.getUint32(at + 24, true) % 2 === 1;
    at = verdict.next;
    if (endsCommit) whole = { count, end: at, logTimeUs, crc };
  }
  return { count, end: at, logTimeUs, crc, whole, fault: undefined };
}

/**
 * Frame boundaries by the headers alone: how many whole frames, but no more than countMax, lie in bytes[from, end),
 * and where the last of them ends.
 */
export function walkFrames(
  bytes: Uint8Array,
  from: number,
  end: number,
  firstOffset: number,
  countMax = Infinity,
): { count: number; end: number; fault: string | undefined } {
  const view = dataViewOf(bytes);
  let at = from;
  let count = 0;
  while (count < countMax && end - at >= FRAME_HEADER_BYTES) {
    const length = view.getUint32(at, true);
    if (length === 0 || length > RECORD_BYTES_MAX) {
      return { count, end: at, fault: `a record of ${length} bytes cannot be` };
    }
    const offset = getInt64(view, at + 8);
    if (offset !== firstOffset + count) {
      return { count, end: at, fault: `offset ${offset} stands where ${firstOffset + count} must be` };
    }
    if (at + FRAME_HEADER_BYTES + length > end) break;
    at += FRAME_HEADER_BYTES + length;
    count++;
  }
  return { count, end: at, fault: undefined };
}

/** The length of the frame whose header starts at a position, which must lie within the bytes. */
export function frameBytesAt(bytes: Uint8Array, at: number): number {
  return FRAME_HEADER_BYTES + dataViewOf(bytes).getUint32(at, true);
}

/**
 * A right frame of a commit that began after the given offset, anywhere in the bytes. Frames have no marker to look for,
 * so every position is tried; the cheap test of the offset leaves next to nothing for the checksum.
 */
export function findLaterCommit(bytes: Uint8Array, from: number, offset: number): LogEntry | undefined {
  const view = dataViewOf(bytes);
  // A frame takes at least 29 bytes: no more can be between.
  const offsetMax = offset + Math.ceil((bytes.length - from) / (FRAME_HEADER_BYTES + 1));
  for (let at = from; bytes.length - at > FRAME_HEADER_BYTES; at++) {
    const found = getInt64(view, at + 8);
    if (found <= offset || found > offsetMax) continue;
    if (found - (view.getUint32(at + 24, true) >>> 1) <= offset) continue;
    const verdict = decodeFrame(bytes, view, at, { offset: found, logTimeUsMin: -Infinity });
    if (verdict.kind === 'ok') return verdict.entry;
  }
  return undefined;
}

export function dataViewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// Offsets and times are safe integers; 64-bit getters of DataView would make a bigint each.
export function setInt64(view: DataView, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  view.setUint32(at, value - high * 0x1_0000_0000, true);
  view.setInt32(at + 4, high, true);
}

export function getInt64(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
}
