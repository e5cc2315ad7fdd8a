/** Which file the rows of a scripted database's tables are in, and what a stream tells of it: nothing, but for one more description. */
import type { Relation } from '../core/pgoutput/messages.ts';
import type { TableFill } from '../core/table-fill.ts';

const FILES = new WeakMap<Relation, number>();

/** By oid; all columns but the id were computed anew with each file. */
export function fillsOf(
  tables: readonly { readonly oid: number; readonly columns: readonly string[]; readonly file: number }[],
): ReadonlyMap<number, TableFill> {
  return new Map(
    tables.map(({ oid, columns, file }) => {
      const rows = columns.map((name, i) => [i + 1, name, name === 'id' ? '' : String(file)] as const);
      return [oid, { file: String(file), columns: rows }];
    }),
  );
}

/** A description of a table while its rows are in the file. */
export function describedIn(file: number, relation: Relation): Relation {
  FILES.set(relation, file);
  return relation;
}

/** What a stream describes a table for again when it is another: after any ALTER TABLE, also where it looks the same. */
export function descriptionOf(relation: Relation): string {
  return JSON.stringify([relation, FILES.get(relation)]);
}
