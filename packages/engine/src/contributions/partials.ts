/**
 * What the leaves of a key with very many contributions make of the accumulators that cannot be inverted (min, max, last), and
 * their newest event times: so that an extreme that is taken out costs the leaf that it was in, and not all of the key's.
 *
 *     leaf  leaf  leaf …     a pane's accumulators, for each pane that any of its contributions is in
 *     └──── span ────┘ …     of SPAN leaves together: for each feature the pane that was asked for last
 *
 * Owns them for one key, and how much memory they take. Does not own leaves (contribution-tree.ts), nor when an accumulator has
 * to be folded again (../state/mutable-state.ts). They are in memory only, beside the key's directory and within the same
 * budget (R4), are made when they are first asked for, and again of a leaf that changed.
 *
 * Invariant F1: an accumulator merged of partials is that of its contributions one by one (../aggregates/aggregate.ts), so
 * whether partials are there never shows. They hold no pane that was out of reach when they were made; nobody asks for one
 * that is. Every contribution in a pane that is in reach counts.
 */
import { type Cells, NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { emptyCells, FIRST_GROUP, findPane, insertPane, nextGroup, paneCount, zeroCells } from '../state/cells.ts';
import type { FeatureFold, FeatureGroup, RunnableView } from '../state/view-plan.ts';
import { oldestPane, paneAt } from '../windows.ts';
import { endOf, readEventTime, readInputs, readOffset } from './contribution.ts';
import type { Leaf } from './leaf.ts';

/** With 64 leaves of about 45 rows, a key with 100,000 has 35 spans: as many of the one as of the other are merged. */
export const SPAN = 64;

/** Measured with 100,000 of each: an array beside its elements, and its place in another; a span; a part beside its cells. */
const CELLS_BYTES = 56;
const CELL_BYTES = 8;
const SPAN_BYTES = 256;
const PART_BYTES = 64;

/** An accumulator that has to be folded again. */
export interface Refold {
  /** The place of its group among the view's. */
  readonly group: number;
  readonly pane: number;
  readonly fold: FeatureFold;
  /** Where it begins in the cells. */
  readonly at: number;
}

/** An accumulator over the leaves of a span. */
interface Part {
  readonly pane: number;
  readonly cells: Cells;
}

interface Span {
  newestUs: number | undefined;
  /** By the feature's index in the view. */
  readonly parts: Map<number, Part>;
  sizeBytes: number;
}

/** The leaf at an index of the directory. */
type LeafAt = (index: number) => Leaf;

export class Partials {
  readonly #view: RunnableView;
  /** By leaf: panes as in a key's state (../state/cells.ts), with the accumulators of partialStride only. */
  readonly #leaves: (Cells | undefined)[];
  readonly #newestUs: (number | undefined)[];
  readonly #spans: (Span | undefined)[] = [];
  #heldBytes = 0;

  constructor(view: RunnableView, leaves: number) {
    this.#view = view;
    this.#leaves = new Array<Cells | undefined>(leaves).fill(undefined);
    this.#newestUs = new Array<number | undefined>(leaves).fill(undefined);
  }

  /** An estimate of the memory that they take. */
  get sizeBytes(): number {
    return this.#heldBytes + 2 * CELL_BYTES * this.#leaves.length;
  }

  /** The leaf changed. */
  forget(index: number): void {
    this.#forgetLeaf(index);
    this.#forgetSpan(Math.floor(index / SPAN));
  }

  /** There is another leaf at the index, before the one that was there. */
  insert(index: number): void {
    this.#leaves.splice(index, 0, undefined);
    this.#newestUs.splice(index, 0, undefined);
    this.#forgetSpansFrom(index);
  }

  /** The leaf at the index is gone. */
  remove(index: number): void {
    this.#forgetLeaf(index);
    this.#leaves.splice(index, 1);
    this.#newestUs.splice(index, 1);
    this.#forgetSpansFrom(index);
  }

  /** Adds to each accumulator, which is zero, what the key's contributions in its pane make of it. */
  refold(wanted: readonly Refold[], cells: Cells, leafAt: LeafAt, logTimeUs: number): void {
    const spans = Math.ceil(this.#leaves.length / SPAN);
    for (let s = 0; s < spans; s++) {
      for (let w = 0; w < wanted.length; w++) {
        const one = wanted[w] as Refold;
        const part = this.#partOf(s, one, leafAt, logTimeUs);
        if (part.cells[0] !== 0) one.fold.accumulator.merge(cells, one.at, part.cells, 0);
      }
    }
  }

  /** The newest event time of all contributions; NO_EVENT_TIME when none has one. */
  newest(leafAt: LeafAt): number {
    let newest = NO_EVENT_TIME;
    for (let from = 0; from < this.#leaves.length; from += SPAN) {
      const span = this.#span(from / SPAN);
      span.newestUs ??= this.#newestOfSpan(from, leafAt);
      newest = Math.max(newest, span.newestUs);
    }
    return newest;
  }

  #newestOfSpan(from: number, leafAt: LeafAt): number {
    const newestUs = this.#newestUs;
    let newest = NO_EVENT_TIME;
    for (let i = from; i < Math.min(from + SPAN, newestUs.length); i++) {
      newestUs[i] ??= newestOf(leafAt(i));
      newest = Math.max(newest, newestUs[i] as number);
    }
    return newest;
  }

  #partOf(s: number, { group, pane, fold }: Refold, leafAt: LeafAt, logTimeUs: number): Part {
    const span = this.#span(s);
    const known = span.parts.get(fold.feature);
    if (known?.pane === pane) return known;
    const { width, numeric } = fold.accumulator;
    const part: Part = { pane, cells: zeroCells(width, numeric) };
    for (let i = s * SPAN; i < Math.min((s + 1) * SPAN, this.#leaves.length); i++) {
      const cells = this.#leaf(i, leafAt, logTimeUs);
      const at = this.#findPartial(cells, group, pane);
      if (at >= 0 && cells[at + fold.partial] !== 0) {
        fold.accumulator.merge(part.cells, 0, cells, at + fold.partial);
      }
    }
    span.parts.set(fold.feature, part);
    this.#grow(span, PART_BYTES + sizeOf(part.cells) - (known === undefined ? 0 : PART_BYTES + sizeOf(known.cells)));
    return part;
  }

  /** Where the pane of a group is in a leaf's partials; -1: it is not. By halves: any pane may be asked for, of every leaf. */
  #findPartial(cells: Cells, group: number, pane: number): number {
    const { partialStrides } = this.#view;
    let start = FIRST_GROUP;
    for (let g = 0; g < group; g++) start = nextGroup(cells, start, partialStrides[g] as number);
    const stride = partialStrides[group] as number;
    let low = 0;
    let high = paneCount(cells, start) - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const at = start + 1 + middle * stride;
      const number = cells[at] as number;
      if (number === pane) return at;
      if (number < pane) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  #leaf(index: number, leafAt: LeafAt, logTimeUs: number): Cells {
    const known = this.#leaves[index];
    if (known !== undefined) return known;
    const cells = foldLeaf(this.#view, leafAt(index), logTimeUs);
    this.#leaves[index] = cells;
    this.#heldBytes += sizeOf(cells);
    return cells;
  }

  #span(s: number): Span {
    const known = this.#spans[s];
    if (known !== undefined) return known;
    const span: Span = { newestUs: undefined, parts: new Map(), sizeBytes: 0 };
    this.#spans[s] = span;
    this.#grow(span, SPAN_BYTES);
    return span;
  }

  #grow(span: Span, bytes: number): void {
    span.sizeBytes += bytes;
    this.#heldBytes += bytes;
  }

  #forgetLeaf(index: number): void {
    const cells = this.#leaves[index];
    if (cells !== undefined) this.#heldBytes -= sizeOf(cells);
    this.#leaves[index] = undefined;
    this.#newestUs[index] = undefined;
  }

  #forgetSpan(s: number): void {
    this.#heldBytes -= this.#spans[s]?.sizeBytes ?? 0;
    if (s < this.#spans.length) this.#spans[s] = undefined;
  }

  /** Behind a leaf that came or went, others are in a span. */
  #forgetSpansFrom(index: number): void {
    const first = Math.floor(index / SPAN);
    for (let s = first; s < this.#spans.length; s++) this.#forgetSpan(s);
    this.#spans.length = Math.min(this.#spans.length, first);
  }
}

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

/** The partials of a leaf. */
function foldLeaf(view: RunnableView, leaf: Leaf, logTimeUs: number): Cells {
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

function sizeOf(cells: Cells): number {
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
