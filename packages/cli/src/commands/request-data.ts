/** `--request field=value` of freshet get, as request data. Owns reading the texts by the types that the service declares. */
import { create } from '@bufbuild/protobuf';
import {
  type RequestColumn,
  RequestColumnSchema,
  type ServiceDescription,
} from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { Kind, ValueColumnSchema, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { parseText } from '@freshet/values/text.ts';
import { typeName } from '@freshet/values/type-name.ts';
import { valueToProto } from '@freshet/values/value-codec.ts';

/**
 * The columns: a field given once is for all entities, one given again has a value for each; "field" alone is null, and a
 * list is a JSON array. Throws WRONG_REQUEST_DATA for a field that the service does not have, or a text that is none of
 * its type.
 */
export function requestColumns(service: ServiceDescription, pairs: readonly string[]): RequestColumn[] {
  const texts = new Map<string, (string | undefined)[]>();
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const name = at < 0 ? pair : pair.slice(0, at);
    texts.set(name, [...(texts.get(name) ?? []), at < 0 ? undefined : pair.slice(at + 1)]);
  }
  return [...texts].map(([name, given]) => {
    const type = service.request.find((field) => field.name === name)?.type;
    if (type === undefined) throw unknown(service, name);
    return columnOf(
      name,
      type,
      given.map((text) => (text === undefined ? null : parsed(name, type, text))),
    );
  });
}

function unknown({ name: service, request }: ServiceDescription, name: string): FreshetError {
  const names = request.map((field) => field.name);
  const near = closest(name, names);
  const all = names.length === 0 ? `${service} takes no request data` : `it takes ${names.join(', ')}`;
  return new FreshetError('WRONG_REQUEST_DATA', `${service} has no request field ${name}`, {
    place: `--request ${name}`,
    remedy: near === undefined ? all : `did you mean ${near}?`,
  });
}

function parsed(name: string, type: ValueType, text: string): Scalar {
  const value = type.kind === Kind.LIST ? listOf(type.element, text) : parseText(type.kind, text);
  if (value !== undefined) return value;
  throw new FreshetError('WRONG_REQUEST_DATA', `${name} is of type ${typeName(type)}, which "${text}" is not`, {
    place: `--request ${name}`,
    remedy:
      type.kind === Kind.LIST
        ? `write it as a JSON array, such as '${name}=["a", "b"]'`
        : `write it as --request ${name}=<${typeName(type)}>; "${name}" alone is null`,
  });
}

function listOf(element: Kind, text: string): Scalar | undefined {
  let items: unknown;
  try {
    items = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!Array.isArray(items)) return undefined;
  const values: Scalar[] = [];
  for (const item of items as unknown[]) {
    // A number of JSON is text here as well: digits beyond a double are to be written in quotes.
    const isText = typeof item === 'string' || typeof item === 'number' || typeof item === 'boolean';
    const value = item === null ? null : isText ? parseText(element, String(item)) : undefined;
    if (value === undefined) return undefined;
    values.push(value);
  }
  return values;
}

const MEMBERS = {
  [Kind.INT64]: 'int64s',
  [Kind.DOUBLE]: 'doubles',
  [Kind.DECIMAL]: 'decimals',
  [Kind.STRING]: 'strings',
  [Kind.BOOL]: 'bools',
  [Kind.BYTES]: 'bytes',
  [Kind.TIMESTAMP]: 'timestamps',
  [Kind.LIST]: 'lists',
} as const;

const ZEROS: Readonly<Partial<Record<Kind, Scalar>>> = {
  [Kind.INT64]: 0n,
  [Kind.DOUBLE]: 0,
  [Kind.DECIMAL]: '0',
  [Kind.STRING]: '',
  [Kind.BOOL]: false,
  [Kind.BYTES]: new Uint8Array(),
  [Kind.TIMESTAMP]: 0n,
  [Kind.LIST]: [],
};

function columnOf(name: string, type: ValueType, values: readonly Scalar[]): RequestColumn {
  const statuses = values.includes(null)
    ? values.map((value) => (value === null ? ValueStatus.ABSENT : ValueStatus.PRESENT))
    : [];
  const member = must(
    (MEMBERS as Readonly<Partial<Record<Kind, string>>>)[type.kind],
    `a request field cannot be of type ${typeName(type)}`,
  );
  const list = values.map((value) => valueToProto(type, value ?? ZEROS[type.kind] ?? null).kind.value);
  return create(RequestColumnSchema, { name, values: create(ValueColumnSchema, { [member]: list, statuses }) });
}
