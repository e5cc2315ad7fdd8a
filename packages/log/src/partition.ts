/**
 * One partition of the embedded log while it is open: its segments, who writes them, trims them, reads and scrubs them.
 *
 * Owns the list of segments, shared by all of these. Trimming, in this order: the new start is made durable, readers
 * below it are refused, the files are removed oldest first. A crash in between leaves files below the start, which the
 * next opening removes; a start never goes back.
 * Invariants: L1; the last segment is never removed.
 */
import { dirname } from 'node:path';
import { assert, must } from '@freshet/kit/assert.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { type FileSystem, isErrno } from './file-system.ts';
import { damaged, followFrames } from './follow.ts';
import type { EraseResult, FrameBatch, SegmentSummary } from './log.ts';
import { type CleanEnd, type LogIdentity, partitionDirectory } from './log-directory.ts';
import { PartitionFeed } from './partition-feed.ts';
import { ExtentFile } from './partition-file.ts';
import { type Erasure, eraseInSegment } from './segment-erase.ts';
import type { Segment, SegmentFault } from './segment-file.ts';
import { SegmentReader } from './segment-reader.ts';
import { type RecoveredPartition, recoverPartition } from './segment-recovery.ts';
import { scrubSegment } from './segment-scrub.ts';
import { SegmentWriter } from './segment-writer.ts';

export interface PartitionOptions {
  /** The log's directory. */
  readonly directory: string;
  readonly identity: LogIdentity;
  readonly partition: number;
  readonly files: FileSystem;
  readonly segmentBytes: number;
  /** What the newest records may take in memory, in bytes. */
  readonly tailBytes: number;
  /** Where the partition ended when it was closed cleanly. */
  readonly clean: CleanEnd | undefined;
}

/** Opens a partition; what the recovery found is for the log of the process. Throws DATA_DAMAGED. */
export async function openPartition(
  options: PartitionOptions,
): Promise<{ partition: Partition; found: RecoveredPartition }> {
  const { files, identity, clean } = options;
  const directory = partitionDirectory(options.directory, options.partition);
  const { logId } = identity;
  const found = await recoverPartition({ directory, logId, partition: options.partition, files, clean });
  return { partition: new Partition(options, directory, found), found };
}

export class Partition {
  readonly feed: PartitionFeed;
  readonly writer: SegmentWriter;
  readonly #logId: string;
  readonly #files: FileSystem;
  readonly #segments: Segment[];
  readonly #extent: ExtentFile;
  /** Trimmed, but not yet removed: a removal failed. */
  #leaving: Segment[] = [];
  #trimming: Promise<unknown> = Promise.resolve();

  constructor(options: PartitionOptions, directory: string, found: RecoveredPartition) {
    const { files, partition, tailBytes, segmentBytes } = options;
    const { logId } = options.identity;
    this.#logId = logId;
    this.#files = files;
    this.#segments = [...found.segments];
    this.#extent = new ExtentFile(files, directory, found.extent);
    this.feed = new PartitionFeed({ partition, start: found.extent.start, end: found.end, tailBytes });
    this.writer = new SegmentWriter({
      directory,
      logId,
      feed: this.feed,
      segments: this.#segments,
      extent: this.#extent,
      files,
      segmentBytes,
      lastCrc: found.crc,
      lastLogTimeUs: found.logTimeUs,
    });
  }

  /** What is known to be damaged. */
  get damage(): readonly FreshetError[] {
    return this.#segments.flatMap(({ fault }) => (fault === undefined ? [] : [fault.error]));
  }

  summaries(): SegmentSummary[] {
    let end = this.feed.end;
    let newestUs = this.writer.lastLogTimeUs;
    const found: SegmentSummary[] = [];
    for (const { firstOffset, bytes, header } of this.#segments.toReversed()) {
      const newestLogTimeUs = end === firstOffset || newestUs === -Infinity ? undefined : newestUs;
      found.push({ firstOffset, end, bytes, newestLogTimeUs });
      end = firstOffset;
      // Its head says when the one before ended; damaged, that one passes for as young as this one, not for older than all.
      newestUs = header === undefined ? newestUs : (header.before?.logTimeUs ?? -Infinity);
    }
    return found.reverse();
  }

  readFrames(from: number, signal: AbortSignal): AsyncGenerator<FrameBatch> {
    return followFrames(this.feed, from, signal, () => new SegmentReader(this.#segments, this.#files));
  }

  /** See LogTrimmer.trim. One after the other. */
  trim(below: number): Promise<number> {
    const trimmed = this.#trimming.then(() => this.#trim(below));
    this.#trimming = trimmed.catch(() => undefined);
    return trimmed;
  }

  async #trim(below: number): Promise<number> {
    if (!Number.isSafeInteger(below) || below > this.feed.end) {
      throw new FreshetError(
        'OFFSET_OUT_OF_RANGE',
        `partition ${this.feed.partition} ends at ${this.feed.end}: it cannot be trimmed below ${below}`,
        { place: `partition ${this.feed.partition}`, remedy: 'a checkpoint beyond the end is one of another log' },
      );
    }
    let count = 0;
    while (count < this.#segments.length - 1 && must(this.#segments[count + 1]).firstOffset <= below) count++;
    if (count > 0) {
      const start = must(this.#segments[count]).firstOffset;
      // The last segment may be one that a crash left unnoted, and the newest that is noted among those that go.
      await this.#extent.change({ start, newest: must(this.#segments.at(-1)).firstOffset });
      this.feed.trim(start);
      this.#leaving.push(...this.#segments.splice(0, count));
    }
    await this.#removeLeaving();
    return this.feed.bounds.start;
  }

  /** See LogEraser.erase. A segment at a time, in turn with trims: one that was trimmed must not come back. */
  async erase(erasure: Erasure, pause: (bytes: number) => Promise<void>): Promise<EraseResult> {
    const last = this.#segments.at(-1);
    if (last !== undefined && last.firstOffset < erasure.below) await this.writer.roll();
    const segments: { path: string; records: number }[] = [];
    let unreadable: unknown;
    for (const segment of this.#segments.slice(0, -1).filter(({ firstOffset }) => firstOffset < erasure.below)) {
      const turn = this.#trimming.then(() =>
        this.#segments.includes(segment) ? eraseInSegment(this.#files, segment, erasure) : 0,
      );
      this.#trimming = turn.catch(() => undefined);
      try {
        const records = await turn;
        if (records > 0) segments.push({ path: segment.path, records });
      } catch (error) {
        if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
        unreadable ??= error;
      }
      await pause(segment.bytes);
    }
    // What is in memory is as the files were.
    this.feed.tail.clear();
    if (unreadable !== undefined) throw unreadable;
    return { records: segments.reduce((sum, { records }) => sum + records, 0), segments };
  }

  async #removeLeaving(): Promise<void> {
    const first = this.#leaving[0];
    if (first === undefined) return;
    // Oldest first, and forgotten only when all are gone for good: removing one twice does no harm.
    for (const { path } of this.#leaving) await this.#files.remove(path);
    await this.#files.syncDirectory(dirname(first.path));
    this.#leaving = [];
  }

  /** Reads every closed segment and judges it; what is wrong is in `damage`. Resolves with the bytes read. */
  async scrub(pause: (bytes: number) => Promise<void>): Promise<number> {
    let bytes = 0;
    for (const segment of [...this.#segments.slice(0, -1)]) {
      const next = this.#segments[this.#segments.indexOf(segment) + 1];
      if (next === undefined || !this.#segments.includes(segment)) continue;
      try {
        const result = await scrubSegment({
          files: this.#files,
          segment,
          before: next.header?.before,
          end: next.firstOffset,
          logId: this.#logId,
          partition: this.feed.partition,
          pause,
        });
        bytes += result.bytes;
        segment.fault = result.fault;
        if (result.fault === undefined) segment.bytes = result.length;
      } catch (error) {
        // Trimmed meanwhile.
        if (!this.#segments.includes(segment)) continue;
        const fault = unreadable(segment, error);
        if (fault === undefined) throw error;
        // The others are still looked at: a sector that fails would else hide what is wrong with them, for ever.
        segment.fault = fault;
      }
    }
    return bytes;
  }

  /** Ends reads; appends under way must have ended. */
  async close(): Promise<void> {
    this.feed.close();
    await this.#trimming;
    await this.writer.close();
    assert(this.#segments.length === 0 || this.#segments[0]?.firstOffset === this.feed.bounds.start, 'L1: the start');
  }
}

/** What a segment has that the disk does not give; undefined when the error is not one of this file. */
function unreadable({ path }: Segment, error: unknown): SegmentFault | undefined {
  if (isErrno(error, 'ENOENT')) return { error: damaged(path, 'the file is gone'), whole: true };
  const failed = isErrno(error, 'EIO') ? diskError(error, path) : undefined;
  // What of it can still be read is.
  return failed === undefined ? undefined : { error: failed, whole: false };
}
