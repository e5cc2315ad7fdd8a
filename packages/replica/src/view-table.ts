/**
 * The rows of one view in one shard of one log.
 *
 * Owns: which version of a row is kept, tombstones, the bookkeeping of a pass, what is not on disk yet.
 * Does not own: which frames may be applied (shard-copy.ts), what a row means (row-step.ts).
 *
 * Invariants: R2 (a version never goes back, not even through a deletion: while a catch-up is under way a deleted row
 * leaves a tombstone that holds its version); R4 (rows are copied out of the frame that brought them).
 */
import { type RowKey, rowKeyText } from './row-key.ts';
import type { Step } from './row-step.ts';

/** A row, or a tombstone when it has no bytes. */
export class ReplicaRow {
  /** The offset of the last record that changed it. */
  version: number;
  /** An encoded freshet.type.v1.Row, one character per byte; empty: there is no row (a tombstone). */
  bytes: string;
  /** The pass that brought it last. */
  mark = 0;
  /** The values at the time of the last read. */
  step: Step | undefined = undefined;

  constructor(version: number, bytes: string) {
    this.version = version;
    this.bytes = bytes;
  }
}

/** An ordered pass under way. */
interface Pass {
  readonly mark: number;
  /** The last key that it covered. */
  throughKey: string;
  /** Key ranges by their last key, with the version below which unmentioned rows are dropped. */
  readonly ranges: { throughKey: string; asOf: number }[];
}

let lastMark = 0;

export class ViewTable {
  /** The view's id in hex. */
  readonly viewId: string;
  /** The number under which the rows lie on disk; no other table of the store ever has it. */
  readonly number: number;
  readonly rows = new Map<RowKey, ReplicaRow>();
  /** Whether all rows are there, as of completeThroughUs. */
  whole = false;
  /** Log time, microseconds, exclusive, through which the rows are complete. Stands still when upstream drops the view. */
  completeThroughUs = 0;
  /** Keys whose row differs from the one on disk. */
  dirty = new Set<RowKey>();
  /** Bytes of the dirty rows, about. */
  dirtyBytes = 0;
  #tombstones = new Set<RowKey>();
  #pass: Pass | undefined;

  constructor(viewId: string, number: number) {
    this.viewId = viewId;
    this.number = number;
  }

  /** Rows that are there. */
  get rowCount(): number {
    return this.rows.size - this.#tombstones.size;
  }

  get passing(): boolean {
    return this.#pass !== undefined;
  }

  /** Takes a row (or, with empty bytes, its deletion) if it is newer than what is there. */
  put(key: RowKey, version: number, bytes: string): void {
    const row = this.rows.get(key);
    if (row === undefined) {
      const fresh = new ReplicaRow(version, bytes);
      fresh.mark = this.#pass?.mark ?? 0;
      this.rows.set(key, fresh);
      this.#changed(key, bytes);
      return;
    }
    if (this.#pass !== undefined) row.mark = this.#pass.mark;
    if (version <= row.version) return;
    row.version = version;
    row.bytes = bytes;
    row.step = undefined;
    this.#changed(key, bytes);
  }

  /** Takes a row as it was on disk. */
  load(key: RowKey, version: number, bytes: string): void {
    this.rows.set(key, new ReplicaRow(version, bytes));
    if (bytes === '') this.#tombstones.add(key);
  }

  /** Whether a page that begins after the key continues the pass; the empty key begins one. */
  continues(afterKey: string): boolean {
    return afterKey === '' || (this.#pass !== undefined && this.#pass.throughKey === afterKey);
  }

  /** Opens the page: rows put from now on are brought by it. */
  beginPage(afterKey: string): void {
    if (afterKey !== '') return;
    lastMark += 1;
    this.#pass = { mark: lastMark, throughKey: '', ranges: [] };
  }

  /** Closes the page: what it covered and did not bring, and is older than asOf, is to go when the pass has ended. */
  endPage(throughKey: string, asOf: number): void {
    const pass = this.#pass;
    if (pass === undefined) return;
    pass.throughKey = throughKey;
    const range = pass.ranges.at(-1);
    if (range !== undefined && range.asOf === asOf) range.throughKey = throughKey;
    else pass.ranges.push({ throughKey, asOf });
  }

  /**
   * Ends the pass: drops what it did not bring. A generator that yields now and then, so that a large table is swept
   * in slices between reads; rows put meanwhile are kept, because they are newer.
   */
  *endPass(): Generator<void, void> {
    const pass = this.#pass;
    this.#pass = undefined;
    const [only, ...more] = pass?.ranges ?? [];
    if (pass === undefined || only === undefined) return;
    let seen = 0;
    for (const [key, row] of this.rows) {
      if (++seen % 10_000 === 0) yield;
      if (row.mark >= pass.mark || row.bytes === '') continue;
      const asOf = more.length === 0 ? only.asOf : asOfFor(pass, rowKeyText(key));
      if (row.version >= asOf) continue;
      row.version = asOf - 1;
      row.bytes = '';
      row.step = undefined;
      this.#changed(key, '');
    }
  }

  /** Forgets a pass that will not be continued; its rows stay, they are as good as any. */
  abandonPass(): void {
    this.#pass = undefined;
  }

  /**
   * Removes tombstones below the position: upstream will not bring anything older than that any more, unless a pass
   * is under way, whose pages may show what was there before.
   */
  purge(position: number): void {
    if (this.#tombstones.size === 0 || this.#pass !== undefined) return;
    for (const key of this.#tombstones) {
      const row = this.rows.get(key);
      if (row !== undefined && row.version >= position) continue;
      this.rows.delete(key);
      this.#tombstones.delete(key);
      this.dirty.add(key);
    }
  }

  /** Takes the keys that differ from the disk; what is not written is to be given back by `redirty`. */
  takeDirty(): ReadonlySet<RowKey> {
    const taken = this.dirty;
    this.dirty = new Set();
    this.dirtyBytes = 0;
    return taken;
  }

  redirty(keys: ReadonlySet<RowKey>): void {
    for (const key of keys) this.dirty.add(key);
  }

  #changed(key: RowKey, bytes: string): void {
    if (bytes === '') this.#tombstones.add(key);
    else if (this.#tombstones.size > 0) this.#tombstones.delete(key);
    this.dirty.add(key);
    this.dirtyBytes += (typeof key === 'number' ? 8 : key.length) + bytes.length + 32;
  }
}

/** The asOf of the page that covered the key: the first range that reaches to it. */
function asOfFor(pass: Pass, key: string): number {
  let low = 0;
  let high = pass.ranges.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((pass.ranges[middle]?.throughKey ?? '') < key) low = middle + 1;
    else high = middle;
  }
  return pass.ranges[low]?.asOf ?? 0;
}
