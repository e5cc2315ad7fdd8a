/**
 * The types that expressions have, and how they stand to Freshet's value types. Owns names and correspondences; what
 * operators and functions take is overloads.ts.
 */
import { create } from '@bufbuild/protobuf';
import { Kind, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';

export type CelTypeName =
  | 'int'
  | 'double'
  | 'string'
  | 'bool'
  | 'bytes'
  | 'timestamp'
  | 'duration'
  | 'null'
  // Not types of CEL: columns that can only be compared with null or, for decimals, converted.
  | 'decimal'
  | 'vector'
  | 'list';

/** The type of an expression; `element` only for lists, and 'null' there for an empty one. */
export interface CelType {
  readonly name: CelTypeName;
  readonly element?: CelType | undefined;
}

const NAMES: ReadonlyMap<Kind, CelTypeName> = new Map([
  [Kind.INT64, 'int'],
  [Kind.DOUBLE, 'double'],
  [Kind.DECIMAL, 'decimal'],
  [Kind.STRING, 'string'],
  [Kind.BOOL, 'bool'],
  [Kind.BYTES, 'bytes'],
  [Kind.TIMESTAMP, 'timestamp'],
  [Kind.LIST, 'list'],
  [Kind.VECTOR, 'vector'],
]);

const KINDS: Readonly<Partial<Record<CelTypeName, Kind>>> = {
  int: Kind.INT64,
  double: Kind.DOUBLE,
  decimal: Kind.DECIMAL,
  string: Kind.STRING,
  bool: Kind.BOOL,
  bytes: Kind.BYTES,
  timestamp: Kind.TIMESTAMP,
};

/** The type that a column of a value type has in expressions. */
export function celTypeOf(type: ValueType): CelType {
  const name = NAMES.get(type.kind) ?? 'null';
  return name === 'list' ? { name, element: { name: NAMES.get(type.element) ?? 'null' } } : { name };
}

/** The value type of an expression's result, or undefined when values cannot have the type. */
export function valueTypeOf(type: CelType): ValueType | undefined {
  const kind = KINDS[type.name];
  if (kind !== undefined) return create(ValueTypeSchema, { kind });
  const element = type.name === 'list' && type.element !== undefined ? KINDS[type.element.name] : undefined;
  return element === undefined ? undefined : create(ValueTypeSchema, { kind: Kind.LIST, element });
}

export function sameType(a: CelType, b: CelType): boolean {
  if (a.name !== b.name) return false;
  if (a.name !== 'list' || a.element === undefined || b.element === undefined) return true;
  return sameType(a.element, b.element);
}

export function isNumeric(type: CelType): boolean {
  return type.name === 'int' || type.name === 'double';
}

/** The type in words: "list of int". */
export function typeText(type: CelType): string {
  return type.name === 'list' && type.element !== undefined ? `list of ${typeText(type.element)}` : type.name;
}
