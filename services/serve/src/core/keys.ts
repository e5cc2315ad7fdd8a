/**
 * From a request's key columns to the rows they mean: key strings and shards, one per entity asked for.
 *
 * Owns checking the columns against what the selection needs, with errors that name the column, what it expects and
 * what was sent. Does not own the encoding of keys (packages/values/src/key.ts).
 */
import type { EntityPlan, KeyColumn } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { partitionOfInt64, type RowKey, rowKeyOfInt64 } from '@freshet/replica/row-key.ts';
import type { Integer } from '@freshet/replica/wire-reader.ts';
import { encodeKey, KEY_BYTES_MAX, keyString } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { kindName } from '@freshet/values/type-name.ts';
import type { KeyValues, RequestKeys } from './read-request.ts';
import type { Selection } from './selection.ts';

/** The rows asked for, of one entity. */
export interface EntityRows {
  /** By entity asked for. */
  readonly keys: readonly RowKey[];
  readonly shards: readonly number[];
}

export interface RequestedRows {
  /** How many entities were asked for. */
  readonly count: number;
  /** By the selection's entities. */
  readonly entities: readonly EntityRows[];
}

const FORMS: Readonly<Partial<Record<Kind, KeyValues['form']>>> = {
  [Kind.INT64]: 'int64s',
  [Kind.TIMESTAMP]: 'int64s',
  [Kind.STRING]: 'strings',
  [Kind.DECIMAL]: 'strings',
  [Kind.BYTES]: 'bytes',
  [Kind.BOOL]: 'bools',
};

// Printable ASCII.
const PLAIN = /^[ -~]*$/;
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Throws WRONG_KEY when a column is missing, unknown, doubled, of another kind, or of another length than the rest. */
export function requestedRows(selection: Selection, given: readonly RequestKeys[], shardCount: number): RequestedRows {
  const columns = new Map<string, KeyValues>();
  for (const column of given) takeColumn(columns, column, selection.keyColumns);
  for (const { name, kind } of selection.keyColumns) {
    if (!columns.has(name))
      throw wrongKey(name, `the key column "${name}" is missing`, `give "${name}" as ${formOf(kind)}`);
  }
  const counts = [...columns].map(([name, { values }]) => [name, values.length] as const);
  const [first] = counts;
  const count = first?.[1] ?? 0;
  const odd = counts.find(([, length]) => length !== count);
  if (odd !== undefined && first !== undefined) {
    throw wrongKey(
      odd[0],
      `the key column "${odd[0]}" has ${odd[1]} values, but "${first[0]}" has ${count}`,
      'give one value per entity in every key column',
    );
  }
  return { count, entities: selection.entities.map((entity) => entityRows(entity, columns, count, shardCount)) };
}

function takeColumn(columns: Map<string, KeyValues>, { name, keys }: RequestKeys, needed: readonly KeyColumn[]): void {
  const column = needed.find((c) => c.name === name);
  if (column === undefined) {
    const names = needed.map((c) => c.name);
    const near = closest(name, names);
    throw wrongKey(
      name,
      `"${name}" is not a key column of what is asked for`,
      near === undefined ? `the key columns are ${names.join(', ')}` : `did you mean "${near}"?`,
    );
  }
  if (columns.has(name))
    throw wrongKey(name, `the key column "${name}" is given twice`, 'give each key column once, with all its values');
  if (keys === undefined)
    throw wrongKey(name, `the key column "${name}" has no values`, `give "${name}" as ${formOf(column.kind)}`);
  if (keys.form !== FORMS[column.kind]) {
    throw wrongKey(
      name,
      `the key column "${name}" is of kind ${kindName(column.kind)}, but ${keys.form} were sent`,
      `give "${name}" as ${formOf(column.kind)}`,
    );
  }
  columns.set(name, keys);
}

function entityRows(
  entity: EntityPlan,
  columns: ReadonlyMap<string, KeyValues>,
  count: number,
  shardCount: number,
): EntityRows {
  const keys = rowKeys(entity, columns, count);
  const shards = new Array<number>(count);
  for (let i = 0; i < count; i++) {
    const key = keys[i] as RowKey;
    shards[i] = typeof key === 'number' ? partitionOfInt64(key, shardCount) : partitionOfKeyString(key, shardCount);
  }
  return { keys, shards };
}

function rowKeys(entity: EntityPlan, columns: ReadonlyMap<string, KeyValues>, count: number): readonly RowKey[] {
  const [column, more] = entity.key;
  if (column !== undefined && more === undefined) {
    const values = must(columns.get(column.name));
    if (column.kind === Kind.INT64 && values.form === 'int64s') return int64Keys(values.values);
    if (column.kind === Kind.STRING && values.form === 'strings') {
      return values.values.map((text, i) => plainStringKey(text) ?? keyOf(entity, columns, i));
    }
  }
  const keys: RowKey[] = [];
  for (let i = 0; i < count; i++) keys.push(keyOf(entity, columns, i));
  return keys;
}

/** Integers that are safe, as nearly all are, are row keys as they come. */
function int64Keys(values: readonly Integer[]): readonly RowKey[] {
  for (let i = 0; i < values.length; i++) if (typeof values[i] !== 'number') return values.map(rowKeyOfInt64);
  return values as readonly number[];
}

/** The key string of printable ASCII, which needs neither checking nor escaping; undefined for any other. */
function plainStringKey(bytes: Buffer): string | undefined {
  if (bytes.length > KEY_BYTES_MAX - 3) return undefined;
  const text = bytes.toString('latin1');
  return PLAIN.test(text) ? `\x04${text}\x00\x01` : undefined;
}

/** The key string by the general encoding; never that of one int64, which has its own form. */
function keyOf(entity: EntityPlan, columns: ReadonlyMap<string, KeyValues>, index: number): string {
  const kinds = entity.key.map(({ kind }) => kind);
  const scalars = entity.key.map(({ name }) => scalarAt(must(columns.get(name)), index, name));
  try {
    return keyString(encodeKey(kinds, scalars));
  } catch (error) {
    if (!isFreshetError(error, 'WRONG_KEY')) throw error;
    const at = Number(/^key column (\d+)/.exec(error.place)?.[1] ?? 0);
    const name = entity.key[at]?.name ?? '';
    throw wrongKey(name, `the key column "${name}", entity ${index}: ${error.message}`, error.remedy);
  }
}

function scalarAt(values: KeyValues, index: number, name: string): Scalar {
  switch (values.form) {
    case 'int64s':
      return BigInt(must(values.values[index]));
    case 'strings':
      return textOf(must(values.values[index]), name);
    default:
      return must(values.values[index]);
  }
}

function textOf(bytes: Buffer, name: string): string {
  try {
    return UTF8.decode(bytes);
  } catch {
    throw wrongKey(name, `the key column "${name}" takes text, but bytes that are not UTF-8 were sent`, 'send UTF-8');
  }
}

function formOf(kind: Kind): string {
  const note =
    kind === Kind.TIMESTAMP ? ' (microseconds since the Unix epoch)' : kind === Kind.DECIMAL ? ' (decimal text)' : '';
  return `${FORMS[kind]}${note}, one value per entity`;
}

function wrongKey(column: string, message: string, remedy: string): FreshetError {
  return new FreshetError('WRONG_KEY', message, { place: `keys.${column}`, remedy });
}
