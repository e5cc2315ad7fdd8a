/**
 * Reads a partition's records from its segment files, forward, a batch at a time.
 *
 * Owns one open file and one buffer, which the next batch overwrites. Checks that frames follow one another by their
 * headers; checksums are checked by whoever decodes (follow.ts), so that bytes pass from disk to the final reader with
 * one check of them, at the end. Invariants: F3; R4 (one buffer, whatever the file holds).
 */
import { must } from '@freshet/kit/assert.ts';
import { type DiskFile, type FileSystem, isErrno } from './file-system.ts';
import { damaged, type OlderRecords } from './follow.ts';
import { FRAME_HEADER_BYTES, frameBytesAt, walkFrames } from './frame.ts';
import { BATCH_BYTES } from './limits.ts';
import type { Segment } from './segment-file.ts';
import type { Piece } from './tail-ring.ts';

export class SegmentReader implements OlderRecords {
  // Shared with the partition, which adds and trims segments while it is read.
  readonly #segments: readonly Segment[];
  readonly #files: FileSystem;
  #buffer: Uint8Array = new Uint8Array(0);
  #file: DiskFile | undefined;
  #segment: Segment | undefined;
  // Where the next frame to read lies in the open segment.
  #offset = 0;
  #position = 0;

  constructor(segments: readonly Segment[], files: FileSystem) {
    this.#segments = segments;
    this.#files = files;
  }

  /** Records from an offset on, which must be durable. Throws DATA_DAMAGED. */
  async read(offset: number): Promise<Piece> {
    if (this.#file === undefined || this.#offset !== offset) await this.#open(this.#segmentOf(offset), offset);
    for (;;) {
      const piece = await this.#next();
      if (piece === undefined) {
        const segment = this.#segmentOf(offset);
        // The segment ends, yet the next one begins after the offset.
        if (segment === this.#segment) throw damaged(segment.path, `the record of offset ${this.#offset} is not there`);
        await this.#open(segment, offset);
      } else if (piece.firstOffset + piece.count > offset) return from(piece, offset);
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    // It only read: a failure to close it says nothing about what was read.
    await file?.close().catch(() => undefined);
  }

  #segmentOf(offset: number): Segment {
    const segment = this.#segments.findLast(({ firstOffset }) => firstOffset <= offset);
    // Whoever follows a partition checks its bounds first, and again when this throws: it may be trimmed meanwhile.
    if (segment === undefined) throw damaged(`offset ${offset}`, 'no segment holds it');
    if (segment.fault?.whole === true) throw segment.fault.error;
    return segment;
  }

  /** Goes to the nearest place known at or before an offset. */
  async #open(segment: Segment, offset: number): Promise<void> {
    if (segment !== this.#segment) await this.close();
    this.#segment = segment;
    this.#file ??= await this.#opened(segment.path);
    const place = segment.placeBefore(offset);
    this.#offset = place.offset;
    this.#position = place.position;
  }

  async #opened(path: string): Promise<DiskFile> {
    try {
      return await this.#files.open(path, 'read');
    } catch (error) {
      // Or it was trimmed: whoever follows the partition looks, see above.
      throw isErrno(error, 'ENOENT') ? damaged(path, 'the file is gone') : error;
    }
  }

  /** The next frames of the open segment; undefined at its end. */
  async #next(): Promise<Piece | undefined> {
    const segment = must(this.#segment);
    const left = segment.bytes - this.#position;
    if (left <= 0) return undefined;
    let bytes = await this.#fill(Math.min(BATCH_BYTES, left));
    let run = walkFrames(bytes, 0, bytes.length, this.#offset);
    if (run.count === 0 && run.fault === undefined && bytes.length >= FRAME_HEADER_BYTES) {
      const need = frameBytesAt(bytes, 0);
      if (need <= left) {
        bytes = await this.#fill(need);
        run = walkFrames(bytes, 0, bytes.length, this.#offset);
      }
    }
    if (run.count === 0) {
      const place = `${segment.path}, byte ${this.#position}`;
      throw damaged(place, run.fault ?? `the record of offset ${this.#offset} is cut short`);
    }
    const piece = { firstOffset: this.#offset, count: run.count, frames: bytes.subarray(0, run.end) };
    segment.remember(this.#offset, this.#position);
    this.#offset += run.count;
    this.#position += run.end;
    return piece;
  }

  async #fill(length: number): Promise<Uint8Array> {
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(Math.max(length, BATCH_BYTES));
    const target = this.#buffer.subarray(0, length);
    return target.subarray(0, await must(this.#file).read(target, this.#position));
  }
}

/** The piece without the records before an offset. */
function from(piece: Piece, offset: number): Piece {
  if (piece.firstOffset === offset) return piece;
  const { frames, firstOffset, count } = piece;
  const skipped = walkFrames(frames, 0, frames.length, firstOffset, offset - firstOffset);
  return { firstOffset: offset, count: count - skipped.count, frames: frames.subarray(skipped.end) };
}
