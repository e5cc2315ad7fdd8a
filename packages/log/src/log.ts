/**
 * The log as everybody else sees it: partitions of records, each with one order.
 *
 * Owns the interface, not an implementation: segment files are segment-log.ts, the reader over gRPC is
 * grpc-log-reader.ts, the fake for tests is memory-log.ts, and all pass log-contract-suite.ts.
 *
 * Invariants: L1 (what append acknowledged is never lost, what it did not is wholly there or not at all);
 * offsets of a partition are contiguous from 0; log time never decreases within a partition.
 */

import type { Erasure } from './segment-erase.ts';

/** A record where it lies. */
export interface LogEntry {
  readonly offset: number;
  /** Microseconds since the Unix epoch; never decreases within a partition. */
  readonly logTimeUs: number;
  /** An encoded freshet.log.v1.LogRecord. Only valid until the next batch is taken: copy what is kept. */
  readonly record: Uint8Array;
  /**
   * CRC32C of the record's frame (offset, log time and record), as it was appended: also of one that was erased since
   * (erased-record.ts). By it whoever folded the record knows the log again.
   */
  readonly crc: number;
}

/** Some consecutive records of one partition. */
export interface LogBatch {
  readonly partition: number;
  readonly entries: readonly LogEntry[];
  /** The offset after the last durable record, when the batch was read. */
  readonly end: number;
}

/** Some consecutive records of one partition as they lie on disk: frames back to back (frame.ts). */
export interface FrameBatch {
  readonly partition: number;
  readonly firstOffset: number;
  readonly count: number;
  /** Only valid until the next batch is taken: copy what is kept. */
  readonly frames: Uint8Array;
  /** The offset after the last durable record, when the batch was read. */
  readonly end: number;
}

export interface PartitionBounds {
  /** The offset of the first record still there. */
  readonly start: number;
  /** The offset that the next record will have. */
  readonly end: number;
}

export interface LogDescription {
  /** 16 bytes in hex. */
  readonly logId: string;
  readonly partitions: readonly PartitionBounds[];
}

export interface AppendResult {
  readonly firstOffset: number;
  /** The log time that the records were given. */
  readonly logTimeUs: number;
}

export interface LogReader {
  describe(signal?: AbortSignal): Promise<LogDescription>;
  /**
   * The partition's durable records from an offset on, then its tail as it grows, until the signal aborts (the
   * iteration then ends quietly). Pulls: one bounded batch at a time; over gRPC up to three are on their way besides what
   * HTTP/2's window of 64 KiB holds (@freshet/kit/grpc/client.ts).
   * Throws OFFSET_OUT_OF_RANGE when the offset was trimmed (before or meanwhile) or lies beyond the end, DATA_DAMAGED
   * on a bad checksum, after all that is whole before it; UNAVAILABLE when the log closes while it is read,
   * TOO_MANY_OPEN_FILES and DISK_FAILED when the disk says so.
   */
  read(partition: number, from: number, signal: AbortSignal): AsyncIterable<LogBatch>;
}

/** Reads without decoding: for passing records on. */
export interface FrameReader {
  /** As LogReader.read; checks the order of the frames but not their checksums, which is the final reader's. */
  readFrames(partition: number, from: number, signal: AbortSignal): AsyncIterable<FrameBatch>;
}

export interface LogWriter {
  /**
   * Appends records to a partition, in order. Resolves when they are durable. Concurrent appends share one fsync.
   * The records must not be changed until then. Appends that are not awaited keep the order of the calls, and when
   * one is rejected for want of room, so are the later ones made before the caller could know: none overtakes it.
   * The records of one append are all there after a crash or none of them is.
   * Rejected appends left nothing that a reader will ever see, unless the log halted.
   * Throws REQUEST_TOO_LARGE for a record over 16 MiB; UNAVAILABLE when too much is pending or the log is closed;
   * DISK_FULL and TOO_MANY_OPEN_FILES until there is room again, then it goes on by itself; LOG_HALTED when a write
   * failed otherwise, and CLOCK_JUMP when the clock leapt, until the log is opened anew.
   */
  append(partition: number, records: readonly Uint8Array[]): Promise<AppendResult>;
}

/** What a partition keeps together and lets go together: a file of segment files. */
export interface SegmentSummary {
  /** The offset of its first record. */
  readonly firstOffset: number;
  /** The offset after its last record; of the last segment, the partition's end. */
  readonly end: number;
  /** What it takes on the disk, in bytes. */
  readonly bytes: number;
  /** Log time of its newest record, microseconds since the Unix epoch; undefined when it holds none. */
  readonly newestLogTimeUs: number | undefined;
}

/** Letting go of what nobody needs any more. What may go is decided by retention.ts. */
export interface LogTrimmer {
  /**
   * Lets go of records below an offset, whole segments only, never the last one. Resolves with the partition's start,
   * durably: it never goes back. Reads below it end with OFFSET_OUT_OF_RANGE, also those under way.
   * Throws OFFSET_OUT_OF_RANGE for an offset beyond the end, and DISK_FULL and its like; the start may then have moved
   * or not, and another call goes on with it.
   */
  trim(partition: number, below: number): Promise<number>;
  /** The partition's segments, oldest first; the last one takes what is appended. */
  segments(partition: number): readonly SegmentSummary[];
}

/** What erasing did. */
export interface EraseResult {
  /** How many records were erased. */
  readonly records: number;
  /** The files that were rewritten, with how many records each. */
  readonly segments: readonly { readonly path: string; readonly records: number }[];
}

/** Taking single records out for good. */
export interface LogEraser {
  /**
   * Puts a filler in the place of each record below an offset that has the marker in it and is meant: same offset, log
   * time and checksum, nothing of its content but what `kept` gives (`LogRecord.erased`). The last segment is closed first, if records of it may match.
   * Resolves when that is durable; again, it finds nothing more to do. `pause` is awaited after each segment with its
   * bytes. Throws DATA_DAMAGED when a segment cannot be looked through, after all others were; DISK_FULL and its like.
   */
  erase(partition: number, erasure: Erasure, pause: (bytes: number) => Promise<void>): Promise<EraseResult>;
}

export interface Log extends LogReader, FrameReader, LogWriter, LogTrimmer {
  readonly logId: string;
  readonly partitionCount: number;
  /** Lets appends under way finish, refuses new ones, ends reads. */
  close(): Promise<void>;
}
