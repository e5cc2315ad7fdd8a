/**
 * The version of a source's contract: the same while rows keep their layout, the next when it changes. Rows in the log
 * name the version they were captured under, so a number never means two layouts of one table.
 */
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
  return layoutOf(newest) === layoutOf(contract) ? newest.version : newest.version + 1;
}

/** What decides how a row's values are read: the columns' names and types, in order. */
function layoutOf(contract: Contract): string {
  return JSON.stringify(contract.columns.map(({ name, type }) => [name, type === undefined ? '' : typeName(type)]));
}

/** What is different in words: "column amount added"; empty when the layout is the same but for the order. */
export function layoutChanges(before: Contract, after: Contract): string[] {
  const changes: string[] = [];
  const old = new Map(before.columns.map((column) => [column.name, column]));
  for (const column of after.columns) {
    const was = old.get(column.name);
    old.delete(column.name);
    if (was === undefined) changes.push(`column ${column.name} added`);
    else if (was.type !== undefined && column.type !== undefined && !sameType(was.type, column.type)) {
      changes.push(`column ${column.name} is ${typeName(column.type)}, was ${typeName(was.type)}`);
    }
  }
  for (const name of old.keys()) changes.push(`column ${name} dropped`);
  return changes;
}
