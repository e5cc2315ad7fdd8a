/**
 * What CREATE TYPE and ALTER TYPE make of types of the user, and of the columns that have them. Owns these statements. A type that
 * is made has no columns, so only an enum's labels are kept of it, for columns that get it later.
 */
import { create } from '@bufbuild/protobuf';
import { type Column, ColumnSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Live } from './ddl.ts';
import type { TokenReader } from './ddl-tokens.ts';
import { elementType, shownName, type UserTypes } from './ddl-type.ts';

/** Whether the statement was understood, behind CREATE TYPE. */
export function createType(reader: TokenReader, types: UserTypes): boolean {
  const type = reader.qualified();
  if (type === undefined) return false;
  const shown = shownName(type.schema, type.name);
  if (!reader.take('as', 'enum')) {
    reader.until();
    types.delete(shown);
    return true;
  }
  const enumLabels = reader.strings();
  if (enumLabels === undefined || !reader.atEnd) return false;
  const column = { type: { kind: Kind.STRING }, nullable: true, sourceType: shown, enumLabels, sourceTypeModifier: -1 };
  types.set(shown, create(ColumnSchema, column));
  return true;
}

/** Changes the type and every column of it, in every table. Whether the statement was understood, behind ALTER TYPE. */
export function alterType(reader: TokenReader, live: readonly Live[], types: UserTypes): boolean {
  const type = reader.qualified();
  if (type === undefined) return false;
  const shown = shownName(type.schema, type.name);
  const act = reader.take('rename', 'to') ? parseName(reader, type.schema) : parseLabels(reader);
  if (act === undefined || !reader.atEnd) return false;
  const known = types.get(shown);
  if (known !== undefined) {
    if (!act(known)) return false;
    types.delete(shown);
    types.set(known.sourceType, known);
  }
  for (const one of live) {
    for (const column of one.after.columns) {
      if (elementType(column) !== shown) continue;
      one.touched = true;
      if (!act(column)) return false;
    }
  }
  return true;
}

/** Does it to a column of the type; false: it cannot be meant. */
type Act = (column: Column) => boolean;

function parseName(reader: TokenReader, schema: string | undefined): Act | undefined {
  const to = reader.name();
  if (to === undefined) return undefined;
  return (column) => {
    column.sourceType = shownName(schema, to) + column.sourceType.slice(elementType(column).length);
    // A domain's own name is among its domains, and ALTER TYPE is none for it.
    return column.domains.length === 0;
  };
}

function parseLabels(reader: TokenReader): Act | undefined {
  if (reader.take('rename', 'value')) {
    const from = reader.string();
    const to = reader.take('to') ? reader.string() : undefined;
    if (from === undefined || to === undefined) return undefined;
    return ({ enumLabels: labels }) => {
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
  return ({ enumLabels: labels }) => {
    if (labels.includes(label)) return ifNotExists;
    const at = beside === undefined ? labels.length : labels.indexOf(beside) + (side ?? 0);
    if (beside !== undefined && !labels.includes(beside)) return false;
    labels.splice(at, 0, label);
    return true;
  };
}
