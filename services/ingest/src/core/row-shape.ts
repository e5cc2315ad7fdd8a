/**
 * The shape that a generation of a mutable route began with, and whether definitions still mean the same by its rows. Of an
 * append route: the columns that some of its rows lack.
 *
 * What a live row put into views is found by the row's identity, and was made of its columns as they were read then. An
 * ALTER TABLE rewrites rows without telling of any: a column that was added may have a default, one of another type has
 * other values, another key tells rows apart differently. So when something that is needed is no longer as it began, the
 * route begins anew; columns that nobody reads come and go. Pure.
 *
 * Does not own the rule of identities (packages/values/src/row-identity.ts).
 */
import { areNumbered } from '@freshet/contracts/column-number.ts';
import { ruleColumnsOf } from '@freshet/contracts/value-rules.ts';
import type { Column, Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';

/** Kept in the source's state as JSON. */
export interface RowShape {
  /** Whether the identity is a key. */
  readonly unique: boolean;
  /** The columns by which rows are told apart, in the order in which they make a row's key. */
  readonly identity: readonly string[];
  /** All columns, each with the type as the source writes it: "character varying(20)". */
  readonly columns: readonly (readonly [name: string, type: string])[];
  /** By column, its number in the table of the oid: one that was dropped and made anew has the values of another. Left out: not known. */
  readonly numbers?: { readonly tableOid: number; readonly of: Readonly<Record<string, number>> } | undefined;
  /**
   * Columns of which values are not in the log, while nobody read them: large ones that an update did not change, so that the
   * server did not send them, and those that were gone or of another type for a while. Whoever reads them needs another generation (I2).
   */
  readonly holes?: readonly string[] | undefined;
  /** By column, the labels of its enum: a label that is renamed is another value in rows that nobody tells of. */
  readonly labels?: Readonly<Record<string, readonly string[]>> | undefined;
  /** Columns whose values were computed anew in the table since (table-fill.ts): those that the log has are of before. */
  readonly rewritten?: readonly string[] | undefined;
}

/** That of an append source, of which only holes are known. */
export const NO_SHAPE: RowShape = { unique: false, identity: [], columns: [] };

/** Whether the route is of a mutable source. */
export function isMutableSource({ source }: RoutePlan): boolean {
  return source?.mode === SourceMode.MUTABLE;
}

/** The shape of a route's rows; undefined for an append source, whose rows never change. */
export function shapeOf({ source }: RoutePlan): RowShape | undefined {
  if (source?.mode !== SourceMode.MUTABLE || source.contract === undefined) return undefined;
  return shapeOfContract(source.contract);
}

function shapeOfContract(contract: Contract): RowShape {
  const { columns: identity, unique } = rowIdentity(contract);
  const columns = contract.columns.map(({ name, sourceType }) => [name, sourceType] as const);
  const [first] = contract.columns;
  const of = Object.fromEntries(contract.columns.map(({ name, columnNumber }) => [name, columnNumber]));
  const isNumbered = first !== undefined && areNumbered(contract.columns, contract.columns);
  const shape = { unique, identity, columns, ...(isNumbered && { numbers: { tableOid: first.tableOid, of } }) };
  const labelled = contract.columns.filter(({ enumLabels }) => enumLabels.length > 0);
  if (labelled.length === 0) return shape;
  const labels = Object.fromEntries(labelled.map(({ name, enumLabels }) => [name, [...enumLabels]]));
  return { ...shape, labels };
}

/** Why a route that began with a shape must begin anew under a plan, in words; undefined: it need not. */
export function shapeChange(
  began: RowShape | undefined,
  plan: RoutePlan,
  needed: ReadonlySet<string> | undefined,
): string | undefined {
  const now = shapeOf(plan);
  // Rows of an append source stay as they were inserted. A view that reads what they lack has another route (docs/contracts.md).
  if (now === undefined) return holeChange(began, plan, needed);
  if (began === undefined) return 'it is not known what its rows were told apart by';
  if (!sameIdentity(began, now)) {
    return `its rows are told apart by ${identityName(now)} now, and were by ${identityName(began)}`;
  }
  const types = new Map(began.columns);
  for (const [name, type] of now.columns) {
    if (needed?.has(name) === false) continue;
    const was = types.get(name);
    if (was === undefined) return `column ${name} is new, and rows that were there before may have a value in it`;
    if (was !== type) return `column ${name} is ${type} now, and was ${was}`;
    if (isReplaced(began, now, name)) return `column ${name} is another one now, under its name`;
    if (isRelabelled(began.labels?.[name], now.labels?.[name])) return `labels of column ${name} were renamed`;
    if (began.rewritten?.includes(name)) return `values of column ${name} were computed anew`;
    if (began.holes?.includes(name)) return `values of column ${name} were not captured while nobody read it`;
  }
  return undefined;
}

/** A table that was made anew numbers its columns anew. */
function isReplaced({ numbers: was }: RowShape, { numbers: is }: RowShape, name: string): boolean {
  if (was === undefined || is === undefined || was.tableOid !== is.tableOid) return false;
  return was.of[name] !== is.of[name];
}

/**
 * Labels may be added behind those that were. Any other difference may be a rename: one between others is what a label looks like
 * that was renamed, and then added again. One that is added again right before its new name is not told from a new one.
 */
function isRelabelled(before: readonly string[] = [], after: readonly string[] = []): boolean {
  return before.some((label, i) => label !== after[i]);
}

/**
 * The shape with the labels that its enums have by now: one that was added since the route began may be renamed as well. A column of
 * which some were renamed while nobody read it counts as rewritten. The shape itself where nothing is different.
 */
export function relabelled(began: RowShape, plan: RoutePlan): RowShape {
  const labels = shapeOf(plan)?.labels;
  if (labels === undefined || JSON.stringify(labels) === JSON.stringify(began.labels)) return began;
  const renamed = Object.keys(labels).filter((name) => isRelabelled(began.labels?.[name], labels[name]));
  if (renamed.length === 0) return { ...began, labels };
  return { ...began, labels, rewritten: [...new Set([...(began.rewritten ?? []), ...renamed])] };
}

function holeChange(
  began: RowShape | undefined,
  { source }: RoutePlan,
  needed: ReadonlySet<string> | undefined,
): string | undefined {
  const names = source?.contract?.columns.map(({ name }) => name) ?? [];
  const hole = began?.holes?.find((name) => names.includes(name) && needed?.has(name) !== false);
  return hole === undefined ? undefined : `values of column ${hole} were not captured while nobody read it`;
}

/** The columns of a route that must be right: what is read, and what keys, times and tells rows apart. Undefined: all. */
export function neededColumns(plan: RoutePlan, definitions: DefinitionSet): ReadonlySet<string> | undefined {
  const reads = columnsRead(definitions, plan.route);
  const shape = shapeOf(plan);
  // Without a key all columns are the identity. A route that no view reads is here for something that we do not know.
  if (reads.size === 0 || shape?.unique === false) return undefined;
  return new Set([...reads, ...(shape?.identity ?? []), ...plan.keyColumns, plan.source?.eventTimeColumn ?? '']);
}

/**
 * The columns whose changes hurt somebody: what views read, the key, the event time, and what value rules ask of, without which
 * rows would pass unasked. Undefined: all, as no view reads it.
 */
export function readColumns(plan: RoutePlan, definitions: DefinitionSet): ReadonlySet<string> | undefined {
  const reads = columnsRead(definitions, plan.route);
  if (reads.size === 0) return undefined;
  return new Set([
    ...reads,
    ...(shapeOf(plan)?.identity ?? []),
    ...plan.keyColumns,
    plan.source?.eventTimeColumn ?? '',
    ...ruleColumnsOf(plan.source).holding,
  ]);
}

/**
 * The same columns as an earlier contract calls them: rows of then are read under the names of now, by the columns' numbers. What a
 * route finds by name in rows of any contract, keys and times, stays by name too. Undefined: all.
 */
export function namesUnder(
  names: ReadonlySet<string> | undefined,
  { source, keyColumns }: RoutePlan,
  earlier: Contract,
): ReadonlySet<string> | undefined {
  if (names === undefined) return undefined;
  const columns = source?.contract?.columns ?? [];
  const identity = source?.mode === SourceMode.MUTABLE ? rowIdentity(earlier).columns : [];
  const byName = new Set([...keyColumns, ...identity, source?.eventTimeColumn ?? '']);
  const nameNow = (column: Column): string => columns.find((one) => isSameColumn(one, column))?.name ?? column.name;
  const called = earlier.columns.filter((column) => names.has(nameNow(column)) || byName.has(column.name));
  return new Set(called.map(({ name }) => name));
}

/** By their numbers in one table; where these are not known or the tables are two, by name. */
function isSameColumn(a: Column, b: Column): boolean {
  return areNumbered([a], [b]) ? a.columnNumber === b.columnNumber : a.name === b.name;
}

/** Whether two contracts tell rows apart by the same columns: then a row has the same key under both. */
export function sameRows(a: Contract, b: Contract): boolean {
  return sameIdentity(shapeOfContract(a), shapeOfContract(b));
}

function sameIdentity(a: RowShape, b: RowShape): boolean {
  return a.unique === b.unique && JSON.stringify(a.identity) === JSON.stringify(b.identity);
}

/** By which columns rows are told apart, in words. */
export function identityName({ unique, identity }: Pick<RowShape, 'unique' | 'identity'>): string {
  return unique ? `(${identity.join(', ')})` : `all their columns (${identity.join(', ')})`;
}

/** The columns of a route that the views of definitions read, as theirs or as those of a table that they join. */
function columnsRead({ views }: DefinitionSet, route: number): ReadonlySet<string> {
  const read = new Set<string>();
  for (const view of views) {
    const { joins } = view;
    if (view.route === route) {
      for (const { name } of view.columns) read.add(name);
      for (const { on } of joins) for (const { column } of on) read.add(column);
      // A count of rows reads none, and is read all the same.
      for (const key of view.entity?.key ?? []) read.add(key.name);
    }
    for (const join of joins) {
      if (join.route !== route) continue;
      for (const { column } of join.columns) if (column !== undefined) read.add(column.name);
    }
  }
  return read;
}
