/**
 * Which type Freshet reads a Postgres type as. Built-in types by oid; others (enums, domains, extensions' types) by
 * what the catalog says of them. What has no better home is read as its text. Pure.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';

/** A ValueType without the machinery of a message. */
export interface PlainType {
  readonly kind: Kind;
  readonly element: Kind;
  readonly dimension: number;
}

/** What pg_type says of a type, domains followed down to their base. */
export interface CatalogType {
  readonly oid: number;
  readonly name: string;
  /** pg_type.typcategory; 'A' is an array. */
  readonly category: string;
  /** The base type of the elements of an array, else 0. */
  readonly elementOid: number;
  /** pg_attribute.atttypmod. */
  readonly modifier: number;
}

const SCALARS: readonly (readonly [Kind, readonly number[]])[] = [
  [Kind.BOOL, [16]],
  [Kind.BYTES, [17]],
  [Kind.INT64, [20, 21, 23, 26]], // int8, int2, int4, oid
  [Kind.DOUBLE, [700, 701]],
  [Kind.TIMESTAMP, [1082, 1114, 1184]], // date, timestamp, timestamptz
  [Kind.DECIMAL, [1700]],
  // "char", name, text, json, xml, cidr, macaddr8, macaddr, money, inet, bpchar, varchar, time, interval, timetz, bit,
  // varbit, uuid, jsonb
  [Kind.STRING, [18, 19, 25, 114, 142, 650, 774, 829, 790, 869, 1042, 1043, 1083, 1186, 1266, 1560, 1562, 2950, 3802]],
];

const SCALAR_KINDS = new Map<number, Kind>(SCALARS.flatMap(([kind, oids]) => oids.map((oid) => [oid, kind] as const)));

/** The oid of a built-in array type → that of its elements. */
const ARRAYS = new Map<number, number>([
  [1000, 16],
  [1001, 17],
  [1002, 18],
  [1003, 19],
  [1005, 21],
  [1007, 23],
  [1009, 25],
  [1014, 1042],
  [1015, 1043],
  [1016, 20],
  [1021, 700],
  [1022, 701],
  [1028, 26],
  [1040, 829],
  [1041, 869],
  [1115, 1114],
  [1182, 1082],
  [1183, 1083],
  [1185, 1184],
  [1187, 1186],
  [1231, 1700],
  [1270, 1266],
  [1561, 1560],
  [1563, 1562],
  [2951, 2950],
  [199, 114],
  [143, 142],
  [651, 650],
  [775, 774],
  [791, 790],
  [3807, 3802],
]);

export const FLOAT4_OID = 700;
export const FLOAT4_ARRAY_OID = 1021;

function scalar(kind: Kind): PlainType {
  return { kind, element: Kind.UNSPECIFIED, dimension: 0 };
}

/** The type that a built-in Postgres type is read as; undefined for one that is not built in. */
export function builtInType(oid: number): PlainType | undefined {
  const kind = SCALAR_KINDS.get(oid);
  if (kind !== undefined) return scalar(kind);
  const element = ARRAYS.get(oid);
  if (element === undefined) return undefined;
  return { kind: Kind.LIST, element: SCALAR_KINDS.get(element) ?? Kind.STRING, dimension: 0 };
}

/** The oid of the elements of a built-in array type; undefined for one that is none. */
export function elementOf(oid: number): number | undefined {
  return ARRAYS.get(oid);
}

/** The type that any Postgres type is read as. */
export function valueTypeOf(type: CatalogType): PlainType {
  const known = builtInType(type.oid);
  if (known !== undefined) return known;
  if (type.category === 'A') {
    return { kind: Kind.LIST, element: SCALAR_KINDS.get(type.elementOid) ?? Kind.STRING, dimension: 0 };
  }
  // pgvector's type; without a declared dimension its values have no common shape, so they stay text.
  if (type.name === 'vector' && type.modifier > 0) {
    return { kind: Kind.VECTOR, element: Kind.UNSPECIFIED, dimension: type.modifier };
  }
  return scalar(Kind.STRING);
}

/** Whether two types are the same. */
export function sameType(a: PlainType, b: PlainType): boolean {
  return a.kind === b.kind && a.element === b.element && a.dimension === b.dimension;
}
