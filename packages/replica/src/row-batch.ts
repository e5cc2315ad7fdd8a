/**
 * The values of many keys' rows at one time, as RowReader.readAll leaves them: by key, laid out for a writer that goes
 * through them feature by feature.
 *
 * Owns the arrays, which are used again: what is in them is valid until the next read into the same batch.
 */
import type { Step } from './row-step.ts';

export class RowBatch {
  /** By key. */
  readonly steps: Step[] = [];
  /** By key, the numbers of its step: at hand, because for most features nothing else of a step is needed. */
  readonly numbers: (readonly number[])[] = [];
  /** Whether every value of every row is PRESENT. */
  allPresent = true;
  /** Whether every value of every row is in `numbers`. */
  allNumbers = true;

  /** Empties the batch for so many keys. */
  begin(count: number): void {
    this.steps.length = count;
    this.numbers.length = count;
    this.allPresent = true;
    this.allNumbers = true;
  }

  set(index: number, step: Step): void {
    this.steps[index] = step;
    this.numbers[index] = step.numbers;
    if (!step.allPresent) this.allPresent = false;
    if (step.others !== undefined) this.allNumbers = false;
  }
}
