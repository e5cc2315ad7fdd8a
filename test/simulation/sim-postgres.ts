/**
 * A database in a simulation: a few tables (sim-tables.ts), their commits, one slot, with what Postgres promises of them
 * and no more (services/ingest/src/core/source-database.ts).
 *
 * Owns the committed rows, which are the truth that served features are held against in the end. It dies never, but may
 * be away (connections break, and are refused), or silent (nothing comes, nothing breaks); it may lose its slot, or be put
 * back to an earlier point, as point-in-time recovery does: on a new timeline, without what was committed since.
 */
import { must } from '@freshet/kit/assert.ts';
import type { Scheduler } from '@freshet/testkit/simulation/scheduler.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type { SourceDatabase } from '../../services/ingest/src/core/source-database.ts';
import type { PublishedTables } from '../../services/ingest/src/core/source-state.ts';
import { type Dml, makeChange } from './changes.ts';
import { SimDatabase } from './sim-database.ts';
import { type SimStream, type Slot, unreachable } from './sim-stream.ts';
import { ACTIVITY, CATALOG, LiveTables, ORDERS, type RowChange, text, timestampText } from './sim-tables.ts';

export interface ActivityRow {
  readonly user: number;
  readonly amount: number;
}

interface Transaction {
  readonly commitLsn: bigint;
  readonly endLsn: bigint;
  readonly commitTimeUs: number;
  readonly changes: readonly RowChange[];
  /** Whether a column had its other name then. */
  readonly isRenamed: boolean;
}

/** What the catalog said of an order's sku at the statement that wrote the order; undefined: nothing. */
export interface Joined {
  readonly commitLsn: bigint;
  readonly factor: string | undefined;
}

const FIRST_LSN = 0x1_0000_0000n;

export class SimPostgres {
  readonly scheduler: Scheduler;
  readonly transactions: Transaction[] = [];
  readonly slots = new Map<string, Slot>();
  readonly streams = new Set<SimStream>();
  published: PublishedTables = new Map();
  #live = new LiveTables();
  /** By an order's id. */
  readonly #joined = new Map<string, Joined>();
  /** The newest point that a snapshot was taken at, with the catalog as it was. */
  snapshotAt: { readonly lsn: bigint; readonly factors: ReadonlyMap<string, string> } | undefined;
  timeline = 1;
  #nextLsn = FIRST_LSN;
  #rows = 0;
  #isAway = false;
  isSilent = false;
  /** Whose rows of before which time are deleted, also when they come back, oldest first. */
  readonly #forgotten: { readonly user: number; readonly atUs: number }[] = [];
  /** When a column got its other name, and when it got its own again, in turns. */
  readonly #renames: number[] = [];

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler;
  }

  get isAway(): boolean {
    return this.#isAway;
  }

  /** Whether a column has its other name now (sim-tables.ts, RENAMED). */
  get isRenamed(): boolean {
    return this.#renames.length % 2 === 1;
  }

  /** Whether it ever had. */
  get wasRenamed(): boolean {
    return this.#renames.length > 0;
  }

  /** ALTER TABLE … RENAME COLUMN, or back. */
  rename(isRenamed: boolean): void {
    if (isRenamed !== this.isRenamed) this.#renames.push(this.scheduler.nowUs);
  }

  /** The tables as they are. */
  get live(): LiveTables {
    return this.#live;
  }

  get joined(): ReadonlyMap<string, Joined> {
    return this.#joined;
  }

  /** The rows of the append table. */
  rows(): readonly ActivityRow[] {
    return [...this.#live.rows(ACTIVITY).values()].map((row) => ({
      user: Number(text(row, 'user_id')),
      amount: Number(text(row, 'amount')),
    }));
  }

  /** Deletes all rows of a user from the append table, of which deletes are not published; also when these come back. */
  forget(user: number): void {
    this.#forgotten.push({ user, atUs: this.scheduler.nowUs });
    this.#deleteRowsOf(user);
  }

  #deleteRowsOf(user: number): void {
    for (const row of [...this.#live.rows(ACTIVITY).values()]) {
      if (Number(text(row, 'user_id')) === user) this.#live.apply({ kind: 'delete', table: ACTIVITY, old: row });
    }
  }

  /** Where the next commit will be. */
  get lsn(): bigint {
    return this.#nextLsn;
  }

  /** Commits rows of the append table, and changes of the others; returns what these came to, in words. */
  commit(
    rows: readonly { readonly user: number; readonly amount: number; readonly lateUs: number }[],
    statements: readonly Dml[] = [],
  ): string[] {
    const nowUs = this.scheduler.nowUs;
    const commitLsn = this.#nextLsn + 64n * BigInt(rows.length + statements.length + 1);
    const endLsn = commitLsn + 48n;
    this.#nextLsn = endLsn;
    const changes: RowChange[] = [];
    const apply = (change: RowChange): void => {
      changes.push(change);
      this.#apply(change, commitLsn);
    };
    for (const { user, amount, lateUs } of rows) {
      const row = {
        id: String(++this.#rows),
        user_id: String(user),
        amount: String(amount),
        at: timestampText(nowUs - lateUs),
      };
      apply({ kind: 'insert', table: ACTIVITY, row });
    }
    const done: string[] = [];
    for (const statement of statements) {
      const made = makeChange(statement, this.#live, ++this.#rows, nowUs);
      if (made === undefined) continue;
      done.push(made.what);
      apply(made.change);
    }
    this.transactions.push({ commitLsn, endLsn, commitTimeUs: nowUs, changes, isRenamed: this.isRenamed });
    this.wake();
    return done;
  }

  #apply(change: RowChange, commitLsn: bigint): void {
    this.#live.apply(change);
    if (change.table !== ORDERS || (change.kind !== 'insert' && change.kind !== 'update')) return;
    const factor = this.#live.rows(CATALOG).get(text(change.row, 'sku'))?.['factor'] ?? undefined;
    this.#joined.set(text(change.row, 'id'), { commitLsn, factor });
  }

  /**
   * Restores the database as it was at a time, on a new timeline; positions and row ids are used a second time. `keepsSlots`:
   * from a copy of the disk, which has slots, as against a base backup, which has none. Returns how many commits are gone.
   */
  rewind(toUs: number, keepsSlots: boolean): number {
    const kept = this.transactions.filter(({ commitTimeUs }) => commitTimeUs <= toUs);
    const lost = this.transactions.length - kept.length;
    this.transactions.splice(0, this.transactions.length, ...kept);
    // One that is gone leaves its mark, so that it is known that there was one.
    if (this.isRenamed && (this.#renames.at(-1) ?? 0) > toUs) this.rename(false);
    this.#live = new LiveTables();
    this.#joined.clear();
    const forgotten = [...this.#forgotten];
    for (const { changes, commitLsn, commitTimeUs } of kept) {
      while ((forgotten[0]?.atUs ?? Infinity) < commitTimeUs) this.#deleteRowsOf(must(forgotten.shift()).user);
      for (const change of changes) this.#apply(change, commitLsn);
    }
    for (const { user } of forgotten) this.#deleteRowsOf(user);
    this.#nextLsn = kept.at(-1)?.endLsn ?? FIRST_LSN;
    const ids = [ACTIVITY, ORDERS].flatMap((table) => [...this.#live.rows(table).keys()].map(Number));
    this.#rows = Math.max(0, ...ids);
    this.timeline += 1;
    for (const stream of [...this.streams]) stream.destroy(unreachable('the database is being restored'));
    if (!keepsSlots) this.slots.clear();
    for (const slot of this.slots.values()) {
      slot.stream = undefined;
      if (slot.confirmedLsn > this.#nextLsn) slot.confirmedLsn = this.#nextLsn;
    }
    return lost;
  }

  /** Somebody drops all slots. */
  dropSlots(): void {
    for (const stream of [...this.streams]) stream.destroy(unreachable('terminating connection by command'));
    this.slots.clear();
  }

  /** A transaction that was rolled back leaves a gap in the log and nothing else. */
  rollback(): void {
    this.#nextLsn += 512n;
  }

  goAway(): void {
    this.#isAway = true;
    for (const stream of [...this.streams]) stream.destroy(unreachable('the database is shutting down'));
  }

  comeBack(): void {
    this.#isAway = false;
    this.isSilent = false;
    this.wake();
  }

  wake(): void {
    for (const stream of this.streams) stream.wake();
  }

  /** The database as one process connects to it. */
  connection(process: SimProcess): SourceDatabase {
    return new SimDatabase(this, process);
  }
}
