/**
 * Reading a partition from an offset and following its tail, in terms of batches.
 *
 * Owns the loop and the decoding; does not own where older batches come from. A reader that is slow holds nothing but
 * the batch it was given: the tail in memory moves on without it, and it continues from the file (R4).
 * Invariants: F3 (batches are contiguous: no offset twice, none skipped).
 */
import { assert } from '@freshet/kit/assert.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { scanFrames } from './frame.ts';
import { BATCH_BYTES } from './limits.ts';
import type { FrameBatch, LogBatch, LogEntry } from './log.ts';
import type { PartitionFeed } from './partition-feed.ts';
import type { Piece } from './tail-ring.ts';

/** Where records lie that are no longer in memory. */
export interface OlderRecords {
  /** Records from an offset on, at least one. */
  read(offset: number): Promise<Piece>;
  close(): Promise<void>;
}

/** Durable records from an offset on, then the tail as it grows, until the signal aborts. */
export async function* followFrames(
  feed: PartitionFeed,
  from: number,
  signal: AbortSignal,
  openOlder: () => OlderRecords,
): AsyncGenerator<FrameBatch> {
  let next = from;
  let older: OlderRecords | undefined;
  try {
    feed.checkOpen();
    while (!signal.aborted) {
      // In each turn: the partition may be trimmed past a reader that is slow.
      feed.checkOffset(next);
      let piece = feed.tail.take(next, BATCH_BYTES);
      const waiting = piece === undefined && next === feed.end;
      if (piece !== undefined || waiting) {
        await older?.close();
        older = undefined;
      }
      if (waiting) {
        await feed.grown(next, signal);
        feed.checkOpen();
        continue;
      }
      if (piece === undefined) {
        older ??= openOlder();
        try {
          piece = await older.read(next);
        } catch (error) {
          // A segment that was trimmed while it was opened is no damage.
          feed.checkOffset(next);
          throw diskError(error, `partition ${feed.partition}, offset ${next}`) ?? error;
        }
        if (signal.aborted) return;
        feed.checkOpen();
      }
      assert(piece.firstOffset === next && piece.count > 0, 'F3: a batch that does not follow');
      yield { partition: feed.partition, end: feed.end, ...piece };
      next += piece.count;
    }
  } finally {
    await older?.close();
  }
}

/**
 * Decodes frames into entries and checks everything that a frame promises. `where` names the log in errors.
 * Throws DATA_DAMAGED.
 */
export async function* decodeFrames(frames: AsyncIterable<FrameBatch>, where: string): AsyncGenerator<LogBatch> {
  let logTimeUsMin = -Infinity;
  for await (const batch of frames) {
    const { partition, firstOffset, count, end } = batch;
    const entries: LogEntry[] = [];
    const run = scanFrames(batch.frames, 0, { offset: firstOffset, logTimeUsMin }, (entry) => entries.push(entry));
    if (run.fault !== undefined || run.count !== count) {
      // What is whole before it is served.
      if (entries.length > 0) yield { partition, entries, end };
      const reason = run.fault?.kind === 'damaged' ? run.fault.reason : `${count} records were announced`;
      throw damaged(`partition ${partition}, offset ${firstOffset + run.count}`, `${where}: ${reason}`);
    }
    logTimeUsMin = run.logTimeUs;
    yield { partition, entries, end };
  }
}

/** The error of bytes that are not what was written. */
export function damaged(place: string, reason: string, remedy?: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the log is damaged at ${place}: ${reason}`, {
    place,
    remedy:
      remedy ?? 'put the file back from a copy; without one, start a new log and let its sources take new snapshots',
  });
}
