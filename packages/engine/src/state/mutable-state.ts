/**
 * Changing a key's state by a change of a live row: the new image is put in first and the old one taken out after it, so
 * that most updates leave nothing to be folded again.
 *
 * Owns that order, what has to be folded again from the contributions that are left, and that no pane stays in which
 * nothing is. Does not own contributions (../contributions), nor events of append sources (key-state.ts).
 *
 * Invariant F1: the panes are a function of the contributions that count and of the log times of changes: a change that
 * is taken back leaves no trace in them.
 */
import { assert } from '@freshet/kit/assert.ts';
import { type Cells, NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import type { Image } from '../contributions/contribution-tree.ts';
import type { Refold } from '../contributions/partials.ts';
import { oldestPane, paneAt } from '../windows.ts';
import { dropOlder, FIRST_GROUP, findPane, insertPane, nextGroup, paneCount, removePane } from './cells.ts';
import { CELL_BYTES, type KeyState } from './key-state.ts';
import type { FeatureFold, FeatureGroup, RunnableView } from './view-plan.ts';

/** The contributions of the key that count, the new image's among them and the old one's not. */
export interface LiveContributions {
  /** Adds to each accumulator, which is zero, what those in its pane make of it. */
  refold(wanted: readonly Refold[], cells: Cells): void;
  /** The newest event time among them. */
  newest(): number;
}

/** Whether an image that is in reach puts anything into a window that reaches it. */
export function feedsAnything(view: RunnableView, { row, eventTimeUs }: Image, logTimeUs: number): boolean {
  const { groups } = view;
  for (let g = 0; g < groups.length; g++) {
    const { window, features } = groups[g] as FeatureGroup;
    if (paneAt(window, eventTimeUs) >= oldestPane(window, logTimeUs) && hasInput(features, row)) return true;
  }
  return false;
}

function hasInput(features: readonly FeatureFold[], row: readonly Raw[]): boolean {
  for (let f = 0; f < features.length; f++) {
    const { input } = features[f] as FeatureFold;
    if (input < 0 || row[input] !== null) return true;
  }
  return false;
}

export class MutableState {
  readonly #view: RunnableView;
  /** What the change under way has to fold again. Where each is in the cells is only known when all groups have changed. */
  readonly #again: Omit<Refold, 'at'>[] = [];

  constructor(view: RunnableView) {
    this.#view = view;
  }

  /** Puts an image in and takes one out; one of them may be missing. The record is the one that tells of it. */
  change(
    state: KeyState,
    added: Image | undefined,
    removed: Image | undefined,
    record: { readonly offset: number; readonly logTimeUs: number },
    left: LiveContributions,
  ): void {
    const { offset, logTimeUs } = record;
    const { groups } = this.#view;
    const before = state.cells;
    let { newestUs } = state;
    for (let g = 0, group = FIRST_GROUP; g < groups.length; g++) {
      const { stride } = groups[g] as FeatureGroup;
      this.#changeGroup(state, g, group, added, removed, logTimeUs);
      group = nextGroup(state.cells, group, stride);
    }
    const addedUs = added?.eventTimeUs ?? NO_EVENT_TIME;
    const isNewestGone = removed !== undefined && removed.eventTimeUs === newestUs && addedUs < newestUs;
    newestUs = isNewestGone ? NO_EVENT_TIME : Math.max(newestUs, addedUs);
    if (this.#again.length > 0) this.#foldAgain(state.cells, left);
    if (isNewestGone && removed.eventTimeUs !== NO_EVENT_TIME) newestUs = left.newest();
    if (removed !== undefined) this.#dropEmpty(state.cells);
    state.setHead(offset, logTimeUs, newestUs);
    if (state.cells !== before) state.sizeBytes += CELL_BYTES * (state.cells.length - before.length);
  }

  #changeGroup(
    state: KeyState,
    index: number,
    start: number,
    added: Image | undefined,
    removed: Image | undefined,
    logTimeUs: number,
  ): void {
    const group = this.#view.groups[index] as FeatureGroup;
    const { window, stride, features } = group;
    const oldest = oldestPane(window, logTimeUs);
    dropOlder(state.cells, start, stride, oldest);
    let into = Number.NEGATIVE_INFINITY;
    if (added !== undefined && hasInput(features, added.row)) into = paneAt(window, added.eventTimeUs);
    let from = Number.NEGATIVE_INFINITY;
    if (removed !== undefined && hasInput(features, removed.row)) from = paneAt(window, removed.eventTimeUs);
    const isSamePane = into === from;
    if (added !== undefined && into >= oldest)
      this.#add(state, group, start, into, added, isSamePane ? removed : undefined);
    if (removed !== undefined && from >= oldest) {
      this.#retract(state.cells, index, start, from, removed, isSamePane ? added : undefined);
    }
  }

  #add(
    state: KeyState,
    group: FeatureGroup,
    start: number,
    pane: number,
    image: Image,
    other: Image | undefined,
  ): void {
    const { stride, features } = group;
    let { cells } = state;
    let at = findPane(cells, start, stride, pane);
    if (at < 0) {
      at = -1 - at;
      cells = insertPane(cells, start, stride, at, pane, this.#view.numeric);
      state.cells = cells;
    }
    for (let f = 0; f < features.length; f++) {
      const fold = features[f] as FeatureFold;
      const value = fold.input < 0 ? undefined : (image.row[fold.input] as Raw);
      if (value === null || leavesAlone(fold, value, other)) continue;
      fold.accumulator.add(cells, at + fold.cell, value, image.eventTimeUs, image.offset);
    }
  }

  #retract(cells: Cells, group: number, start: number, pane: number, image: Image, other: Image | undefined): void {
    const { stride, features } = this.#view.groups[group] as FeatureGroup;
    const at = findPane(cells, start, stride, pane);
    assert(at >= 0, 'F1: a contribution is in a pane that is not there');
    for (let f = 0; f < features.length; f++) {
      const fold = features[f] as FeatureFold;
      const value = fold.input < 0 ? undefined : (image.row[fold.input] as Raw);
      if (value === null || leavesAlone(fold, value, other)) continue;
      if (fold.accumulator.retract(cells, at + fold.cell, value, image.eventTimeUs, image.offset)) continue;
      this.#again.push({ group, pane, fold });
    }
  }

  /** Folds what could not be retracted from the contributions that are left. */
  #foldAgain(cells: Cells, left: LiveContributions): void {
    const { groups } = this.#view;
    const wanted: Refold[] = [];
    for (let g = 0, start = FIRST_GROUP; g < groups.length; g++) {
      const { stride } = groups[g] as FeatureGroup;
      for (const one of this.#again) {
        if (one.group !== g) continue;
        const at = findPane(cells, start, stride, one.pane) + one.fold.cell;
        for (let i = 0; i < one.fold.accumulator.width; i++) cells[at + i] = 0;
        wanted.push({ ...one, at });
      }
      start = nextGroup(cells, start, stride);
    }
    this.#again.length = 0;
    left.refold(wanted, cells);
  }

  /** Takes out panes in which nothing is. */
  #dropEmpty(cells: Cells): void {
    const { groups } = this.#view;
    for (let g = 0, start = FIRST_GROUP; g < groups.length; g++) {
      const { stride, features } = groups[g] as FeatureGroup;
      for (let i = paneCount(cells, start) - 1; i >= 0; i--) {
        const at = start + 1 + i * stride;
        if (features.every(({ cell }) => cells[at + cell] === 0)) removePane(cells, start, stride, at);
      }
      start = nextGroup(cells, start, stride);
    }
  }
}

/** Whether the value is in the same pane before and after, and the accumulator does not see which record brought it. */
function leavesAlone({ accumulator, input }: FeatureFold, value: Raw | undefined, other: Image | undefined): boolean {
  if (other === undefined || accumulator.isOrdered) return false;
  // Equal bytes are told apart, which only costs time. An input that is only counted is read back as `true`: counts are
  // added and retracted then, to the same.
  return input < 0 || Object.is(value, other.row[input]);
}
