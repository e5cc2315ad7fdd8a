/**
 * Writes one partition's segment files.
 *
 * One commit at a time: encode, write, fsync, publish, in this order; nothing is readable before it is durable. After a
 * failed write or fsync nothing more is written: what is on the disk is then unknown, and a second fsync may report
 * success for pages that the kernel dropped. What was durable stays readable.
 * Invariants: L1, F3; log time is the caller's.
 */
import { AssertionError, assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type LogFile, type OpenFile, syncDirectory } from './file-system.ts';
import { dataViewOf, walkFrames } from './frame.ts';
import type { PartitionFeed } from './partition-feed.ts';
import { encodePieces } from './pieces.ts';
import { Segment, segmentPath } from './segment-file.ts';
import type { Piece } from './tail-ring.ts';

export interface SegmentWriterOptions {
  readonly directory: string;
  readonly feed: PartitionFeed;
  /** Ascending; shared with the readers. */
  readonly segments: Segment[];
  readonly openFile: OpenFile;
  /** A segment is closed when the next commit would make it larger. */
  readonly segmentBytes: number;
  /** Checksum of the last record that was there when the log was opened, if any. */
  readonly lastCrc: number | undefined;
}

export class SegmentWriter {
  readonly #directory: string;
  readonly #feed: PartitionFeed;
  readonly #segments: Segment[];
  readonly #openFile: OpenFile;
  readonly #segmentBytes: number;
  #file: LogFile | undefined;
  #fault: FreshetError | undefined;
  #busy = false;
  readonly #recoveredCrc: number | undefined;
  #lastPiece: Piece | undefined;

  constructor(options: SegmentWriterOptions) {
    this.#directory = options.directory;
    this.#feed = options.feed;
    this.#segments = options.segments;
    this.#openFile = options.openFile;
    this.#segmentBytes = options.segmentBytes;
    this.#recoveredCrc = options.lastCrc;
  }

  /** Why nothing more is written: LOG_HALTED. */
  get fault(): FreshetError | undefined {
    return this.#fault;
  }

  /** Checksum of the last durable record, if any. */
  get lastCrc(): number | undefined {
    return this.#lastPiece === undefined ? this.#recoveredCrc : lastCrcOf(this.#lastPiece);
  }

  /** Makes records durable and readable; returns the offset of the first. Throws LOG_HALTED, now and ever after. */
  async commit(records: readonly Uint8Array[], logTimeUs: number): Promise<number> {
    if (this.#fault !== undefined) throw this.#fault;
    assert(!this.#busy, 'two commits of one partition at once');
    this.#busy = true;
    const firstOffset = this.#feed.end;
    try {
      await this.#write(encodePieces(records, firstOffset, logTimeUs));
    } catch (cause) {
      if (cause instanceof AssertionError) throw cause;
      this.#fault = await this.#halt(cause);
      throw this.#fault;
    } finally {
      this.#busy = false;
    }
    return firstOffset;
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  async #write(pieces: readonly Piece[]): Promise<void> {
    const bytes = pieces.reduce((sum, piece) => sum + piece.frames.length, 0);
    const segment = await this.#segmentFor(bytes);
    const file = must(this.#file);
    await file.write(
      pieces.map((piece) => piece.frames),
      segment.bytes,
    );
    await file.sync();
    for (const piece of pieces) {
      segment.remember(piece.firstOffset, segment.bytes);
      segment.bytes += piece.frames.length;
    }
    this.#lastPiece = pieces.at(-1);
    this.#feed.publish(pieces);
  }

  /** The last segment with its file open, or a new one when so many bytes more would make it too large. */
  async #segmentFor(bytes: number): Promise<Segment> {
    const last = this.#segments.at(-1);
    if (last !== undefined && (last.bytes === 0 || last.bytes + bytes <= this.#segmentBytes)) {
      this.#file ??= await this.#openFile(last.path, 'write');
      return last;
    }
    const path = segmentPath(this.#directory, this.#feed.end);
    const file = await this.#openFile(path, 'create');
    await this.#file?.close();
    this.#file = file;
    await syncDirectory(this.#directory);
    const segment = new Segment(path, this.#feed.end, 0);
    this.#segments.push(segment);
    return segment;
  }

  async #halt(cause: unknown): Promise<FreshetError> {
    const segment = this.#segments.at(-1);
    try {
      // So that the next start does not find records whose append was rejected. It may fail as well; then it finds
      // them whole, and they count: their senders will send them again, and lanes skip what they have.
      if (segment !== undefined) await this.#file?.truncate(segment.bytes);
    } catch {
      // The disk is failing; the first error says why.
    }
    const place = segment?.path ?? this.#directory;
    return new FreshetError('LOG_HALTED', `partition ${this.#feed.partition} could not be written: ${text(cause)}`, {
      place,
      remedy: 'look after the disk (space, errors in the kernel log), then restart; what was acknowledged is safe',
      cause,
    });
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
