/**
 * The contract that a relation shows: what the stream tells of a table, put into the words of a contract, so that the same
 * rules judge it that judge a statement before it runs (packages/contracts).
 *
 * Owns which of a column's facts the stream tells: its name, its type's oid and modifier. What it does not tell (nullability,
 * default, labels of an enum, domains, columns' numbers, the order of the primary key) stays as in the contract that rows were read by. Pure.
 */
import { clone, create } from '@bufbuild/protobuf';
import {
  type Column,
  ColumnSchema,
  type Contract,
  ContractSchema,
  ReplicaIdentity,
} from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Relation, RelationColumn } from './pgoutput/messages.ts';
import { typeLimits } from './types/type-limits.ts';
import { typeNameOf } from './types/type-names.ts';
import { builtInType, elementOf } from './types/type-table.ts';

const BPCHAR = 1042;
const VARCHAR = 1043;
const NUMERIC = 1700;
/** time, timestamp, timestamptz, timetz: their modifier is the digits of a second. */
const WITH_FRACTION = new Set([1083, 1114, 1184, 1266]);
/** The header that Postgres counts into a modifier of lengths and numerics. */
const HEADER = 4;

const IDENTITIES: Readonly<Record<string, ReplicaIdentity>> = {
  d: ReplicaIdentity.DEFAULT,
  f: ReplicaIdentity.FULL,
  n: ReplicaIdentity.NOTHING,
  i: ReplicaIdentity.INDEX,
};

/** `contract` is what the rows were read by until now, of the same source. */
export function shownContract(contract: Contract, relation: Relation): Contract {
  const known = new Map(contract.columns.map((column) => [column.name, column]));
  const shown = clone(ContractSchema, contract);
  shown.columns = relation.columns.map((found) => shownColumn(known.get(found.name), found));
  shown.replicaIdentity = IDENTITIES[relation.replicaIdentity] ?? contract.replicaIdentity;
  const told = relation.columns.flatMap(({ name, identity }) => (identity ? [name] : []));
  const isSameKey =
    told.length === contract.primaryKey.length && told.every((name) => contract.primaryKey.includes(name));
  // Their order in the key is not told: the contract's is kept while they are the same.
  if (relation.replicaIdentity === 'd' && !isSameKey) shown.primaryKey = told;
  if (relation.replicaIdentity === 'i') shown.replicaIdentityColumns = told;
  return shown;
}

/** Whether the stream tells nothing of the column that the contract does not. */
export function isSameType(wanted: Column, found: RelationColumn): boolean {
  if (wanted.sourceTypeOid !== found.typeOid) return false;
  const modifier = modifierOf(wanted);
  return modifier === undefined || modifier === found.typeModifier;
}

function shownColumn(known: Column | undefined, found: RelationColumn): Column {
  if (known !== undefined && isSameType(known, found)) return clone(ColumnSchema, known);
  const { name, typeOid: oid, typeModifier: modifier } = found;
  const isSameOid = known?.sourceTypeOid === oid;
  const type = isSameOid ? known?.type : builtInType(oid);
  const { length, precision, scale, timeZone } = typeLimits({
    oid,
    name: '',
    category: '',
    elementOid: elementOf(oid) ?? 0,
    modifier,
  });
  return create(ColumnSchema, {
    name,
    ...(type !== undefined && { type: create(ValueTypeSchema, { ...type }) }),
    // A column that is new is null in what was there before, for all that is told.
    nullable: known?.nullable ?? true,
    sourceType: typeNameOf(oid, modifier) ?? (isSameOid ? (known?.sourceType ?? '') : `a type with oid ${oid}`),
    sourceTypeOid: oid,
    length: length ?? 0,
    ...(precision !== undefined && { precision }),
    ...(scale !== undefined && { scale }),
    timeZone,
    defaultExpression: known?.defaultExpression ?? '',
    enumLabels: isSameOid ? [...(known?.enumLabels ?? [])] : [],
    domains: isSameOid ? [...(known?.domains ?? [])] : [],
    sourceTypeModifier: modifier,
    tableOid: known?.tableOid ?? 0,
    columnNumber: known?.columnNumber ?? 0,
    valuesSinceUs: known?.valuesSinceUs ?? 0n,
  });
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
