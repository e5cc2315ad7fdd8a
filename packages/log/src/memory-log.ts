/**
 * A log in memory, for tests. It passes the same contract suite as the others and is stricter where a caller could
 * lean on luck: batches are overwritten when the next one is taken, as the interface allows. Takes scripted faults.
 *
 * Owns nothing durable. Each append is a segment; what is trimmed is refused, though it stays in memory.
 */
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { decodeFrames, followFrames } from './follow.ts';
import type { AppendResult, FrameBatch, Log, LogBatch, LogDescription, SegmentSummary } from './log.ts';
import { LogTime } from './log-time.ts';
import { closing, feedOf, PartitionFeed } from './partition-feed.ts';
import { checkRecords, encodePieces } from './pieces.ts';

export interface MemoryLogOptions {
  readonly partitions: number;
  readonly clock: Clock;
  /** 16 bytes in hex. */
  readonly logId?: string | undefined;
  /** Runs before each append becomes durable, in order: a delay delays it, a rejection rejects it and nothing else. */
  readonly beforeAppend?: ((partition: number) => Promise<void>) | undefined;
}

export interface MemoryLog extends Log {
  /** The records of a partition that are durable now, for assertions. */
  records(partition: number): Promise<Uint8Array[]>;
}

export function createMemoryLog(options: MemoryLogOptions): MemoryLog {
  return new MemoryLogImpl(options);
}

class MemoryLogImpl implements MemoryLog {
  readonly logId: string;
  readonly partitionCount: number;
  readonly #feeds: readonly PartitionFeed[];
  /** Per partition each append, which is a segment here. */
  readonly #appended: readonly SegmentSummary[][];
  readonly #time: LogTime;
  readonly #beforeAppend: (partition: number) => Promise<void>;
  #appends: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(options: MemoryLogOptions) {
    this.logId = options.logId ?? '0f'.repeat(16);
    this.partitionCount = options.partitions;
    this.#feeds = Array.from(
      { length: options.partitions },
      (_, partition) => new PartitionFeed({ partition, start: 0, end: 0, tailBytes: Infinity }),
    );
    this.#appended = this.#feeds.map(() => []);
    this.#time = new LogTime({ clock: options.clock, lastUs: -Infinity });
    this.#beforeAppend = options.beforeAppend ?? (() => Promise.resolve());
  }

  append(partition: number, records: readonly Uint8Array[]): Promise<AppendResult> {
    const result = this.#appends.then(async () => {
      if (this.#closed) throw closing();
      const feed = feedOf(this.#feeds, partition);
      checkRecords(records);
      await this.#beforeAppend(partition);
      const logTimeUs = this.#time.stamp();
      const firstOffset = feed.end;
      const pieces = encodePieces(records, firstOffset, logTimeUs);
      const bytes = pieces.reduce((sum, { frames }) => sum + frames.length, 0);
      must(this.#appended[partition]).push({
        firstOffset,
        end: firstOffset + records.length,
        bytes,
        newestLogTimeUs: logTimeUs,
      });
      feed.publish(pieces);
      return { firstOffset, logTimeUs };
    });
    this.#appends = result.catch(() => undefined);
    return result;
  }

  /** Unlike segment files it lets go of exactly what it may; a caller can rely on neither. */
  async trim(partition: number, below: number): Promise<number> {
    const feed = feedOf(this.#feeds, partition);
    if (!Number.isSafeInteger(below) || below > feed.end) {
      throw new FreshetError('OFFSET_OUT_OF_RANGE', `partition ${partition} ends at ${feed.end}, not at ${below}`);
    }
    if (below > feed.bounds.start) feed.trim(below);
    return feed.bounds.start;
  }

  segments(partition: number): readonly SegmentSummary[] {
    const { start } = feedOf(this.#feeds, partition).bounds;
    return must(this.#appended[partition])
      .filter(({ end }) => end > start)
      .map((append) => ({ ...append, firstOffset: Math.max(start, append.firstOffset) }));
  }

  describe(): Promise<LogDescription> {
    return Promise.resolve({ logId: this.logId, partitions: this.#feeds.map((feed) => feed.bounds) });
  }

  read(partition: number, from: number, signal: AbortSignal): AsyncIterable<LogBatch> {
    return decodeFrames(this.readFrames(partition, from, signal), 'memory');
  }

  async *readFrames(partition: number, from: number, signal: AbortSignal): AsyncGenerator<FrameBatch> {
    const feed = feedOf(this.#feeds, partition);
    for await (const batch of followFrames(feed, from, signal, noOlderRecords)) {
      const frames = batch.frames.slice();
      yield { ...batch, frames };
      frames.fill(0xdb);
    }
  }

  async records(partition: number): Promise<Uint8Array[]> {
    const { start, end } = feedOf(this.#feeds, partition).bounds;
    const found: Uint8Array[] = [];
    if (start === end) return found;
    for await (const batch of this.read(partition, start, new AbortController().signal)) {
      for (const { record } of batch.entries) found.push(record.slice());
      if (found.length >= end - start) break;
    }
    return found;
  }

  async close(): Promise<void> {
    await this.#appends;
    this.#closed = true;
    for (const feed of this.#feeds) feed.close();
  }
}

function noOlderRecords(): never {
  throw new Error('a log in memory has every record in memory');
}
