/**
 * What is different between two contracts of one source, column by column. Pure.
 *
 * Owns the kinds of change, what is taken for a rename, and whether a change only widens. Does not own whom a change
 * hurts (judge.ts). What one of the contracts does not tell, because it was captured before contracts told it, is no
 * change.
 */
import type { Column, Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { ReplicaIdentity } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { sameType, typeName } from '@freshet/values/type-name.ts';
import { areNumbered } from './column-number.ts';
import { bareType, isDetailed, limitsOf, type TypeLimits } from './column-type.ts';
import { changesOfEnum } from './enum-change.ts';

export type ChangeKind =
  | 'added'
  | 'dropped'
  | 'renamed'
  | 'type_changed'
  | 'values_rewritten'
  | 'length_narrowed'
  | 'length_widened'
  | 'digits_narrowed'
  | 'digits_widened'
  | 'time_zone_changed'
  | 'null_allowed'
  | 'null_refused'
  | 'default_changed'
  | 'enum_label_added'
  | 'enum_label_removed'
  | 'enum_label_renamed'
  | 'enum_reordered'
  | 'domain_changed'
  | 'primary_key_changed'
  | 'replica_identity_changed'
  | 'table_dropped'
  | 'table_renamed';

/** One difference. */
export interface Change {
  readonly kind: ChangeKind;
  /** The column by its name before; of an added one, its name. Empty: the table as a whole. */
  readonly column: string;
  readonly before: string;
  readonly after: string;
  /** Whether rows of the new shape can still be read by who reads the column, in the type that he expects. */
  readonly readable: boolean;
}

/** What is known of a change beside the two shapes. */
export interface ChangeHints {
  /** Name before → name after, where it is known by the statement that did it. */
  readonly renamed?: ReadonlyMap<string, string> | undefined;
  /** Columns, by their names after, whose stored values a statement computes anew (ALTER COLUMN TYPE … USING). */
  readonly rewritten?: ReadonlySet<string> | undefined;
}

/** The differences, in the order of the columns before, then of added ones, then of the table. */
export function changesBetween(before: Contract, after: Contract, hints: ChangeHints = {}): Change[] {
  const { pairs, come } = pairsOf(before, after, hints);
  const changes: Change[] = [];
  const renamed = new Map<string, string>();
  for (const [column, now] of pairs) {
    if (now === undefined) {
      changes.push(change('dropped', column.name, column.sourceType, '', false));
      continue;
    }
    if (now.name !== column.name) {
      renamed.set(column.name, now.name);
      changes.push(change('renamed', column.name, column.name, now.name, false));
    }
    changes.push(...changesOfColumn(column, now));
    if (hints.rewritten?.has(now.name) === true || now.valuesSinceUs > column.valuesSinceUs)
      changes.push(change('values_rewritten', column.name, column.sourceType, now.sourceType));
  }
  for (const column of come) changes.push(change('added', column.name, '', column.sourceType));
  return [...changes, ...changesOfTable(before, after, renamed)];
}

/** Each column of before with what it is now, and the columns that are new: by the statement, by numbers, or by a guess. */
function pairsOf(
  before: Contract,
  after: Contract,
  hints: ChangeHints,
): { readonly pairs: readonly (readonly [Column, Column | undefined])[]; readonly come: readonly Column[] } {
  const ofPairs = (nowOf: (column: Column) => Column | undefined): ReturnType<typeof pairsOf> => {
    const pairs = before.columns.map((column) => [column, nowOf(column)] as const);
    const known = new Set(pairs.map(([, now]) => now));
    return { pairs, come: after.columns.filter((column) => !known.has(column)) };
  };
  // A statement does not tell the numbers of the columns that it adds; what was there keeps its own.
  const told =
    hints.renamed === undefined ? after.columns : after.columns.filter(({ columnNumber }) => columnNumber !== 0);
  if (areNumbered(before.columns, told)) {
    const numbers = new Map(told.map((column) => [column.columnNumber, column]));
    return ofPairs(({ columnNumber }) => numbers.get(columnNumber));
  }
  const gone = before.columns.filter(({ name }) => !after.columns.some((column) => column.name === name));
  const come = after.columns.filter(({ name }) => !before.columns.some((column) => column.name === name));
  const renamed = hints.renamed ?? guessRenames(before, after, gone, come);
  const names = new Map(after.columns.map((column) => [column.name, column]));
  return ofPairs(({ name }) => names.get(renamed.get(name) ?? name));
}

/**
 * One gone and one new of the same type is taken for a rename. Where several could be, the place among the columns
 * decides, since a rename keeps it; what is still open counts as dropped and added, which breaks as much.
 */
function guessRenames(
  before: Contract,
  after: Contract,
  gone: readonly Column[],
  come: readonly Column[],
): Map<string, string> {
  const renamed = new Map<string, string>();
  const isSame = (a: Column, b: Column): boolean =>
    a.sourceTypeOid === b.sourceTypeOid && a.sourceType === b.sourceType;
  for (const column of gone) {
    const fits = come.filter((other) => isSame(column, other));
    const place = before.columns.indexOf(column);
    const found =
      fits.length === 1 && gone.filter((other) => isSame(other, column)).length === 1
        ? fits[0]
        : fits.find((other) => after.columns.indexOf(other) === place);
    if (found !== undefined) renamed.set(column.name, found.name);
  }
  return renamed;
}

function changesOfColumn(before: Column, after: Column): Change[] {
  const { name } = before;
  const changes: Change[] = [];
  const readsAlike = before.type !== undefined && after.type !== undefined && sameType(before.type, after.type);
  if (!readsAlike || retyped(before, after)) changes.push(typeChange(before, after, readsAlike));
  else changes.push(...changesOfLimits(name, limitsOf(before), limitsOf(after)));
  if (before.nullable !== after.nullable)
    changes.push(change(after.nullable ? 'null_allowed' : 'null_refused', name, nullText(before), nullText(after)));
  if (!isDetailed(before) || !isDetailed(after)) return changes;
  const [had, has] = [defaultOf(before), defaultOf(after)];
  if (had !== has) changes.push(change('default_changed', name, had, has));
  changes.push(...changesOfEnum(name, before.enumLabels, after.enumLabels));
  const [was, is] = [domainText(before), domainText(after)];
  if (was !== is) changes.push(change('domain_changed', name, was, is));
  return changes;
}

/** A column is of another type when its type without limits has another name, or, for a type of the user, another oid. */
function retyped(before: Column, after: Column): boolean {
  const [was, is] = [bareType(before), bareType(after)];
  return was !== '' && is !== '' && was !== is;
}

/** By bare name: the types that hold every value of the one before, in the same text or number. */
const WIDER: Readonly<Record<string, readonly string[]>> = {
  smallint: ['integer', 'bigint'],
  integer: ['bigint'],
  real: ['double precision'],
  'character varying': ['text'],
  json: [],
};

function typeChange(before: Column, after: Column, readsAlike: boolean): Change {
  const [was, is] = [before, after].map((column) => column.sourceType || typeNameOf(column)) as [string, string];
  // A varchar without a length takes what a text takes.
  const isText = bareType(before) === 'text' && bareType(after) === 'character varying' && isUnlimited(after);
  const widens = readsAlike && (isText || WIDER[bareType(before)]?.includes(bareType(after)) === true);
  if (widens) {
    const kind = isText || bareType(after) === 'text' ? 'length_widened' : 'digits_widened';
    return change(kind, before.name, was, is);
  }
  const [zoneBefore, zoneAfter] = [limitsOf(before).timeZone, limitsOf(after).timeZone];
  if (readsAlike && zoneBefore !== zoneAfter) return change('time_zone_changed', before.name, was, is);
  // text that becomes varchar(10) is cut like varchar(20) that does.
  if (readsAlike && bareType(before) === 'text' && !isUnlimited(after))
    return change('length_narrowed', before.name, was, is);
  return change('type_changed', before.name, was, is, readsAlike);
}

function isUnlimited(column: Column): boolean {
  return limitsOf(column).length === undefined;
}

function typeNameOf(column: Column): string {
  return column.type === undefined ? 'unknown' : typeName(column.type);
}

function changesOfLimits(name: string, before: TypeLimits, after: TypeLimits): Change[] {
  const changes: Change[] = [];
  if (before.length !== after.length) {
    const narrower = after.length !== undefined && after.length < (before.length ?? Number.POSITIVE_INFINITY);
    changes.push(
      change(narrower ? 'length_narrowed' : 'length_widened', name, limitText(before.length), limitText(after.length)),
    );
  }
  if (before.precision !== after.precision || before.scale !== after.scale) {
    const kind = holdsDigits(after, before) ? 'digits_widened' : 'digits_narrowed';
    changes.push(change(kind, name, digitsText(before), digitsText(after)));
  }
  if (before.timeZone !== after.timeZone)
    changes.push(change('time_zone_changed', name, zoneText(before), zoneText(after)));
  return changes;
}

/** Whether every number that fits the one fits the other: digits before the point and digits behind it. */
function holdsDigits(wide: TypeLimits, narrow: TypeLimits): boolean {
  if (wide.precision === undefined) return true;
  if (narrow.precision === undefined) return false;
  const [scaleOfWide, scaleOfNarrow] = [wide.scale ?? 0, narrow.scale ?? 0];
  return scaleOfWide >= scaleOfNarrow && wide.precision - scaleOfWide >= narrow.precision - scaleOfNarrow;
}

const IDENTITIES: ReadonlyMap<number, string> = new Map([
  [ReplicaIdentity.DEFAULT, 'default'],
  [ReplicaIdentity.FULL, 'full'],
  [ReplicaIdentity.NOTHING, 'nothing'],
]);

function changesOfTable(before: Contract, after: Contract, renamed: ReadonlyMap<string, string>): Change[] {
  const changes: Change[] = [];
  const follow = (names: readonly string[]): string => names.map((name) => renamed.get(name) ?? name).join(', ');
  const [was, is] = [follow(before.primaryKey), after.primaryKey.join(', ')];
  if (was !== is) changes.push(change('primary_key_changed', '', before.primaryKey.join(', '), is));
  const identity = (contract: Contract, columns: string): string =>
    contract.replicaIdentity === ReplicaIdentity.INDEX
      ? `index over ${columns}`
      : (IDENTITIES.get(contract.replicaIdentity) ?? 'unknown');
  const [old, now] = [
    identity(before, follow(before.replicaIdentityColumns)),
    identity(after, after.replicaIdentityColumns.join(', ')),
  ];
  const told =
    before.replicaIdentity !== ReplicaIdentity.UNSPECIFIED && after.replicaIdentity !== ReplicaIdentity.UNSPECIFIED;
  if (told && old !== now) changes.push(change('replica_identity_changed', '', old, now));
  return changes;
}

function change(kind: ChangeKind, column: string, before: string, after: string, readable = true): Change {
  return { kind, column, before, after, readable };
}

function nullText({ nullable }: Column): string {
  return nullable ? 'null' : 'not null';
}

/** A null of the type, as Postgres keeps some, is what a row gets that has no default. */
export function defaultOf({ defaultExpression }: Column): string {
  return /^null(?:::|$)/i.test(defaultExpression) ? '' : defaultExpression;
}

function limitText(limit: number | undefined): string {
  return limit === undefined ? 'without limit' : String(limit);
}

function digitsText({ precision, scale }: TypeLimits): string {
  if (precision === undefined) return 'without limit';
  return scale === undefined ? String(precision) : `${precision},${scale}`;
}

function zoneText({ timeZone }: TypeLimits): string {
  return timeZone ? 'with time zone' : 'without time zone';
}

function domainText({ domains }: Column): string {
  return domains
    .map(({ name, baseType, notNull, checks }) =>
      [`${name} as ${baseType}`, ...(notNull ? ['not null'] : []), ...checks].join(' '),
    )
    .join('; ');
}
