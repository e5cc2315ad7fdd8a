/**
 * Values that Freshet has no form for, in columns that nobody reads: `infinity` for a time that does not end, an array of arrays.
 *
 * Owns which of a row's values are such. A row is no worse for them: null stands for each, as for a large value that was not sent,
 * and the column is noted as a hole, so that whoever comes to read it begins with the table as it is (I2). In a column that is
 * read they put the row aside. Pure.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Tuple } from './pgoutput/messages.ts';
import type { Route } from './route.ts';
import { ValueRefused } from './types/value-refused.ts';

/** Of the others there is no text of Postgres' that is refused. */
const KINDS: ReadonlySet<Kind> = new Set([Kind.TIMESTAMP, Kind.LIST, Kind.VECTOR]);

/**
 * The indexes, among the contract's, of columns that nobody reads and that may have such values. A value rule that keeps rows back
 * reads too: null keeps it, and a row that breaks it would pass unasked.
 */
export function refusableColumns({
  contract,
  needed,
  types,
  rules,
}: Pick<Route, 'contract' | 'needed' | 'types' | 'rules'>): readonly number[] {
  const asked: ReadonlySet<number> = rules?.holding ?? new Set();
  return contract.columns.flatMap(({ name }, i) =>
    needed?.has(name) === false && !asked.has(i) && KINDS.has(types[i]?.kind ?? Kind.UNSPECIFIED) ? [i] : [],
  );
}

/** Whether the column's text is of no value. */
export function isRefused(route: Pick<Route, 'parsers'>, column: number, text: string): boolean {
  try {
    route.parsers[column]?.(text);
    return false;
  } catch (error) {
    if (error instanceof ValueRefused) return true;
    throw error;
  }
}

/** The row with null for such values, and the columns that have them; the row itself where there are none. */
export function withoutRefused(
  route: Pick<Route, 'parsers' | 'refusable'>,
  values: Tuple,
): { readonly values: Tuple; readonly holes: readonly number[] } {
  const holes = route.refusable.filter((column) => {
    const text = values[column];
    return typeof text === 'string' && isRefused(route, column, text);
  });
  if (holes.length === 0) return { values, holes };
  return { values: values.map((value, column) => (holes.includes(column) ? null : value)), holes };
}
