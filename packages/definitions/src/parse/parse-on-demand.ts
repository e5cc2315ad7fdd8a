/**
 * What a feature service computes when it is read, as Protobuf:
 *
 *     request: { cart_total: double, tags: list<string> }
 *     on_demand:
 *       name: <CEL expression>
 *       name: { expression: <CEL expression>, default: 0, description: … }
 *
 * Owns the form; what the names in expressions mean is resolve-on-demand.ts.
 */
import { create } from '@bufbuild/protobuf';
import {
  type OnDemandFeature,
  OnDemandFeatureSchema,
  type RequestField,
  RequestFieldSchema,
} from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { Kind, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { kindByName, kindNames } from '@freshet/values/type-name.ts';
import { isMap } from 'yaml';
import type { Field, Fields } from '../yaml/fields.ts';
import { parseDefault } from './parse-default.ts';
import { OTHER_NAMES } from './parse-entity.ts';

/** Its fields; editor-schema.ts gives each a shape. */
export const ON_DEMAND_FIELDS = ['expression', 'default', 'description', 'tags'] as const;
/** What a request field, or an element of its list, may be. */
export const SCALARS: readonly string[] = kindNames.filter((name) => name !== 'list' && name !== 'vector');
/** What people write for a kind that keys do not have. */
const DOUBLE_NAMES: readonly string[] = ['float', 'number', 'real'];
const LIST = /^list<\s*(\w+)\s*>$/;

/** The request fields of a service. */
export function parseRequest(service: Fields): RequestField[] {
  const fields = service.map('request');
  const request: RequestField[] = [];
  for (const { name, location } of fields?.all() ?? []) {
    const text = fields?.text(name) ?? '';
    const type = typeOf(text);
    if (type !== undefined) request.push(create(RequestFieldSchema, { name, type, location }));
    else
      service.problem(location, `Request field ${name} of ${service.what} cannot be of type "${text}".`, remedy(text));
  }
  return request;
}

function typeOf(text: string): ValueType | undefined {
  const element = LIST.exec(text)?.[1];
  const name = element ?? text;
  if (!SCALARS.includes(name)) return undefined;
  const kind = kindByName(name) ?? Kind.UNSPECIFIED;
  return create(ValueTypeSchema, element === undefined ? { kind } : { kind: Kind.LIST, element: kind });
}

function remedy(text: string): string {
  const all = `Request fields are ${SCALARS.join(', ')}, or a list of one of these, such as list<string>.`;
  const lower = text.toLowerCase();
  const meant = DOUBLE_NAMES.includes(lower) ? 'double' : (OTHER_NAMES[lower] ?? closest(text, SCALARS));
  return meant === undefined || text === '' ? all : `Did you mean "${meant}"? ${all}`;
}

/** The on-demand features of a service, in the order in which they are written. */
export function parseOnDemand(service: Fields): OnDemandFeature[] {
  const fields = service.map('on_demand');
  return [...(fields?.all() ?? [])].flatMap((field) => oneFeature(fields as Fields, field, service.what) ?? []);
}

function oneFeature(onDemand: Fields, field: Field, service: string): OnDemandFeature | undefined {
  const { name, location } = field;
  if (!isMap(field.node)) {
    return create(OnDemandFeatureSchema, { name, expression: onDemand.expressionOf(field), location });
  }
  const fields = onDemand.mapOf(field, `on-demand feature ${name} of ${service}`);
  if (fields === undefined) return undefined;
  fields.allow(ON_DEMAND_FIELDS);
  const expression = fields.get('expression');
  if (expression?.node == null) {
    const example = 'Write for example `{ expression: cart_total / 2.0, default: 0 }`.';
    fields.problem(location, `On-demand feature ${name} of ${service} has no expression.`, example);
    return undefined;
  }
  const fallback = fields.get('default');
  const defaultValue = fallback === undefined ? undefined : parseDefault(fields, fallback);
  return create(OnDemandFeatureSchema, {
    name,
    expression: fields.expressionOf(expression),
    ...(defaultValue === undefined ? {} : { defaultValue }),
    description: fields.text('description'),
    tags: fields.texts('tags', '[finance, pii]'),
    location: expression.location,
  });
}
