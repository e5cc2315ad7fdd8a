/**
 * Reads a closed segment from end to end and judges every byte of it: its head, every frame's checksum, offsets and log
 * times that follow one another, commits that are whole, and the end that the next segment says it has.
 *
 * Owns one pass over one file, in pieces, with one buffer (R4). Changes nothing. What is found is a fault of the
 * segment, told by the log; reads of the damaged records fail on their own.
 */
import type { DiskFile, FileSystem } from './file-system.ts';
import { damaged } from './follow.ts';
import { FRAME_HEADER_BYTES, frameBytesAt, scanFrames } from './frame.ts';
import { SCRUB_BYTES } from './limits.ts';
import type { Segment, SegmentFault } from './segment-file.ts';
import { decodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentBefore } from './segment-header.ts';

export interface ScrubOptions {
  readonly files: FileSystem;
  readonly segment: Segment;
  /** What the next segment says of it; undefined when that one's head is damaged. */
  readonly before: SegmentBefore | undefined;
  /** The first offset of the next segment. */
  readonly end: number;
  /** 16 bytes in hex. */
  readonly logId: string;
  readonly partition: number;
  /** Awaited after each piece with its length, so that a scrub takes a bounded share of the disk. */
  readonly pause: (bytes: number) => Promise<void>;
}

export interface ScrubResult {
  /** What was read. */
  readonly bytes: number;
  /** The length of the file. */
  readonly length: number;
  readonly fault: SegmentFault | undefined;
}

/** Judges a segment. Throws ENOENT when it is not there and what else the disk throws. */
export async function scrubSegment(options: ScrubOptions): Promise<ScrubResult> {
  const { files, segment } = options;
  const file = await files.open(segment.path, 'read');
  try {
    return await new Scrub(options, file).run();
  } finally {
    await file.close();
  }
}

class Scrub {
  readonly #options: ScrubOptions;
  readonly #file: DiskFile;
  /** As large as the file needs, and no larger than a piece or its largest frame. */
  #buffer = new Uint8Array(0);
  #position = SEGMENT_HEADER_BYTES;
  #offset: number;
  #logTimeUs: number;
  #crc: number | undefined;
  #wholeOffset: number;
  #readBytes = 0;

  constructor(options: ScrubOptions, file: DiskFile) {
    this.#options = options;
    this.#file = file;
    this.#offset = options.segment.firstOffset;
    this.#wholeOffset = this.#offset;
    this.#logTimeUs = options.segment.header?.before?.logTimeUs ?? -Infinity;
  }

  async run(): Promise<ScrubResult> {
    const length = await this.#file.length();
    const head = await this.#judgeHead();
    if (head !== undefined) return this.#result(length, this.#fault(0, head, true));
    const { end, before } = this.#options;
    while (this.#position < length) {
      const reason = await this.#judgePiece(length);
      if (reason !== undefined) return this.#result(length, this.#fault(this.#position, reason, false));
    }
    const reason =
      this.#offset !== end || this.#wholeOffset !== end
        ? `it ends with offset ${this.#wholeOffset}, and the next segment begins with ${end}`
        : before !== undefined && (before.crc !== this.#crc || before.logTimeUs !== this.#logTimeUs)
          ? 'its last record is not the one that the next segment follows'
          : before !== undefined && before.bytes !== length
            ? `it has ${length} bytes and had ${before.bytes} when it was closed`
            : undefined;
    return this.#result(length, reason === undefined ? undefined : this.#fault(this.#position, reason, false));
  }

  #result(length: number, fault: SegmentFault | undefined): ScrubResult {
    return { bytes: this.#readBytes, length, fault };
  }

  async #judgeHead(): Promise<string | undefined> {
    const bytes = new Uint8Array(SEGMENT_HEADER_BYTES);
    const read = await this.#file.read(bytes, 0);
    this.#readBytes += read;
    const header = decodeSegmentHeader(bytes.subarray(0, read));
    if (typeof header === 'string') return header;
    const { segment, logId, partition } = this.#options;
    if (header.logId !== logId || header.partition !== partition) return 'it is of another log or partition';
    return header.firstOffset === segment.firstOffset ? undefined : `it begins with offset ${header.firstOffset}`;
  }

  /** Judges the frames that fit the buffer; at least one, however large. */
  async #judgePiece(length: number): Promise<string | undefined> {
    const left = length - this.#position;
    let bytes = await this.#read(Math.min(SCRUB_BYTES, left));
    if (bytes.length >= FRAME_HEADER_BYTES && frameBytesAt(bytes, 0) > bytes.length) {
      const need = frameBytesAt(bytes, 0);
      if (need <= left) bytes = await this.#read(need);
    }
    const expected = { offset: this.#offset, logTimeUsMin: this.#logTimeUs };
    const { whole, ...run } = scanFrames(bytes, 0, expected, () => {});
    const cut = run.fault?.kind === 'short' && bytes.length < left && run.count > 0;
    if (run.fault !== undefined && !cut) {
      return run.fault.kind === 'short'
        ? `the record of offset ${this.#offset + run.count} is cut short`
        : run.fault.reason;
    }
    if (whole.count > 0) this.#wholeOffset = this.#offset + whole.count;
    this.#offset += run.count;
    this.#position += run.end;
    this.#logTimeUs = run.logTimeUs;
    this.#crc = run.crc ?? this.#crc;
    await this.#options.pause(run.end);
    return undefined;
  }

  async #read(length: number): Promise<Uint8Array> {
    if (this.#buffer.length < length) this.#buffer = new Uint8Array(length);
    const target = this.#buffer.subarray(0, length);
    const read = await this.#file.read(target, this.#position);
    this.#readBytes += read;
    return target.subarray(0, read);
  }

  #fault(position: number, reason: string, whole: boolean): SegmentFault {
    return { error: damaged(`${this.#options.segment.path}, byte ${position}`, reason), whole };
  }
}
