/**
 * The joins of a view against their tables: which columns find a row, which columns it brings, and the route it comes by.
 *
 * Owns the rules: a table's row is found by its whole identity, with columns of the same types, and what a join brings has
 * names of its own. A table keyed by the view's entity is routed by that key, as a view's own source is; any other one
 * goes to every partition.
 */
import { create } from '@bufbuild/protobuf';
import type { FeatureView, Join } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { Column } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type EntityPlan,
  type JoinPlan,
  JoinPlanSchema,
  type SourcePlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { isKeyKind } from '@freshet/values/key.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
import { kindName, typeName } from '@freshet/values/type-name.ts';
import type { ColumnScope } from './column-scope.ts';
import type { ResolveContext } from './context.ts';
import type { RouteParts } from './routes.ts';

/** A join that fits its table. */
export interface ResolvedJoin {
  readonly table: SourcePlan;
  /** The source's column for each column of the table's key, in the order in which the key is encoded. */
  readonly on: readonly { readonly column: string; readonly key: Column }[];
  /** By name ascending. */
  readonly columns: readonly { readonly name: string; readonly column: Column }[];
}

/** A join as it is in force, but for its route's number. */
export interface PlannedJoin {
  readonly plan: JoinPlan;
  readonly route: RouteParts;
}

interface JoinParts {
  readonly source: SourcePlan;
  readonly sources: ReadonlyMap<string, SourcePlan | undefined>;
}

/** Checks a view's joins, and puts what they bring into scope. Joins with problems are left out. */
export function resolveJoins(
  view: FeatureView,
  parts: JoinParts,
  columns: ColumnScope,
  context: ResolveContext,
): ResolvedJoin[] {
  const resolved: ResolvedJoin[] = [];
  for (const join of view.joins) {
    const what = `View ${view.name}, join with ${join.table}`;
    const table = tableOf(what, join, parts.sources, context);
    if (table === undefined) continue;
    const on = resolveOn(what, join, { source: parts.source, table }, context);
    const brought = resolveColumns(what, join, table, columns, context);
    if (on !== undefined) resolved.push({ table, on, columns: brought });
  }
  return resolved;
}

/** The joins of which something is read, with what is read of them. */
export function planJoins(
  view: FeatureView,
  parts: {
    readonly entity: EntityPlan;
    readonly keyColumns: readonly string[];
    readonly joins: readonly ResolvedJoin[];
  },
  columns: ColumnScope,
  context: ResolveContext,
): PlannedJoin[] {
  const planned: PlannedJoin[] = [];
  for (const { table, on, columns: brought } of parts.joins) {
    const read = brought.filter(({ name }) => columns.isRead(name));
    if (read.length === 0) {
      context.notes.push(`View ${view.name}: nothing reads a column of joined table ${table.name}, so it is left out.`);
      continue;
    }
    const byEntity = entityColumns(on, parts.keyColumns);
    if (byEntity === undefined) for (const { column } of on) columns.read(column);
    const plan = create(JoinPlanSchema, {
      table: table.name,
      broadcast: byEntity === undefined,
      on: on.map(({ column, key }) => ({ column, key: { name: key.name, kind: typeOf(key).kind } })),
      columns: read.map(({ name, column }) => ({ name, column })),
    });
    const route =
      byEntity === undefined
        ? { source: table, keyColumns: on.map(({ key }) => key.name) }
        : { source: table, entity: parts.entity, keyColumns: byEntity };
    planned.push({ plan, route });
  }
  return planned;
}

/** The table's column for each key column of the entity, when the table is keyed by the entity. */
function entityColumns(on: ResolvedJoin['on'], keyColumns: readonly string[]): string[] | undefined {
  if (on.length !== keyColumns.length || new Set(keyColumns).size !== keyColumns.length) return undefined;
  const byColumn = new Map(on.map(({ column, key }) => [column, key.name]));
  const names = keyColumns.flatMap((column) => byColumn.get(column) ?? []);
  return names.length === keyColumns.length ? names : undefined;
}

function tableOf(
  what: string,
  join: Join,
  sources: ReadonlyMap<string, SourcePlan | undefined>,
  context: ResolveContext,
): SourcePlan | undefined {
  if (!sources.has(join.table)) {
    const meant = closest(join.table, [...sources.keys()]);
    const remedy =
      meant === undefined
        ? 'A joined table is a `kind: Source`, mostly `mode: mutable`: define it, or correct the name.'
        : `Did you mean "${meant}"?`;
    context.problems.add(join.location, `${what}: there is no source "${join.table}".`, remedy);
  }
  return sources.get(join.table);
}

function resolveOn(
  what: string,
  join: Join,
  { source, table }: { readonly source: SourcePlan; readonly table: SourcePlan },
  context: ResolveContext,
): ResolvedJoin['on'] | undefined {
  const identity = rowIdentity(must(table.contract, 'a source without a contract'));
  if (!identity.unique) {
    const message = `${what}: the table has no key by which one row could be found.`;
    const remedy = 'Give it a primary key, or a REPLICA IDENTITY USING INDEX over a unique index.';
    context.problems.add(join.location, message, remedy);
    return undefined;
  }
  const byKey = new Map<string, string>();
  let ok = true;
  const refuse = (message: string, remedy: string): void => {
    context.problems.add(join.location, `${what}: ${message}`, remedy);
    ok = false;
  };
  for (const [column, key] of Object.entries(join.on)) {
    if (byKey.has(key)) refuse(`column "${key}" is in \`on\` twice.`, 'Leave one of the two out.');
    else if (!identity.columns.includes(key)) {
      const remedy = `Its key is ${identity.columns.join(', ')}; write \`on: { column_of_${source.name}: ${identity.columns[0]} }\`.`;
      refuse(`"${key}" is no key column of the table.`, remedy);
    }
    byKey.set(key, column);
  }
  const missing = identity.columns.filter((key) => !byKey.has(key));
  if (ok && missing.length > 0) {
    const remedy = `Add ${missing.map((key) => `\`${closest(key, columnNames(source)) ?? 'column'}: ${key}\``).join(', ')} to \`on\`.`;
    refuse(`\`on\` must name the whole key; ${missing.join(', ')} of the table is missing.`, remedy);
  }
  if (!ok) return undefined;
  const on = identity.columns.flatMap((name) => {
    const key = must(columnOf(table, name), `the key column ${name} is not in the contract`);
    const column = byKey.get(name) ?? '';
    const problem = pairProblem(column, columnOf(source, column), key, source);
    if (problem === undefined) return [{ column, key }];
    refuse(problem.message, problem.remedy);
    return [];
  });
  return ok ? on : undefined;
}

/** What keeps a column of the source from finding rows by a column of the table's key. */
function pairProblem(
  name: string,
  column: Column | undefined,
  key: Column,
  source: SourcePlan,
): { message: string; remedy: string } | undefined {
  if (column === undefined) {
    const names = columnNames(source);
    const message = `source ${source.name} has no column "${name}" to find key column ${key.name} by.`;
    return {
      message,
      remedy: `Write for example \`on: { ${closest(name, names) ?? names[0] ?? 'column'}: ${key.name} }\`.`,
    };
  }
  const [from, to] = [typeOf(column), typeOf(key)];
  if (!isKeyKind(to.kind)) {
    const message = `key column ${key.name} is ${typeName(to)}, which cannot be a key.`;
    return { message, remedy: 'Rows are found by int64, decimal, string, bool, bytes or timestamp columns.' };
  }
  if (from.kind === to.kind) return undefined;
  const message = `column ${name} of source ${source.name} is ${typeName(from)}, but key column ${key.name} is ${kindName(to.kind)}.`;
  return { message, remedy: 'Rows are found by a column of the same type: change one of the two in the database.' };
}

function resolveColumns(
  what: string,
  join: Join,
  table: SourcePlan,
  columns: ColumnScope,
  context: ResolveContext,
): ResolvedJoin['columns'] {
  const brought: { name: string; column: Column }[] = [];
  for (const [name, of] of Object.entries(join.columns)) {
    const column = columnOf(table, of);
    if (column === undefined) {
      const names = columnNames(table);
      const meant = closest(of, names);
      const remedy = meant === undefined ? `Its columns are ${names.join(', ')}.` : `Did you mean "${meant}"?`;
      context.problems.add(join.location, `${what}: the table has no column "${of}".`, remedy);
    } else if (columns.has(name)) {
      const message = `${what}: the name "${name}" is taken by another column.`;
      const remedy = `Give it a name of its own, for example \`${table.name}_${name}: ${of}\`.`;
      context.problems.add(join.location, message, remedy);
    } else {
      columns.addJoined(name, typeOf(column));
      brought.push({ name, column });
    }
  }
  return brought.sort((a, b) => compareStrings(a.name, b.name));
}

function columnOf(source: SourcePlan, name: string): Column | undefined {
  return source.contract?.columns.find((column) => column.name === name);
}

function columnNames(source: SourcePlan): string[] {
  return (source.contract?.columns ?? []).map(({ name }) => name);
}

function typeOf(column: Column): ValueType {
  return column.type ?? create(ValueTypeSchema);
}
