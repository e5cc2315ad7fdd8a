/**
 * What a replica has of one shard of one log: rows by view, and the cursor up to which they are complete.
 *
 * Owns: applying frames that continue the cursor. Does not own: which log's frames come here (replica-state.ts), disk
 * (copy-writer.ts), the network (shard-link.ts).
 *
 * Invariants: R1 (the cursor moves only with a frame that continues it; completeness moves only with the cursor, from
 * whichever upstream the frame came: log time is a function of the position);
 * R3 (rows may be here that the cursor has not come to: how far they reach goes to upstream with it, which tells whether they are
 * of its history; a view counts as whole only once upstream's cursor names it, which is after its pass has ended; rows of a later
 * generation of its route are kept apart from those that are read, until they are read in all shards: generations.ts).
 *
 *     position 0, views []   ──pages, cursor unmoved──▶  still incomplete, still resumes from 0
 *                            ──closing frame──────────▶  position H, views [v…]: those views are whole
 *     live                   ──frames──────────────────▶  position and completeness move on
 *     journal lost           ──pages, cursor unmoved──▶  served as of the old completeness ──closing frame──▶ live
 */

import { create } from '@bufbuild/protobuf';
import {
  type PassPage,
  type ShardCursor,
  ShardCursorSchema,
  type SubscribeChangesResponse,
  type ViewRows,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { keyString } from '@freshet/values/key.ts';
import { toLatin1 } from './latin1.ts';
import { rowKeyOf } from './row-key.ts';
import { ViewTable } from './view-table.ts';

/** Sorts after every key. */
const KEY_END = '\uffff';

const NOWHERE: Place = { position: 0, recordCrc: 0 };

/** A position in the shard's log, and the CRC32C of the record before it. */
export interface Place {
  readonly position: number;
  readonly recordCrc: number;
}

/** What became of a frame. */
export type Applied =
  /**
   * It was applied; `changed` tells whether what is whole here is another than before. When work is left, it is to be
   * run to its end before the next frame, and its result tells that instead.
   */
  | { readonly outcome: 'applied'; readonly changed: boolean; readonly rest: Generator<void, boolean> | undefined }
  /** It does not continue what is here: subscribe anew. */
  | { readonly outcome: 'refused'; readonly reason: string };

export class ShardCopy {
  readonly shard: number;
  /** The number under which the copy's rows lie on disk. */
  readonly copy: number;
  /** The log, as hex; empty until the first frame. */
  logId: string;
  /** The tables that are read, by view. */
  readonly tables = new Map<string, ViewTable>();
  /** Whole tables of later generations, by view, which wait for the other shards; by generation ascending. */
  readonly successors = new Map<string, readonly ViewTable[]>();
  /**
   * Tables that are read no more, since successors took their place in all shards. They stay on the disk until it has the
   * successors of all shards: a replica that starts from the disk must find one generation in all of them.
   */
  retiring: ViewTable[] = [];
  cursor: ShardCursor;
  position = 0;
  /** Where the newest rows end that ever came, which may be beyond the position, and the CRC of the record before. */
  ahead: Place = NOWHERE;
  completeThroughUs = 0;
  definitionsGeneration = 0n;
  /** The views that upstream is building, in hex. */
  building: ReadonlySet<string> = new Set();
  /** The views of the cursor whose rows stand still upstream, because their routes begin anew, in hex. */
  standing: ReadonlySet<string> = new Set();
  /** Frames have come whose closing frame has not. */
  catchingUp = false;
  /** The cursor, or which views are whole, differs from the disk. */
  dirty = false;
  #views = new Set<string>();
  /**
   * Views that come back after upstream had ceased to name them: their new rows, beside the old ones that are still
   * served.
   */
  readonly #returning = new Map<string, ViewTable>();
  /** Tables that were replaced by what returned. */
  replaced: ViewTable[] = [];

  readonly #tableNumber: () => number;

  constructor(shard: number, copy: number, logId: string, tableNumber: () => number) {
    this.shard = shard;
    this.copy = copy;
    this.logId = logId;
    this.#tableNumber = tableNumber;
    this.cursor = create(ShardCursorSchema, { shard });
  }

  /** The views that are complete at the cursor, in hex. */
  get views(): ReadonlySet<string> {
    return this.#views;
  }

  /** Whole views that upstream does not name, in hex: their rows stand still. None while any is on its way again. */
  get unnamed(): string[] {
    if (this.#returning.size > 0) return [];
    return [...this.tables].flatMap(([id, { whole }]) => (whole && !this.#views.has(id) ? [id] : []));
  }

  /** Whether there is a table of a view that upstream does not name. */
  get hasUnnamed(): boolean {
    return this.tables.size > this.#views.size;
  }

  /** What upstream is asked to go on from. */
  get resumption(): ShardCursor {
    return cursorWithAhead(this.cursor, this.ahead);
  }

  /** Where the rows that are here end: at the cursor, or beyond it. */
  get reach(): Place {
    return this.ahead.position > this.position
      ? this.ahead
      : { position: this.position, recordCrc: this.cursor.recordCrc };
  }

  /** Takes the cursor as it was on disk. */
  restore(cursor: ShardCursor, completeThroughUs: number): void {
    this.ahead = { position: Number(cursor.aheadPosition), recordCrc: cursor.aheadCrc };
    this.cursor = cursorWithAhead(cursor, NOWHERE);
    this.position = Number(cursor.position);
    this.logId = toHex(cursor.logId);
    this.#views = new Set(cursor.views.map(toHex));
    this.completeThroughUs = completeThroughUs;
  }

  /** Bytes of memory that the rows take, about, those on their way included. */
  get bytes(): number {
    let bytes = 0;
    for (const table of this.everyTable()) bytes += table.bytes;
    for (const table of this.retiring) bytes += table.bytes;
    for (const table of this.#returning.values()) bytes += table.bytes;
    return bytes;
  }

  /** The tables that are read, and those that wait to be. */
  *everyTable(): Generator<ViewTable> {
    yield* this.tables.values();
    for (const tables of this.successors.values()) yield* tables;
  }

  /** The view's tables that are whole, by generation ascending. */
  wholeTables(viewId: string): ViewTable[] {
    const table = this.tables.get(viewId);
    const successors = this.successors.get(viewId) ?? [];
    return [...(table === undefined ? [] : [table]), ...successors].filter(({ whole }) => whole);
  }

  /** Has a successor read from now on; what came before it goes as soon as the disk allows. */
  adopt(successor: ViewTable): void {
    const { viewId, generation } = successor;
    const older = this.wholeTables(viewId).filter((table) => table.generation < generation);
    const newer = this.successors.get(viewId)?.filter((table) => table.generation > generation) ?? [];
    this.retiring.push(...older);
    this.tables.set(viewId, successor);
    if (newer.length > 0) this.successors.set(viewId, newer);
    else this.successors.delete(viewId);
    this.dirty = true;
  }

  /** Whether the frame brings rows of a view that is not served from here yet. */
  builds(frame: SubscribeChangesResponse): boolean {
    const isNew = (viewId: Uint8Array): boolean => {
      const id = toHex(viewId);
      return !this.#views.has(id) || this.tables.get(id)?.whole !== true;
    };
    return frame.rows.some(({ viewId }) => isNew(viewId));
  }

  /** Whether everything is here at some position. */
  get whole(): boolean {
    return this.position > 0;
  }

  table(viewId: string): ViewTable {
    let table = this.tables.get(viewId);
    if (table === undefined) {
      table = new ViewTable(viewId, this.#tableNumber());
      this.tables.set(viewId, table);
    }
    return table;
  }

  /** The table that the cursor means by the view: the newest. */
  #current(viewId: string): ViewTable | undefined {
    return this.successors.get(viewId)?.at(-1) ?? this.tables.get(viewId);
  }

  /** The table that rows of the view go into. */
  #target(viewId: string): ViewTable {
    const returning = this.#returning.get(viewId);
    if (returning !== undefined) return returning;
    const current = this.#current(viewId);
    if (this.#views.has(viewId) || current?.whole !== true) return current ?? this.table(viewId);
    // R4: what waits is not what upstream has now. It goes, or there would be three of the view.
    for (const table of this.successors.get(viewId) ?? []) this.replaced.push(table);
    if (this.successors.delete(viewId)) this.dirty = true;
    const table = new ViewTable(viewId, this.#tableNumber());
    this.#returning.set(viewId, table);
    return table;
  }

  /** The table as it was on disk, without its rows yet. Of several of a view the oldest is the one that is read. */
  loadTable(viewId: string, number: number, generation: number): ViewTable {
    const table = new ViewTable(viewId, number);
    table.generation = generation;
    const known = [...(this.tables.has(viewId) ? [this.table(viewId)] : []), ...(this.successors.get(viewId) ?? [])];
    const [oldest, ...later] = [...known, table].sort((a, b) => a.generation - b.generation);
    this.tables.set(viewId, oldest ?? table);
    if (later.length > 0) this.successors.set(viewId, later);
    return table;
  }

  /** Tells that the stream ended: a pass under way starts over with the next one. */
  disconnected(): void {
    for (const table of this.everyTable()) table.abandonPass();
    this.#returning.clear();
  }

  apply(frame: SubscribeChangesResponse): Applied {
    const cursor = frame.cursor;
    if (cursor === undefined) return refused('a frame without a cursor');
    const to = Number(cursor.position);
    if (Number(frame.after) !== this.position) {
      // Everything in it is here already: two upstreams, or a frame sent twice.
      if (frame.pass === undefined && to <= this.position && Number(frame.after) < to) {
        return { outcome: 'applied', changed: false, rest: undefined };
      }
      return refused(`a frame after ${frame.after}, but the rows reach ${this.position}`);
    }
    if (to < this.position) return refused(`a cursor that goes back from ${this.position} to ${to}`);
    if (!cursor.views.every((viewId) => this.#isThere(toHex(viewId))))
      return refused('a cursor with a view that did not come');
    const other = this.#otherGeneration(frame, cursor);
    if (other !== undefined) return refused(`another generation of the rows of view ${other} that are here`);
    if (Number(cursor.aheadPosition) > this.ahead.position)
      this.ahead = { position: Number(cursor.aheadPosition), recordCrc: cursor.aheadCrc };
    if (frame.pass === undefined) {
      this.#putAll(frame.rows);
    } else {
      const page = frame.pass;
      const table = this.#target(toHex(page.viewId));
      const afterKey = keyString(page.afterKey);
      if (!table.continues(afterKey)) return refused('a page that does not continue its pass');
      table.beginPage(afterKey);
      if (this.#begins(page)) table.generation = page.generation;
      this.#putAll(frame.rows);
      table.endPage(page.last ? KEY_END : keyString(page.throughKey), Number(page.asOf));
      if (page.last) return { outcome: 'applied', changed: false, rest: this.#endPass(table, frame, cursor, to) };
    }
    return { outcome: 'applied', changed: this.#advance(frame, cursor, to), rest: undefined };
  }

  /** Whether a cursor may name the view: it did before, or a pass of it has ended (R3). */
  #isThere(viewId: string): boolean {
    return this.#views.has(viewId) || (this.#returning.get(viewId) ?? this.#current(viewId))?.passed === true;
  }

  /** R3: rows never turn into those of another generation. Returns the view of which the frame says that they do. */
  #otherGeneration({ pass, generations }: SubscribeChangesResponse, cursor: ShardCursor): string | undefined {
    const isOther = (viewId: string, told: number): boolean => {
      const known = (this.#returning.get(viewId) ?? this.#current(viewId))?.generation ?? 0;
      return told !== 0 && known !== 0 && told !== known;
    };
    for (const [i, viewId] of cursor.views.entries()) {
      if (isOther(toHex(viewId), generations[i] ?? 0)) return toHex(viewId);
    }
    if (pass === undefined) return undefined;
    const viewId = toHex(pass.viewId);
    return !this.#begins(pass) && isOther(viewId, pass.generation) ? viewId : undefined;
  }

  /** Whether a page begins a view's rows, rather than to go over those that are there. */
  #begins({ viewId, afterKey }: PassPage): boolean {
    return afterKey.length === 0 && !this.#views.has(toHex(viewId));
  }

  /** The cursor moves only after the sweep: a crash in between repeats the pass. */
  *#endPass(
    table: ViewTable,
    frame: SubscribeChangesResponse,
    cursor: ShardCursor,
    to: number,
  ): Generator<void, boolean> {
    yield* table.endPass();
    return this.#advance(frame, cursor, to);
  }

  #putAll(all: readonly ViewRows[]): void {
    for (const { viewId, rows } of all) {
      const id = toHex(viewId);
      const table = this.#target(id);
      const position = this.#views.has(id) ? this.position : 0;
      for (const { key, version, row } of rows) {
        table.put(rowKeyOf(key), Number(version), row.length === 0 ? '' : toLatin1(row), position);
      }
    }
  }

  /** Moves the cursor; says whether it changed what is whole here. */
  #advance(frame: SubscribeChangesResponse, cursor: ShardCursor, to: number): boolean {
    if (to > this.position) this.catchingUp = false;
    else if (frame.pass !== undefined || frame.rows.length > 0) this.catchingUp = true;
    this.building = sameSet(this.building, frame.building);
    this.standing = sameSet(
      this.standing,
      frame.standing.map(({ viewId }) => viewId),
    );
    this.definitionsGeneration = frame.definitionsGeneration;
    const through = Number(frame.completeThroughUs);
    const moved = to > this.position;
    const viewsChanged =
      cursor.views.length !== this.#views.size || cursor.views.some((id) => !this.#views.has(toHex(id)));
    if (!moved && !viewsChanged) return false;
    this.cursor = compactCursor(cursor, viewsChanged ? undefined : this.cursor);
    const begun = this.position === 0 && to > 0;
    this.position = to;
    // A frame that does not move the cursor brings a part of something, whatever it says of log time.
    if (moved && through > this.completeThroughUs) this.completeThroughUs = through;
    let wholeChanged = false;
    if (viewsChanged) this.#views = new Set(cursor.views.map(toHex));
    const standing = new Map(frame.standing.map((view) => [toHex(view.viewId), Number(view.completeThroughUs)]));
    for (const [i, viewId] of cursor.views.entries()) {
      const id = toHex(viewId);
      this.#returned(id);
      const table = this.#current(id) ?? this.table(id);
      if (table.generation === 0) table.generation = frame.generations[i] ?? 0;
      if (!table.whole && to > 0) {
        table.whole = true;
        wholeChanged = true;
      }
      // Rows that stand still are complete no further than where they came to stand, however far the others are.
      const throughUs = Math.min(this.completeThroughUs, standing.get(id) ?? Number.POSITIVE_INFINITY);
      table.completeThroughUs = Math.max(table.completeThroughUs, throughUs);
    }
    if (moved) for (const table of this.everyTable()) table.purge(to);
    this.dirty = true;
    return wholeChanged || begun || (viewsChanged && to > 0);
  }

  /** The view's rows are there anew: beside those that are read if they are of a later generation, else in their place. */
  #returned(viewId: string): void {
    const table = this.#returning.get(viewId);
    if (table === undefined) return;
    this.#returning.delete(viewId);
    const { generation } = this.table(viewId);
    if (generation > 0 && table.generation > generation) {
      this.successors.set(viewId, [table]);
      return;
    }
    this.replaced.push(this.table(viewId));
    this.tables.set(viewId, table);
  }

  /** Forgets views that nobody names any more; returns their tables. */
  dropTables(named: (viewId: string) => boolean, knownGeneration: bigint): ViewTable[] {
    // While rows are on their way, or by definitions that we have not heard of, a view may belong to what is coming.
    if (this.position === 0 || this.catchingUp || this.definitionsGeneration > knownGeneration) return [];
    const dropped: ViewTable[] = [];
    for (const [id, table] of this.tables) {
      if (named(id) || this.#views.has(id) || this.building.has(id) || table.passing) continue;
      dropped.push(table, ...(this.successors.get(id) ?? []));
      this.tables.delete(id);
      this.successors.delete(id);
      this.dirty = true;
    }
    return dropped;
  }
}

/** The cursor, with where rows end that are had beyond it. */
export function cursorWithAhead(cursor: ShardCursor, { position, recordCrc }: Place): ShardCursor {
  const isAhead = position > Number(cursor.position);
  return create(ShardCursorSchema, {
    ...cursor,
    aheadPosition: isAhead ? BigInt(position) : 0n,
    aheadCrc: isAhead ? recordCrc : 0,
  });
}

/** The cursor with bytes of its own: those of a decoded frame are views of the frame's buffer, and would keep it. */
function compactCursor(cursor: ShardCursor, same: ShardCursor | undefined): ShardCursor {
  return create(ShardCursorSchema, {
    shard: cursor.shard,
    logId: Uint8Array.from(cursor.logId),
    position: cursor.position,
    recordCrc: cursor.recordCrc,
    views: same?.views ?? cursor.views.map((id) => Uint8Array.from(id)),
  });
}

function sameSet(old: ReadonlySet<string>, ids: readonly Uint8Array[]): ReadonlySet<string> {
  if (old.size === ids.length && ids.every((id) => old.has(toHex(id)))) return old;
  return new Set(ids.map(toHex));
}

function refused(reason: string): Applied {
  return { outcome: 'refused', reason };
}
