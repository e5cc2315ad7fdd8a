/**
 * What a row of the stream is to a route that takes it: its record, the record that takes it out of the entity that it was of
 * before, or what of it is put aside.
 *
 * Owns the parts that a row has in its lane, and what becomes of values that were not sent. Does not own which route takes
 * which row (change-stream.ts), nor one record (route.ts). Pure.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import type { OldTuple, Relation, Tuple } from './pgoutput/messages.ts';
import { isTold } from './relation-identity.ts';
import { changedIdentity, type Route, type Routed, routeRow, type SourceRow, tryKeyOf } from './route.ts';
import { withoutRefused } from './unread-values.ts';

/** A row as the stream told it, with the table as it described it. */
export interface StreamRow {
  readonly relation: Relation;
  readonly operation: Operation;
  readonly row: Tuple;
  readonly old: OldTuple | undefined;
}

/** Where a row is, and when it came. */
export type RowBase = Pick<SourceRow, 'lane' | 'major' | 'minor' | 'committedUs' | 'nowUs'>;

/** A row in the contract's order, and as it was before. */
export interface FittedRow {
  readonly values: Tuple;
  readonly old: Tuple | undefined;
  /** The columns of which null stands for a value that was not sent. */
  readonly unsent: readonly number[];
}

/**
 * `columns`: for each of the contract's columns, its index among the relation's. `unchanged`: what stands for a value not sent, or
 * for one that is none in a column that nobody reads.
 */
export function fitRow(
  route: Pick<Route, 'parsers' | 'refusable'>,
  { relation, row, old }: StreamRow,
  columns: readonly number[],
  unchanged: (column: number) => null | undefined,
): FittedRow {
  const before = old && columns.map((index) => (isTold(relation, old, index) ? old.values[index] : undefined));
  const unsent: number[] = [];
  const values = columns.map((index, i) => {
    if (row[index] !== undefined) return row[index];
    if (before?.[i] !== undefined) return before[i];
    const stands = unchanged(i);
    if (stands === null) unsent.push(i);
    return stands;
  });
  const sent = withoutRefused(route, values);
  for (const column of sent.holes) if (unchanged(column) === null) unsent.push(column);
  return { values: sent.values, old: before, unsent };
}

/** In the order of their parts: both may go to the same partition, where marks only go forward. */
export function routeChange(
  route: Route,
  operation: Operation,
  { values, old, unsent }: FittedRow,
  base: RowBase,
): Routed[] {
  const routed = routeRow(route, { ...base, operation, values, old, unsent, part: 0 });
  if (old === undefined) return [routed];
  const gone = { ...base, operation: Operation.DELETE, values: old, part: 1 };
  return takesOut(route, routed, values, gone) ? [routed, routeRow(route, gone)] : [routed];
}

/**
 * Whether an update moved the row to another entity: the old one is told that the row is gone. Also when the new image was put
 * aside: the old one stays in such a case, but only where a later change of the row would still find it.
 */
function takesOut(route: Route, routed: Routed, values: Tuple, gone: SourceRow): boolean {
  const before = tryKeyOf(route, gone.values);
  // A null in the old key, or a key that cannot be encoded: the row was in no fold.
  if (before === undefined) return false;
  const after = tryKeyOf(route, values);
  const stays = after !== undefined && Buffer.compare(before, after) === 0;
  const isAside = routed.kind === 'quarantine' || (routed.kind === 'known' && routed.isAside);
  return !stays || (isAside && changedIdentity(route, values, gone.values));
}

/** The entity keys that a row is of, or was before, encoded, in hex; none that cannot be encoded. */
export function keysOf(route: Route, { values, old }: Pick<FittedRow, 'values' | 'old'>): string[] {
  const keys = [values, ...(old === undefined ? [] : [old])].flatMap((tuple) => {
    const key = tryKeyOf(route, tuple);
    return key === undefined ? [] : [Buffer.from(key).toString('hex')];
  });
  return [...new Set(keys)];
}

/** The record that tells that the route's table was emptied. */
export function truncation(
  route: Route,
  { lane, major, minor }: Pick<RowBase, 'lane' | 'major' | 'minor'>,
): Uint8Array {
  return encodeRecord({
    case: 'truncate',
    value: {
      route: route.number,
      generation: route.generation,
      lane,
      sequence: { major, minor: BigInt(minor) },
    },
  });
}
