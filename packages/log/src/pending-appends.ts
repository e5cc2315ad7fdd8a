/**
 * Appends that wait for their fsync.
 *
 * A queue per partition, bounded together in bytes; policy: refuse. Once an append was refused, so are all that follow
 * until half of the room is free: were a smaller one let past a larger that was refused, a shard would take the
 * refused one, sent again, for a duplicate. Pure. Invariants: R4; each append is settled once.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { FLUSH_BYTES_MAX } from './limits.ts';
import type { AppendResult } from './log.ts';

export interface PendingAppend {
  readonly records: readonly Uint8Array[];
  readonly bytes: number;
  readonly resolve: (result: AppendResult) => void;
  readonly reject: (error: unknown) => void;
}

export class PendingAppends {
  readonly #bytesMax: number;
  readonly #queues: PendingAppend[][];
  readonly #waitingForRoom = new Set<() => void>();
  #bytes = 0;
  #refusing = false;

  constructor(partitions: number, bytesMax: number) {
    this.#queues = Array.from({ length: partitions }, () => []);
    this.#bytesMax = bytesMax;
  }

  /** What was added and is not settled, in bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Queues an append; the promise settles with it. Throws UNAVAILABLE when there is no room. */
  add(partition: number, records: readonly Uint8Array[], bytes: number): Promise<AppendResult> {
    // An append larger than the whole limit may pass alone.
    if (this.#bytes > 0 && this.#bytes + bytes > this.#bytesMax) this.#refusing = true;
    if (this.#refusing) {
      throw new FreshetError('UNAVAILABLE', `${this.#bytes} bytes wait for the disk: no room for more`, {
        remedy: 'await appends before making more, or await room()',
      });
    }
    this.#bytes += bytes;
    return new Promise((resolve, reject) => this.#queues[partition]?.push({ records, bytes, resolve, reject }));
  }

  /** The partitions that have something pending. */
  partitions(): number[] {
    return [...this.#queues.keys()].filter((partition) => this.#queues[partition]?.length !== 0);
  }

  /** Takes a partition's first appends up to the flush limit, at least one. They stay in the count until settled. */
  takeGroup(partition: number): PendingAppend[] {
    const queue = this.#queues[partition] ?? [];
    let bytes = 0;
    let count = 0;
    for (const append of queue) {
      bytes += append.bytes;
      if (count > 0 && bytes > FLUSH_BYTES_MAX) break;
      count++;
    }
    return queue.splice(0, count);
  }

  /** Resolves a group that is durable. */
  resolve(group: readonly PendingAppend[], firstOffset: number, logTimeUs: number): void {
    let offset = firstOffset;
    for (const append of group) {
      this.#settled(append.bytes);
      append.resolve({ firstOffset: offset, logTimeUs });
      offset += append.records.length;
    }
  }

  /** Rejects a group, and what is queued behind it in the partition. */
  reject(partition: number, group: readonly PendingAppend[], error: unknown): void {
    const queue = this.#queues[partition] ?? [];
    for (const append of [...group, ...queue.splice(0)]) {
      this.#settled(append.bytes);
      append.reject(error);
    }
  }

  /** Resolves when an append may be tried again: half of the room is free and none is refused; or with the signal. */
  room(signal: AbortSignal): Promise<void> {
    if ((!this.#refusing && !this.#isFull()) || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waitingForRoom.delete(wake);
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#waitingForRoom.add(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }

  #isFull(): boolean {
    return this.#bytes * 2 >= this.#bytesMax;
  }

  #settled(bytes: number): void {
    this.#bytes -= bytes;
    if (this.#isFull()) return;
    this.#refusing = false;
    for (const wake of [...this.#waitingForRoom]) wake();
  }
}
