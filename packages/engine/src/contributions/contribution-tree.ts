/**
 * The contributions of a view instance: per key of the view, what each live row of a mutable source put into it.
 *
 * Owns which leaf a contribution is in. A key with few rows has one leaf; beyond LEAF_MAX a leaf is cut in two, and a
 * directory says where each begins; one that is nearly empty goes into its neighbour. So an update touches one leaf
 * however many rows a key has, and everything is found by computed keys: the fold is synchronous and cannot iterate a store.
 *
 *     root ─▶ leaf                      few rows: one entry in the store
 *     root ─▶ directory ─▶ leaf leaf …  many rows: by (hash of the row key, offset)
 *
 * Contributions that no window reaches any more are not found, whether they are still here or not (F1).
 */
import { must } from '@freshet/kit/assert.ts';
import { type Cells, NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { isHeld } from '../state/reach.ts';
import type { RunnableView } from '../state/view-plan.ts';
import { encodeContribution, endOf, type RowKey, readEventTime, readInputs, readOffset } from './contribution.ts';
import { type Bound, FIRST_BOUND, isBefore, Leaf } from './leaf.ts';
import { newestOf, refoldLeaf } from './leaf-partials.ts';
import type { Node, NodeCache } from './node-cache.ts';
import { Partials, type Refold } from './partials.ts';
import type { Fits } from './partials-share.ts';

/** A leaf with more contributions, or more bytes, is cut in two. */
export const LEAF_MAX = 64;
const LEAF_BYTES_MAX = 65_536;
/** One with no more goes into its neighbour if both are then no more than that. */
const SPARSE_MAX = 16;
const MERGED_MAX = 48;
const MERGED_BYTES_MAX = 32_768;
/** Leaves that are read at a time before a change is folded: about 5 ms. */
const LEARNT_AT_ONCE = 512;

/** An image that was folded. One object is reused. */
export interface Image {
  /** The inputs of the view's aggregates at their places in a row of it. */
  readonly row: Raw[];
  eventTimeUs: number;
  offset: number;
}

export class ContributionTree {
  readonly #view: RunnableView;
  readonly nodes: NodeCache;
  /** The key of which leaves are read before a change is folded, and how often that was done for it. */
  readonly #learning = { entityKey: '', times: 0 };

  constructor(view: RunnableView, nodes: NodeCache) {
    this.#view = view;
    this.nodes = nodes;
  }

  /**
   * Takes out the oldest contribution of the row that counts at the log time; false when there is none. `into` gets what
   * it was.
   */
  takeOut(entityKey: string, row: RowKey, offset: number, logTimeUs: number, into: Image): boolean {
    const root = this.nodes.root(entityKey);
    if (root === undefined) return false;
    const { bounds } = root;
    if (bounds === undefined) return this.#takeFrom(root, root, 0, row, offset, logTimeUs, into);
    for (let i = leafAt(bounds, { hash: row.hash, offset: 0 }); i < bounds.length; i++) {
      const bound = must(bounds[i]);
      if (bound.hash > row.hash) return false;
      const node = this.nodes.leaf(entityKey, bound);
      if (this.#takeFrom(root, node, i, row, offset, logTimeUs, into)) return true;
    }
    return false;
  }

  /** Puts in the contribution of a row whose image has these inputs; none has its offset yet. */
  put(entityKey: string, row: RowKey, image: Image, logTimeUs: number): void {
    const { offset, eventTimeUs } = image;
    const bytes = encodeContribution(row, eventTimeUs, offset, this.#view.inputs, image.row);
    const root = this.nodes.root(entityKey) ?? this.nodes.create(entityKey, undefined);
    const { bounds } = root;
    const index = bounds === undefined ? 0 : leafAt(bounds, { hash: row.hash, offset });
    const node = bounds === undefined ? root : this.nodes.leaf(entityKey, must(bounds[index]));
    if (isFull(node.leaf)) node.leaf.removeAll((leaf, at) => !this.#isHeld(leaf, at, logTimeUs));
    node.leaf.insert(bytes);
    this.#forget(root, index);
    this.nodes.changed(node, offset);
    if (isFull(node.leaf) && node.leaf.count > 1) this.#split(root, node, index, offset);
  }

  /**
   * Whether a change of the key can be folded without reading very many leaves for it. Where it cannot, reads some of them: after
   * that somebody else should have a turn before it is asked again. Says yes in the end, also where memory keeps nothing of what is
   * read.
   */
  prepare(entityKey: string, logTimeUs: number): boolean {
    const root = this.nodes.root(entityKey);
    const bounds = root?.bounds;
    const { unknownMax } = this.nodes.partials;
    if (root === undefined || bounds === undefined || bounds.length <= unknownMax) return true;
    const learning = this.#learning;
    if (learning.entityKey !== entityKey) learning.times = 0;
    learning.entityKey = entityKey;
    // Once begun, it is gone on with, so that little is left for the change.
    const left = learning.times === 0 ? unknownMax : Math.min(unknownMax, LEARNT_AT_ONCE);
    if ((root.partials?.unknown ?? bounds.length) <= left || learning.times * LEARNT_AT_ONCE > 2 * bounds.length) {
      learning.times = 0;
      return true;
    }
    learning.times++;
    this.#ask(root, bounds, (partials, leafAt, fits) => partials.learn(LEARNT_AT_ONCE, leafAt, logTimeUs, fits));
    return false;
  }

  /**
   * Adds to each accumulator, which is zero and of a pane in reach at the log time, what the key's contributions make of it.
   * Of a key with many leaves only those that changed since the last call are looked into (partials.ts).
   */
  refold(entityKey: string, wanted: readonly Refold[], cells: Cells, logTimeUs: number): void {
    const root = this.nodes.root(entityKey);
    if (root === undefined) return;
    if (root.bounds === undefined) refoldLeaf(this.#view, root.leaf, wanted, cells);
    else
      this.#ask(root, root.bounds, (partials, leafAt, fits) => {
        partials.refold(wanted, cells, leafAt, logTimeUs, fits);
      });
  }

  /**
   * The newest event time of the key's contributions that count at the log time; NO_EVENT_TIME when none has one. Only leaves
   * that changed since the last call are looked into: rows come and go at the end of a table with millions of them too.
   */
  newest(entityKey: string, logTimeUs: number): number {
    const root = this.nodes.root(entityKey);
    if (root === undefined) return NO_EVENT_TIME;
    const { bounds, leaf } = root;
    const newest =
      bounds === undefined
        ? newestOf(leaf)
        : this.#ask(root, bounds, (partials, leafAt, fits) => partials.newest(leafAt, logTimeUs, fits));
    // Whether one counts is decided by its time alone, and the newest counts for longest.
    return isHeld(this.#view.reach, newest, logTimeUs) ? newest : NO_EVENT_TIME;
  }

  /** Takes out of one leaf what does not count any more at the log time; how many. The position names the change. */
  purge(entityKey: string, bound: Bound | undefined, position: number, logTimeUs: number): number {
    const root = this.nodes.root(entityKey);
    if (root === undefined) return 0;
    const { bounds } = root;
    // The page that the sweep read may be older than what is here.
    if ((bounds === undefined) !== (bound === undefined)) return 0;
    const index = bounds === undefined || bound === undefined ? 0 : leafAt(bounds, bound);
    if (bounds !== undefined && bound !== undefined && isBefore(must(bounds[index]), bound)) return 0;
    const node = bounds === undefined ? root : this.nodes.leaf(entityKey, must(bounds[index]));
    const removed = node.leaf.removeAll((bytes, at) => !this.#isHeld(bytes, at, logTimeUs));
    if (removed === 0) return 0;
    this.#forget(root, index);
    this.nodes.changed(node, position);
    this.#shrink(root, node, index, position);
    return removed;
  }

  /** Removes all of a key's contributions: it is erased by the record at the offset. */
  erase(entityKey: string, offset: number): void {
    const { nodes } = this;
    const root = nodes.root(entityKey);
    if (root === undefined) return;
    for (const bound of root.bounds ?? []) nodes.remove(nodes.leaf(entityKey, bound), offset);
    nodes.remove(root, offset);
  }

  /** Asks something of what is known of a directory's leaves, which may have to read some of them. */
  #ask<T>(
    root: Node,
    bounds: readonly Bound[],
    question: (partials: Partials, leafAt: (index: number) => Leaf, fits: Fits) => T,
  ): T {
    const { nodes } = this;
    const leafAt = (index: number): Leaf => nodes.peekLeaf(root.entityKey, must(bounds[index])).leaf;
    return nodes.partials.ask(
      root,
      () => new Partials(this.#view, bounds.length),
      (partials, fits) => question(partials, leafAt, fits),
    );
  }

  /** A leaf changed. */
  #forget(root: Node, index: number): void {
    if (root.partials === undefined) return;
    root.partials.forget(index);
    this.nodes.partials.resized(root);
  }

  #isHeld(bytes: Uint8Array, at: number, logTimeUs: number): boolean {
    return isHeld(this.#view.reach, readEventTime(bytes, at), logTimeUs);
  }

  #takeFrom(
    root: Node,
    node: Node,
    index: number,
    row: RowKey,
    offset: number,
    logTimeUs: number,
    into: Image,
  ): boolean {
    const { leaf } = node;
    for (let at = leaf.findRow(row, leaf.find(row.hash)); at >= 0; at = leaf.findRow(row, endOf(leaf.bytes, at))) {
      if (!this.#isHeld(leaf.bytes, at, logTimeUs)) continue;
      into.eventTimeUs = readEventTime(leaf.bytes, at);
      into.offset = readOffset(leaf.bytes, at);
      readInputs(leaf.bytes, at, this.#view.inputs, into.row);
      leaf.removeAt(at);
      this.#forget(root, index);
      this.nodes.changed(node, offset);
      this.#shrink(root, node, index, offset);
      return true;
    }
    return false;
  }

  #split(root: Node, node: Node, index: number, offset: number): void {
    const { nodes } = this;
    const upper = new Leaf();
    const bound = node.leaf.splitInto(upper);
    const right = nodes.create(root.entityKey, bound);
    right.leaf = upper;
    nodes.changed(right, offset);
    if (root.bounds === undefined) {
      const left = nodes.create(root.entityKey, FIRST_BOUND);
      left.leaf = root.leaf;
      nodes.changed(left, offset);
      root.leaf = new Leaf();
      root.bounds = [FIRST_BOUND, bound];
    } else {
      root.bounds.splice(index + 1, 0, bound);
      root.partials?.insert(index + 1);
      this.#forget(root, index);
      nodes.changed(node, offset);
    }
    nodes.changed(root, offset);
  }

  /** Puts a leaf that became sparse together with its left neighbour, or, when it is the first, its right one. */
  #shrink(root: Node, node: Node, index: number, offset: number): void {
    const { nodes } = this;
    const { bounds } = root;
    if (bounds === undefined) {
      if (node.leaf.count === 0) nodes.remove(root, offset);
      return;
    }
    if (node.leaf.count > SPARSE_MAX) return;
    const other = nodes.leaf(root.entityKey, must(bounds[index === 0 ? 1 : index - 1]));
    if (!fitTogether(node.leaf, other.leaf)) return;
    const [left, right, at] = index === 0 ? [node, other, 1] : [other, node, index];
    left.leaf.append(right.leaf);
    nodes.changed(left, offset);
    nodes.remove(right, offset);
    bounds.splice(at, 1);
    root.partials?.remove(at);
    this.#forget(root, at - 1);
    if (bounds.length === 1) {
      root.leaf = left.leaf;
      root.bounds = undefined;
      nodes.partials.release(root);
      nodes.remove(left, offset);
      if (root.leaf.count === 0) {
        nodes.remove(root, offset);
        return;
      }
    }
    nodes.changed(root, offset);
  }
}

function isFull({ count, length }: Leaf): boolean {
  return count > LEAF_MAX || length > LEAF_BYTES_MAX;
}

function fitTogether(a: Leaf, b: Leaf): boolean {
  if (a.count === 0 || b.count === 0) return true;
  return a.count + b.count <= MERGED_MAX && a.length + b.length <= MERGED_BYTES_MAX;
}

/** The last leaf that begins at or before the place. */
function leafAt(bounds: readonly Bound[], place: Bound): number {
  let low = 0;
  let high = bounds.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (isBefore(place, must(bounds[middle]))) high = middle - 1;
    else low = middle;
  }
  return low;
}
