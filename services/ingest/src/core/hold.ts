/**
 * What is held of a route: all rows that come now, or those of some entity keys, because one before them may not reach a fold.
 * And a held row as an entry of the quarantine, and back.
 *
 *     flows ──a row that breaks──▶ held: it, and all behind it, go to quarantine in order ──release──▶ flows
 *
 * Owns what is held, and a held row's form. A hold is never kept by itself: it is what the entries say that are durable, so
 * that a row which comes again after a crash meets the same hold, or is judged anew when nothing of it was durable (C1). Pure.
 *
 * Limit: keys held one by one, `KEYS_MAX`; policy: the whole table is held from the next on; gauge: the entries' count.
 */
import type { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { HoldScope } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Relation, Tuple } from './pgoutput/messages.ts';
import type { EntryShape, QuarantineEntry, QuarantineReason, RowPlace } from './quarantine.ts';
import type { Route } from './route.ts';
import type { RowBase, StreamRow } from './route-change.ts';
import { tableName } from './sql.ts';

/** A place in a route's lane. */
export type HeldPlace = Pick<RowPlace, 'major' | 'minor'>;

const KEYS_MAX = 10_000;

/** What a hold holds, to be kept: the place from which on the table is held, and those from which on keys are. */
export interface HeldPlaces {
  readonly table: HeldPlace | undefined;
  readonly keys: readonly (readonly [key: string, place: HeldPlace])[];
}

/**
 * What is held of a route, each from the place on of the first row that is: a row of before that comes again was not held,
 * and is not now.
 */
export class Hold {
  #table: HeldPlace | undefined;
  readonly #keys: Map<string, HeldPlace>;

  constructor(of?: Hold) {
    this.#table = of === undefined ? undefined : of.#table;
    this.#keys = new Map(of === undefined ? [] : of.#keys);
  }

  /** A hold as it was kept. */
  static restored({ table, keys }: HeldPlaces): Hold {
    const hold = new Hold();
    hold.#table = table;
    for (const [key, place] of keys) hold.#keys.set(key, place);
    return hold;
  }

  /** What is held, to be kept. */
  get places(): HeldPlaces {
    return { table: this.#table, keys: [...this.#keys] };
  }

  /** Whether rows of some key at the place are held. */
  holdsSome(place: HeldPlace): boolean {
    for (const from of this.#keys.values()) if (!isBefore(place, from)) return true;
    return false;
  }

  /** Whether all rows are held from some place on. */
  get isWhole(): boolean {
    return this.#table !== undefined;
  }

  /** Takes an entry: in their order, but for one that was lost of the file, and comes again while those behind it are known. */
  add({ held, keys, truncates, major, minor }: QuarantineEntry): void {
    const place = { major, minor };
    if (held === undefined || this.holdsTable(place)) return;
    if (held === 'table' || truncates === true) this.#table = place;
    for (const key of keys ?? []) if (!this.holdsKey([key], place)) this.#keys.set(key, place);
    if (this.#keys.size > KEYS_MAX) this.#table ??= place;
  }

  /** Whether every row at the place is held. */
  holdsTable(place: HeldPlace): boolean {
    return this.#table !== undefined && !isBefore(place, this.#table);
  }

  /** Whether a row of one of the keys at the place is held. */
  holdsKey(keys: readonly string[], place: HeldPlace): boolean {
    return keys.some((key) => {
      const from = this.#keys.get(key);
      return from !== undefined && !isBefore(place, from);
    });
  }
}

function isBefore(a: HeldPlace, b: HeldPlace): boolean {
  return a.major < b.major || (a.major === b.major && a.minor < b.minor);
}

/** Reasons that break the contract, rather than being a row that nobody can take. */
const BREAKING: ReadonlySet<QuarantineReason> = new Set(['null_value', 'unknown_label', 'rule']);
/** Reasons that are of the table, whatever its rows are. */
const OF_TABLE: ReadonlySet<QuarantineReason> = new Set(['shape', 'values', 'moved', 'identity']);

/** What a row holds that cannot be taken for the reason; undefined: only itself. */
export function scopeOf(route: Route, reason: QuarantineReason, keys: readonly string[]): 'table' | 'key' | undefined {
  if (OF_TABLE.has(reason)) return 'table';
  if (route.hold === HoldScope.UNSPECIFIED) return BREAKING.has(reason) ? 'table' : undefined;
  if (route.hold === HoldScope.KEY) {
    if (keys.length > 0) return 'key';
    // Whose row it is was not sent: it may be anybody's, and those behind it may be of the same.
    return reason === 'unchanged_value' ? 'table' : undefined;
  }
  return 'table';
}

/** A held row as an entry. `row` undefined: the table was emptied. */
export function heldEntry(
  route: Route,
  base: RowBase,
  row: StreamRow | { readonly relation: Relation },
  why: {
    readonly reason: QuarantineReason;
    readonly detail: string;
    readonly held: 'table' | 'key';
    readonly keys?: readonly string[] | undefined;
  },
): QuarantineEntry {
  const { relation } = row;
  const isRow = 'row' in row;
  return {
    route: route.number,
    generation: route.generation,
    lane: base.lane,
    major: base.major,
    minor: base.minor,
    part: 0,
    source: route.source,
    table: `${route.table.database}/${tableName(route.table.schema, route.table.table)}`,
    operation: isRow ? row.operation : 0,
    contractVersion: route.contract.version,
    atUs: base.nowUs,
    committedUs: base.committedUs ?? null,
    values: isRow ? named(relation, row.row) : {},
    ...why,
    shape: shapeOf(relation),
    ...(isRow && row.old !== undefined
      ? { old: { whole: row.old.whole, values: named(relation, row.old.values) } }
      : {}),
    ...(isRow ? {} : { truncates: true }),
  };
}

/** The row that an entry was made of; undefined: it is no held row. For a truncation, the table alone. */
export function rowOfEntry({
  shape,
  values,
  old,
  operation,
  truncates,
}: QuarantineEntry): StreamRow | { readonly relation: Relation } | undefined {
  if (shape === undefined) return undefined;
  const relation = relationOf(shape);
  if (truncates === true) return { relation };
  const tuple = (of: QuarantineEntry['values']): Tuple => relation.columns.map(({ name }) => of[name]);
  return {
    relation,
    operation: operation as Operation,
    row: tuple(values),
    old: old && { whole: old.whole, values: tuple(old.values) },
  };
}

function named(relation: Relation, tuple: Tuple): Record<string, string | null> {
  const values: Record<string, string | null> = {};
  relation.columns.forEach(({ name }, column) => {
    const value = tuple[column];
    if (value !== undefined) values[name] = value;
  });
  return values;
}

function shapeOf({ id, schema, table, replicaIdentity, columns }: Relation): EntryShape {
  return {
    id,
    schema,
    table,
    replicaIdentity,
    columns: columns.map(({ name, typeOid, typeModifier, identity }) => [
      name,
      typeOid,
      typeModifier,
      identity ? 1 : 0,
    ]),
  };
}

function relationOf({ columns, ...rest }: EntryShape): Relation {
  return {
    ...rest,
    columns: columns.map(([name, typeOid, typeModifier, identity]) => ({
      name,
      typeOid,
      typeModifier,
      identity: identity === 1,
    })),
  };
}

/** How the rows of a renamed table are read, and labels that have other names now. */
export interface Mapping {
  /** The version of the contract that it is for. */
  readonly version: number;
  /** By the contract's column, the table's. */
  readonly columns: Readonly<Record<string, string>>;
  /** By the contract's column, and by the contract's label, the table's. */
  readonly labels: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** The row as the contract names things. */
export function mapRow<T extends StreamRow | { readonly relation: Relation }>(row: T, mapping: Mapping | undefined): T {
  if (mapping === undefined) return row;
  const relation = mapRelation(row.relation, mapping);
  if (!('row' in row)) return { ...row, relation };
  const known = relation.columns.map(
    ({ name }) => new Map(Object.entries(mapping.labels[name] ?? {}).map(([was, now]) => [now, was])),
  );
  const tuple = (of: Tuple): Tuple =>
    of.map((text, i) => (typeof text === 'string' ? (known[i]?.get(text) ?? text) : text));
  const { old } = row;
  return { ...row, relation, row: tuple(row.row), old: old && { ...old, values: tuple(old.values) } };
}

/** Why a mapping cannot be of a table with these columns, in a sentence; undefined: it can. */
export function mappingProblem(columns: readonly string[], mapping: Pick<Mapping, 'columns'>): string | undefined {
  const names = new Map<string, string>();
  for (const [was, now] of Object.entries(mapping.columns)) {
    const other = names.get(now);
    if (other !== undefined) return `column ${now} of the table cannot be both ${other} and ${was}`;
    names.set(now, was);
  }
  const taken = columns.find((name) => !names.has(name) && columns.includes(mapping.columns[name] ?? ''));
  if (taken === undefined) return undefined;
  return `the table has a column ${taken} of its own, so that ${mapping.columns[taken]} cannot be read as it`;
}

function mapRelation(relation: Relation, { columns }: Mapping): Relation {
  const names = new Map(Object.entries(columns).map(([was, now]) => [now, was]));
  return { ...relation, columns: relation.columns.map((c) => ({ ...c, name: names.get(c.name) ?? c.name })) };
}
