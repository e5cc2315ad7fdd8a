/**
 * A held row brought to its route after all: under the contracts that are accepted now, in the lane of its release. Pure.
 *
 * A row that still may not be read is told so, and never passed over: what is behind it waits (C1). The row keeps its place,
 * so that in its lane a repetition is known as one (F3).
 */
import type { Batch } from './batch.ts';
import { findContract } from './contract.ts';
import { mappingProblem, mapRow, rowOfEntry } from './hold.ts';
import type { LiveRoute } from './live-route.ts';
import type { Relation } from './pgoutput/messages.ts';
import type { QuarantineEntry, QuarantineReason } from './quarantine.ts';
import { identityProblem, untoldRow } from './relation-identity.ts';
import { type Route, withColumnTypes } from './route.ts';
import { fitRow, routeChange, truncation } from './route-change.ts';
import type { ColumnValues } from './table-fill.ts';

/** The lane of releases. */
export const RELEASE_LANE = 3;

/** Why a row stays. */
export interface Blocked {
  readonly reason: QuarantineReason;
  readonly detail: string;
}

/**
 * Adds what the entry is to the batch; resolves with why it may not be yet, and nothing is added then. `unchanged` says what
 * stands for a value that was not sent.
 */
export function releaseEntry(
  live: Pick<LiveRoute, 'route' | 'earlier' | 'tableOid' | 'mapping'>,
  entry: QuarantineEntry,
  options: {
    readonly lane: number;
    readonly nowUs: number;
    /** What was computed anew in the table, as far as is known now. */
    readonly values: readonly ColumnValues[];
    readonly unchanged: (route: Route, column: number) => null | undefined;
    readonly batch: Batch;
  },
): Blocked | undefined {
  const { lane, nowUs, values, unchanged, batch } = options;
  const told = rowOfEntry(entry);
  if (told === undefined) return { reason: entry.reason, detail: 'it is no row that was held' };
  const names = told.relation.columns.map(({ name }) => name);
  const unmapped = live.mapping && mappingProblem(names, live.mapping);
  if (unmapped !== undefined) return { reason: 'shape', detail: unmapped };
  const row = mapRow(told, live.mapping);
  const { relation } = row;
  if (!isOfTable(live, relation))
    return { reason: 'moved', detail: `it is of table ${relation.schema}.${relation.table}` };
  const { major, minor } = entry;
  const base = { lane, major, minor, committedUs: entry.committedUs ?? undefined, nowUs };
  if (!('row' in row)) {
    const record = truncation(live.route, base);
    for (let partition = 0; partition < live.route.partitions; partition++) batch.addRecord(partition, record);
    return undefined;
  }
  const found = findContract([live.route, ...live.earlier], relation, values);
  if ('problems' in found) return { reason: found.isOfValues ? 'values' : 'shape', detail: found.problems.join('; ') };
  const { columns } = found;
  const untold = identityProblem(found.under, relation, columns) ?? untoldRow(found.under, row, columns);
  if (untold !== undefined) return { reason: 'identity', detail: untold };
  const oids = columns.map((index) => relation.columns[index]?.typeOid);
  const route = withColumnTypes(found.under, oids);
  const fitted = fitRow(route, row, columns, (column) => unchanged(route, column));
  const parts = routeChange(route, row.operation, fitted, base);
  for (const part of parts) {
    if (part.kind === 'quarantine') return { reason: part.entry.reason, detail: part.entry.detail };
  }
  for (const part of parts) batch.add(part);
  return undefined;
}

/** The table may have another name now, if the definitions know it by it; or had, when the row came. */
function isOfTable(
  { route, tableOid }: Pick<LiveRoute, 'route' | 'tableOid'>,
  { id, schema, table }: Relation,
): boolean {
  return id === tableOid && schema === route.table.schema && table === route.table.table;
}
