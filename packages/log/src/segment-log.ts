/**
 * The embedded log: partitions of segment files in a directory, appended with group commit.
 *
 *     append ──▶ pending (per partition, bounded together) ──▶ flush: stamp log time; every partition with
 *     pending records writes and fsyncs, all in parallel ──▶ publish to readers, resolve the appends ──▶ next flush
 *
 * While a flush is under way, appends gather for the next, so that throughput rises with load at the same number of
 * fsyncs. Owns the flush, log time and the files' life; does not own what is pending (pending-appends.ts), how a
 * segment is written (segment-writer.ts), read (segment-reader.ts) or recovered (segment-recovery.ts). Who talks to
 * it: ingest's sources and the ticker append; rpc/read-log.ts of ingest reads.
 *
 * Invariants: L1 (append resolves only after fsync; nothing is readable before); log time never decreases; R4 (pending
 * bytes and the tail in memory are bounded; readers hold nothing).
 */

import { randomBytes } from 'node:crypto';
import { assert, must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { DirectoryLock } from '@freshet/kit/directory-lock.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import { DiskRoom } from './disk-room.ts';
import { type FileSystem, isErrno, nodeFileSystem } from './file-system.ts';
import { decodeFrames } from './follow.ts';
import { MIN_FREE_BYTES, PENDING_BYTES_MAX, SEGMENT_BYTES, TAIL_BYTES } from './limits.ts';
import type {
  AppendResult,
  EraseResult,
  FrameBatch,
  Log,
  LogBatch,
  LogDescription,
  LogEraser,
  SegmentSummary,
} from './log.ts';
import { type LogIdentity, openIdentity, readCleanEnds, removeCleanEnds, writeCleanEnds } from './log-directory.ts';
import { type ClockAlarm, LogTime } from './log-time.ts';
import { openPartition, type Partition } from './partition.ts';
import { closing, feedOf } from './partition-feed.ts';
import { PendingAppends } from './pending-appends.ts';
import { checkRecords } from './pieces.ts';
import type { Erasure } from './segment-erase.ts';

export interface SegmentLogOptions {
  /** Where the log lies; made when it is not there. */
  readonly directory: string;
  /** The number of partitions; must be the number that the log was made with. */
  readonly partitions: number;
  readonly clock: Clock;
  readonly log?: Logger | undefined;
  /** The size at which a segment file is closed, in bytes. Default 64 MiB. */
  readonly segmentBytes?: number | undefined;
  /** How much of the newest records is kept in memory for readers, over all partitions, in bytes. Default 64 MiB. */
  readonly tailBytes?: number | undefined;
  /** How much may wait for its fsync, over all partitions, in bytes. Beyond it appends are refused. Default 64 MiB. */
  readonly pendingBytesMax?: number | undefined;
  /** The largest forward step of the wall clock that does not halt the log, in microseconds. Default 5 s. */
  readonly clockStepUsMax?: number | undefined;
  /** Told of differences between the clocks; they are logged in any case. */
  readonly onClockAlarm?: ((alarm: ClockAlarm) => void) | undefined;
  /** What the log leaves free of its disk, in bytes: below it appends are refused (DISK_FULL). Default 64 MiB. */
  readonly minFreeBytes?: number | undefined;
  /** The disk; tests make it fail. */
  readonly files?: FileSystem | undefined;
  /** Makes the id of a new log: 16 random bytes in hex. */
  readonly makeLogId?: (() => string) | undefined;
}

export interface SegmentLog extends Log, LogEraser {
  /** What waits for its fsync, in bytes. */
  readonly pendingBytes: number;
  /** Resolves when less than half of what may be pending is and no append is refused, or the signal aborts. */
  room(signal: AbortSignal): Promise<void>;
  /** The first reason why a partition, or the whole log, takes no more records: LOG_HALTED or CLOCK_JUMP. */
  readonly fault: FreshetError | undefined;
  /** Why appends are refused for now, until one goes through again: DISK_FULL, TOO_MANY_OPEN_FILES. */
  readonly refusal: FreshetError | undefined;
  /** What is damaged of the closed segments: found when the log was opened, and by the last scrub. */
  readonly damage: readonly FreshetError[];
  /**
   * Reads and judges every closed segment; what is wrong is in `damage` from then on, what was put right no longer is.
   * `pause` is awaited after each piece with its length. Resolves with the bytes read; throws what pause or the disk
   * throws. A loop around it is scrubber.ts.
   */
  scrub(pause: (bytes: number) => Promise<void>): Promise<number>;
}

/**
 * Opens a log, or makes one. Throws STORE_LOCKED when another process has it open, DATA_DAMAGED when what it
 * acknowledged is not there, INVALID_CONFIG when it has another number of partitions or the directory cannot be used,
 * DISK_FULL, DISK_READ_ONLY, DISK_FAILED or TOO_MANY_OPEN_FILES when it may be better at another try.
 */
export async function openSegmentLog(options: SegmentLogOptions): Promise<SegmentLog> {
  const { directory, partitions } = options;
  const files = options.files ?? nodeFileSystem;
  const makeLogId = options.makeLogId ?? ((): string => randomBytes(16).toString('hex'));
  let lock: DirectoryLock | undefined;
  try {
    await files.makeDirectory(directory);
    lock = await files.lockDirectory(directory, 'the log');
    const identity = await openIdentity({ files, directory, partitions, makeLogId });
    const recovered = await recoverAll(options, files, identity);
    await removeCleanEnds(files, directory);
    return new SegmentLogImpl({ ...options, files }, identity, lock, recovered);
  } catch (error) {
    await lock?.release();
    throw unusable(directory, error);
  }
}

interface Recovered {
  readonly partitions: readonly Partition[];
  /** The newest log time; -Infinity in an empty log. */
  readonly logTimeUs: number;
}

async function recoverAll(options: SegmentLogOptions, files: FileSystem, identity: LogIdentity): Promise<Recovered> {
  const { directory, log } = options;
  const segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
  const tailBytes = (options.tailBytes ?? TAIL_BYTES) / identity.partitions;
  const ends = await readCleanEnds(files, directory);
  const partitions: Partition[] = [];
  let logTimeUs = -Infinity;
  // One after the other: recovery reads a whole segment into memory.
  for (let number = 0; number < identity.partitions; number++) {
    const clean = ends?.[number];
    const { partition, found } = await openPartition({
      directory,
      identity,
      partition: number,
      files,
      segmentBytes,
      tailBytes,
      clean,
    });
    const { cutBytes, end } = found;
    if (cutBytes > 0)
      log?.warn('cut a torn tail: records that were never acknowledged', { partition: number, cutBytes, end });
    for (const error of partition.damage) log?.error('a part of the log is damaged', { partition: number, error });
    logTimeUs = Math.max(logTimeUs, found.logTimeUs);
    partitions.push(partition);
  }
  return { partitions, logTimeUs };
}

class SegmentLogImpl implements SegmentLog {
  readonly logId: string;
  readonly partitionCount: number;
  readonly #directory: string;
  readonly #lock: DirectoryLock;
  readonly #files: FileSystem;
  readonly #partitions: readonly Partition[];
  readonly #room: DiskRoom;
  readonly #time: LogTime;
  readonly #log: Logger;
  readonly #pending: PendingAppends;
  #flushing: Promise<void> | undefined;
  #clockFault: FreshetError | undefined;
  #closed: Promise<void> | undefined;

  constructor(
    options: SegmentLogOptions & { readonly files: FileSystem },
    identity: LogIdentity,
    lock: DirectoryLock,
    { partitions, logTimeUs }: Recovered,
  ) {
    const { files, directory, clock } = options;
    this.logId = identity.logId;
    this.partitionCount = identity.partitions;
    this.#directory = directory;
    this.#files = files;
    this.#lock = lock;
    this.#partitions = partitions;
    this.#room = new DiskRoom({ files, directory, clock, minFreeBytes: options.minFreeBytes ?? MIN_FREE_BYTES });
    this.#log = options.log ?? silentLogger;
    this.#pending = new PendingAppends(identity.partitions, options.pendingBytesMax ?? PENDING_BYTES_MAX);
    this.#time = new LogTime({
      clock,
      lastUs: logTimeUs,
      stepUsMax: options.clockStepUsMax,
      onAlarm: (alarm) => {
        this.#log.warn('the wall clock disagrees with the time that passed', { ...alarm });
        options.onClockAlarm?.(alarm);
      },
    });
  }

  get pendingBytes(): number {
    return this.#pending.bytes;
  }

  get fault(): FreshetError | undefined {
    return this.#clockFault ?? this.#partitions.find(({ writer }) => writer.fault !== undefined)?.writer.fault;
  }

  get refusal(): FreshetError | undefined {
    return this.#room.refusal;
  }

  get damage(): readonly FreshetError[] {
    return this.#partitions.flatMap(({ damage }) => damage);
  }

  async append(partition: number, records: readonly Uint8Array[]): Promise<AppendResult> {
    // No await before the append is pending: calls keep their order.
    if (this.#closed !== undefined) throw closing();
    const { writer } = feedOf(this.#partitions, partition);
    const fault = this.#clockFault ?? writer.fault;
    if (fault !== undefined) throw fault;
    this.#room.check();
    const result = this.#pending.add(partition, records, checkRecords(records));
    this.#flushing ??= this.#flush();
    return result;
  }

  room(signal: AbortSignal): Promise<void> {
    return this.#pending.room(signal);
  }

  describe(): Promise<LogDescription> {
    return Promise.resolve({ logId: this.logId, partitions: this.#partitions.map(({ feed }) => feed.bounds) });
  }

  read(partition: number, from: number, signal: AbortSignal): AsyncIterable<LogBatch> {
    return decodeFrames(this.readFrames(partition, from, signal), this.#directory);
  }

  async *readFrames(partition: number, from: number, signal: AbortSignal): AsyncGenerator<FrameBatch> {
    yield* feedOf(this.#partitions, partition).readFrames(from, signal);
  }

  segments(partition: number): readonly SegmentSummary[] {
    return feedOf(this.#partitions, partition).summaries();
  }

  async trim(partition: number, below: number): Promise<number> {
    if (this.#closed !== undefined) throw closing();
    const trimmed = feedOf(this.#partitions, partition);
    try {
      return await trimmed.trim(below);
    } catch (error) {
      throw diskError(error, this.#directory) ?? error;
    }
  }

  async erase(partition: number, erasure: Erasure, pause: (bytes: number) => Promise<void>): Promise<EraseResult> {
    if (this.#closed !== undefined) throw closing();
    try {
      return await feedOf(this.#partitions, partition).erase(erasure, pause);
    } catch (error) {
      throw diskError(error, this.#directory) ?? error;
    }
  }

  async scrub(pause: (bytes: number) => Promise<void>): Promise<number> {
    let bytes = 0;
    for (const partition of this.#partitions) {
      const known = partition.damage;
      bytes += await partition.scrub(pause);
      for (const error of partition.damage) {
        if (known.some(({ message }) => message === error.message)) continue;
        this.#log.error('a part of the log is damaged', { partition: partition.feed.partition, error });
      }
    }
    return bytes;
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    // The microtask lets #closed be set first, so that nothing is appended while the last flush runs.
    await Promise.resolve();
    await this.#flushing;
    try {
      for (const partition of this.#partitions) {
        // All that was acknowledged is durable: a handle that fails to close takes nothing with it.
        await partition.close().catch((error: unknown) => this.#log.warn('a segment could not be closed', { error }));
      }
      if (this.#partitions.every(({ writer }) => writer.fault === undefined)) await this.#noteEnds();
    } finally {
      await this.#lock.release();
    }
  }

  /** Without the note the next opening is as after a crash, which loses nothing: no reason to fail. */
  async #noteEnds(): Promise<void> {
    const ends = this.#partitions.map(({ feed, writer }) => ({ end: feed.end, crc: writer.lastCrc }));
    try {
      await writeCleanEnds(this.#files, this.#directory, ends);
    } catch (error) {
      this.#log.warn('the log is closed, but could not note where it ends', { error });
    }
  }

  async #flush(): Promise<void> {
    // Appends made in the same turn, to whichever partitions, share the first flush.
    await Promise.resolve();
    for (;;) {
      const partitions = this.#pending.partitions();
      if (partitions.length === 0) break;
      const logTimeUs = await this.#begin();
      if (logTimeUs !== undefined) await Promise.all(partitions.map((p) => this.#commit(p, logTimeUs)));
    }
    this.#flushing = undefined;
  }

  /** The log time of a flush; undefined when nothing can be written now, and all that was pending was rejected. */
  async #begin(): Promise<number | undefined> {
    try {
      await this.#room.look(this.#pending.bytes);
      return this.#time.stamp();
    } catch (error) {
      assert(error instanceof FreshetError, 'a refusal of another kind');
      if (error.code === 'CLOCK_JUMP') {
        this.#clockFault = error;
        this.#log.error('the log takes no more records: the clock leapt', { error });
      }
      // What came while the disk was asked is refused as well: none overtakes another.
      for (const partition of this.#pending.partitions()) this.#pending.reject(partition, [], error);
      return undefined;
    }
  }

  /** Writes what a partition has pending, up to a limit. Never rejects. */
  async #commit(partition: number, logTimeUs: number): Promise<void> {
    const group = this.#pending.takeGroup(partition);
    try {
      const records = group.length === 1 ? must(group[0]).records : group.flatMap((append) => append.records);
      const firstOffset = await must(this.#partitions[partition]).writer.commit(records, logTimeUs);
      this.#room.taken();
      this.#pending.resolve(group, firstOffset, logTimeUs);
    } catch (error) {
      if (isFreshetError(error) && error.retryable) this.#room.refuse(error);
      else this.#log.error('a partition takes no more records', { partition, error });
      this.#pending.reject(partition, group, error);
    }
  }
}

/** What only whoever configured the directory can put right: there is none, or it is not ours to write. */
const CONFIGURATION = ['ENOENT', 'ENOTDIR', 'EEXIST', 'EACCES', 'EPERM'];

/** What the file system says, for whoever configured the directory or for whoever tries again. */
function unusable(directory: string, cause: unknown): unknown {
  if (isErrno(cause, ...CONFIGURATION)) {
    return new FreshetError('INVALID_CONFIG', `the log's directory cannot be used: ${(cause as Error).message}`, {
      place: directory,
      remedy: 'give a directory on a local disk, which the process may read and write',
      cause,
    });
  }
  return diskError(cause, directory) ?? cause;
}
