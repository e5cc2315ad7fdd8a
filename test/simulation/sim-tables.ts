/**
 * The tables of the simulated database: what the catalog and the stream say of them, and the rows that they hold.
 *
 *     activity   append: rows are only ever inserted
 *     orders     mutable, REPLICA IDENTITY FULL: an old row tells its user
 *     catalog    mutable, a broadcast table that views join; an old row tells its key only
 *
 * Owns rows as Postgres writes them, and what a change does to them. Does not own commits or positions (sim-postgres.ts).
 */
import { assert, must } from '@freshet/kit/assert.ts';
import type { CatalogTable } from '../../services/ingest/src/core/contract.ts';
import type { PgOutputMessage, Relation } from '../../services/ingest/src/core/pgoutput/messages.ts';

export interface SimTable {
  readonly oid: number;
  readonly schema: string;
  readonly table: string;
  readonly replicaIdentity: 'd' | 'f';
  /** The column that is the primary key. */
  readonly key: string;
  readonly columns: readonly {
    readonly name: string;
    readonly oid: number;
    readonly sql: string;
    readonly nullable?: true;
  }[];
}

const BIGINT = { oid: 20, sql: 'bigint' } as const;
const TEXT = { oid: 25, sql: 'text' } as const;
const AT = { name: 'at', oid: 1184, sql: 'timestamp with time zone' } as const;

export const ACTIVITY: SimTable = {
  ...{ oid: 16_384, schema: 'public', table: 'activity', replicaIdentity: 'd', key: 'id' },
  columns: [{ name: 'id', ...BIGINT }, { name: 'user_id', ...BIGINT }, { name: 'amount', ...BIGINT }, AT],
};

export const ORDERS: SimTable = {
  ...{ oid: 16_390, schema: 'public', table: 'orders', replicaIdentity: 'f', key: 'id' },
  columns: [
    { name: 'id', ...BIGINT },
    { name: 'user_id', ...BIGINT },
    { name: 'sku', ...TEXT },
    { name: 'status', ...TEXT },
    { name: 'qty', ...BIGINT, nullable: true },
    { name: 'amount', oid: 1700, sql: 'numeric(12,2)' },
    { name: 'weight', oid: 701, sql: 'double precision' },
    AT,
  ],
};

export const CATALOG: SimTable = {
  ...{ oid: 16_400, schema: 'public', table: 'catalog', replicaIdentity: 'd', key: 'sku' },
  columns: [
    { name: 'sku', ...TEXT },
    { name: 'factor', ...BIGINT },
  ],
};

export const TABLES: readonly SimTable[] = [ACTIVITY, ORDERS, CATALOG];

/** A row by column, each value as Postgres writes it. */
export type SimRow = Readonly<Record<string, string | null>>;

export type RowChange =
  | { readonly kind: 'insert'; readonly table: SimTable; readonly row: SimRow }
  | { readonly kind: 'update'; readonly table: SimTable; readonly old: SimRow; readonly row: SimRow }
  | { readonly kind: 'delete'; readonly table: SimTable; readonly old: SimRow }
  | { readonly kind: 'truncate'; readonly table: SimTable };

/** The rows that are there, by table and primary key, in the order in which they came to be. */
export class LiveTables {
  readonly #rows = new Map<SimTable, Map<string, SimRow>>(TABLES.map((table) => [table, new Map()]));

  rows(table: SimTable): ReadonlyMap<string, SimRow> {
    return this.#of(table);
  }

  apply(change: RowChange): void {
    const { table } = change;
    const rows = this.#of(table);
    if (change.kind === 'truncate') rows.clear();
    if (change.kind === 'delete') assert(rows.delete(text(change.old, table.key)), 'a delete of no row');
    if (change.kind === 'update') {
      const [before, after] = [text(change.old, table.key), text(change.row, table.key)];
      assert(rows.has(before), 'an update of no row');
      if (before !== after) rows.delete(before);
      rows.set(after, change.row);
    }
    if (change.kind === 'insert') {
      assert(!rows.has(text(change.row, table.key)), 'a primary key twice');
      rows.set(text(change.row, table.key), change.row);
    }
  }

  #of(table: SimTable): Map<string, SimRow> {
    return must(this.#rows.get(table), 'a table that there is');
  }
}

/** The value of a column that is not null. */
export function text(row: SimRow, column: string): string {
  return must(row[column], `column ${column}`);
}

/** The row's columns in order. */
export function tuple(row: SimRow, columns: readonly string[]): (string | null)[] {
  return columns.map((name) => {
    const value = row[name];
    assert(value !== undefined, `column ${name}`);
    return value;
  });
}

/** A column that is renamed now and then, and its other name. */
export const RENAMED = { table: ORDERS, column: 'weight', to: 'weight_kg' } as const;

/** The table with its columns as they are called then. */
export function shapedTable(table: SimTable, isRenamed: boolean): SimTable {
  if (!isRenamed || table !== RENAMED.table) return table;
  const columns = table.columns.map((column) =>
    column.name === RENAMED.column ? { ...column, name: RENAMED.to } : column,
  );
  return { ...table, columns };
}

/** What the catalog says of the table. */
export function catalogTable({ oid, schema, table, replicaIdentity, key, columns }: SimTable): CatalogTable {
  return {
    oid,
    schema,
    table,
    kind: 'r',
    persistence: 'p',
    replicaIdentity,
    primaryKey: [key],
    identityIndex: [],
    columns: columns.map(({ name, oid: typeOid, sql, nullable }, i) => ({
      name,
      number: i + 1,
      typeOid,
      typeText: sql,
      nullable: nullable === true,
      generated: false,
      base: { oid: typeOid, name: sql, category: 'N', elementOid: 0, modifier: -1 },
      typeModifier: -1,
      defaultExpression: '',
      enumLabels: [],
      domains: [],
    })),
    maySelect: true,
    owner: 'sim',
    rowSecurity: false,
  };
}

/** What the stream says of the table. */
export function relationOf({ oid, schema, table, replicaIdentity, key, columns }: SimTable): Relation {
  return {
    id: oid,
    schema,
    table,
    replicaIdentity,
    columns: columns.map(({ name, oid: typeOid }) => ({
      name,
      typeOid,
      typeModifier: -1,
      identity: replicaIdentity === 'f' || name === key,
    })),
  };
}

/** What the stream says of a change: of old rows, what the replica identity has. */
export function messageOf(change: RowChange): PgOutputMessage {
  const { table } = change;
  const names = table.columns.map(({ name }) => name);
  const whole = table.replicaIdentity === 'f';
  const told = (row: SimRow): { whole: boolean; values: (string | null)[] } => ({
    whole,
    values: tuple(row, names).map((value, i) => (whole || names[i] === table.key ? value : null)),
  });
  const relationId = table.oid;
  switch (change.kind) {
    case 'insert':
      return { kind: 'insert', relationId, row: tuple(change.row, names) };
    case 'update': {
      const isTold = whole || change.old[table.key] !== change.row[table.key];
      return {
        kind: 'update',
        relationId,
        old: isTold ? told(change.old) : undefined,
        row: tuple(change.row, names),
      };
    }
    case 'delete':
      return { kind: 'delete', relationId, old: told(change.old) };
    default:
      return { kind: 'truncate', relationIds: [relationId], cascade: false, restartIdentity: false };
  }
}

/** A line of COPY. */
export function copyLine(row: SimRow, columns: readonly string[]): string {
  return `${tuple(row, columns)
    .map((value) => value ?? '\\N')
    .join('\t')}\n`;
}

/** As Postgres writes a timestamptz in UTC. */
export function timestampText(us: number): string {
  const seconds = Math.floor(us / 1e6);
  const iso = new Date(seconds * 1000).toISOString();
  const micros = String(us - seconds * 1e6).padStart(6, '0');
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}.${micros}+00`;
}

/** The instant that timestampText() wrote, microseconds. */
export function instantOf(timestamp: string): number {
  return Date.parse(`${timestamp.slice(0, 10)}T${timestamp.slice(11, 19)}Z`) * 1000 + Number(timestamp.slice(20, 26));
}
