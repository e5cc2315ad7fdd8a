/** Request data as callers write it, turned into the wire's columns. Owns the choice of the list by the values' type. */
import { create } from '@bufbuild/protobuf';
import { type RequestColumn, RequestColumnSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { Kind, type ValueColumn, ValueColumnSchema, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';

/**
 * A number is sent as a double, which the node also takes for an int64 when it is whole and safe; int64 beyond that and
 * timestamps (microseconds) as bigint; decimals as text. A list has elements of one of these types, where a number is a
 * double. Null is no value.
 */
export type RequestValue = bigint | number | string | boolean | Uint8Array | null;

export type RequestListValue = readonly RequestValue[];

/** By field: one value for all entities, or `each` of them one. A list is one value; see `each` and `all`. */
export type RequestFields = Readonly<
  Record<
    string,
    RequestValue | { readonly each: readonly (RequestValue | RequestListValue)[] } | { readonly all: RequestListValue }
  >
>;

/** Throws WRONG_REQUEST_DATA when the values of a field are of several types. */
export function requestToProto(fields: RequestFields): RequestColumn[] {
  return Object.entries(fields).map(([name, field]) =>
    create(RequestColumnSchema, { name, values: columnOf(name, valuesOf(field)) }),
  );
}

function valuesOf(field: RequestFields[string]): readonly (RequestValue | RequestListValue)[] {
  if (typeof field !== 'object' || field === null || field instanceof Uint8Array) return [field];
  return 'each' in field ? field.each : [field.all];
}

function columnOf(name: string, values: readonly (RequestValue | RequestListValue)[]): ValueColumn {
  const column = create(ValueColumnSchema);
  const first = values.find((value) => value !== null);
  const type = typeName(first);
  if (values.includes(null)) {
    column.statuses = values.map((value) => (value === null ? ValueStatus.ABSENT : ValueStatus.PRESENT));
  }
  // A column of nulls only needs no list.
  if (first === undefined) return column;
  for (const value of values) {
    if (value !== null && typeName(value) !== type) throw mixed(name, value);
    push(name, column, value ?? ZEROS[type]);
  }
  return column;
}

type TypeName = 'bigint' | 'number' | 'string' | 'boolean' | 'bytes' | 'list' | 'none';

const ZEROS: Readonly<Record<TypeName, RequestValue | RequestListValue>> = {
  bigint: 0n,
  number: 0,
  string: '',
  boolean: false,
  bytes: new Uint8Array(),
  list: [],
  none: null,
};

function typeName(value: RequestValue | RequestListValue | undefined): TypeName {
  if (value === null || value === undefined) return 'none';
  if (value instanceof Uint8Array) return 'bytes';
  const type = typeof value;
  return type === 'object' ? 'list' : (type as TypeName);
}

function push(name: string, column: ValueColumn, value: RequestValue | RequestListValue): void {
  if (typeof value === 'bigint') column.int64s.push(value);
  else if (typeof value === 'number') column.doubles.push(value);
  else if (typeof value === 'string') column.strings.push(value);
  else if (typeof value === 'boolean') column.bools.push(value);
  else if (value instanceof Uint8Array) column.bytes.push(value as Uint8Array<ArrayBuffer>);
  else if (value !== null) {
    const element = value.find((item) => item !== null);
    const kind = KINDS[typeName(element)];
    const item = value.find((other) => other !== null && typeName(other) !== typeName(element));
    if (item !== undefined) throw mixed(name, item);
    const proto = valueToProto({ kind: Kind.LIST, element: kind }, value as Scalar);
    if (proto.kind.case === 'list') column.lists.push(proto.kind.value);
  }
}

const KINDS: Readonly<Record<TypeName, Kind>> = {
  bigint: Kind.INT64,
  number: Kind.DOUBLE,
  string: Kind.STRING,
  boolean: Kind.BOOL,
  bytes: Kind.BYTES,
  list: Kind.LIST,
  none: Kind.UNSPECIFIED,
};

function mixed(name: string, value: unknown): FreshetError {
  return new FreshetError(
    'WRONG_REQUEST_DATA',
    `the request data "${name}" has ${String(value)} among values of another type`,
    {
      place: `request.${name}`,
      remedy: 'give all values of a field as one type: number, bigint, string, boolean, Uint8Array, or a list',
    },
  );
}
