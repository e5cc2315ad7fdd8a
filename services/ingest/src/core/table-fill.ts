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
import type { Column, Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { CatalogTable } from './contract.ts';
import type { Relation } from './pgoutput/messages.ts';

/** Which filling of a table is there. Kept in the source's state as JSON. */
export interface TableFill {
  /** Stands for the file, or of a partitioned table for its partitions' files, that the rows are in. */
  readonly file: string;
  /** By pg_attribute.attnum: the column's name, and which row of the catalog describes it. */
  readonly columns: readonly (readonly [number: number, name: string, version: string])[];
}

/** A column whose values were computed anew in the table since its rows were captured. Kept in the source's state as JSON. */
export interface ColumnValues {
  /** pg_attribute.attnum; 0: known by its name alone. */
  readonly number: number;
  /** As it was called then. */
  readonly name: string;
  /** When it was seen, microseconds since the Unix epoch; of two times of one column the later one is the greater. */
  readonly sinceUs: number;
  /** Whether the table has another column under its name, or had as it was seen last; never kept, as a filling and a contract tell it. */
  readonly isReplaced?: true | undefined;
}

/** No contract that has the column takes them: of a mutable source, whose rows are read anew for it, and of a column that is gone. */
export const NEVER_ACCEPTED_US = Number.MAX_SAFE_INTEGER;

/** What is known once columns are found computed anew: each of them the newest time only. */
export function withValues(
  known: readonly ColumnValues[],
  found: readonly Pick<ColumnValues, 'number' | 'name'>[],
  nowUs: number,
): ColumnValues[] {
  const numbers = new Set(found.map(({ number }) => number));
  const after = Math.max(nowUs, ...known.map(({ sinceUs }) => sinceUs + 1));
  return [
    ...known.filter(({ number }) => !numbers.has(number)),
    ...found.map(({ number, name }) => ({ number, name, sinceUs: after })),
  ];
}

/**
 * The newest time that a contract knows. What is found after it must be later, also when the route that it was of is over, as with
 * a resync or another node, and the clock is behind that of then: it would be taken for accepted.
 */
export function acceptedUs(contract: Contract | undefined): number {
  return Math.max(0, ...(contract?.columns ?? []).map(({ valuesSinceUs }) => Number(valuesSinceUs)));
}

/**
 * Those that a contract does not know to be computed anew, so that rows since are not read by it. `read`: the columns that
 * somebody reads, of which alone it matters; undefined: all.
 */
export function unaccepted(
  contract: Contract,
  values: readonly ColumnValues[],
  read?: ReadonlySet<string>,
): readonly ColumnValues[] {
  return values.filter((one) =>
    contract.columns.some((column) => isOf(one, column) && !isKnown(column, one) && read?.has(column.name) !== false),
  );
}

/**
 * Columns of the contract of which another column of the table has the name: dropped and made anew, in which the last one keeps its
 * place, or renamed onto it. The stream tells no numbers.
 */
export function replacedColumns({ columns }: Contract, tableOid: number, fill: TableFill | undefined): ColumnValues[] {
  const numbers = new Map(fill?.columns.map(([number, name]) => [name, number]));
  return columns.flatMap(({ name, columnNumber: number, tableOid: of }) => {
    const now = numbers.get(name);
    if (of !== tableOid || number === 0 || now === undefined || now === number) return [];
    return [{ number, name, sinceUs: NEVER_ACCEPTED_US, isReplaced: true }];
  });
}

/** The names of a contract's columns that are replaced by what is known. */
export function replacedOf({ columns }: Contract, values: readonly ColumnValues[]): string[] {
  const replaced = values.filter(({ isReplaced }) => isReplaced === true);
  return columns.flatMap((column) => (replaced.some((one) => isOf(one, column)) ? [column.name] : []));
}

/** The contract as it would be if it knew. */
export function withValuesSince(contract: Contract, values: readonly ColumnValues[]): Contract {
  const newer = unaccepted(contract, values).filter(({ isReplaced }) => isReplaced !== true);
  if (newer.length === 0) return contract;
  const columns = contract.columns.map((column) => {
    const found = newer.filter((one) => isOf(one, column) && !isKnown(column, one)).map(({ sinceUs }) => sinceUs);
    return found.length === 0 ? column : { ...column, valuesSinceUs: BigInt(Math.max(...found)) };
  });
  return { ...contract, columns };
}

function isOf({ number, name }: ColumnValues, column: Column): boolean {
  return number === 0 || column.columnNumber === 0 ? column.name === name : column.columnNumber === number;
}

function isKnown({ valuesSinceUs }: Column, { sinceUs }: ColumnValues): boolean {
  return valuesSinceUs >= BigInt(sinceUs);
}

/** The columns, as they are called now, whose values were computed anew between two looks. */
export function rewrittenColumns(was: TableFill, now: TableFill): Pick<ColumnValues, 'number' | 'name'>[] {
  if (was.file === now.file) return [];
  const versions = new Map(was.columns.map(([number, , version]) => [number, version]));
  return now.columns.flatMap(([number, name, version]) => {
    const before = versions.get(number);
    return before === undefined || before === version ? [] : [{ number, name }];
  });
}

/** Whether two looks found the same. */
export function isSameFill(a: TableFill, b: TableFill): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether a transaction of the 32-bit id is over by a snapshot as Postgres writes it: "xmin:xmax:xid,xid", of 64-bit ids. */
export function isSeen(snapshot: string, xid: number): boolean {
  const [, end = '0', running = ''] = snapshot.split(':');
  // The one that is nearest to the end: ids of the stream are of now.
  const whole = BigInt(end) + BigInt.asIntN(32, BigInt(xid) - BigInt(end));
  return whole < BigInt(end) && !running.split(',').includes(String(whole));
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
