/**
 * The truth of a log that may have had more than one history: a disk that lied, or that damaged the newest records, gives
 * the log another end than the one that was read, and what is appended next is a fork of what was.
 *
 * Owns when a fork may be: only after such a disk (L1 in any other case). Keeps every history: whoever has not noticed yet
 * is right by the old one, wholly, and nobody may mix the two (R3).
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { SegmentLog } from '@freshet/log/segment-log.ts';
import { PartitionTruth } from './truth.ts';

export interface History {
  readonly logId: string;
  readonly truth: PartitionTruth;
}

export class PartitionHistories {
  readonly partition: number;
  readonly all: History[] = [];
  /** Whether it is being found out which history a log that was just opened has. */
  isAsking = false;
  /** Which reading is the newest: an older one is of a process that is gone. */
  #reading = 0;

  constructor(partition: number) {
    this.partition = partition;
  }

  /** The history that the log has now. */
  get truth(): PartitionTruth | undefined {
    return this.all.at(-1)?.truth;
  }

  /** Follows a log that was just opened, for as long as its process lives. `mayFork`: its disk lied or was damaged. */
  async follow(log: SegmentLog, mayFork: () => boolean, onWrong: (what: string) => void): Promise<void> {
    const reading = ++this.#reading;
    this.isAsking = true;
    try {
      const from = await this.#take(log, mayFork, onWrong);
      if (reading !== this.#reading) return;
      const truth = this.truth as PartitionTruth;
      this.isAsking = truth.end < from;
      for await (const { entries } of log.read(this.partition, truth.end, new AbortController().signal)) {
        if (reading !== this.#reading) return;
        for (const entry of entries) {
          const wrong = truth.take(entry);
          if (wrong !== undefined) onWrong(`partition ${this.partition}: ${wrong}`);
        }
        if (truth.end >= from) this.isAsking = false;
      }
    } catch (error) {
      // The process that had the log is gone, and the next one is followed anew. What is damaged others may have read
      // from memory before: nothing can be said of them until the log is opened anew.
      if (reading === this.#reading) this.isAsking = isFreshetError(error, 'DATA_DAMAGED');
    }
  }

  /** Reads again what the log still has of what is known: nothing of it may be another record (L1), fillers neither. */
  async readAgain(log: SegmentLog, onWrong: (what: string) => void): Promise<void> {
    const { truth } = this;
    if (truth === undefined || this.isAsking) return;
    const { end } = truth;
    const start = log.segments(this.partition)[0]?.firstOffset ?? end;
    if (start >= end) return;
    try {
      for await (const { entries } of log.read(this.partition, start, new AbortController().signal)) {
        if (truth !== this.truth) return;
        for (const entry of entries) {
          if (entry.offset >= end) return;
          const wrong = truth.take(entry);
          if (wrong !== undefined) onWrong(`partition ${this.partition}: ${wrong}`);
        }
        if ((entries.at(-1)?.offset ?? end) >= end - 1) return;
      }
    } catch (error) {
      // Trimmed meanwhile, or damaged, or the process is gone.
      if (!isFreshetError(error)) throw error;
    }
  }

  /** Finds the log's history, or notes a new one; resolves with where the log ended when it was opened. */
  async #take(log: SegmentLog, mayFork: () => boolean, onWrong: (what: string) => void): Promise<number> {
    const { partitions } = await log.describe();
    const end = partitions[this.partition]?.end ?? 0;
    const start = partitions[this.partition]?.start ?? 0;
    const newest = this.all.at(-1);
    if (newest === undefined || newest.logId !== log.logId) {
      if (newest !== undefined && !mayFork()) onWrong('L1: the log was made anew');
      this.all.push({ logId: log.logId, truth: new PartitionTruth() });
      return end;
    }
    const known = newest.truth;
    if (end >= known.end && !mayFork()) return end;
    if (end < known.end && !mayFork()) {
      onWrong(`L1: partition ${this.partition} ends at ${end}, and was read up to ${known.end}`);
    }
    const fork = await this.#firstOther(log, known, Math.max(0, start), Math.min(end, known.end));
    if (fork === known.end) return end;
    const truth = new PartitionTruth();
    for (const entry of known.entries.slice(0, fork)) truth.take(entry);
    this.all.push({ logId: log.logId, truth });
    return end;
  }

  /** The first offset at which the log has another record than is known, or none. */
  async #firstOther(log: SegmentLog, known: PartitionTruth, start: number, end: number): Promise<number> {
    let offset = start;
    while (offset < end) {
      try {
        for await (const { entries } of log.read(this.partition, offset, new AbortController().signal)) {
          for (const entry of entries) {
            if (entry.offset >= end) return end;
            if (known.entries[entry.offset]?.crc !== entry.crc) return entry.offset;
            offset = entry.offset + 1;
          }
          if (offset >= end) break;
        }
      } catch (error) {
        if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
        // What nobody can read is no other record; the next segment may still tell.
        const at = offset;
        offset = log.segments(this.partition).find(({ firstOffset }) => firstOffset > at)?.firstOffset ?? end;
      }
    }
    return Math.min(offset, end);
  }
}
