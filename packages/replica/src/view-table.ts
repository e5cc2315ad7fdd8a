/**
 * The rows of one view in one shard of one log.
 *
 * Owns: which version of a row is kept, tombstones, the bookkeeping of a pass, what is not on disk yet, and what is:
 * for each row the digest of what the disk has of it, and the sum of those. The sum is stored with the cursor, so that
 * a row that is missing on the disk, or is an older one of itself, shows when the table is loaded: a count alone does
 * not see a lost update, and a value that is not there has no checksum.
 * Does not own: which frames may be applied (shard-copy.ts), what a row means (row-step.ts), the writing (copy-writer.ts).
 *
 * Invariants: R2 (a version never goes back, not even through a deletion: while a catch-up is under way a deleted row
 * leaves a tombstone that holds its version); R4 (rows are copied out of the frame that brought them, and counted).
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
  /** The digest of what the disk has under the key, a signed 32-bit number; 0: nothing. */
  stored = 0;
  /** When it was last read without a step at hand, in eras of the reader (row-reader.ts); below its first: never. */
  seen = -1;
  /** The values at the time of the last read, if they are kept. */
  step: Step | undefined = undefined;

  constructor(version: number, bytes: string) {
    this.version = version;
    this.bytes = bytes;
  }
}

/** The keys that a write takes; undefined: all. */
export type TakenKeys = ReadonlySet<RowKey> | undefined;

/** An ordered pass under way. */
interface Pass {
  readonly mark: number;
  /** The last key that it covered. */
  throughKey: string;
  /** Key ranges by their last key, with the version below which unmentioned rows are dropped. */
  readonly ranges: { throughKey: string; asOf: number }[];
}

let lastMark = 0;

/** What a row costs in memory beside its key and its bytes, about (measured: 111). */
const ROW_BYTES = 118;

/** The completeness of a table that cannot be read: see ViewTable.lost. */
export const NOT_READABLE_US = -1;

export class ViewTable {
  /** The view's id in hex. */
  readonly viewId: string;
  /** The number under which the rows lie on disk; no other table of the store ever has it. */
  readonly number: number;
  readonly rows = new Map<RowKey, ReplicaRow>();
  /** The generation of the view's route that the rows are of; 0: upstream has not told it yet. */
  generation = 0;
  /** Whether all rows are there, as of completeThroughUs. */
  whole = false;
  /** A pass has ended on the stream that there is: all rows were brought. */
  passed = false;
  /** Log time, microseconds, exclusive, through which the rows are complete. Stands still when upstream drops the view. */
  completeThroughUs = 0;
  /** Keys whose row differs from the one on disk; not kept while all of it is to be written. */
  dirty = new Set<RowKey>();
  /** Bytes of the dirty rows, about. */
  dirtyBytes = 0;
  /** The next write takes every row: it is not on the disk, or what the disk has of it is not known. */
  unwritten = true;
  /** Rows that the disk has, and the sum of their digests modulo 2^32. */
  storedRows = 0;
  storedDigest = 0;
  /** Bytes of memory that the rows take, about. */
  bytes = 0;
  /** Keys without a row that the disk has one of, with its digest. */
  readonly #erased = new Map<RowKey, number>();
  #tombstones = new Set<RowKey>();
  #pass: Pass | undefined;

  constructor(viewId: string, number: number) {
    this.viewId = viewId;
    this.number = number;
  }

  /**
   * A stand-in for a table that the disk lost, until it is there again from upstream. It has no rows, and a reader must
   * not take that for an answer: it is told by its completeness, NOT_READABLE_US.
   */
  static lost(viewId: string): ViewTable {
    const table = new ViewTable(viewId, 0);
    table.completeThroughUs = NOT_READABLE_US;
    return table;
  }

  /** Rows that are there. */
  get rowCount(): number {
    return this.rows.size - this.#tombstones.size;
  }

  get passing(): boolean {
    return this.#pass !== undefined;
  }

  /**
   * Takes a row (or, with empty bytes, its deletion) if it is newer than what is there. The rows are complete at
   * `position`: a key without one had none then, whatever an older commit of upstream shows.
   */
  put(key: RowKey, version: number, bytes: string, position = 0): void {
    const row = this.rows.get(key);
    if (row === undefined) {
      if (version < position) return;
      const fresh = new ReplicaRow(version, bytes);
      fresh.mark = this.#pass?.mark ?? 0;
      if (this.#erased.size > 0) this.#recall(key, fresh);
      this.rows.set(key, fresh);
      this.bytes += ROW_BYTES + keyLength(key) + bytes.length;
      this.#changed(key, bytes);
      return;
    }
    if (this.#pass !== undefined) row.mark = this.#pass.mark;
    if (version <= row.version) return;
    this.bytes += bytes.length - row.bytes.length;
    row.version = version;
    row.bytes = bytes;
    row.step = undefined;
    this.#changed(key, bytes);
  }

  /**
   * Takes away a row that says nothing any more. Its version stays behind in a tombstone (R2): what an upstream still sends
   * of it, or from before it, is not to come back.
   */
  dropDead(key: RowKey, row: ReplicaRow): void {
    this.bytes -= row.bytes.length;
    row.bytes = '';
    row.step = undefined;
    this.#changed(key, '');
  }

  /** Takes a row as it was on disk, with the digest of that. */
  load(key: RowKey, version: number, bytes: string, digest: number): void {
    const row = new ReplicaRow(version, bytes);
    this.rows.set(key, row);
    this.bytes += ROW_BYTES + keyLength(key) + bytes.length;
    this.store(key, row, digest);
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
    this.passed = true;
    const [only, ...more] = pass?.ranges ?? [];
    if (pass === undefined || only === undefined) return;
    let seen = 0;
    for (const [key, row] of this.rows) {
      if (++seen % 10_000 === 0) yield;
      if (row.mark >= pass.mark || row.bytes === '') continue;
      const asOf = more.length === 0 ? only.asOf : asOfFor(pass, rowKeyText(key));
      if (row.version >= asOf) continue;
      this.bytes -= row.bytes.length;
      row.version = asOf - 1;
      row.bytes = '';
      row.step = undefined;
      this.#changed(key, '');
    }
  }

  /** Forgets a pass that will not be continued; its rows stay, they are as good as any. */
  abandonPass(): void {
    this.#pass = undefined;
    this.passed = false;
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
      this.#tombstones.delete(key);
      if (row === undefined) continue;
      this.rows.delete(key);
      this.bytes -= ROW_BYTES + keyLength(key);
      if (row.stored !== 0) this.#erased.set(key, row.stored);
      if (!this.unwritten) this.dirty.add(key);
    }
  }

  // What the disk has.

  /** Begins a write of what differs. What changes from here on is for the next one. */
  takeDirty(): TakenKeys {
    const taken = this.unwritten ? undefined : this.dirty;
    this.dirty = new Set();
    this.dirtyBytes = 0;
    this.unwritten = false;
    return taken;
  }

  /** The keys of a write, some perhaps without a row. Of a table that is written whole, also rows that came since. */
  *keysOf(taken: TakenKeys): Generator<RowKey, void> {
    if (taken !== undefined) {
      yield* taken;
      return;
    }
    const erased = [...this.#erased.keys()];
    yield* this.rows.keys();
    yield* erased;
  }

  /** Gives back what was taken and not written. */
  redirty(taken: TakenKeys): void {
    if (taken === undefined) this.rewrite();
    else if (!this.unwritten) for (const key of taken) this.dirty.add(key);
  }

  /** The digest of what the disk has under the key; 0: nothing. */
  storedUnder(key: RowKey): number {
    return this.rows.get(key)?.stored ?? this.#erased.get(key) ?? 0;
  }

  /** Notes what the disk has under the key now; `row` is the key's row, if it has one. */
  store(key: RowKey, row: ReplicaRow | undefined, digest: number): void {
    const before = row === undefined ? (this.#erased.get(key) ?? 0) : row.stored;
    if (row !== undefined) row.stored = digest;
    else if (digest === 0) this.#erased.delete(key);
    else this.#erased.set(key, digest);
    this.storedRows += (digest === 0 ? 0 : 1) - (before === 0 ? 0 : 1);
    this.storedDigest = (this.storedDigest + digest - before) >>> 0;
  }

  /** The next write takes every row. */
  rewrite(): void {
    this.unwritten = true;
    this.dirty = new Set();
    this.dirtyBytes = 0;
  }

  /** The disk has nothing of the table. */
  forgetStored(): void {
    for (const row of this.rows.values()) row.stored = 0;
    this.#erased.clear();
    this.storedRows = 0;
    this.storedDigest = 0;
    this.rewrite();
  }

  /** A row that comes where one was erased that is still on the disk. */
  #recall(key: RowKey, row: ReplicaRow): void {
    row.stored = this.#erased.get(key) ?? 0;
    this.#erased.delete(key);
  }

  #changed(key: RowKey, bytes: string): void {
    if (bytes === '') this.#tombstones.add(key);
    else if (this.#tombstones.size > 0) this.#tombstones.delete(key);
    if (this.unwritten) return;
    this.dirty.add(key);
    this.dirtyBytes += keyLength(key) + bytes.length + 32;
  }
}

function keyLength(key: RowKey): number {
  return typeof key === 'number' ? 8 : key.length;
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
