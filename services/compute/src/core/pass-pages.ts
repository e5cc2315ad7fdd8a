/**
 * Pages of a shard's passes, as rows that are ready to be sent.
 *
 * Owns making them from committed states, and keeping the last few for followers that are at the same place: a hundred
 * that begin together go through the keys in step, and each page is read and made once for all. Does not own where a
 * pass is (shard-follower.ts).
 *
 * Invariants: R1 (a page is of a commit at or after the one that its pass began at); R4 (a page is bounded in bytes but
 * for one row, so few are kept; the process makes few at a time).
 */
import type { EncodedRow } from './fold-port.ts';
import { type RowField, rowField } from './row-field.ts';
import type { StatePage } from './shard-storage.ts';

export interface PassPage {
  readonly rows: readonly RowField[];
  /** The last key that it covers; undefined when it covers none. */
  readonly throughKey: string | undefined;
  /** There are no keys after these. */
  readonly last: boolean;
  /** Whether it has fewer rows than asked for, because they are large. */
  readonly isCut: boolean;
}

export interface PageWanted {
  readonly viewId: string;
  readonly instance: string;
  readonly afterKey: string | undefined;
  /** The position of a commit that the page is to be of, or of a later one. */
  readonly asOf: number;
  readonly rows: number;
}

export interface PageSource {
  /** The position of the last commit. */
  committed(): number;
  /** Whether several followers may want the same page. */
  isShared(): boolean;
  read(instance: string, afterKey: string | undefined, limits: { rows: number; bytes: number }): Promise<StatePage>;
  row(viewId: string, key: string, state: Uint8Array): EncodedRow | undefined;
  /** Whether the instance is still the view's. */
  isCurrent(viewId: string, instance: string): boolean;
  /** Bounds how much of this happens at once. */
  run<T>(work: () => Promise<T>): Promise<T>;
}

interface Kept {
  readonly asOf: number;
  readonly page: Promise<PassPage | undefined>;
}

/** Pages kept: followers in step differ by one or two. */
const KEPT_PAGES = 4;

export class PassPages {
  readonly #source: PageSource;
  readonly #bytes: number;
  /** By what was wanted; the oldest first. */
  readonly #kept = new Map<string, Kept>();

  /** @param bytes of rows in a page, about: a single row may be more */
  constructor(source: PageSource, bytes: number) {
    this.#source = source;
    this.#bytes = bytes;
  }

  /** A page; undefined when the view was dropped while it was read. */
  take(wanted: PageWanted): Promise<PassPage | undefined> {
    const name = `${wanted.instance}/${wanted.rows}/${wanted.afterKey ?? ''}`;
    const kept = this.#kept.get(name);
    if (kept !== undefined && kept.asOf >= wanted.asOf) return kept.page;
    const asOf = this.#source.committed();
    const page = this.#source.run(() => this.#make(wanted));
    if (this.#source.isShared()) this.#keep(name, { asOf, page });
    return page;
  }

  #keep(name: string, kept: Kept): void {
    this.#kept.delete(name);
    this.#kept.set(name, kept);
    kept.page.catch(() => {
      if (this.#kept.get(name) === kept) this.#kept.delete(name);
    });
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= KEPT_PAGES) break;
      this.#kept.delete(oldest);
    }
  }

  async #make({ viewId, instance, afterKey, rows: count }: PageWanted): Promise<PassPage | undefined> {
    const source = this.#source;
    const page = await source.read(instance, afterKey, { rows: count, bytes: this.#bytes });
    // What was read is of a view that is no more, or of which states are being deleted.
    if (!source.isCurrent(viewId, instance)) return undefined;
    const rows: RowField[] = [];
    let bytes = 0;
    let taken = 0;
    for (const [key, state] of page.entries) {
      // A row may be many times its state.
      if (bytes >= this.#bytes) break;
      taken += 1;
      const row = source.row(viewId, key, state);
      if (row === undefined) continue;
      const field = rowField(key, row);
      rows.push(field);
      bytes += field.length;
    }
    const isCut = taken < page.entries.length;
    return { rows, throughKey: page.entries[taken - 1]?.[0], last: page.last && !isCut, isCut };
  }
}
