/**
 * What a plan costs and depends on: how each view comes by its state and how large that gets, and which columns of which
 * tables are read after it that were not before.
 *
 * Owns the estimate's parts. Does not own sizes (engine/state/state-size.ts) or the counting of rows (the database does).
 */
import { create } from '@bufbuild/protobuf';
import { ruleColumnsOf } from '@freshet/contracts/value-rules.ts';
import { rowBytesMax } from '@freshet/engine/limits.ts';
import { stateSize } from '@freshet/engine/state/state-size.ts';
import {
  type BuildCost,
  BuildCostSchema,
  BuildWay,
  type ColumnUse,
  ColumnUseSchema,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, RoutePlan, SourcePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { formatTableName } from './table-name.ts';

/** How many rows the databases believe that the sources' tables have, by source. */
export type TableRows = ReadonlyMap<string, bigint>;

/** What building a view of the next set costs. `way` is what the diff found out. */
export function buildCost(view: ViewPlan, next: DefinitionSet, way: BuildWay, rows: TableRows): BuildCost {
  const { keyBytes, rowBytes } = stateSize(view, view.mode === SourceMode.MUTABLE);
  const source = next.routes.find(({ route }) => route === view.route)?.source;
  const tables = [view.source, ...view.joins.map(({ table }) => table)].map((name) => rows.get(name));
  const known = way === BuildWay.READS_TABLE && tables.every((count) => count !== undefined);
  return create(BuildCostSchema, {
    way,
    ...(known ? { rows: tables.reduce<bigint>((sum, count) => sum + (count ?? 0n), 0n) } : {}),
    keyBytes: BigInt(keyBytes),
    rowBytes: BigInt(rowBytes),
    servedBytesMax: BigInt(rowBytesMax(view.features, Number(source?.maxSkewUs ?? 0n))),
  });
}

/** The columns that the sets read: of each, its table and the views. By source and column. */
export function columnsRead(set: DefinitionSet | undefined): Map<string, ColumnUse> {
  const uses = new Map<string, ColumnUse>();
  const routes = new Map((set?.routes ?? []).map((route) => [route.route, route]));
  for (const view of set?.views ?? []) {
    const route = routes.get(view.route);
    for (const column of viewColumns(view, route)) addUse(uses, route?.source, column, view.name);
    for (const join of view.joins) {
      const table = routes.get(join.route)?.source;
      for (const { column } of join.columns) addUse(uses, table, column?.name ?? '', view.name);
      for (const { key } of join.on) addUse(uses, table, key?.name ?? '', view.name);
      for (const column of ruleColumnsOf(table).holding) addUse(uses, table, column, view.name);
    }
  }
  return uses;
}

/** The columns of its own source that a view depends on: those it reads, its key, its event time, what finds joined rows, what rules ask of. */
function viewColumns(view: ViewPlan, route: RoutePlan | undefined): Set<string> {
  return new Set(
    [
      ...view.columns.map(({ name }) => name),
      ...(route?.keyColumns ?? []),
      ...view.joins.flatMap(({ on }) => on.map(({ column }) => column)),
      route?.source?.eventTimeColumn ?? '',
      ...ruleColumnsOf(route?.source).holding,
    ].filter((name) => name !== ''),
  );
}

function addUse(uses: Map<string, ColumnUse>, source: SourcePlan | undefined, column: string, view: string): void {
  if (source === undefined || column === '') return;
  const key = `${tableName(source)}.${column}`;
  const use = uses.get(key) ?? create(ColumnUseSchema, { source: source.name, table: tableName(source), column });
  if (use.views.at(-1) !== view) use.views.push(view);
  uses.set(key, use);
}

/** "public.orders"; with the database in front when it is not the default one: "crm:public.orders". */
export function tableName({ origin }: Pick<SourcePlan, 'origin'>): string {
  if (origin.case === undefined) return '';
  const { database } = origin.value;
  return `${database === 'default' ? '' : `${database}:`}${formatTableName(origin.value)}`;
}

/** The columns that only one of two sets reads: the first answer those of `next`, the second those of `previous`. */
export function columnChanges(
  previous: DefinitionSet | undefined,
  next: DefinitionSet,
): { readonly added: ColumnUse[]; readonly dropped: ColumnUse[] } {
  const [before, after] = [columnsRead(previous), columnsRead(next)];
  const only = (all: ReadonlyMap<string, ColumnUse>, not: ReadonlyMap<string, ColumnUse>): ColumnUse[] =>
    [...all]
      .filter(([key]) => !not.has(key))
      .map(([, use]) => use)
      .sort((a, b) => compareStrings(a.source, b.source) || compareStrings(a.column, b.column));
  return { added: only(after, before), dropped: only(before, after) };
}
