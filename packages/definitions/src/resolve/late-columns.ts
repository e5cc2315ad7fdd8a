/**
 * Which columns the rows that a route has from before cannot give a view that comes now.
 *
 * An append source's rows stay in the log as they were inserted, under the contract of then. A column that was renamed is found
 * in them by its number, if somebody read it: its rows waited for the contract that knows the new name. One that came, or that is
 * of another type, is not in them, and rows that came before its contract was accepted may have had values; and a name may
 * have been another column's. Where the table's values were computed anew, they have those of before: that both belong together is
 * said by who accepts it for those who read the column, and by nobody where none does. A view over such a column is given a route
 * of its own, which begins with the table as it is, so that no aggregate of it is of half the rows. Views of the route from before
 * stay as they are, with all their history.
 *
 * Owns that rule. Does not own how a row is read (packages/engine/src/fold/contract-book.ts). Pure.
 */
import { create } from '@bufbuild/protobuf';
import { areNumbered } from '@freshet/contracts/column-number.ts';
import type { Column, Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type LateColumn, LateColumnSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { sameType } from '@freshet/values/type-name.ts';

/** Whether rows of before have no value of the column. */
export function isLate(late: readonly LateColumn[], { name, columnNumber }: Column): boolean {
  return late.some((one) => one.name === name && (one.columnNumber === 0 || one.columnNumber !== columnNumber));
}

/** The contracts between which something may come to be late, and who reads the route. */
export interface Between {
  readonly before: Contract;
  readonly after: Contract;
  /** The columns that somebody read until then. */
  readonly read: ReadonlySet<string>;
  /** Those that somebody reads from then on; left out: it is not known yet. */
  readonly readNow?: ReadonlySet<string> | undefined;
}

/** What is late of a route once another contract is in force. */
export function lateColumns(known: readonly LateColumn[], { before, after, read, readNow }: Between): LateColumn[] {
  const late = new Map<string, LateColumn>();
  const add = (name: string, columnNumber: number): void => {
    const one = create(LateColumnSchema, { name, columnNumber });
    late.set(keyOf(one), one);
  };
  const numbered = areNumbered(before.columns, after.columns);
  // A table that was made anew numbers its columns anew.
  for (const { name, columnNumber } of known)
    add(name, numbered ? columnNumber : numberIn(after, before, columnNumber));
  const isSame = (a: Column, b: Column): boolean => (numbered ? a.columnNumber === b.columnNumber : a.name === b.name);
  for (const column of after.columns) {
    const was = before.columns.find((one) => isSame(one, column));
    const isThere = was !== undefined && typesAgree(was, column);
    if (!isThere || (was.name !== column.name && (!read.has(was.name) || isLate(known, was)))) add(column.name, 0);
    else if (column.valuesSinceUs > was.valuesSinceUs && !(read.has(was.name) && readNow?.has(column.name) !== false))
      add(column.name, 0);
  }
  for (const column of before.columns) {
    const now = after.columns.find((one) => isSame(one, column));
    if (now?.name !== column.name) add(column.name, numbered ? column.columnNumber : 0);
  }
  return [...late.values()].sort((a, b) => compareStrings(a.name, b.name) || a.columnNumber - b.columnNumber);
}

/** The number that a column has in another table, by its name; 0: none, or it is not known. */
function numberIn(after: Contract, before: Contract, columnNumber: number): number {
  const was = columnNumber === 0 ? undefined : before.columns.find((one) => one.columnNumber === columnNumber);
  return after.columns.find(({ name }) => name === was?.name)?.columnNumber ?? 0;
}

function typesAgree(a: Column, b: Column): boolean {
  return a.type !== undefined && b.type !== undefined && sameType(a.type, b.type);
}

function keyOf({ name, columnNumber }: LateColumn): string {
  return JSON.stringify([name, columnNumber]);
}
