/**
 * Writes one partition's segment files.
 *
 * One commit at a time: encode, write, fsync, publish, in this order; nothing is readable before it is durable. What a
 * failure leads to:
 *
 *     no room, or no file handle, before the fsync     the commit is rejected, its bytes are cut off again, and the next
 *                                                      one may do better: DISK_FULL, TOO_MANY_OPEN_FILES
 *     any other failure; any failure of an fsync       halt: what is on the disk is then unknown, and a second fsync may
 *                                                      report success for pages that the kernel dropped. LOG_HALTED
 *
 * What was durable stays readable. A new segment is made beside, synced, renamed, its directory synced, and noted in
 * partition.json before it takes a record; each of these steps can be done again.
 * Invariants: L1, F3; log time is the caller's.
 */
import { AssertionError, assert, must } from '@freshet/kit/assert.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type DiskFile, type FileSystem, isErrno } from './file-system.ts';
import { dataViewOf, walkFrames } from './frame.ts';
import type { PartitionFeed } from './partition-feed.ts';
import type { ExtentFile } from './partition-file.ts';
import { encodePieces } from './pieces.ts';
import { Segment, segmentPath } from './segment-file.ts';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, type SegmentBefore } from './segment-header.ts';
import type { Piece } from './tail-ring.ts';
import { DRAFT_SUFFIX } from './whole-file.ts';

export interface SegmentWriterOptions {
  readonly directory: string;
  /** 16 bytes in hex. */
  readonly logId: string;
  readonly feed: PartitionFeed;
  /** Ascending; shared with the readers and the trimmer. */
  readonly segments: Segment[];
  readonly extent: ExtentFile;
  readonly files: FileSystem;
  /** A segment is closed when the next commit would make it larger. */
  readonly segmentBytes: number;
  /** Checksum of the last record that was there when the log was opened, if any. */
  readonly lastCrc: number | undefined;
  /** Its log time, microseconds since the Unix epoch; -Infinity when there is none. */
  readonly lastLogTimeUs: number;
}

/** What a commit may fail by and be tried again: nothing of it is there. */
const PASSING = ['ENOSPC', 'EDQUOT', 'EMFILE', 'ENFILE'];

/** A failure after which what the disk holds is unknown, whatever the error says. */
class Unknown extends Error {}

export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  #file: DiskFile | undefined;
  #fault: FreshetError | undefined;
  #busy = false;
  #lastPiece: Piece | undefined;
  #lastLogTimeUs: number;
  #rolling: Promise<void> | undefined;
  #idle: (() => void) | undefined;

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#lastLogTimeUs = options.lastLogTimeUs;
  }

  /** Why nothing more is written: LOG_HALTED. */
  get fault(): FreshetError | undefined {
    return this.#fault;
  }

  /** Checksum of the last durable record, if any. */
  get lastCrc(): number | undefined {
    return this.#lastPiece === undefined ? this.#options.lastCrc : lastCrcOf(this.#lastPiece);
  }

  /** Log time of the last durable record, microseconds since the Unix epoch; -Infinity when there is none. */
  get lastLogTimeUs(): number {
    return this.#lastLogTimeUs;
  }

  /**
   * Makes records durable and readable; returns the offset of the first. Throws DISK_FULL or TOO_MANY_OPEN_FILES, when
   * nothing of it is there and another may be tried; LOG_HALTED, now and ever after.
   */
  async commit(records: readonly Uint8Array[], logTimeUs: number): Promise<number> {
    while (this.#rolling !== undefined) await this.#rolling;
    if (this.#fault !== undefined) throw this.#fault;
    assert(!this.#busy, 'two commits of one partition at once');
    this.#busy = true;
    const { feed } = this.#options;
    const firstOffset = feed.end;
    try {
      const pieces = encodePieces(records, firstOffset, logTimeUs);
      await this.#write(pieces);
      this.#lastPiece = pieces.at(-1);
      this.#lastLogTimeUs = logTimeUs;
      feed.publish(pieces);
    } catch (cause) {
      if (cause instanceof AssertionError) throw cause;
      if (isErrno(cause, ...PASSING)) throw diskError(cause, this.#options.directory) ?? cause;
      this.#fault = await this.#halt(cause instanceof Unknown ? cause.cause : cause);
      throw this.#fault;
    } finally {
      this.#busy = false;
      this.#idle?.();
    }
    return firstOffset;
  }

  /**
   * Closes the last segment, so that it can be rewritten: what is appended next goes to a new one. Between two commits;
   * a segment without records stays the last one. Throws as commit().
   */
  roll(): Promise<void> {
    const before = this.#rolling ?? Promise.resolve();
    const rolled = before.then(() => this.#betweenCommits()).then(() => this.#roll());
    const settled = rolled
      .catch(() => undefined)
      .then(() => {
        if (this.#rolling === settled) this.#rolling = undefined;
      });
    this.#rolling = settled;
    return rolled;
  }

  #betweenCommits(): Promise<void> | undefined {
    if (!this.#busy) return undefined;
    return new Promise((resolve) => {
      this.#idle = resolve;
    });
  }

  async #roll(): Promise<void> {
    this.#idle = undefined;
    if (this.#fault !== undefined) throw this.#fault;
    const { segments, extent } = this.#options;
    const last = segments.at(-1);
    if (last === undefined || last.bytes === SEGMENT_HEADER_BYTES) return;
    try {
      const segment = await this.#makeSegment(last);
      await extent.change({ newest: segment.firstOffset });
    } catch (cause) {
      if (isErrno(cause, ...PASSING)) throw diskError(cause, this.#options.directory) ?? cause;
      this.#fault = await this.#halt(cause instanceof Unknown ? cause.cause : cause);
      throw this.#fault;
    }
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
  }

  async #write(pieces: readonly Piece[]): Promise<void> {
    const bytes = pieces.reduce((sum, piece) => sum + piece.frames.length, 0);
    const segment = await this.#segmentFor(bytes);
    const file = must(this.#file);
    try {
      await file.write(
        pieces.map((piece) => piece.frames),
        segment.bytes,
      );
    } catch (cause) {
      // What was written of it must not stand where the next commit will be shorter.
      await known(() => file.truncate(segment.bytes));
      throw cause;
    }
    await known(() => file.sync());
    for (const piece of pieces) {
      segment.remember(piece.firstOffset, segment.bytes);
      segment.bytes += piece.frames.length;
    }
  }

  /** The last segment with its file open, or a new one when so many bytes more would make it too large. */
  async #segmentFor(bytes: number): Promise<Segment> {
    const { segments, files, extent, segmentBytes } = this.#options;
    let segment = segments.at(-1);
    if (segment === undefined || (segment.bytes > SEGMENT_HEADER_BYTES && segment.bytes + bytes > segmentBytes)) {
      segment = await this.#makeSegment(segment);
    }
    // Also when an earlier commit, or another process, came no further than making it.
    if (extent.current.newest === undefined || extent.current.newest < segment.firstOffset) {
      await extent.change({ newest: segment.firstOffset });
    }
    this.#file ??= await files.open(segment.path, 'write');
    return segment;
  }

  /** Makes the segment that begins with the partition's end. */
  async #makeSegment(last: Segment | undefined): Promise<Segment> {
    const { directory, files, feed, logId, segments } = this.#options;
    const firstOffset = feed.end;
    const path = segmentPath(directory, firstOffset);
    const header = { logId, partition: feed.partition, firstOffset, before: this.#before(last) };
    const draft = path + DRAFT_SUFFIX;
    await this.#writeDraft(draft, encodeSegmentHeader(header));
    await files.rename(draft, path);
    await known(() => files.syncDirectory(directory));
    // Only now is it the partition's: had a step failed before, the next commit would begin again with the draft.
    const segment = new Segment({ path, firstOffset, header, bytes: SEGMENT_HEADER_BYTES });
    const before = this.#file;
    this.#file = undefined;
    segments.push(segment);
    // All that it holds is synced: a failure to close it changes nothing.
    await before?.close().catch(() => undefined);
    return segment;
  }

  async #writeDraft(path: string, content: Uint8Array): Promise<void> {
    const file = await this.#options.files.open(path, 'overwrite');
    try {
      await file.write([content], 0);
      await file.sync();
    } finally {
      await file.close();
    }
  }

  #before(last: Segment | undefined): SegmentBefore | undefined {
    if (last === undefined) return undefined;
    const { firstOffset, bytes } = last;
    return { firstOffset, bytes, logTimeUs: this.#lastLogTimeUs, crc: must(this.lastCrc) };
  }

  async #halt(cause: unknown): Promise<FreshetError> {
    const segment = this.#options.segments.at(-1);
    try {
      // So that the next start does not find records whose append was rejected. It may fail as well; then it finds
      // them whole, and they count: their senders will send them again, and lanes skip what they have.
      if (segment !== undefined) await this.#file?.truncate(segment.bytes);
    } catch {
      // The disk is failing; the first error says why.
    }
    const place = segment?.path ?? this.#options.directory;
    const remedy = diskError(cause, place)?.remedy ?? 'look after the disk (space, errors in the kernel log)';
    return new FreshetError(
      'LOG_HALTED',
      `partition ${this.#options.feed.partition} could not be written: ${text(cause)}`,
      { place, remedy: `${remedy}; then restart: what was acknowledged is safe`, cause },
    );
  }
}

/** Does what leaves the disk's content unknown when it fails. */
async function known(step: () => Promise<void>): Promise<void> {
  try {
    await step();
  } catch (cause) {
    throw new Unknown('the content of the disk is unknown', { cause });
  }
}

/** The checksum in the header of the last frame: frames are found from the front. */
function lastCrcOf({ frames, firstOffset, count }: Piece): number {
  const last = walkFrames(frames, 0, frames.length, firstOffset, count - 1).end;
  return dataViewOf(frames).getUint32(last + 4, true);
}

function text(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
