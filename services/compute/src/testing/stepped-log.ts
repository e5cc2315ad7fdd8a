/** A log of one partition whose records a test lets be seen, some at a time; it is the same after every crash. */
import type { LogBatch, LogDescription, LogEntry, LogReader } from '@freshet/log/log.ts';

/** A made-up checksum, one per offset. */
export function crcOf(offset: number): number {
  return (Math.imul(offset + 1, 0x9e3779b1) ^ 0x5bd1e995) >>> 0;
}

export class SteppedLog implements LogReader {
  readonly logId = '0f'.repeat(16);
  readonly #entries: readonly LogEntry[];
  readonly #waiting = new Set<() => void>();
  #end = 0;
  /** The first record that is still there. */
  start = 0;

  /** A record's log time is a millisecond after that of the one before, unless it is told by offset. */
  constructor(
    records: readonly Uint8Array[],
    timeUsOf: (offset: number) => number = (offset) => 1_700_000_000_000_000 + offset * 1_000,
  ) {
    this.#entries = records.map((record, offset) => ({
      offset,
      logTimeUs: timeUsOf(offset),
      record,
      crc: crcOf(offset),
    }));
  }

  get end(): number {
    return this.#end;
  }

  /** Lets the records before an offset be seen. */
  show(end: number): void {
    this.#end = Math.max(this.#end, end);
    for (const wake of this.#waiting) wake();
  }

  describe(): Promise<LogDescription> {
    return Promise.resolve({ logId: this.logId, partitions: [{ start: this.start, end: this.#end }] });
  }

  async *read(partition: number, from: number, signal: AbortSignal): AsyncGenerator<LogBatch> {
    for (let next = from; !signal.aborted; ) {
      if (next < this.#end) {
        const entries = this.#entries.slice(next, this.#end);
        next = this.#end;
        yield { partition, entries, end: this.#end };
      } else {
        await this.#more(signal);
      }
    }
  }

  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waiting.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}
