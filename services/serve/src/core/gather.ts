/**
 * Turns rows into columns: each row is visited once, and its values land in dense arrays, one per output, from which the
 * answer is written. Writing straight from the rows would visit each row once per feature, with the cache misses of each.
 *
 * Owns the arrays, which are used again by every call: what `begin` returns is valid until the next `begin`.
 */
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Held } from '@freshet/replica/held.ts';
import { FIRST_NUMBER, type Step } from '@freshet/replica/row-step.ts';
import { FEATURES_MAX, VALUES_MAX } from './limits.ts';
import type { SelectedView, Selection } from './selection.ts';

const NOTHING: Selection = { outputs: [], views: [], entities: [], keyColumns: [] };

/** The values of an answer. Those of output c begin at c * count, one per entity. */
export class Gather {
  selection: Selection = NOTHING;
  /** Entities asked for. */
  count = 0;
  /** Numbers; 0 where `others` has the value. */
  readonly numbers: Float64Array = new Float64Array(VALUES_MAX);
  /** Meaningful for outputs that are sparse. */
  readonly statuses: Uint8Array = new Uint8Array(VALUES_MAX);
  /** By output: whether some value is not PRESENT. */
  readonly sparse: Uint8Array = new Uint8Array(FEATURES_MAX);
  /** By output, then by entity: texts, and integers that are beyond a number. */
  others: ((Held | undefined)[] | undefined)[] = [];
  /** By view, the rows, when they were asked for. */
  rows: (readonly Step[])[] = [];

  /** Starts an answer; entities times outputs are at most VALUES_MAX. */
  begin(selection: Selection, count: number): this {
    this.selection = selection;
    this.count = count;
    this.sparse.fill(0, 0, selection.outputs.length);
    this.others = [];
    this.rows = [];
    return this;
  }

  /** Takes the rows of one of the selection's views, by entity. Does not keep the array. */
  take(view: SelectedView, steps: readonly Step[], keepRows: boolean): void {
    if (keepRows) this.rows.push([...steps]);
    const { features, outputs } = view;
    const { numbers, count } = this;
    for (let i = 0; i < steps.length; i++) {
      const step = steps[i] as Step;
      const values = step.numbers;
      for (let f = 0; f < features.length; f++) {
        numbers[(outputs[f] as number) * count + i] = values[FIRST_NUMBER + (features[f] as number)] as number;
      }
      if (step.others !== undefined) this.#takeOthers(view, step.others, i);
      if (!step.allPresent) this.#takeStatuses(view, step.statuses, i);
    }
  }

  #takeStatuses({ features, outputs }: SelectedView, statuses: readonly ValueStatus[], entity: number): void {
    for (let f = 0; f < features.length; f++) {
      const status = statuses[features[f] as number] as ValueStatus;
      const output = outputs[f] as number;
      const base = output * this.count;
      if (this.sparse[output] === 0) {
        if (status === ValueStatus.PRESENT) continue;
        this.sparse[output] = 1;
        this.statuses.fill(ValueStatus.PRESENT, base, base + this.count);
      }
      this.statuses[base + entity] = status;
    }
  }

  #takeOthers({ features, outputs }: SelectedView, others: readonly (Held | undefined)[], entity: number): void {
    for (let f = 0; f < features.length; f++) {
      const value = others[features[f] as number];
      if (value === undefined) continue;
      const output = outputs[f] as number;
      let column = this.others[output];
      if (column === undefined) {
        column = new Array<Held | undefined>(this.count).fill(undefined);
        this.others[output] = column;
      }
      column[entity] = value;
    }
  }
}
