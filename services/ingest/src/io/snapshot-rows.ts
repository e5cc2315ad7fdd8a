/**
 * Appends a stage: the definitions again and route_begin to every partition, the rows in lane 1 with their numbers from 1,
 * snapshot_end to every partition. Each part is durable before the next begins, so that the order holds in every partition.
 * Broadcast tables go first, from begin to end: events that lie behind a table are joined as they are folded, earlier ones
 * in a second reading.
 *
 * The definitions, although the log had them: the part of it that did may be trimmed, and who begins to fold here must know
 * them. A fold that has them passes over them.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import type { BatchTaker } from '../core/append-pipeline.ts';
import { Batch } from '../core/batch.ts';
import { type Route, routeRow, SNAPSHOT_LANE, withColumnTypes } from '../core/route.ts';
import { withoutRefused } from '../core/unread-values.ts';
import type { Stage, StagedTable, StageStore } from './snapshot-stage.ts';

export interface SnapshotAppend {
  readonly store: StageStore;
  readonly stage: Stage;
  /** In force, and in the log already. */
  readonly definitions: DefinitionSet;
  readonly routes: readonly Route[];
  readonly partitions: number;
  readonly pipeline: BatchTaker;
  /** Waited for between some rows and the next, so that other work comes in between; left out: no wait. */
  readonly pace?: (() => Promise<void>) | undefined;
  /** Waited for before anything is appended that lacks values of columns which nobody reads (core/unread-values.ts). */
  readonly onHoles?: ((holes: ReadonlyMap<number, ReadonlySet<string>>) => Promise<void>) | undefined;
  /** Told how many more rows of the stage are done, whatever came of them. */
  readonly onRows?: ((rows: number) => void) | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
}

/** Rows of a piece are made to records some at a time: live rows wait a millisecond or two for these. */
const SLICE_ROWS = 128;

interface Slice {
  readonly rows: readonly (readonly (string | null)[])[];
  readonly number: number;
  readonly bound: readonly { readonly route: Route; readonly columns: readonly number[] }[];
  readonly nowUs: number;
}

/** Resolves with the number of rows once everything is durable. Throws the signal's reason, between two pieces of a stage. */
export async function appendSnapshot(options: SnapshotAppend): Promise<number> {
  let count = 0;
  for (const broadcast of [true, false]) {
    const routes = options.routes.filter((route) => route.broadcast === broadcast);
    if (routes.length > 0) count += await appendRoutes({ ...options, routes });
  }
  return count;
}

/** How many rows an append has to do, as it counts them; undefined for a stage that does not say. */
export function rowsToAppend(stage: Stage, routes: readonly Route[]): number | undefined {
  let sum = 0;
  for (const broadcast of [true, false]) {
    const some = routes.filter((route) => route.broadcast === broadcast);
    for (const table of stage.tables) {
      if (takersOf(table, some).length === 0) continue;
      if (table.rows === undefined) return undefined;
      sum += table.rows;
    }
  }
  return sum;
}

function takersOf(staged: StagedTable, routes: readonly Route[]): readonly Route[] {
  return routes.filter(({ table: { schema, table } }) => schema === staged.schema && table === staged.table);
}

async function appendRoutes(options: SnapshotAppend): Promise<number> {
  const { stage, routes, pipeline, signal } = options;
  await appendMarks(options, 'routeBegin');
  let count = 0;
  for (const table of stage.tables) {
    const takers = takersOf(table, routes);
    if (takers.length > 0) count += await appendTable(options, table, takers);
  }
  await pipeline.drained(signal);
  await appendMarks(options, 'snapshotEnd');
  return count;
}

async function appendMarks(
  { definitions, routes, partitions, pipeline, signal }: SnapshotAppend,
  kind: 'routeBegin' | 'snapshotEnd',
): Promise<void> {
  const batch = new Batch();
  if (kind === 'routeBegin') {
    const again = encodeRecord({ case: 'definitions', value: definitions });
    for (let partition = 0; partition < partitions; partition++) batch.addRecord(partition, again);
  }
  for (const { number, generation } of routes) {
    const record = encodeRecord({ case: kind, value: { route: number, generation } });
    for (let partition = 0; partition < partitions; partition++) batch.addRecord(partition, record);
  }
  pipeline.push(batch, () => {});
  await pipeline.drained(signal);
}

async function appendTable(options: SnapshotAppend, table: StagedTable, routes: readonly Route[]): Promise<number> {
  const { store, stage, clock, signal, onRows } = options;
  const bound = routes.map((route) => {
    const columns = route.contract.columns.map(({ name }) => table.columns.indexOf(name));
    const oids = columns.map((index) => table.typeOids[index]);
    return { route: withColumnTypes(route, oids), columns };
  });
  let number = 0;
  for await (const rows of store.rows(stage, table)) {
    for (let from = 0; from < rows.length; from += SLICE_ROWS) {
      // A log that keeps up never makes us wait, and waiting is all that the signal would end.
      signal.throwIfAborted();
      const slice = rows.slice(from, from + SLICE_ROWS);
      await pushRows(options, { rows: slice, number, bound, nowUs: clock.nowUs() });
      number += slice.length;
      onRows?.(slice.length);
    }
  }
  return number;
}

/** Pushes some rows, the first of which has the number after `number`. */
async function pushRows(
  { pipeline, pace, onHoles, signal }: SnapshotAppend,
  { rows, number, bound, nowUs }: Slice,
): Promise<void> {
  const batch = new Batch();
  const found = new Map<number, Set<string>>();
  for (const [i, row] of rows.entries()) {
    for (const { route, columns } of bound) {
      const texts = columns.map((index) => row[index]);
      const { values, holes } = withoutRefused(route, texts);
      for (const column of holes) noteHole(found, route, column);
      batch.add(
        routeRow(route, {
          operation: Operation.READ,
          values,
          unsent: holes,
          lane: SNAPSHOT_LANE,
          major: BigInt(number + i + 1),
          minor: 0,
          part: 0,
          committedUs: undefined,
          nowUs,
        }),
      );
    }
  }
  if (found.size > 0) await onHoles?.(found);
  pipeline.push(batch, () => {});
  await pipeline.room(signal);
  await pace?.();
}

function noteHole(found: Map<number, Set<string>>, { number, contract }: Route, column: number): void {
  const names = found.get(number) ?? new Set();
  found.set(number, names.add(contract.columns[column]?.name ?? ''));
}
