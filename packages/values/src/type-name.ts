/** What kinds and types are called in definitions, errors and tables. Owns the spelling, in both directions. */
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';

const NAMES: Readonly<Record<Kind, string>> = {
  [Kind.UNSPECIFIED]: 'unspecified',
  [Kind.INT64]: 'int64',
  [Kind.DOUBLE]: 'double',
  [Kind.DECIMAL]: 'decimal',
  [Kind.STRING]: 'string',
  [Kind.BOOL]: 'bool',
  [Kind.BYTES]: 'bytes',
  [Kind.TIMESTAMP]: 'timestamp',
  [Kind.LIST]: 'list',
  [Kind.VECTOR]: 'vector',
};

const KINDS: ReadonlyMap<string, Kind> = new Map(
  Object.entries(NAMES)
    .filter(([kind]) => Number(kind) !== Kind.UNSPECIFIED)
    .map(([kind, name]) => [name, Number(kind) as Kind]),
);

/** "int64"; a number that a newer peer sent is "kind 17". */
export function kindName(kind: Kind): string {
  return NAMES[kind] ?? `kind ${kind}`;
}

/** The kind that a name means, or undefined. */
export function kindByName(name: string): Kind | undefined {
  return KINDS.get(name);
}

/** The names of all kinds. */
export const kindNames: readonly string[] = [...KINDS.keys()];

/** "int64", "list<string>", "vector<128>". */
export function typeName(type: Pick<ValueType, 'kind' | 'element' | 'dimension'>): string {
  if (type.kind === Kind.LIST) return `list<${kindName(type.element)}>`;
  if (type.kind === Kind.VECTOR) return `vector<${type.dimension}>`;
  return kindName(type.kind);
}

/** Whether two types are the same type. */
export function sameType(
  a: Pick<ValueType, 'kind' | 'element' | 'dimension'>,
  b: Pick<ValueType, 'kind' | 'element' | 'dimension'>,
): boolean {
  return (
    a.kind === b.kind &&
    (a.kind !== Kind.LIST || a.element === b.element) &&
    (a.kind !== Kind.VECTOR || a.dimension === b.dimension)
  );
}
