/**
 * The newest changes of a shard, in memory: what live followers are fed from, with no store in between.
 *
 * Owns which keys changed in which stretch of positions. Does not own rows: a follower takes each key's current row, so
 * however late it comes, it gets the latest only (R4: no queue per follower).
 * Invariants: entries are contiguous; the tail always reaches back at least to the last commit, because the journal has
 * what is before; it is bounded in bytes apart from that.
 */
import { assert, must } from '@freshet/kit/assert.ts';
import type { ChangedKeys } from './fold-port.ts';

/** Where a fold was. */
export interface Head {
  readonly position: number;
  /** The log time of the last record, microseconds. */
  readonly logTimeUs: number;
  /** The CRC of the last record. */
  readonly recordCrc: number;
}

/** The changes of the records in [from, to). */
export interface Changes {
  readonly from: number;
  readonly to: number;
  readonly changed: ChangedKeys;
}

interface TailEntry extends Changes {
  readonly head: Head;
  readonly bytes: number;
}

/** What an entry costs beside its keys, and a key beside its characters: Maps and Sets of small strings, measured. */
const ENTRY_BYTES = 400;
const KEY_BYTES = 60;

export class Tail {
  readonly #limitBytes: number;
  readonly #entries: TailEntry[] = [];
  #bytes = 0;
  #start: Head;

  constructor(start: Head, limitBytes: number) {
    this.#start = start;
    this.#limitBytes = limitBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The first position whose changes the tail has. */
  get start(): number {
    return this.#start.position;
  }

  get end(): number {
    return (this.#entries.at(-1)?.head ?? this.#start).position;
  }

  /** Adds what the records up to `head` changed. */
  push(changed: ChangedKeys, head: Head): void {
    const before = this.#entries.at(-1);
    assert(head.position > this.end, 'F3: the tail only grows');
    if (changed.size === 0 && before?.changed.size === 0) {
      // Ticks one after the other are one entry.
      this.#entries[this.#entries.length - 1] = { ...before, to: head.position, head };
      return;
    }
    let bytes = ENTRY_BYTES;
    for (const keys of changed.values()) for (const key of keys) bytes += KEY_BYTES + key.length;
    this.#entries.push({ from: this.end, to: head.position, changed, head, bytes });
    this.#bytes += bytes;
  }

  /** The bytes of what is after a commit, which must stay whatever the limit. */
  bytesAfter(committed: number): number {
    let bytes = 0;
    for (let i = this.#entries.length - 1; i >= 0; i--) {
      const entry = must(this.#entries[i]);
      if (entry.to <= committed) break;
      bytes += entry.bytes;
    }
    return bytes;
  }

  /** Drops the oldest entries while over the limit; what is after the last commit stays. */
  trim(committed: number): void {
    for (let oldest = this.#entries[0]; oldest !== undefined; oldest = this.#entries[0]) {
      if (this.#bytes <= this.#limitBytes || oldest.to > committed) break;
      this.#start = oldest.head;
      this.#bytes -= oldest.bytes;
      this.#entries.shift();
    }
  }

  /** The entry with the change at a position. Undefined when it is before the tail or not folded yet. */
  find(position: number): Changes | undefined {
    if (position < this.start || position >= this.end) return undefined;
    return this.#entries[this.#indexOf(position)];
  }

  /** What is known of a position that is an entry's end or the tail's start. */
  headAt(position: number): Head | undefined {
    if (position === this.start) return this.#start;
    if (position < this.start || position > this.end) return undefined;
    const { head } = must(this.#entries[this.#indexOf(position - 1)]);
    return head.position === position ? head : undefined;
  }

  /** The index of the first entry that ends after a position. */
  #indexOf(position: number): number {
    let low = 0;
    let high = this.#entries.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (must(this.#entries[middle]).to > position) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
