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
import { mkdir } from 'node:fs/promises';
import { assert, must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { type DirectoryLock, lockDirectory } from '@freshet/kit/directory-lock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import { type OpenFile, openNodeFile } from './file-system.ts';
import { decodeFrames, followFrames } from './follow.ts';
import { PENDING_BYTES_MAX, SEGMENT_BYTES, TAIL_BYTES } from './limits.ts';
import type { AppendResult, FrameBatch, Log, LogBatch, LogDescription } from './log.ts';
import {
  type LogIdentity,
  openIdentity,
  partitionDirectory,
  readCleanEnds,
  removeCleanEnds,
  writeCleanEnds,
} from './log-directory.ts';
import { type ClockAlarm, LogTime } from './log-time.ts';
import { closing, feedOf, PartitionFeed } from './partition-feed.ts';
import { PendingAppends } from './pending-appends.ts';
import { checkRecords } from './pieces.ts';
import type { Segment } from './segment-file.ts';
import { SegmentReader } from './segment-reader.ts';
import { recoverPartition } from './segment-recovery.ts';
import { SegmentWriter } from './segment-writer.ts';

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
  /** The file system; tests make it fail. */
  readonly openFile?: OpenFile | undefined;
}

export interface SegmentLog extends Log {
  /** What waits for its fsync, in bytes. */
  readonly pendingBytes: number;
  /** Resolves when less than half of what may be pending is and no append is refused, or the signal aborts. */
  room(signal: AbortSignal): Promise<void>;
  /** The first reason why a partition, or the whole log, takes no more records: LOG_HALTED or CLOCK_JUMP. */
  readonly fault: FreshetError | undefined;
}

interface PartitionState {
  readonly feed: PartitionFeed;
  readonly segments: readonly Segment[];
  readonly writer: SegmentWriter;
}

/**
 * Opens a log, or makes one. Throws STORE_LOCKED when another process has it open, DATA_DAMAGED when what it
 * acknowledged is not there, INVALID_CONFIG when it has another number of partitions or the directory cannot be used,
 * UNAVAILABLE when the disk is full, fails, or is out of file handles: what may be better at another try.
 */
export async function openSegmentLog(options: SegmentLogOptions): Promise<SegmentLog> {
  const { directory, partitions } = options;
  let lock: DirectoryLock | undefined;
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    lock = await lockDirectory(directory, 'the log');
    const identity = await openIdentity(directory, partitions);
    const recovered = await recoverAll(options);
    await removeCleanEnds(directory);
    return new SegmentLogImpl(options, identity, lock, recovered.states, recovered.logTimeUs);
  } catch (error) {
    await lock?.release();
    throw unusable(directory, error);
  }
}

async function recoverAll(options: SegmentLogOptions): Promise<{ states: PartitionState[]; logTimeUs: number }> {
  const openFile = options.openFile ?? openNodeFile;
  const segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
  const tailBytes = (options.tailBytes ?? TAIL_BYTES) / options.partitions;
  const ends = await readCleanEnds(options.directory);
  const states: PartitionState[] = [];
  let logTimeUs = -Infinity;
  // One after the other: recovery reads a whole segment into memory.
  for (let partition = 0; partition < options.partitions; partition++) {
    const directory = partitionDirectory(options.directory, partition);
    const found = await recoverPartition({ directory, openFile, clean: ends?.[partition] });
    if (found.cutBytes > 0) {
      options.log?.warn('cut a torn tail: records that were never acknowledged', {
        partition,
        bytes: found.cutBytes,
        end: found.end,
      });
    }
    logTimeUs = Math.max(logTimeUs, found.logTimeUs);
    const segments = [...found.segments];
    const feed = new PartitionFeed({ partition, start: segments[0]?.firstOffset ?? 0, end: found.end, tailBytes });
    const writer = new SegmentWriter({ directory, feed, segments, openFile, segmentBytes, lastCrc: found.crc });
    states.push({ feed, segments, writer });
  }
  return { states, logTimeUs };
}

class SegmentLogImpl implements SegmentLog {
  readonly logId: string;
  readonly partitionCount: number;
  readonly #directory: string;
  readonly #lock: DirectoryLock;
  readonly #states: readonly PartitionState[];
  readonly #openFile: OpenFile;
  readonly #time: LogTime;
  readonly #log: Logger;
  readonly #pending: PendingAppends;
  #flushing: Promise<void> | undefined;
  #clockFault: FreshetError | undefined;
  #closed: Promise<void> | undefined;

  constructor(
    options: SegmentLogOptions,
    identity: LogIdentity,
    lock: DirectoryLock,
    states: readonly PartitionState[],
    lastUs: number,
  ) {
    this.logId = identity.logId;
    this.partitionCount = identity.partitions;
    this.#directory = options.directory;
    this.#lock = lock;
    this.#states = states;
    this.#openFile = options.openFile ?? openNodeFile;
    this.#log = options.log ?? silentLogger;
    this.#pending = new PendingAppends(identity.partitions, options.pendingBytesMax ?? PENDING_BYTES_MAX);
    this.#time = new LogTime({
      clock: options.clock,
      lastUs,
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
    return this.#clockFault ?? this.#states.find((state) => state.writer.fault !== undefined)?.writer.fault;
  }

  async append(partition: number, records: readonly Uint8Array[]): Promise<AppendResult> {
    // No await before the append is pending: calls keep their order.
    if (this.#closed !== undefined) throw closing();
    const state = feedOf(this.#states, partition);
    const fault = this.#clockFault ?? state.writer.fault;
    if (fault !== undefined) throw fault;
    const result = this.#pending.add(partition, records, checkRecords(records));
    this.#flushing ??= this.#flush();
    return result;
  }

  room(signal: AbortSignal): Promise<void> {
    return this.#pending.room(signal);
  }

  describe(): Promise<LogDescription> {
    return Promise.resolve({ logId: this.logId, partitions: this.#states.map((state) => state.feed.bounds) });
  }

  read(partition: number, from: number, signal: AbortSignal): AsyncIterable<LogBatch> {
    return decodeFrames(this.readFrames(partition, from, signal), this.#directory);
  }

  async *readFrames(partition: number, from: number, signal: AbortSignal): AsyncGenerator<FrameBatch> {
    const { feed, segments } = feedOf(this.#states, partition);
    yield* followFrames(feed, from, signal, () => new SegmentReader(segments, this.#openFile));
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
      for (const state of this.#states) {
        state.feed.close();
        await state.writer.close();
      }
      if (this.#states.every((state) => state.writer.fault === undefined)) {
        const ends = this.#states.map(({ feed, writer }) => ({ end: feed.end, crc: writer.lastCrc }));
        await writeCleanEnds(this.#directory, ends);
      }
    } finally {
      await this.#lock.release();
    }
  }

  async #flush(): Promise<void> {
    // Appends made in the same turn, to whichever partitions, share the first flush.
    await Promise.resolve();
    for (;;) {
      const partitions = this.#pending.partitions();
      if (partitions.length === 0) break;
      const logTimeUs = this.#stamp(partitions);
      if (logTimeUs !== undefined) await Promise.all(partitions.map((p) => this.#commit(p, logTimeUs)));
    }
    this.#flushing = undefined;
  }

  /** The log time of a flush; undefined when the clock leapt, and all that was pending was rejected. */
  #stamp(partitions: readonly number[]): number | undefined {
    try {
      return this.#time.stamp();
    } catch (error) {
      assert(error instanceof FreshetError, 'a clock that fails');
      this.#clockFault = error;
      this.#log.error('the log takes no more records: the clock leapt', { error });
      for (const partition of partitions) this.#pending.reject(partition, [], error);
      return undefined;
    }
  }

  /** Writes what a partition has pending, up to a limit. Never rejects. */
  async #commit(partition: number, logTimeUs: number): Promise<void> {
    const group = this.#pending.takeGroup(partition);
    try {
      const records = group.length === 1 ? must(group[0]).records : group.flatMap((append) => append.records);
      const firstOffset = await must(this.#states[partition]).writer.commit(records, logTimeUs);
      this.#pending.resolve(group, firstOffset, logTimeUs);
    } catch (error) {
      this.#log.error('a partition takes no more records', { partition, error });
      this.#pending.reject(partition, group, error);
    }
  }
}

/** What only whoever configured the directory can put right: there is none, or it is not ours to write. */
const CONFIGURATION = new Set(['ENOENT', 'ENOTDIR', 'EEXIST', 'EACCES', 'EPERM', 'EROFS']);

/** What the file system says, for whoever configured the directory or for whoever tries again. */
function unusable(directory: string, cause: unknown): unknown {
  const { code, message } = cause as NodeJS.ErrnoException;
  // A code with an underscore is one of Node's own: a fault of ours.
  if (cause instanceof FreshetError || typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return cause;
  if (!CONFIGURATION.has(code)) {
    return new FreshetError('UNAVAILABLE', `the log cannot be opened now: ${message}`, {
      place: directory,
      remedy: 'see that the disk works and has room, and that the process may open enough files',
      cause,
    });
  }
  return new FreshetError('INVALID_CONFIG', `the log's directory cannot be used: ${message}`, {
    place: directory,
    remedy: 'give a directory on a local disk, which the process may read and write',
    cause,
  });
}
