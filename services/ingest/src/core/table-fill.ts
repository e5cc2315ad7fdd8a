/**
 * Whether a table's stored values were computed anew behind the stream's back: `ALTER TABLE … ALTER COLUMN … TYPE … USING …`
 * rewrites every row and tells of none, and where the type stays what it was, nothing in the stream differs.
 *
 *     another file, and another catalog row of a column   its values were computed anew
 *     another file only                                   VACUUM FULL, CLUSTER, TRUNCATE, another table space: they were not
 *     another catalog row only                            NOT NULL, a default, statistics, a wider varchar: they were not
 *
 * So both are compared at each look, and what came alone is forgotten. Only when both came between two looks, each for another
 * reason, are values taken for computed anew that were not: once, and a table is read anew that need not have been. A rewrite
 * of the column never goes without both. Pure: judges facts that were looked up.
 */
import type { CatalogTable } from './contract.ts';
import type { Relation } from './pgoutput/messages.ts';

/** Which filling of a table is there. Kept in the source's state as JSON. */
export interface TableFill {
  /** Stands for the file, or of a partitioned table for its partitions' files, that the rows are in. */
  readonly file: string;
  /** By pg_attribute.attnum: the column's name, and which row of the catalog describes it. */
  readonly columns: readonly (readonly [number: number, name: string, version: string])[];
}

/** The columns, by their names now, whose values were computed anew between two looks. */
export function rewrittenColumns(was: TableFill, now: TableFill): string[] {
  if (was.file === now.file) return [];
  const versions = new Map(was.columns.map(([number, , version]) => [number, version]));
  return now.columns.flatMap(([number, name, version]) => {
    const before = versions.get(number);
    return before === undefined || before === version ? [] : [name];
  });
}

/** Whether two looks found the same. */
export function isSameFill(a: TableFill, b: TableFill): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** What the stream would describe the table as, but for what tells its rows apart. */
export function relationOf({ oid, schema, table, replicaIdentity, columns }: CatalogTable): Relation {
  return {
    id: oid,
    schema,
    table,
    replicaIdentity,
    columns: columns
      .filter(({ generated }) => !generated)
      .map(({ name, typeOid, typeModifier }) => ({ name, typeOid, typeModifier, identity: false })),
  };
}
