/**
 * How much of a shard's byte budget the partials of all its keys take together (partials.ts), and whose go first.
 *
 *     asked longest ago ─▶ … ─▶ asked last       beyond the share, from the left: first what is known of single leaves, which
 *     asked longest ago ─▶ … ─▶ asked last       is most of it; what is known of spans only when nobody has the other any more
 *
 * A key that is too large for the share keeps what its spans make, so that a change costs it the leaves of one span and not all: two
 * such keys do not drive each other out. While all of the shard is beyond its budget, those go too that were not asked for long.
 *
 * Owns the share and that order. Does not own what partials are, nor the budget (../fold/state-cache.ts). They are no part of
 * what a commit writes, so they are not in `dirtyBytes`.
 *
 * Invariant R4: beyond the share is at most what was learnt of one span, until the question is answered. Invariant F1: partials
 * may go at any moment; whether they are there never shows in a value.
 */
import type { Partials } from './partials.ts';

/** Of the budget of a shard's caches. */
const SHARE = 1 / 4;
/**
 * Evictions through which partials stay that nobody asked for. To make them again costs several times the processor time of
 * loading as many bytes of states, so they are kept longer than these.
 */
const KEPT_EVICTIONS = 16;
/** Leaves that a question may have to read at once: with 11 to 20 µs each (measured on a busy machine), about a tenth of a second. */
const UNKNOWN_MAX = 8_192;

/** Who has partials: the root of a key. */
export interface PartialsOwner {
  partials: Partials | undefined;
}

interface Held {
  bytes: number;
  /** At which eviction it was last asked. */
  askedAt: number;
}

/** Whether what was learnt may be kept. */
export type Fits = () => boolean;

export class PartialsShare {
  /** How many leaves may have to be read when a change is folded; of a key of which more are not known they are read before. */
  readonly unknownMax: number;
  readonly #use: { bytes: number };
  readonly #limitBytes: number;
  /** Those that know something of single leaves; the one that was asked longest ago first. */
  readonly #whole = new Map<PartialsOwner, Held>();
  /** Those that know of spans only, in about that order too. */
  readonly #spans = new Map<PartialsOwner, Held>();
  #bytes = 0;
  #evictions = 0;

  /** `use` is what all caches of the shard use together, `cacheBytes` the budget for that. */
  constructor(use: { bytes: number }, cacheBytes: number, unknownMax = UNKNOWN_MAX) {
    this.unknownMax = unknownMax;
    this.#use = use;
    this.#limitBytes = cacheBytes * SHARE;
  }

  /** What all partials take, in estimated bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Asks something of the owner's partials, which are made when it has none. */
  ask<T>(owner: PartialsOwner, make: () => Partials, question: (partials: Partials, fits: Fits) => T): T {
    owner.partials ??= make();
    const { partials } = owner;
    const held = this.#find(owner) ?? { bytes: 0, askedAt: 0 };
    held.askedAt = this.#evictions;
    this.#whole.delete(owner);
    this.#spans.delete(owner);
    try {
      return question(partials, () => {
        this.#count(held, partials.sizeBytes);
        return this.#fits(this.#trimOldest);
      });
    } finally {
      this.#count(held, partials.sizeBytes);
      (partials.knowsLeaves ? this.#whole : this.#spans).set(owner, held);
      if (!this.#fits(this.#trimOldest)) this.#fits(this.#dropOldest);
    }
  }

  /** The owner's partials shrank or grew by a leaf that changed. */
  resized(owner: PartialsOwner): void {
    const held = this.#find(owner);
    if (held !== undefined) this.#count(held, owner.partials?.sizeBytes ?? 0);
  }

  /** The owner has none any more. */
  release(owner: PartialsOwner): void {
    const held = this.#find(owner);
    if (held === undefined) return;
    this.#count(held, 0);
    this.#whole.delete(owner);
    this.#spans.delete(owner);
    owner.partials = undefined;
  }

  /** Lets go what nobody asked for long, as long as the caches of the shard use more than the limit. */
  evict(limitBytes: number): void {
    this.#evictions++;
    for (const owners of [this.#spans, this.#whole]) {
      for (const [owner, { askedAt }] of owners) {
        if (this.#use.bytes <= limitBytes || askedAt + KEPT_EVICTIONS >= this.#evictions) break;
        this.release(owner);
      }
    }
  }

  /** Makes room until all is within the share, or there is nothing left to be gained. */
  #fits(gain: () => boolean): boolean {
    while (this.#bytes > this.#limitBytes) if (!gain()) return false;
    return true;
  }

  readonly #trimOldest = (): boolean => {
    const [oldest] = this.#whole;
    if (oldest === undefined) return false;
    const [owner, held] = oldest;
    owner.partials?.forgetLeaves();
    this.#count(held, owner.partials?.sizeBytes ?? 0);
    this.#whole.delete(owner);
    this.#spans.set(owner, held);
    return true;
  };

  readonly #dropOldest = (): boolean => {
    const [owner] = this.#spans.keys();
    if (owner !== undefined) this.release(owner);
    return owner !== undefined;
  };

  #find(owner: PartialsOwner): Held | undefined {
    return this.#whole.get(owner) ?? this.#spans.get(owner);
  }

  #count(held: Held, bytes: number): void {
    this.#bytes += bytes - held.bytes;
    this.#use.bytes += bytes - held.bytes;
    held.bytes = bytes;
  }
}
