/**
 * The log as everybody else sees it: partitions of records, each with one order.
 *
 * Owns the interface, not an implementation: segment files are segment-log.ts, the reader over gRPC is
 * grpc-log-reader.ts, the fake for tests is memory-log.ts, and all pass log-contract-suite.ts.
 *
 * Invariants: L1 (what append acknowledged is never lost, what it did not is wholly there or not at all);
 * offsets of a partition are contiguous from 0; log time never decreases within a partition.
 */

/** A record where it lies. */
export interface LogEntry {
  readonly offset: number;
  /** Microseconds since the Unix epoch; never decreases within a partition. */
  readonly logTimeUs: number;
  /** An encoded freshet.log.v1.LogRecord. Only valid until the next batch is taken: copy what is kept. */
  readonly record: Uint8Array;
  /** CRC32C of the record's frame (offset, log time and record), as it lies on disk. */
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
   * Throws OFFSET_OUT_OF_RANGE when the offset was trimmed or lies beyond the end, DATA_DAMAGED on a bad checksum,
   * UNAVAILABLE when the log closes while it is read.
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
   * Rejected appends left nothing that a reader will ever see, unless the log halted.
   * Throws REQUEST_TOO_LARGE for a record over 16 MiB, UNAVAILABLE when too much is pending or the log is closed or
   * halted, CLOCK_JUMP when the clock leapt.
   */
  append(partition: number, records: readonly Uint8Array[]): Promise<AppendResult>;
}

export interface Log extends LogReader, FrameReader, LogWriter {
  readonly logId: string;
  readonly partitionCount: number;
  /** Lets appends under way finish, refuses new ones, ends reads. */
  close(): Promise<void>;
}
