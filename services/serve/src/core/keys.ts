/**
 * From a request's key columns to the rows they mean: key strings and shards, one per entity asked for.
 *
 * Owns checking the columns against what the selection needs, with errors that name the column, what it expects and
 * what was sent. Does not own the encoding of keys (packages/values/src/key.ts).
 */
import type { KeyColumn } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
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
import type { SelectedEntity, Selection } from './selection.ts';

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

/** By the selection's key columns. */
type Columns = readonly KeyValues[];

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
  const columns = placed(selection.keyColumns, given);
  const count = columns[0]?.values.length ?? 0;
  const entities = new Array<EntityRows>(selection.entities.length);
  for (let i = 0; i < entities.length; i++) {
    const keys = rowKeys(selection.entities[i] as SelectedEntity, selection.keyColumns, columns, count);
    entities[i] = { keys, shards: shardsOf(keys, shardCount) };
  }
  return { count, entities };
}

/** The columns given, each in its place. */
function placed(needed: readonly KeyColumn[], given: readonly RequestKeys[]): Columns {
  const columns = new Array<KeyValues | undefined>(needed.length).fill(undefined);
  for (let i = 0; i < given.length; i++) place(columns, given[i] as RequestKeys, needed);
  for (let i = 0; i < columns.length; i++) {
    if (columns[i] !== undefined) continue;
    const { name, kind } = must(needed[i]);
    throw wrongKey(name, `the key column "${name}" is missing`, `give "${name}" as ${formOf(kind)}`);
  }
  const all = columns as KeyValues[];
  const first = given[0]?.keys?.values.length ?? 0;
  for (let i = 0; i < all.length; i++) {
    const { length } = (all[i] as KeyValues).values;
    if (length === first) continue;
    const { name } = must(needed[i]);
    throw wrongKey(
      name,
      `the key column "${name}" has ${length} values, but "${must(given[0]).name}" has ${first}`,
      'give one value per entity in every key column',
    );
  }
  return all;
}

function place(columns: (KeyValues | undefined)[], { name, keys }: RequestKeys, needed: readonly KeyColumn[]): void {
  let index = 0;
  while (index < needed.length && (needed[index] as KeyColumn).name !== name) index += 1;
  const column = needed[index];
  if (column === undefined) {
    const names = needed.map((c) => c.name);
    const near = closest(name, names);
    throw wrongKey(
      name,
      `"${name}" is not a key column of what is asked for`,
      near === undefined ? `the key columns are ${names.join(', ')}` : `did you mean "${near}"?`,
    );
  }
  if (columns[index] !== undefined)
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
  columns[index] = keys;
}

function shardsOf(keys: readonly RowKey[], shardCount: number): readonly number[] {
  const shards = new Array<number>(keys.length);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i] as RowKey;
    shards[i] = typeof key === 'number' ? partitionOfInt64(key, shardCount) : partitionOfKeyString(key, shardCount);
  }
  return shards;
}

function rowKeys(
  entity: SelectedEntity,
  names: readonly KeyColumn[],
  columns: Columns,
  count: number,
): readonly RowKey[] {
  if (entity.columns.length === 1) {
    const { form, values } = columns[entity.columns[0] as number] as KeyValues;
    if (form === 'int64s' && entity.kinds[0] === Kind.INT64) return int64Keys(values);
    if (form === 'strings' && entity.kinds[0] === Kind.STRING) {
      return values.map((text, i) => plainStringKey(text) ?? keyOf(entity, names, columns, i));
    }
  }
  const keys: RowKey[] = [];
  for (let i = 0; i < count; i++) keys.push(keyOf(entity, names, columns, i));
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
function keyOf(
  { kinds, columns: indexes }: SelectedEntity,
  names: readonly KeyColumn[],
  columns: Columns,
  index: number,
): string {
  const nameOf = (at: number): string => names[indexes[at] ?? -1]?.name ?? '';
  const scalars = indexes.map((column, at) => scalarAt(must(columns[column]), index, nameOf(at)));
  try {
    return keyString(encodeKey(kinds, scalars));
  } catch (error) {
    if (!isFreshetError(error, 'WRONG_KEY')) throw error;
    const name = nameOf(Number(/^key column (\d+)/.exec(error.place)?.[1] ?? 0));
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
