/**
 * The version of a source's contract: the same while nothing that it promises changes, the next when anything does. Rows
 * in the log name the version they were captured under, so a number never means two layouts of one table, nor two lengths
 * of one column, nor the columns' numbers of two tables. A contract from before columns told their details is no other one for
 * telling them now.
 */
import { type ChangeKind, changesBetween } from '@freshet/contracts/change.ts';
import { areNumbered } from '@freshet/contracts/column-number.ts';
import { changeText } from '@freshet/contracts/judge.ts';
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, SourcePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { sameType, typeName } from '@freshet/values/type-name.ts';
import { originName } from './origin.ts';

/** The contracts of the table that were in force before, newest version first. */
export function previousContracts(source: SourcePlan, previous: DefinitionSet | undefined): Contract[] {
  const origin = originName(source);
  const contracts = (previous?.routes ?? []).flatMap((route) =>
    route.source?.contract !== undefined && originName(route.source) === origin ? [route.source.contract] : [],
  );
  return contracts.sort((a, b) => b.version - a.version);
}

/** The version that the contract gets after the ones before it. */
export function contractVersion(contract: Contract, before: readonly Contract[]): number {
  const newest = before[0];
  if (newest === undefined) return 1;
  const isSame =
    sameLayout(newest, contract) && changesBetween(newest, contract).length === 0 && !isOtherTable(newest, contract);
  return isSame ? newest.version : newest.version + 1;
}

/** What ingest does not tell now, as it does not capture the table or has forgotten, was told before: it stays accepted. */
export function keepValuesSince(contract: Contract, before: readonly Contract[]): void {
  const [newest] = before;
  if (newest === undefined || isOtherTable(newest, contract)) return;
  const numbered = areNumbered(newest.columns, contract.columns);
  contract.columns = contract.columns.map((column) => {
    const was = newest.columns.find((one) =>
      numbered ? one.columnNumber === column.columnNumber : one.name === column.name,
    );
    if (was === undefined || was.valuesSinceUs <= column.valuesSinceUs) return column;
    return { ...column, valuesSinceUs: was.valuesSinceUs };
  });
}

/** A table that was made anew numbers its columns anew: by the numbers of two tables in one version, a column renamed later would be lost. */
function isOtherTable(a: Contract, b: Contract): boolean {
  const [was, is] = [a.columns[0]?.tableOid ?? 0, b.columns[0]?.tableOid ?? 0];
  return was !== 0 && is !== 0 && was !== is;
}

/** Whether rows of both are read alike: columns of the same names and types, in the same order. */
export function sameLayout(a: Contract, b: Contract): boolean {
  return layoutOf(a) === layoutOf(b);
}

/** What decides how a row's values are read: the columns' names and types, in order. */
function layoutOf(contract: Contract): string {
  return JSON.stringify(contract.columns.map(({ name, type }) => [name, type === undefined ? '' : typeName(type)]));
}

/** What is different in words: "column amount added"; empty when the layout is the same but for the order. */
export function layoutChanges(before: Contract, after: Contract): string[] {
  const changes: string[] = [];
  const numbered = areNumbered(before.columns, after.columns);
  const old = new Map(before.columns.map((column) => [column.name, column]));
  for (const column of after.columns) {
    const was = numbered
      ? before.columns.find(({ columnNumber }) => columnNumber === column.columnNumber)
      : old.get(column.name);
    if (was !== undefined) old.delete(was.name);
    if (was !== undefined && was.name !== column.name) changes.push(`column ${was.name} is called ${column.name} now`);
    if (was === undefined) changes.push(`column ${column.name} added`);
    else if (was.type !== undefined && column.type !== undefined && !sameType(was.type, column.type)) {
      changes.push(`column ${column.name} is ${typeName(column.type)}, was ${typeName(was.type)}`);
    }
  }
  for (const name of old.keys()) changes.push(`column ${name} dropped`);
  return changes;
}

const OF_LAYOUT: ReadonlySet<ChangeKind> = new Set(['added', 'dropped', 'renamed']);

/** What else the contract promises otherwise, in words; what layoutChanges tells is left out. */
export function promiseChanges(before: Contract, after: Contract): string[] {
  return changesBetween(before, after)
    .filter(({ kind, readable }) => readable && !OF_LAYOUT.has(kind))
    .map(changeText);
}
