/**
 * How far those who read the log are with it, so that rows that can wait do not come to the log faster than they are folded:
 * live rows stand behind them there, whatever the queues of ingest hold.
 *
 * Owns: one entry for each open read of a partition. Only a reader that has been at the end counts: one that starts far back
 * has no live rows to wait for. One that takes nothing for as long as somebody waits for it (LogReaders.behind) counts no
 * more until it is at the end again, so that a stopped node holds nothing up. Pure; bounded by the reads that are open.
 */

/** A read of a partition. */
export interface OpenRead {
  readonly partition: number;
  /** The offset behind the newest record that it took. */
  taken: number;
  /** It has been at the end, and is waited for. */
  follows: boolean;
}

/** At most so many records lie between a reader and the end of its partition, for it to have been at the end. */
export const RECORDS_BEHIND_MAX = 256;

export class LogReaders {
  readonly #reads = new Set<OpenRead>();

  /** A read from an offset begins. */
  opened(partition: number, from: number): OpenRead {
    const read = { partition, taken: from, follows: false };
    this.#reads.add(read);
    return read;
  }

  /** The reader has asked for more than what is before `next`; `end` is where the partition ended then. */
  took(read: OpenRead, next: number, end: number): void {
    read.taken = next;
    if (end - next <= RECORDS_BEHIND_MAX) read.follows = true;
  }

  closed(read: OpenRead): void {
    this.#reads.delete(read);
  }

  /** The readers that follow and have not taken all before these offsets, by partition. */
  behind(ends: readonly number[]): readonly OpenRead[] {
    return [...this.#reads].filter(({ follows, partition, taken }) => follows && taken < (ends[partition] ?? 0));
  }
}
