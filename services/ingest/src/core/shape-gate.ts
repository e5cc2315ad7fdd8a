/**
 * The gate in the stream: whether rows of a relation, as the stream describes it, may be read under a contract.
 *
 * Owns the rules for what the stream tells of a type: its oid and its modifier, so that varchar(20) that became varchar(10)
 * is seen. What it does not tell (labels of an enum, nullability) is seen row by row (route.ts). Pure.
 *
 *     strict    any other type or modifier of a column that somebody reads breaks
 *     evolve    what takes every value that the contract takes passes; what takes fewer, or means another thing, breaks
 *     notify    what can still be read as the contract's kind passes
 *
 * A column that is gone, or that is read as another kind, breaks under every policy: there is nothing to read.
 */
import { ChangePolicy, type Column, type Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Relation, RelationColumn } from './pgoutput/messages.ts';
import { builtInType, sameType } from './types/type-table.ts';

/** How a relation stands to a contract. */
export interface ShapeFit {
  /** For each of the contract's columns, its index among the relation's; -1: it is gone. */
  readonly columns: readonly number[];
  /** What breaks, one sentence a column. */
  readonly problems: readonly string[];
  /** Whether every type is exactly the contract's. */
  readonly exact: boolean;
}

const BPCHAR = 1042;
const VARCHAR = 1043;
const TEXT = 25;
const NUMERIC = 1700;
const VARBIT = 1562;
const TIMESTAMP = 1114;
const TIMESTAMPTZ = 1184;
/** time, timestamp, timestamptz, timetz: their modifier is the digits of a second. */
const WITH_FRACTION = new Set([1083, TIMESTAMP, TIMESTAMPTZ, 1266]);
/** Digits of a second when nothing limits them. */
const FRACTION_MAX = 6;
/** Integers by how much they take. */
const INTEGER_BYTES = new Map([
  [21, 2],
  [23, 4],
  [20, 8],
]);
/** The header that Postgres counts into a modifier of lengths and numerics. */
const HEADER = 4;

/** `read`: the names of the columns that somebody needs; undefined: all. */
export function fitShape(
  contract: Contract,
  relation: Relation,
  policy: ChangePolicy,
  read: ReadonlySet<string> | undefined,
): ShapeFit {
  const byName = new Map(relation.columns.map((column, index) => [column.name, { column, index }] as const));
  const problems: string[] = [];
  let exact = true;
  const columns = contract.columns.map((wanted) => {
    const found = byName.get(wanted.name);
    if (found === undefined) {
      exact = false;
      problems.push(`column ${wanted.name} (${wanted.sourceType}) is gone`);
      return -1;
    }
    if (isSame(wanted, found.column)) return found.index;
    exact = false;
    const problem = problemOf(wanted, found.column, policy, read?.has(wanted.name) !== false);
    if (problem !== undefined) problems.push(`column ${wanted.name} ${problem}`);
    return found.index;
  });
  return { columns, problems, exact };
}

function isSame(wanted: Column, found: RelationColumn): boolean {
  if (wanted.sourceTypeOid !== found.typeOid) return false;
  const modifier = modifierOf(wanted);
  return modifier === undefined || modifier === found.typeModifier;
}

/** Why the column cannot be read as the contract's any more, in words; undefined: it can. */
function problemOf(wanted: Column, found: RelationColumn, policy: ChangePolicy, isRead: boolean): string | undefined {
  const { type, sourceType, sourceTypeOid } = wanted;
  const now = builtInType(found.typeOid);
  const isSameKind =
    found.typeOid === sourceTypeOid || (now !== undefined && type !== undefined && sameType(now, type));
  if (!isSameKind) return `is no longer ${sourceType}`;
  if (!isRead || policy === ChangePolicy.NOTIFY) return undefined;
  const name = typeName(found);
  if (policy === ChangePolicy.STRICT) return `is ${name} now, and was ${sourceType}; the source is strict`;
  if (takesAll(wanted, found)) return undefined;
  return `is ${name} now, and was ${sourceType}: values may have been cut, rounded or shifted`;
}

/** Whether the type takes every value that the contract's takes, with the same meaning. */
function takesAll(wanted: Column, found: RelationColumn): boolean {
  const [was, now] = [wanted.sourceTypeOid, found.typeOid];
  const modifier = modifierOf(wanted);
  if (was === now) return modifier === undefined || takesModifier(now, modifier, found.typeModifier);
  // A wall clock is no instant: the same text means another time.
  if (was === TIMESTAMPTZ || now === TIMESTAMPTZ) return false;
  if (isText(was) && isText(now)) {
    return now === TEXT || (now !== BPCHAR && takesModifier(now, modifier ?? -1, found.typeModifier));
  }
  const [before, after] = [INTEGER_BYTES.get(was), INTEGER_BYTES.get(now)];
  return before === undefined || after === undefined || after >= before;
}

function isText(oid: number): boolean {
  return oid === TEXT || oid === VARCHAR || oid === BPCHAR;
}

function takesModifier(oid: number, was: number, now: number): boolean {
  if (was === now || now === -1) return true;
  if (oid === VARCHAR || oid === VARBIT) return was !== -1 && now >= was;
  if (oid === NUMERIC) return was !== -1 && takesNumeric(numericOf(was), numericOf(now));
  if (WITH_FRACTION.has(oid)) return now >= (was === -1 ? FRACTION_MAX : was);
  return false;
}

interface NumericLimits {
  readonly precision: number;
  readonly scale: number;
}

function takesNumeric(was: NumericLimits, now: NumericLimits): boolean {
  return now.scale >= was.scale && now.precision - now.scale >= was.precision - was.scale;
}

function numericOf(modifier: number): NumericLimits {
  const bits = modifier - HEADER;
  // The scale has 11 bits and a sign.
  return { precision: (bits >> 16) & 0xffff, scale: ((bits & 0x7ff) ^ 1024) - 1024 };
}

/** The modifier of a contract's column; contracts of before it was kept have it in the type's text. Undefined: not known. */
function modifierOf({ sourceTypeModifier, sourceType, sourceTypeOid: oid }: Column): number | undefined {
  if (sourceTypeModifier !== undefined) return sourceTypeModifier;
  const match = /^[a-z ]+?(?:\((\d+)(?:,(-?\d+))?\))?(?: with(?:out)? time zone)?$/.exec(sourceType);
  if (match === null) return undefined;
  const [, first, second] = match;
  if (oid !== VARCHAR && oid !== BPCHAR && oid !== NUMERIC && !WITH_FRACTION.has(oid)) return undefined;
  if (first === undefined) return oid === BPCHAR ? undefined : -1;
  if (WITH_FRACTION.has(oid)) return Number(first);
  if (oid !== NUMERIC) return Number(first) + HEADER;
  return ((Number(first) << 16) | (Number(second ?? 0) & 0x7ff)) + HEADER;
}

const NAMES: ReadonlyMap<number, string> = new Map([
  [20, 'bigint'],
  [21, 'smallint'],
  [23, 'integer'],
  [TEXT, 'text'],
  [700, 'real'],
  [701, 'double precision'],
  [1082, 'date'],
  [TIMESTAMP, 'timestamp without time zone'],
  [TIMESTAMPTZ, 'timestamp with time zone'],
]);

function typeName({ typeOid: oid, typeModifier: modifier }: RelationColumn): string {
  if (oid === VARCHAR || oid === BPCHAR) {
    const name = oid === VARCHAR ? 'character varying' : 'character';
    return modifier === -1 ? name : `${name}(${modifier - HEADER})`;
  }
  if (oid === NUMERIC) {
    if (modifier === -1) return 'numeric';
    const { precision, scale } = numericOf(modifier);
    return `numeric(${precision},${scale})`;
  }
  return NAMES.get(oid) ?? `a type with oid ${oid}`;
}
