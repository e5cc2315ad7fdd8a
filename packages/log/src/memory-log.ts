/**
 * A log in memory, for tests. It passes the same contract suite as the others and is stricter where a caller could
 * lean on luck: batches are overwritten when the next one is taken, as the interface allows. Takes scripted faults.
 *
 * Owns nothing durable. Keeps every record for ever.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { decodeFrames, followFrames } from './follow.ts';
import type { AppendResult, FrameBatch, Log, LogBatch, LogDescription } from './log.ts';
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
      feed.publish(encodePieces(records, firstOffset, logTimeUs));
      return { firstOffset, logTimeUs };
    });
    this.#appends = result.catch(() => undefined);
    return result;
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
