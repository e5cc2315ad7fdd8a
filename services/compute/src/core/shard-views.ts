/**
 * Which views a shard has, and which of them can be followed, kept from what the fold says.
 *
 * Owns noticing that it changed, cheaply, since it hardly ever does. Does not own when a view is complete (the fold).
 * Invariant R3: a view is offered only while it is complete, and an instance is never taken for another one.
 */
import { must } from '@freshet/kit/assert.ts';
import type { LogEntry } from '@freshet/log/log.ts';
import { type Fold, isTableRows, type Standing, viewOfInstance } from './fold-port.ts';
import type { CommittedInstance } from './shard-storage.ts';

/** A complete view as followers see it. */
export interface CompleteView {
  readonly instance: string;
  /** From this position on every change of its rows is in journal or tail. */
  readonly journaledFrom: number;
  /** The generation of the view's route that its rows are of. */
  readonly generation: number;
  /** Since when its rows stand still, because the route begins anew; undefined while they do not. */
  readonly standing: Standing | undefined;
}

/**
 * The first bytes of an encoded LogRecord that is a change, a tick or a table's change: the tags of those members. Nearly every record is
 * one, and none brings a view, drops it, begins it anew or completes it, so that views need not be looked at.
 */
const LEAVES_VIEWS_ALONE: ReadonlySet<number | undefined> = new Set([(1 << 3) | 2, (5 << 3) | 2, (8 << 3) | 2]);

export class ShardViews {
  readonly #fold: Fold;
  #complete: ReadonlyMap<string, CompleteView> = new Map();
  #building: readonly string[] = [];
  #epoch = 0;
  #mayChange = true;
  /** By the id of a view that is being built: where the partition ended when that was begun, at least. */
  #begunAt: ReadonlyMap<string, number>;

  /** `committed`: what the last commit says of the instances. */
  constructor(fold: Fold, committed: readonly CommittedInstance[] = []) {
    this.#fold = fold;
    // One whose beginning is not known counts as begun with the log.
    const begun = committed.filter(({ complete }) => !complete);
    this.#begunAt = new Map(begun.map(({ instance, begunAt }) => [viewOfInstance(instance), begunAt ?? 0]));
    this.refresh();
  }

  /** Where the partition ended when a view that is being built was begun to be, at least. */
  begunAt(viewId: string): number {
    return this.#begunAt.get(viewId) ?? 0;
  }

  /** Moves whenever the views that are complete or being built change. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Complete views by id. */
  get complete(): ReadonlyMap<string, CompleteView> {
    return this.#complete;
  }

  /** The ids of views in force that are not complete, ascending. */
  get building(): readonly string[] {
    return this.#building;
  }

  /** Takes note of records that were folded; true when one of them may begin, drop or complete a view. */
  noteFolded(entries: readonly LogEntry[]): boolean {
    const may = entries.some(({ record }) => !LEAVES_VIEWS_ALONE.has(record[0]));
    this.#mayChange ||= may;
    return may;
  }

  /** Looks at the fold again; true when anything changed. */
  refresh(): boolean {
    if (!this.#mayChange && this.#building.length === 0) return false;
    this.#mayChange = false;
    const instances = this.#fold.instances().filter((instance) => !isTableRows(instance));
    const inForce = new Set(instances.map(viewOfInstance));
    const complete = new Map<string, CompleteView>();
    for (const viewId of this.#fold.completeViews()) {
      const known = this.#complete.get(viewId);
      const fresh = this.#look(viewId);
      const isKnown = known?.instance === fresh.instance && known.standing?.position === fresh.standing?.position;
      complete.set(viewId, isKnown ? known : fresh);
    }
    const building = [...inForce].filter((viewId) => !complete.has(viewId)).sort();
    const isSame =
      complete.size === this.#complete.size &&
      [...complete].every(([viewId, view]) => this.#complete.get(viewId) === view) &&
      building.join() === this.#building.join();
    if (isSame) return false;
    this.#complete = complete;
    this.#building = building;
    this.#begunAt = new Map(building.map((viewId) => [viewId, this.#begunAt.get(viewId) ?? this.#fold.position]));
    this.#epoch += 1;
    return true;
  }

  #look(viewId: string): CompleteView {
    const fold = this.#fold;
    return {
      instance: must(fold.instanceOf(viewId), 'a complete view is in force'),
      journaledFrom: must(fold.completeAt(viewId)),
      generation: must(fold.generationOf(viewId)),
      standing: fold.standing(viewId),
    };
  }

  /**
   * What a commit of now keeps, by name: the instances, their contributions and the rows of joined tables; the latter two are
   * never followed.
   */
  committed(): CommittedInstance[] {
    return [...this.#fold.instances(), ...this.#fold.contributions()].sort().map((instance) => {
      const complete = this.#complete.get(viewOfInstance(instance));
      return complete?.instance === instance
        ? { instance, complete: true, journaledFrom: complete.journaledFrom }
        : { instance, complete: false, journaledFrom: 0, begunAt: this.begunAt(viewOfInstance(instance)) };
    });
  }
}
