/** Key columns as callers write them, turned into the wire's lists. Owns the choice of the list by the values' type. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { EntityKeysSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** int64 and timestamp keys as bigint or safe integer, string and decimal keys as text, bytes and bool keys as such. */
export type KeyValue = bigint | number | string | boolean | Uint8Array;

/** By key column, one value per entity; all values of a column are of one type. */
export type KeyColumns = Readonly<Record<string, readonly KeyValue[]>>;

type EntityKeysInit = MessageInitShape<typeof EntityKeysSchema>;

/** Throws WRONG_KEY when a column mixes types or has a number that is no safe integer. */
export function keysToProto(keys: KeyColumns): EntityKeysInit[] {
  return Object.entries(keys).map(([name, values]) => ({ name, values: listOf(name, values) }));
}

function listOf(name: string, values: readonly KeyValue[]): NonNullable<EntityKeysInit['values']> {
  const [first] = values;
  switch (typeof first) {
    case 'string':
      return { case: 'strings', value: { values: values.map((value) => all(name, value, 'string')) } };
    case 'boolean':
      return { case: 'bools', value: { values: values.map((value) => all(name, value, 'boolean')) } };
    case 'object':
      return { case: 'bytes', value: { values: values.map((value) => all(name, value, 'object') as Uint8Array) } };
    default:
      return { case: 'int64s', value: { values: values.map((value) => integer(name, value)) } };
  }
}

interface TypeByName {
  string: string;
  boolean: boolean;
  object: Uint8Array;
}

function all<T extends keyof TypeByName>(name: string, value: KeyValue, type: T): TypeByName[T] {
  if (typeof value === type) return value as TypeByName[T];
  throw mixed(name, value);
}

function integer(name: string, value: KeyValue): bigint {
  if (typeof value === 'bigint') return value;
  if (typeof value === 'number' && Number.isSafeInteger(value)) return BigInt(value);
  throw mixed(name, value);
}

function mixed(name: string, value: KeyValue): FreshetError {
  return new FreshetError('WRONG_KEY', `the key column "${name}" has ${String(value)} among values of another type`, {
    place: `keys.${name}`,
    remedy: 'give all values of a key column as one type: bigint or whole number, string, boolean, or Uint8Array',
  });
}
