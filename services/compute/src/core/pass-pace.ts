/**
 * How often pages of a pass may be made for subscribers that have other views and are told of their changes: a pass of a new
 * view may take its time, and live rows of the others stand behind each page.
 *
 *     page, as long as it takes ──▶ rest, three times as long ──▶ page …
 *
 * Owns when the next may begin. One for the process: its thread is what they share. Subscriptions that wait for the same moment
 * begin a page each, one after the other as their turns come; the rest is that of the last. Pure.
 */

const SHARE = 0.25;
/** No rest is longer, microseconds: a page that took a third of this or more waited for something else than the thread. */
const REST_US_MAX = 100_000;

export class PassPace {
  readonly #share: number;
  #freeAtUs = Number.NEGATIVE_INFINITY;

  /** `share` is the part of the time in which such pages are made; 1: they never rest. */
  constructor(share = SHARE) {
    this.#share = share;
  }

  /** From when on the next may be made, monotonic microseconds. */
  get freeAtUs(): number {
    return this.#freeAtUs;
  }

  /** A page was made between two moments, monotonic microseconds. */
  worked(fromUs: number, toUs: number): void {
    this.#freeAtUs = toUs + Math.min(REST_US_MAX, (toUs - fromUs) * (1 / this.#share - 1));
  }
}
