/**
 * What the contributions of a leaf make of the accumulators that cannot be inverted: of some that are asked for, or of all, as
 * partials that can be merged (partials.ts). Owns the walk over them, and what partials take in memory. Pure.
 */
import { type Cells, NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { emptyCells, FIRST_GROUP, findPane, insertPane, nextGroup, paneCount } from '../state/cells.ts';
import type { FeatureFold, FeatureGroup, RunnableView } from '../state/view-plan.ts';
import { oldestPane, paneAt } from '../windows.ts';
import { endOf, readEventTime, readInputs, readOffset } from './contribution.ts';
import type { Leaf } from './leaf.ts';
import type { Refold } from './partials.ts';

/** Measured with 100,000 of each: an array beside its elements, and its place in another. */
const CELLS_BYTES = 56;
export const CELL_BYTES = 8;

/** The newest event time in a leaf; NO_EVENT_TIME when no contribution has one. */
export function newestOf({ bytes, length }: Leaf): number {
  let newest = NO_EVENT_TIME;
  for (let at = 0; at < length; at = endOf(bytes, at)) newest = Math.max(newest, readEventTime(bytes, at));
  return newest;
}

/** Adds to accumulators what a leaf's contributions in their panes make of them. */
export function refoldLeaf(view: RunnableView, leaf: Leaf, wanted: readonly Refold[], cells: Cells): void {
  const { groups, inputs } = view;
  const row: Raw[] = [];
  for (let at = 0; at < leaf.length; at = endOf(leaf.bytes, at)) {
    const eventTimeUs = readEventTime(leaf.bytes, at);
    readInputs(leaf.bytes, at, inputs, row);
    const offset = readOffset(leaf.bytes, at);
    for (const { group, pane, fold, at: to } of wanted) {
      if (paneAt((groups[group] as FeatureGroup).window, eventTimeUs) !== pane) continue;
      const value = row[fold.input] as Raw;
      if (value !== null) fold.accumulator.add(cells, to, value, eventTimeUs, offset);
    }
  }
}

/** The partials of a leaf: panes as in a key's state (../state/cells.ts), with the accumulators of partialStride only. */
export function foldLeaf(view: RunnableView, leaf: Leaf, logTimeUs: number): Cells {
  const { groups, inputs, partialStrides, numeric } = view;
  const row: Raw[] = [];
  let cells = emptyCells(partialStrides, numeric);
  for (let at = 0; at < leaf.length; at = endOf(leaf.bytes, at)) {
    const eventTimeUs = readEventTime(leaf.bytes, at);
    readInputs(leaf.bytes, at, inputs, row);
    const offset = readOffset(leaf.bytes, at);
    for (let g = 0, start = FIRST_GROUP; g < groups.length; g++) {
      const { window, features } = groups[g] as FeatureGroup;
      const stride = partialStrides[g] as number;
      const pane = paneAt(window, eventTimeUs);
      if (stride > 0 && pane >= oldestPane(window, logTimeUs)) {
        for (let f = 0; f < features.length; f++) {
          const { partial, input, accumulator } = features[f] as FeatureFold;
          const value = partial < 0 ? null : (row[input] as Raw);
          if (value === null) continue;
          let to = findPane(cells, start, stride, pane);
          if (to < 0) {
            to = -1 - to;
            cells = insertPane(cells, start, stride, to, pane, numeric);
          }
          accumulator.add(cells, to + partial, value, eventTimeUs, offset);
        }
      }
      start = nextGroup(cells, start, stride);
    }
  }
  return cells;
}

/** All panes of all the leaves. */
export function mergeLeaves({ groups, partialStrides, numeric }: RunnableView, leaves: readonly Cells[]): Cells {
  let into = emptyCells(partialStrides, numeric);
  for (const cells of leaves) {
    for (let g = 0, start = FIRST_GROUP, from = FIRST_GROUP; g < groups.length; g++) {
      const stride = partialStrides[g] as number;
      const { features } = groups[g] as FeatureGroup;
      for (let i = 0; i < paneCount(cells, from); i++) {
        const at = from + 1 + i * stride;
        const pane = cells[at] as number;
        let to = findPane(into, start, stride, pane);
        if (to < 0) {
          to = -1 - to;
          into = insertPane(into, start, stride, to, pane, numeric);
        }
        for (const { accumulator, partial } of features) {
          if (partial >= 0 && cells[at + partial] !== 0) accumulator.merge(into, to + partial, cells, at + partial);
        }
      }
      from = nextGroup(cells, from, stride);
      start = nextGroup(into, start, stride);
    }
  }
  return into;
}

/** About what partials take in memory. */
export function sizeOf(cells: Cells): number {
  let bytes = CELLS_BYTES + CELL_BYTES * cells.length;
  for (const cell of cells) if (typeof cell !== 'number') bytes += sizeOfValue(cell);
  return bytes;
}

/** Of what is no number: texts, bytes, lists, vectors, bigints and booleans. */
function sizeOfValue(value: unknown): number {
  if (typeof value === 'string') return 24 + 2 * value.length;
  if (typeof value !== 'object' || value === null) return 24;
  return 96 + 16 * (value as ArrayLike<unknown>).length;
}
