/**
 * Takes rows away that say nothing any more: from some time on and for ever, what an entity without a row would be
 * answered. So a replica's memory and disk fall to what is alive, however many entities ever were.
 *
 * Owns the slow walk over all rows, and looking at one key at once. Does not own when a row is dead
 * (@freshet/engine/rows/dead-row.ts), nor tombstones (view-table.ts).
 *
 * Invariants: F2 (a row goes only once it has been dead for a while, by the clock and by the log time that its table is
 * complete through: a clock that runs ahead, and is mended, has taken nothing that has yet to show); R2 (it leaves a tombstone at its version, which goes when the shard is complete past it
 * and no pass is under way: until then an older row that somebody still sends stays out); R4 (a few hundred rows are
 * looked at in one piece).
 */
import { isDeadRow, type UnseenColumns, unseenColumns } from '@freshet/engine/rows/dead-row.ts';
import type { ColumnTypes } from '@freshet/engine/rows/row-codec.ts';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout } from '@freshet/engine/rows/row-reader.ts';
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { toHex } from '@freshet/kit/hex.ts';
import type { ReplicaState } from './replica-state.ts';
import type { RowKey } from './row-key.ts';
import type { ReplicaRow, ViewTable } from './view-table.ts';

/** Rows looked at in one piece, some 3 µs each. */
const PIECE_ROWS = 200;
const PIECES_PER_TURN = 10;
const TURN_MS = 1_000;
/** How long a row must have been dead, microseconds. */
const DEAD_FOR_US = 60_000_000;

/** What is needed to judge rows of a view. */
interface Judge {
  readonly unseen: UnseenColumns;
  readonly types: ColumnTypes;
}

export class DeadRows {
  readonly #state: ReplicaState;
  readonly #judges = new WeakMap<ViewPlan, Judge>();
  #walk: Generator<void, void> | undefined;
  #nowUs = 0;
  #dropped = 0;

  constructor(state: ReplicaState) {
    this.#state = state;
  }

  /** Walks slowly over all rows, round after round, until the signal aborts. */
  async run(clock: Clock, yieldNow: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await clock.sleep(TURN_MS, signal).catch(() => undefined);
      for (let piece = 0; piece < PIECES_PER_TURN && !signal.aborted; piece++) {
        this.sweep(clock.nowUs());
        await yieldNow();
        // A round ends a turn: of few rows, none is looked at again and again.
        if (this.#walk === undefined) break;
      }
    }
  }

  /** Looks at the next few rows; returns how many were taken away. */
  sweep(nowUs: number): number {
    this.#nowUs = nowUs - DEAD_FOR_US;
    this.#dropped = 0;
    this.#walk ??= this.#round();
    if (this.#walk.next().done === true) this.#walk = undefined;
    return this.#dropped;
  }

  /** Whether the row says nothing at the time, microseconds, and later; false when its view is not known. */
  isDead(viewId: string, row: ReplicaRow, timeUs: number): boolean {
    const judge = this.#judge(viewId);
    if (judge === undefined || row.bytes === '') return false;
    return isDeadRow(decodeRow(Buffer.from(row.bytes, 'latin1'), judge.types), judge.unseen, timeUs);
  }

  *#round(): Generator<void, void> {
    let seen = 0;
    for (const table of [...this.#state.copies()].flatMap((copy) => [...copy.tables.values()])) {
      if (this.#judge(table.viewId) === undefined) continue;
      for (const [key, row] of table.rows) {
        this.#look(table, key, row);
        if (++seen % PIECE_ROWS !== 0) continue;
        yield;
        // Discarded meanwhile: its rows are not to be held for this.
        if (!this.#isHeld(table)) break;
      }
    }
  }

  #look(table: ViewTable, key: RowKey, row: ReplicaRow): void {
    // What a clock that is hours ahead takes for over, upstream would never send again.
    if (!this.isDead(table.viewId, row, Math.min(this.#nowUs, table.completeThroughUs - DEAD_FOR_US))) return;
    table.dropDead(key, row);
    this.#dropped += 1;
  }

  #isHeld(table: ViewTable): boolean {
    for (const copy of this.#state.copies()) if (copy.tables.get(table.viewId) === table) return true;
    return false;
  }

  #judge(viewId: string): Judge | undefined {
    for (const set of this.#state.sets) {
      for (const plan of set.views) {
        const known = this.#judges.get(plan);
        if (toHexOnce(plan) !== viewId) continue;
        if (known !== undefined) return known;
        const judge = { unseen: unseenColumns(plan), types: rowLayout(plan).types };
        this.#judges.set(plan, judge);
        return judge;
      }
    }
    return undefined;
  }
}

const hexIds = new WeakMap<ViewPlan, string>();

function toHexOnce(plan: ViewPlan): string {
  let id = hexIds.get(plan);
  if (id === undefined) {
    id = toHex(plan.viewId);
    hexIds.set(plan, id);
  }
  return id;
}
