/**
 * A route that is live, and whether a relation of the stream is its table: by oid and by name, which only together say so.
 * Owns no state. What rows of the relation are read as is change-stream.ts. Pure.
 */
import { touchedText } from '@freshet/contracts/touched.ts';
import type { ContractFit } from './contract.ts';
import { type Hold, type Mapping, mappingProblem } from './hold.ts';
import type { Relation } from './pgoutput/messages.ts';
import type { Route } from './route.ts';
import { tableName } from './sql.ts';
import type { ColumnValues } from './table-fill.ts';

/** A route that is live, with the position from which on the stream is its own. */
export interface LiveRoute {
  readonly route: Route;
  /** The same route under earlier contracts, newest first: a backlog may have been written under them. */
  readonly earlier: readonly Route[];
  /** The oid of the table that its snapshot was of. */
  readonly tableOid: number;
  readonly floor: ContractFloor;
  /** The consistent point of its snapshot: commits at or after it are not in the snapshot. */
  readonly fromLsn: bigint;
  /** What is held of it already; undefined: nothing. */
  readonly hold?: Hold | undefined;
  /** What is known already of its table's values; later news comes by noteValues(). Left out: nothing. */
  readonly values?: readonly ColumnValues[] | undefined;
  /** How its table is read under a contract that knows it by other names; undefined: as it is. */
  readonly mapping?: Mapping | undefined;
}

/**
 * The newest contract that rows had, and since which commit. A table's shapes come in the order of commits, so a later row
 * that fits only an older contract breaks it, and does not pass for a row of the backlog.
 */
export interface ContractFloor {
  readonly version: number;
  readonly lsn: bigint;
}

/** A route, and how a relation of the stream stands to it. */
export interface Bound {
  readonly live: LiveRoute;
  /** The contract that the relation keeps, or why it keeps none. Undefined until a row needs it. */
  fit: ContractFit<Route> | Broken | undefined;
  /** Whether that was asked for rows that may come again. */
  isAgain?: boolean;
}

/** Why rows of a relation may not be read. */
export interface Broken {
  readonly reason: 'shape' | 'values' | 'moved' | 'identity';
  readonly detail: string;
}

export function touchesAll({ usage }: Route, why: string): string {
  return `${why}${touchedText(usage?.().readers ?? [])}`;
}

/** A column that the table got since the mapping was given must not stand for another one's. */
export function unmappable({ mapping }: LiveRoute, { columns }: Relation): Broken | undefined {
  const names = columns.map(({ name }) => name);
  const detail = mapping && mappingProblem(names, mapping);
  return detail === undefined ? undefined : { reason: 'shape', detail };
}

/** By oid or by name: one without the other is a table that was renamed or replaced, which #bind refuses. */
export function bindingsOf(routes: readonly LiveRoute[], relation: Relation): Bound[] {
  return routes
    .filter(({ route, tableOid }) => tableOid === relation.id || isNamed(route, relation))
    .map((live): Bound => ({ live, fit: undefined }));
}

function isNamed({ table }: Route, relation: Relation): boolean {
  return table.schema === relation.schema && table.table === relation.table;
}

/** Why rows of the relation are not those of the route's table any more, in words; undefined: they are. */
export function movedTable({ route, tableOid }: LiveRoute, relation: Relation): string | undefined {
  const named = isNamed(route, relation);
  if (named && tableOid === relation.id) return undefined;
  const { schema, table } = route.table;
  const now = named ? 'another table has its name now' : `it is ${tableName(relation.schema, relation.table)} now`;
  return `${tableName(schema, table)} was renamed or replaced: ${now}`;
}
