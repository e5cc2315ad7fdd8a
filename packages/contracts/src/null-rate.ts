/**
 * The share of nulls among the newest rows of one column. Bounded: one bit a row, and a count.
 * Pure: rows decide, no clock. What was seen is lost with the process; a fresh window counts as one without nulls.
 */
import { assert } from '@freshet/kit/assert.ts';

/** Over how many rows a rate is taken when the rule does not say. */
export const NULL_RATE_ROWS = 1_000;
/** The most rows that a rate may be taken over: 125 kB. */
export const NULL_RATE_ROWS_MAX = 1_000_000;

export class NullRateWindow {
  readonly #bits: Uint8Array;
  readonly #rows: number;
  readonly #max: number;
  #next = 0;
  #nulls = 0;

  /** `max` is a share from 0 to 1, `rows` the window; 0 rows: the default. */
  constructor(max: number, rows = 0) {
    this.#rows = rows === 0 ? NULL_RATE_ROWS : rows;
    assert(this.#rows > 0 && this.#rows <= NULL_RATE_ROWS_MAX, 'a null rate over a number of rows that is allowed');
    this.#max = max;
    this.#bits = new Uint8Array(Math.ceil(this.#rows / 8));
  }

  /** The share of nulls over the whole window, of which rows that did not come yet count as values. */
  get share(): number {
    return this.#nulls / this.#rows;
  }

  /**
   * Takes a row. Returns whether it breaks the rule: a null that puts the share above the most that is allowed. A value
   * never does. The row counts either way, so that the rate tells what the source sends, not what was let through.
   */
  take(isNull: boolean): boolean {
    const byte = this.#next >> 3;
    const bit = 1 << (this.#next & 7);
    const old = this.#bits[byte] ?? 0;
    if ((old & bit) !== 0) this.#nulls--;
    this.#bits[byte] = isNull ? old | bit : old & ~bit;
    if (isNull) this.#nulls++;
    this.#next = (this.#next + 1) % this.#rows;
    return isNull && this.share > this.#max;
  }
}
