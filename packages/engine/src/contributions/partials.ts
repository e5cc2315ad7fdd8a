/**
 * What the leaves of a key with very many contributions make of the accumulators that cannot be inverted (min, max, last), and
 * their newest event times: so that an extreme that is taken out costs the leaf that it was in, and not all of the key's.
 *
 *     leaf  leaf  leaf …     a pane's accumulators, for each pane that any of its contributions is in
 *     └──── span ────┘ …     of about SPAN leaves together: for each feature the pane that was asked for last; and all panes, once
 *                            it is asked for another, or there is no memory for those of each leaf
 *
 * Owns them for one key, and how much memory they take. Does not own leaves (contribution-tree.ts), what one
 * makes (leaf-partials.ts), nor when an accumulator has
 * to be folded again (../state/mutable-state.ts), nor how much memory there is for them (partials-share.ts, R4). They are in
 * memory only, beside the key's directory, are made when they are first asked for, and again of a leaf that changed.
 *
 * Invariant F1: an accumulator merged of partials is that of its contributions one by one (../aggregates/aggregate.ts), so
 * whether partials are there never shows. They hold no pane that was out of reach when they were made; nobody asks for one
 * that is. Every contribution in a pane that is in reach counts.
 */
import { must } from '@freshet/kit/assert.ts';
import { type Cells, NO_EVENT_TIME } from '../aggregates/aggregate.ts';
import { FIRST_GROUP, nextGroup, paneCount, zeroCells } from '../state/cells.ts';
import type { FeatureFold, RunnableView } from '../state/view-plan.ts';
import type { Leaf } from './leaf.ts';
import { CELL_BYTES, foldLeaf, mergeLeaves, newestOf, sizeOf } from './leaf-partials.ts';
import type { Fits } from './partials-share.ts';

/** With 64 leaves of about 45 rows, a key with 100,000 has 35 spans: as many of the one as of the other are merged. */
export const SPAN = 64;
/** A span of more leaves is cut in two. */
const SPAN_MAX = 96;
/** With 50 panes a span takes a quarter of a millisecond; a question is to hold nobody up. */
const MERGED_AT_ONCE = 32;
/** One of no more goes into its neighbour, if that makes no more than SPAN_MAX: always, when it is empty. */
const SPARSE_MAX = 16;

/** Measured with 100,000 of each: a span; a part beside its cells. */
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

/** Some leaves that stand together, and what is known of each. */
interface Span {
  /** The partials of each leaf that is known (leaf-partials.ts); or of none, where `all` is known. */
  readonly leaves: (Cells | undefined)[];
  /** Of each leaf; undefined: it is not known. */
  readonly leavesNewestUs: (number | undefined)[];
  newestUs: number | undefined;
  /** Of all its leaves, by the feature's index in the view. */
  readonly parts: Map<number, Part>;
  /** All panes of all its leaves. */
  all: Cells | undefined;
  /** What parts and `all` take. */
  partBytes: number;
}

/** The leaf at an index of the directory. */
type LeafAt = (index: number) => Leaf;

export class Partials {
  readonly #view: RunnableView;
  readonly #spans: Span[];
  readonly #hasCells: boolean;
  #leaves: number;
  /** Leaves that are not known. */
  #unknown: number;
  #cellBytes = 0;
  #partBytes = 0;
  /** Spans of which the question under way may merge all panes. */
  #mayMerge = 0;
  /** The leaf's place in the span that #spanAt found. */
  #within = 0;

  /** Of as many leaves. `spans` says how many are in each, by default evenly many. */
  constructor(view: RunnableView, leaves: number, spans = evenly(leaves)) {
    this.#view = view;
    this.#spans = spans.map(emptySpan);
    this.#leaves = leaves;
    this.#unknown = leaves;
    this.#hasCells = view.partialStrides.some((stride) => stride > 0);
  }

  /** How many leaves have to be read before every question can be answered. */
  get unknown(): number {
    return this.#unknown;
  }

  /** An estimate of the memory that they take. */
  get sizeBytes(): number {
    return this.#cellBytes + this.#partBytes + SPAN_BYTES * this.#spans.length + 2 * CELL_BYTES * this.#leaves;
  }

  /** How many leaves are in each span. */
  get spanLengths(): number[] {
    return this.#spans.map(({ leaves }) => leaves.length);
  }

  /** Whether anything is known of single leaves but their newest event times: most of what partials take. */
  get knowsLeaves(): boolean {
    return this.#cellBytes > 0;
  }

  /** Keeps what all leaves of a span make together, and of each its newest event time only. */
  forgetLeaves(): void {
    for (const span of this.#spans) this.#forgetLeavesOf(span);
  }

  /** The leaf changed. */
  forget(index: number): void {
    const span = this.#spans[this.#spanAt(index)] as Span;
    this.#forgetLeaf(span, this.#within);
    this.#forgetParts(span);
  }

  /** There is another leaf at the index, before the one that was there. */
  insert(index: number): void {
    // At the end of a span and not at the beginning of the next: a leaf is cut in two, and the right one is the new one.
    const s = index === 0 ? 0 : this.#spanAt(index - 1);
    const within = index === 0 ? 0 : this.#within + 1;
    const span = this.#spans[s] as Span;
    this.#forgetParts(span);
    span.leaves.splice(within, 0, undefined);
    span.leavesNewestUs.splice(within, 0, undefined);
    this.#leaves++;
    this.#unknown++;
    if (span.leaves.length <= SPAN_MAX) return;
    const upper = emptySpan(0);
    upper.leaves.push(...span.leaves.splice(SPAN_MAX / 2));
    upper.leavesNewestUs.push(...span.leavesNewestUs.splice(SPAN_MAX / 2));
    this.#spans.splice(s + 1, 0, upper);
  }

  /** The leaf at the index is gone. */
  remove(index: number): void {
    const s = this.#spanAt(index);
    const within = this.#within;
    const span = this.#spans[s] as Span;
    this.#forgetLeaf(span, within);
    this.#forgetParts(span);
    span.leaves.splice(within, 1);
    span.leavesNewestUs.splice(within, 1);
    this.#leaves--;
    this.#unknown--;
    if (span.leaves.length > SPARSE_MAX) return;
    const left = this.#spans[s === 0 ? 0 : s - 1] as Span;
    const right = this.#spans[s === 0 ? 1 : s];
    if (right === undefined || left.leaves.length + right.leaves.length > SPAN_MAX) return;
    this.#forgetParts(left);
    this.#forgetParts(right);
    left.leaves.push(...right.leaves);
    left.leavesNewestUs.push(...right.leavesNewestUs);
    this.#spans.splice(s === 0 ? 1 : s, 1);
  }

  /** Reads up to so many leaves that are not known, and those of the last span to its end. */
  learn(most: number, leafAt: LeafAt, logTimeUs: number, fits: Fits): void {
    const enough = this.#unknown - most;
    for (let s = 0, first = 0; s < this.#spans.length && this.#unknown > enough; s++) {
      const span = this.#spans[s] as Span;
      const knownBytes = this.#cellBytes;
      for (let i = 0; i < span.leaves.length; i++) this.#learn(span, i, first, leafAt, logTimeUs);
      first += span.leaves.length;
      this.#keep(span, knownBytes, fits);
    }
  }

  /**
   * Adds to each accumulator, which is zero, what the key's contributions in its pane make of it. `fits` says whether what was
   * learnt of the leaves of a span may be kept.
   */
  refold(wanted: readonly Refold[], cells: Cells, leafAt: LeafAt, logTimeUs: number, fits: Fits): void {
    this.#mayMerge = MERGED_AT_ONCE;
    for (let s = 0, first = 0; s < this.#spans.length; s++) {
      const span = this.#spans[s] as Span;
      const knownBytes = this.#cellBytes;
      for (let w = 0; w < wanted.length; w++) {
        const one = wanted[w] as Refold;
        const part = this.#partOf(span, first, one, leafAt, logTimeUs);
        if (part.cells[0] !== 0) one.fold.accumulator.merge(cells, one.at, part.cells, 0);
      }
      first += span.leaves.length;
      this.#keep(span, knownBytes, fits);
    }
  }

  /** The newest event time of all contributions; NO_EVENT_TIME when none has one. */
  newest(leafAt: LeafAt, logTimeUs: number, fits: Fits): number {
    let newest = NO_EVENT_TIME;
    for (let s = 0, first = 0; s < this.#spans.length; s++) {
      const span = this.#spans[s] as Span;
      if (span.newestUs === undefined) {
        const knownBytes = this.#cellBytes;
        span.newestUs = this.#newestOf(span, first, leafAt, logTimeUs);
        this.#keep(span, knownBytes, fits);
      }
      newest = Math.max(newest, span.newestUs);
      first += span.leaves.length;
    }
    return newest;
  }

  #newestOf(span: Span, first: number, leafAt: LeafAt, logTimeUs: number): number {
    let newest = NO_EVENT_TIME;
    for (let i = 0; i < span.leaves.length; i++) {
      this.#learn(span, i, first, leafAt, logTimeUs);
      newest = Math.max(newest, span.leavesNewestUs[i] as number);
    }
    return newest;
  }

  /** Of what was learnt of a span, single leaves stay known by themselves only if there is memory for that. */
  #keep(span: Span, knownBytes: number, fits: Fits): void {
    if (this.#cellBytes !== knownBytes && !fits()) this.#forgetLeavesOf(span);
  }

  #partOf(span: Span, first: number, { group, pane, fold }: Refold, leafAt: LeafAt, logTimeUs: number): Part {
    const known = span.parts.get(fold.feature);
    if (known?.pane === pane) return known;
    const { width, numeric } = fold.accumulator;
    const part: Part = { pane, cells: zeroCells(width, numeric) };
    const merge = (cells: Cells): void => {
      const at = this.#findPartial(cells, group, pane);
      if (at >= 0 && cells[at + fold.partial] !== 0) {
        fold.accumulator.merge(part.cells, 0, cells, at + fold.partial);
      }
    };
    // Asked about one pane after another, it is asked about yet another one soon.
    if (known !== undefined && this.#mayMerge > 0 && this.#mergeAll(span)) this.#mayMerge--;
    if (span.all !== undefined) merge(span.all);
    for (let i = 0; span.all === undefined && i < span.leaves.length; i++) {
      this.#learn(span, i, first, leafAt, logTimeUs);
      merge(span.leaves[i] as Cells);
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

  /** Reads a leaf that is not known. */
  #learn(span: Span, within: number, first: number, leafAt: LeafAt, logTimeUs: number): void {
    if (span.leavesNewestUs[within] !== undefined) return;
    const leaf = leafAt(first + within);
    span.leavesNewestUs[within] = newestOf(leaf);
    this.#unknown--;
    if (!this.#hasCells) return;
    const cells = foldLeaf(this.#view, leaf, logTimeUs);
    span.leaves[within] = cells;
    this.#cellBytes += sizeOf(cells);
  }

  /** The span that a leaf is in. There are few beside the leaves, and each of them is asked for at every question. */
  #spanAt(index: number): number {
    let within = index;
    for (let s = 0; ; s++) {
      const { length } = must(this.#spans[s], 'partials are asked of a leaf that they do not know').leaves;
      if (within < length) {
        this.#within = within;
        return s;
      }
      within -= length;
    }
  }

  #forgetLeavesOf(span: Span): void {
    this.#mergeAll(span);
    for (let i = 0; i < span.leaves.length; i++) {
      if (span.all !== undefined) this.#forgetCells(span, i);
      // What is known of some of them only is not worth keeping.
      else if (span.leaves[i] !== undefined) this.#forgetLeaf(span, i);
    }
  }

  /** All panes of a span of which each leaf is known. */
  #mergeAll(span: Span): boolean {
    if (span.all !== undefined || !isKnown(span.leaves)) return false;
    span.all = mergeLeaves(this.#view, span.leaves);
    this.#grow(span, sizeOf(span.all));
    return true;
  }

  #grow(span: Span, bytes: number): void {
    span.partBytes += bytes;
    this.#partBytes += bytes;
  }

  #forgetLeaf(span: Span, within: number): void {
    if (span.leavesNewestUs[within] !== undefined) this.#unknown++;
    span.leavesNewestUs[within] = undefined;
    this.#forgetCells(span, within);
  }

  #forgetCells(span: Span, within: number): void {
    const cells = span.leaves[within];
    if (cells !== undefined) this.#cellBytes -= sizeOf(cells);
    span.leaves[within] = undefined;
  }

  /** What leaves make together is of no use any more; nor are those of which nothing else is known. */
  #forgetParts(span: Span): void {
    for (let i = 0; span.all !== undefined && i < span.leaves.length; i++) {
      if (span.leaves[i] === undefined) this.#forgetLeaf(span, i);
    }
    span.newestUs = undefined;
    span.parts.clear();
    span.all = undefined;
    this.#grow(span, -span.partBytes);
  }
}

function emptySpan(leaves: number): Span {
  return {
    leaves: new Array<Cells | undefined>(leaves).fill(undefined),
    leavesNewestUs: new Array<number | undefined>(leaves).fill(undefined),
    newestUs: undefined,
    parts: new Map(),
    all: undefined,
    partBytes: 0,
  };
}

function isKnown(leaves: readonly (Cells | undefined)[]): leaves is readonly Cells[] {
  return !leaves.includes(undefined);
}

function evenly(leaves: number): number[] {
  return Array.from({ length: Math.ceil(leaves / SPAN) }, (_, s) => Math.min(SPAN, leaves - s * SPAN));
}
