/**
 * The durable end of a partition as readers see it: bounds, the tail in memory, and who waits for more.
 *
 * Owns publication: what is published is durable, in order, and wakes its readers at once; nobody polls.
 * Talks to: the writer (publish), follow.ts (grown, tail). Pure.
 */
import { assert, must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { PartitionBounds } from './log.ts';
import { type Piece, TailRing } from './tail-ring.ts';

export class PartitionFeed {
  readonly partition: number;
  readonly tail: TailRing;
  #start: number;
  #end: number;
  #closed = false;
  readonly #waiting = new Set<() => void>();

  constructor(options: { partition: number; start: number; end: number; tailBytes: number }) {
    this.partition = options.partition;
    this.#start = options.start;
    this.#end = options.end;
    this.tail = new TailRing(options.end, options.tailBytes);
  }

  get bounds(): PartitionBounds {
    return { start: this.#start, end: this.#end };
  }

  get end(): number {
    return this.#end;
  }

  /** Readers below the offset end with OFFSET_OUT_OF_RANGE from now on. Never goes back. */
  trim(start: number): void {
    assert(start >= this.#start && start <= this.#end, 'L2: a start that goes back, or beyond the end');
    this.#start = start;
    this.#wake();
  }

  /** Makes durable records readable. */
  publish(pieces: readonly Piece[]): void {
    for (const piece of pieces) this.tail.push(piece);
    const last = must(pieces.at(-1));
    this.#end = last.firstOffset + last.count;
    this.#wake();
  }

  /** Resolves when there are records beyond the offset, or the signal aborts, or the log closes. Never rejects. */
  grown(offset: number, signal: AbortSignal): Promise<void> {
    if (this.#end > offset || this.#closed || signal.aborted) return Promise.resolve();
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

  /** Throws when the log is closed: UNAVAILABLE. */
  checkOpen(): void {
    if (this.#closed) throw closing();
  }

  /** Throws OFFSET_OUT_OF_RANGE unless a read can begin at the offset. */
  checkOffset(offset: number): void {
    if (Number.isSafeInteger(offset) && offset >= this.#start && offset <= this.#end) return;
    throw new FreshetError(
      'OFFSET_OUT_OF_RANGE',
      `partition ${this.partition} holds offsets ${this.#start} to ${this.#end}, not ${offset}`,
      {
        place: `partition ${this.partition}, offset ${offset}`,
        remedy:
          offset < this.#start
            ? 'records before were trimmed because every node that was known had them in a checkpoint: start from a ' +
              'checkpoint within the log, or from a peer’s state'
            : 'a position beyond the end belongs to another log, or this log lost its newest records: start from a ' +
              'checkpoint within it',
      },
    );
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of [...this.#waiting]) wake();
  }
}

/** What whoever uses a closed log is told. */
export function closing(): FreshetError {
  return new FreshetError('UNAVAILABLE', 'the log is closed', {
    remedy: 'try again when its process has started again',
  });
}

/** The feed of a partition. Throws INVALID_REQUEST when there is no such partition. */
export function feedOf<T>(feeds: readonly T[], partition: number): T {
  const feed = feeds[partition];
  if (feed !== undefined) return feed;
  throw new FreshetError(
    'INVALID_REQUEST',
    `there is no partition ${partition}: the log has 0 to ${feeds.length - 1}`,
    {
      place: 'partition',
    },
  );
}
