/**
 * Which stretch of positions each journal entry covers, so that a catch-up finds the entries that it needs.
 *
 * Owns the index and the rule by which old entries go. Does not own the entries (the store has them).
 * Invariants: entries are contiguous and ascending (R1: a catch-up by journal misses no change); the journal is bounded
 * in age and in bytes (R4), and always keeps its newest entry. What passes under way still need stays beyond both, but
 * not beyond twice the bytes: a pass that needs more goes on without it (shard-follower.ts).
 */
import { assert, must } from '@freshet/kit/assert.ts';

/** One commit's entry: the changes of the records in [from, to). */
export interface JournalSlot {
  readonly from: number;
  readonly to: number;
  /** The log time of record to - 1, microseconds. */
  readonly logTimeUs: number;
  /** The size of the stored entry. */
  readonly bytes: number;
}

export interface JournalLimits {
  /** Entries whose log time is older than this before the newest go. */
  readonly ageUs: number;
  /** The oldest entries go until the rest is at most this. */
  readonly bytes: number;
}

/** How many times its bytes the journal may take while a pass pins it. */
const PINNED_BYTES_TIMES = 2;

export class JournalIndex {
  #slots: JournalSlot[] = [];
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get slots(): readonly JournalSlot[] {
    return this.#slots;
  }

  get newest(): JournalSlot | undefined {
    return this.#slots.at(-1);
  }

  /** The first position whose changes the journal has; `end` when it is empty. */
  start(end: number): number {
    return this.#slots[0]?.from ?? end;
  }

  add(slot: JournalSlot): void {
    assert(slot.from < slot.to, 'R1: a journal entry covers at least one record');
    assert(this.newest === undefined || this.newest.to === slot.from, 'R1: journal entries are contiguous');
    this.#slots.push(slot);
    this.#bytes += slot.bytes;
  }

  /** The entry with the change at a position: from <= position < to. Undefined when the journal does not have it. */
  find(position: number): JournalSlot | undefined {
    let low = 0;
    let high = this.#slots.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (must(this.#slots[middle]).to > position) high = middle;
      else low = middle + 1;
    }
    const slot = this.#slots[low];
    return slot !== undefined && slot.from <= position ? slot : undefined;
  }

  /** The entry that ends at a position, which is a commit's. */
  endingAt(position: number): JournalSlot | undefined {
    const slot = position > 0 ? this.find(position - 1) : undefined;
    return slot?.to === position ? slot : undefined;
  }

  /**
   * The entries that are over the limits at a log time, oldest first; `remove` is told when they are gone. Those with
   * changes from `pinnedFrom` on stay longer; those that begin at or before `forgottenThrough` go whatever the limits say.
   */
  expired(nowUs: number, limits: JournalLimits, pinnedFrom = Infinity, forgottenThrough = -1): readonly JournalSlot[] {
    let bytes = this.#bytes;
    let count = 0;
    for (const slot of this.#slots) {
      if (count === this.#slots.length - 1) break;
      const isForgotten = slot.from <= forgottenThrough;
      if (!isForgotten && bytes <= limits.bytes && slot.logTimeUs >= nowUs - limits.ageUs) break;
      if (!isForgotten && slot.to > pinnedFrom && bytes <= limits.bytes * PINNED_BYTES_TIMES) break;
      bytes -= slot.bytes;
      count += 1;
    }
    return this.#slots.slice(0, count);
  }

  /** Forgets the oldest entries. */
  remove(slots: readonly JournalSlot[]): void {
    for (const [index, slot] of slots.entries()) {
      assert(this.#slots[index] === slot, 'only the oldest journal entries are removed');
      this.#bytes -= slot.bytes;
    }
    this.#slots = this.#slots.slice(slots.length);
  }
}
