/**
 * Takes records out of a closed segment file: each becomes a filler of the same length, offset and log time
 * (erased-record.ts), and the file is replaced whole.
 *
 * Owns one file's rewriting. Does not own which segments (partition.ts) or which records. Whoever has the old file open
 * reads it to its end as it was; a crash leaves the old file or the new one, and perhaps a draft, which the next opening
 * removes. Memory: one segment (R4).
 */
import { assert, must } from '@freshet/kit/assert.ts';
import { encodeErased } from './erased-record.ts';
import type { FileSystem } from './file-system.ts';
import { damaged } from './follow.ts';
import { dataViewOf, encodeFrame, frameBytes, scanFrames } from './frame.ts';
import type { Segment } from './segment-file.ts';
import { SEGMENT_HEADER_BYTES } from './segment-header.ts';
import { readIfThere, replaceFile } from './whole-file.ts';

/** Which records are to be erased. */
export interface Erasure {
  /** Records from this offset on stay. */
  readonly below: number;
  /** Bytes that each record which is to be erased has in it: a file without them is not looked at further. */
  readonly marker: Uint8Array;
  /**
   * What of a record is to be kept, as encoded fields of freshet.log.v1.Erased, when it is to be erased; else undefined.
   * Asked of those that have the marker. The record is only read during the call.
   */
  readonly kept: (record: Uint8Array, offset: number) => Uint8Array | undefined;
}

interface Found {
  readonly at: number;
  readonly offset: number;
  readonly logTimeUs: number;
  readonly crc: number;
  readonly left: Uint8Array;
}

/** How many records of the segment were erased; the file is then replaced, durably. Throws DATA_DAMAGED, ENOENT. */
export async function eraseInSegment(files: FileSystem, segment: Segment, erasure: Erasure): Promise<number> {
  const { below, marker, kept } = erasure;
  if (segment.fault?.whole === true) throw segment.fault.error;
  const content = must(await readIfThere(files, segment.path), 'a segment that is there');
  const bytes = Buffer.from(content.buffer, content.byteOffset, content.byteLength);
  if (bytes.indexOf(marker, SEGMENT_HEADER_BYTES) < 0) return 0;
  const found: Found[] = [];
  const expected = { offset: segment.firstOffset, logTimeUsMin: -Infinity };
  const run = scanFrames(bytes, SEGMENT_HEADER_BYTES, expected, ({ record, offset, logTimeUs, crc }, at) => {
    if (offset >= below) return;
    const has = Buffer.from(record.buffer, record.byteOffset, record.byteLength).indexOf(marker) >= 0;
    const left = has ? kept(record, offset) : undefined;
    if (left !== undefined) found.push({ at, offset, logTimeUs, crc, left });
  });
  if (run.fault !== undefined) {
    throw damaged(
      `${segment.path}, byte ${run.end}`,
      'what is behind cannot be looked through for what is to be erased',
    );
  }
  if (found.length === 0) return 0;
  const view = dataViewOf(bytes);
  for (const { at, offset, logTimeUs, crc, left } of found) {
    const length = view.getUint32(at, true);
    const mark = view.getUint32(at + 24, true);
    const end = encodeFrame(bytes, view, at, offset, logTimeUs, mark, encodeErased(length, crc, left));
    assert(end === at + frameBytes(length), 'L1: a filler of another length');
  }
  await replaceFile(files, segment.path, bytes);
  return found.length;
}
