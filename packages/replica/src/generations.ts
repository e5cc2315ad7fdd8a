/**
 * Which tables of a view are read, of those that the shards have: one generation of the view's route in all of them.
 *
 * Owns the choice. Does not own the tables (shard-copy.ts), nor what becomes of those that are not chosen.
 *
 * When a route begins anew, upstream brings a view's rows again, shard by shard and in each at its own time. A replica
 * keeps what it had beside what comes, and goes over once all shards have the new rows:
 *
 *     shard 0   1 ──────────── 1 2 ─────────────── 2            what is there, by generation
 *     shard 1   1 ─────────────────── 1 2 ──────── 2
 *     read      1 ─────────────────── 2 ──────────────          one step for the whole process
 *
 * Invariant R3: rows of two generations are never read side by side.
 */
import { ViewTable } from './view-table.ts';

/** A shard's tables of a view. */
export interface ViewInShard {
  /** Those that are whole, by generation ascending. */
  readonly whole: readonly ViewTable[];
  /** The disk lost what was read: until it is there again a stand-in will do, which says that it cannot be read. */
  readonly mayLack: boolean;
}

/** A view whose rows of a later generation have come in some shards and are waited for in others. */
export interface PendingSwitch {
  /** In hex. */
  readonly viewId: string;
  /** The generation that is waited for. */
  readonly generation: number;
  /** The shards that have it whole. */
  readonly ready: number;
}

/**
 * The newest generation that all shards have; while there is none the oldest that all have but those that may lack it.
 * Undefined: the view cannot be read.
 */
export function commonTables(viewId: string, shards: readonly ViewInShard[]): ViewTable[] | undefined {
  const ascending = generationsOf(shards);
  for (const generation of ascending.toReversed()) {
    const tables = shards.map(({ whole }) => whole.find((table) => table.generation === generation));
    if (tables.every((table) => table !== undefined)) return tables;
  }
  for (const generation of ascending) {
    const tables = shards.map(({ whole, mayLack }) => {
      // A table from before generations were told fits any; it is told with the first frame.
      const fitting = whole.find((table) => table.generation === generation || table.generation === 0);
      return fitting ?? (mayLack ? ViewTable.lost(viewId) : undefined);
    });
    if (tables.every((table) => table !== undefined)) return tables;
  }
  return undefined;
}

/** What is waited for, if the shards do not all have the newest generation that one of them has. */
export function pendingSwitch(viewId: string, shards: readonly ViewInShard[]): PendingSwitch | undefined {
  const ascending = generationsOf(shards);
  const generation = ascending.at(-1);
  if (generation === undefined || ascending.length < 2) return undefined;
  const ready = shards.filter(({ whole }) => whole.some((table) => table.generation === generation)).length;
  return ready === shards.length ? undefined : { viewId, generation, ready };
}

function generationsOf(shards: readonly ViewInShard[]): number[] {
  const all = new Set(shards.flatMap(({ whole }) => whole.map(({ generation }) => generation)));
  return [...all].sort((a, b) => a - b);
}
