/**
 * Reads rows: one lookup, one comparison of times, and the values. What was computed for a row is kept until a step
 * falls due or a newer version comes.
 *
 * Owns: the cache of steps. Invariants: R2 (all features of a view and key come from one step, so from one version);
 * R4 (at most twice `maxSteps` steps are kept: those read in the current turn and in the turn before).
 */
import { fromLatin1 } from './latin1.ts';
import type { RowKey } from './row-key.ts';
import type { RowLayout } from './row-layout.ts';
import { readStep, type Step } from './row-step.ts';
import type { ReplicaRow, ViewTable } from './view-table.ts';

const STEPS_MAX = 100_000;

export class RowReader {
  readonly #maxSteps: number;
  #turn = 1;
  #current: ReplicaRow[] = [];
  #before: ReplicaRow[] = [];

  constructor(maxSteps: number = STEPS_MAX) {
    this.#maxSteps = maxSteps;
  }

  /** The values at the time, microseconds, of the table's row for the key; of the empty row when there is none. */
  read(table: ViewTable, layout: RowLayout, key: RowKey, tUs: number): Step {
    const row = table.rows.get(key);
    if (row === undefined) return layout.empty;
    const { step } = row;
    if (step?.holdsAt(tUs) === true) {
      if (step.turn !== this.#turn) this.#touch(row, step);
      return step;
    }
    return this.#compute(row, layout, tUs);
  }

  /** Steps kept, at most. */
  get size(): number {
    return this.#current.length + this.#before.length;
  }

  #compute(row: ReplicaRow, layout: RowLayout, tUs: number): Step {
    if (row.bytes === '') return layout.empty;
    const turn = row.step?.turn;
    const step = readStep(fromLatin1(row.bytes), layout, tUs);
    row.step = step;
    // A row that is on the current list already needs no second entry.
    if (turn === this.#turn) step.turn = turn;
    else this.#touch(row, step);
    return step;
  }

  #touch(row: ReplicaRow, step: Step): void {
    step.turn = this.#turn;
    this.#current.push(row);
    if (this.#current.length < this.#maxSteps) return;
    for (const old of this.#before) {
      if (old.step !== undefined && old.step.turn !== this.#turn) old.step = undefined;
    }
    this.#before = this.#current;
    this.#current = [];
    this.#turn += 1;
  }
}
