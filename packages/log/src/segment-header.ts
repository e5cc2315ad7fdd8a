/**
 * The head of a segment file: whose records these are, and what lies before them. Pure.
 *
 *      0  "FRSHSEG2"                     8  u32 CRC32C of all that follows
 *     12  u32 partition                 16  log id, 16 bytes
 *     32  u64 first offset
 *     40  the segment before: u64 first offset, u64 length in bytes (0: there is none),
 *         i64 log time and u32 checksum of its last record                               all little-endian; 72 bytes
 *
 * A frame's checksum says that a record is right, not that it belongs here, and a file that is gone has no checksum.
 * With the head, a segment of another log or partition, under another name, missing in the middle, or shorter or longer
 * than it was when the next one was made, is known when the log is opened, without reading any record. It also says the
 * log time and checksum at which the log stands when a new segment has no record yet and those before are trimmed.
 * Invariants: L1.
 */
import { assert } from '@freshet/kit/assert.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import { dataViewOf, getInt64, setInt64 } from './frame.ts';

export const SEGMENT_HEADER_BYTES = 72;

const MAGIC = new TextEncoder().encode('FRSHSEG2');

/** The segment before, as it was when this one was made: closed for good. */
export interface SegmentBefore {
  readonly firstOffset: number;
  /** The length of its file. */
  readonly bytes: number;
  /** Log time of its last record. */
  readonly logTimeUs: number;
  /** Checksum of its last record's frame. */
  readonly crc: number;
}

export interface SegmentHeader {
  /** 16 bytes in hex. */
  readonly logId: string;
  readonly partition: number;
  readonly firstOffset: number;
  readonly before: SegmentBefore | undefined;
}

export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
  const view = dataViewOf(bytes);
  const logId = Buffer.from(header.logId, 'hex');
  assert(logId.length === 16, 'a log id that is not 16 bytes');
  bytes.set(MAGIC);
  view.setUint32(12, header.partition, true);
  bytes.set(logId, 16);
  setInt64(view, 32, header.firstOffset);
  const { before } = header;
  if (before !== undefined) {
    setInt64(view, 40, before.firstOffset);
    setInt64(view, 48, before.bytes);
    setInt64(view, 56, before.logTimeUs);
    view.setUint32(64, before.crc, true);
  }
  view.setUint32(8, crc32c(bytes, 12, SEGMENT_HEADER_BYTES), true);
  return bytes;
}

/** The head that the bytes begin with; a string says what is wrong with them. */
export function decodeSegmentHeader(bytes: Uint8Array): SegmentHeader | string {
  if (bytes.length < SEGMENT_HEADER_BYTES) return `a segment of ${bytes.length} bytes has no head`;
  const view = dataViewOf(bytes);
  if (MAGIC.some((byte, index) => bytes[index] !== byte)) return 'it does not begin as a segment does';
  if (crc32c(bytes, 12, SEGMENT_HEADER_BYTES) !== view.getUint32(8, true))
    return 'the checksum of its head does not hold';
  const beforeBytes = getInt64(view, 48);
  return {
    logId: Buffer.from(bytes.subarray(16, 32)).toString('hex'),
    partition: view.getUint32(12, true),
    firstOffset: getInt64(view, 32),
    before:
      beforeBytes === 0
        ? undefined
        : {
            firstOffset: getInt64(view, 40),
            bytes: beforeBytes,
            logTimeUs: getInt64(view, 56),
            crc: view.getUint32(64, true),
          },
  };
}
