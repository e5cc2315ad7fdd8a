/**
 * What CREATE TYPE and ALTER TYPE make of enums: of their labels, and of the columns that have them. Owns these statements, and
 * which column is of which type. Other types of the user change no contract by being made.
 */
import type { Column } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { Live } from './ddl.ts';
import type { TokenReader } from './ddl-tokens.ts';

/** The labels of enums that statements made, by name. */
export type Enums = Map<string, readonly string[]>;

/** Whether the statement was understood, behind CREATE TYPE. */
export function createType(reader: TokenReader, enums: Enums): boolean {
  const type = reader.qualified();
  if (type === undefined) return false;
  if (!reader.take('as', 'enum')) {
    reader.until();
    return true;
  }
  const labels = reader.strings();
  if (labels === undefined || !reader.atEnd) return false;
  enums.set(type.name, labels);
  return true;
}

/** Changes every column of the type, in every table. Whether the statement was understood, behind ALTER TYPE. */
export function alterType(reader: TokenReader, live: readonly Live[], enums: Enums): boolean {
  const type = reader.qualified();
  if (type === undefined) return false;
  const act = reader.take('rename', 'to') ? parseName(reader, type.name, enums) : parseLabels(reader);
  if (act === undefined || !reader.atEnd) return false;
  const made = enums.get(type.name);
  if (made !== undefined) {
    const labels = [...made];
    if (!act({ labels })) return false;
    enums.set(type.name, labels);
  }
  for (const one of live) {
    for (const column of one.after.columns) {
      if (enumOf(column) !== type.name || column.enumLabels.length === 0) continue;
      one.touched = true;
      if (!act({ labels: column.enumLabels, column })) return false;
    }
  }
  return true;
}

/** The name of the type that the column has, without schema, quotes and brackets. */
function enumOf({ sourceType }: Column): string | undefined {
  return sourceType.replace(/\[\]$/, '').replaceAll('"', '').split('.').at(-1);
}

/** Does it to labels, of a column or of a type that no column has; false: it cannot be meant. */
type Act = (of: { readonly labels: string[]; readonly column?: Column }) => boolean;

function parseName(reader: TokenReader, from: string, enums: Enums): Act | undefined {
  const to = reader.name();
  if (to === undefined) return undefined;
  const made = enums.get(from);
  if (made !== undefined) {
    enums.delete(from);
    enums.set(to, made);
  }
  return ({ column }) => {
    // As it is shown: with its schema and brackets where it has them.
    if (column !== undefined) column.sourceType = column.sourceType.replace(/[^.[\]]+(?=(?:\[\])?$)/, to);
    return true;
  };
}

function parseLabels(reader: TokenReader): Act | undefined {
  if (reader.take('rename', 'value')) {
    const from = reader.string();
    const to = reader.take('to') ? reader.string() : undefined;
    if (from === undefined || to === undefined) return undefined;
    return ({ labels }) => {
      const index = labels.indexOf(from);
      if (index >= 0) labels[index] = to;
      return index >= 0;
    };
  }
  if (!reader.take('add', 'value')) return undefined;
  const ifNotExists = reader.take('if', 'not', 'exists');
  const label = reader.string();
  const side = reader.take('before') ? 0 : reader.take('after') ? 1 : undefined;
  const beside = side === undefined ? undefined : reader.string();
  if (label === undefined || (side !== undefined && beside === undefined)) return undefined;
  return ({ labels }) => {
    if (labels.includes(label)) return ifNotExists;
    const at = beside === undefined ? labels.length : labels.indexOf(beside) + (side ?? 0);
    if (beside !== undefined && !labels.includes(beside)) return false;
    labels.splice(at, 0, label);
    return true;
  };
}
