/** Percentiles of a bounded number of recent measurements. */

export class Measurements {
  readonly #limit: number;
  readonly #values: number[] = [];
  #next = 0;

  /** Keeps the newest `limit` values. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get count(): number {
    return this.#values.length;
  }

  add(value: number): void {
    this.#values[this.#next] = value;
    this.#next = (this.#next + 1) % this.#limit;
  }

  /** The value below which the share of the values lies (nearest rank); 0 when there is none. */
  percentile(share: number): number {
    const sorted = this.#values.toSorted((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? 0;
  }
}
