/**
 * How often a shard was made anew lately, and how long to wait before the next time: a disk that damages everything
 * must not keep the node busy with nothing but restoring. Pure.
 */

const HOUR_US = 3_600_000_000;
/** After so many times within an hour, milliseconds: the first is done at once, the fourth and all after wait longest. */
const WAITS_MS = [0, 10_000, 60_000, 900_000] as const;

export class MendHistory {
  /** Since the beginning. */
  total = 0;
  #timesUs: number[] = [];

  /** How many there were within the hour before the last. */
  get recent(): number {
    return this.#timesUs.length;
  }

  /** Notes one at a time of the monotonic clock; returns how long to wait, in milliseconds. */
  add(nowUs: number): number {
    this.total += 1;
    this.#timesUs = this.#timesUs.filter((atUs) => atUs > nowUs - HOUR_US).slice(-WAITS_MS.length);
    this.#timesUs.push(nowUs);
    return WAITS_MS[Math.min(this.#timesUs.length, WAITS_MS.length) - 1] ?? 0;
  }
}
