/**
 * The keywords of JSON Schema: which drafts have each, and what its value must look like.
 *
 * Owns the rules of the five meta-schemas as one table, and the drafts by their URIs. The meta-schemas are not run by a
 * validator: that would generate code, or compare the members of a list with each other at a cost that the sender
 * chooses. A test holds this table against ajv with the published meta-schemas. Pure.
 */
import { equalityKey, isArray, isObject, JsonNumber, type JsonObject, type JsonValue } from './json-value.ts';

export type Draft = 4 | 6 | 7 | 2019 | 2020;

/** What a schema is read by when it does not say: as other registries do. */
export const DEFAULT_DRAFT: Draft = 7;

const DRAFTS: Readonly<Record<string, Draft>> = {
  'json-schema.org/draft-04/schema': 4,
  'json-schema.org/draft-06/schema': 6,
  'json-schema.org/draft-07/schema': 7,
  'json-schema.org/draft/2019-09/schema': 2019,
  'json-schema.org/draft/2020-12/schema': 2020,
};

/** The draft of a `$schema`, or undefined for one that is not known. */
export function draftOf(uri: string): Draft | undefined {
  const name = uri.replace(/^https?:\/\//, '').replace(/#$/, '');
  return Object.hasOwn(DRAFTS, name) ? DRAFTS[name] : undefined;
}

/** Where subschemas are in a keyword's value. */
export type Holds = 'one' | 'list' | 'map' | 'oneOrList' | 'mapOrNames';

export interface Keyword {
  readonly from: Draft;
  readonly to: Draft;
  /** What a value must be, for messages. */
  readonly what: string;
  /** Whether a value that is no subschema is right. Subschemas are checked by whoever walks. */
  readonly fits: (value: JsonValue, draft: Draft) => boolean;
  readonly holds?: Holds;
}

export const SIMPLE_TYPES = ['array', 'boolean', 'integer', 'null', 'number', 'object', 'string'] as const;

const isText = (value: JsonValue): boolean => typeof value === 'string';
const isBoolean = (value: JsonValue): boolean => typeof value === 'boolean';
const isNumber = (value: JsonValue): boolean => value instanceof JsonNumber;
const isCount = (value: JsonValue): boolean => value instanceof JsonNumber && value.isInteger && value.digits >= 0n;
const isSchema = (value: JsonValue, draft: Draft): boolean => isObject(value) || (draft > 4 && isBoolean(value));
const isSchemas = (value: JsonValue, draft: Draft): boolean =>
  isArray(value) && value.length > 0 && value.every((item) => isSchema(item, draft));
const isUnique = (value: JsonValue): boolean => isArray(value) && new Set(value.map(equalityKey)).size === value.length;
const isNames = (value: JsonValue): boolean => isArray(value) && value.every(isText) && isUnique(value);
const isMapOf = (value: JsonValue, fits: (item: JsonValue) => boolean): boolean =>
  isObject(value) && [...value.values()].every(fits);
const isType = (value: JsonValue): boolean =>
  typeof value === 'string' && (SIMPLE_TYPES as readonly string[]).includes(value);

function keyword(what: string, fits: Keyword['fits'], more: Partial<Keyword> = {}): Keyword {
  return { from: 4, to: 2020, what, fits, ...more };
}

const schema = (from: Draft = 4, to: Draft = 2020): Keyword =>
  keyword('a schema', isSchema, { from, to, holds: 'one' });
const schemas = (from: Draft = 4): Keyword =>
  keyword('a list of schemas, not empty', isSchemas, { from, holds: 'list' });
const schemaMap = (from: Draft = 4): Keyword =>
  keyword('a map of schemas', (value, draft) => isMapOf(value, (item) => isSchema(item, draft)), {
    from,
    holds: 'map',
  });
const count = (from: Draft = 4): Keyword => keyword('a whole number, not below zero', isCount, { from });
const text = (from: Draft = 4, to: Draft = 2020): Keyword => keyword('a text', isText, { from, to });
const flag = (from: Draft = 4): Keyword => keyword('true or false', isBoolean, { from });
const number = (): Keyword => keyword('a number', isNumber);
const exclusive = (): Keyword =>
  keyword('a number, or true or false in draft 4', (value, draft) =>
    draft === 4 ? isBoolean(value) : isNumber(value),
  );

export const KEYWORDS: ReadonlyMap<string, Keyword> = new Map([
  ['then', schema(7)],
  ...Object.entries({
    $schema: text(),
    id: text(4, 4),
    $id: keyword(
      'a URI; a fragment belongs in $anchor since 2019-09',
      (value, draft) => typeof value === 'string' && (draft < 2019 || /^[^#]*#?$/.test(value)),
      { from: 6 },
    ),
    $anchor: keyword(
      'a name',
      (value, draft) =>
        typeof value === 'string' &&
        (draft === 2019 ? /^[A-Za-z][-A-Za-z0-9.:_]*$/ : /^[A-Za-z_][-A-Za-z0-9._]*$/).test(value),
      { from: 2019 },
    ),
    $dynamicAnchor: keyword(
      'a name',
      (value) => typeof value === 'string' && /^[A-Za-z_][-A-Za-z0-9._]*$/.test(value),
      { from: 2020 },
    ),
    $ref: text(),
    $dynamicRef: text(2020),
    $recursiveRef: text(2019, 2019),
    $recursiveAnchor: keyword('true or false', isBoolean, { from: 2019, to: 2019 }),
    $vocabulary: keyword('a map of true and false', (value) => isMapOf(value, isBoolean), { from: 2019 }),
    $comment: text(7),
    $defs: schemaMap(2019),
    definitions: schemaMap(),
    title: text(),
    description: text(),
    readOnly: flag(7),
    writeOnly: flag(7),
    deprecated: flag(2019),
    examples: keyword('a list', isArray, { from: 6 }),
    format: keyword('a text', isText, { from: 6 }),
    contentMediaType: text(7),
    contentEncoding: text(7),
    contentSchema: schema(2019),
    type: keyword(
      'a type, or a list of types without repetition',
      (value) => isType(value) || (isArray(value) && value.length > 0 && value.every(isType) && isUnique(value)),
    ),
    enum: keyword(
      'a list; up to draft 7 neither empty nor with repetition',
      (value, draft) => isArray(value) && (draft > 7 || (value.length > 0 && isUnique(value))),
    ),
    multipleOf: keyword('a number above zero', (value) => value instanceof JsonNumber && value.digits > 0n),
    maximum: number(),
    minimum: number(),
    exclusiveMaximum: exclusive(),
    exclusiveMinimum: exclusive(),
    maxLength: count(),
    minLength: count(),
    pattern: text(),
    maxItems: count(),
    minItems: count(),
    maxContains: count(2019),
    minContains: count(2019),
    uniqueItems: flag(),
    maxProperties: count(),
    minProperties: count(),
    required: keyword(
      'a list of names without repetition; not empty in draft 4',
      (value, draft) => isNames(value) && (draft > 4 || (isArray(value) && value.length > 0)),
    ),
    dependentRequired: keyword('a map of lists of names', (value) => isMapOf(value, isNames), { from: 2019 }),
    items: keyword(
      'a schema; up to 2019-09 also a list of schemas',
      (value, draft) => isSchema(value, draft) || (draft < 2020 && isArray(value) && isSchemas(value, draft)),
      { holds: 'oneOrList' },
    ),
    prefixItems: schemas(2020),
    additionalItems: keyword('a schema', (value, draft) => isSchema(value, draft) || isBoolean(value), {
      to: 2019,
      holds: 'one',
    }),
    contains: schema(6),
    unevaluatedItems: schema(2019),
    properties: schemaMap(),
    patternProperties: schemaMap(),
    additionalProperties: keyword('a schema', (value, draft) => isSchema(value, draft) || isBoolean(value), {
      holds: 'one',
    }),
    propertyNames: schema(6),
    unevaluatedProperties: schema(2019),
    dependencies: keyword(
      'a map of schemas and lists of names',
      (value, draft) =>
        isMapOf(
          value,
          (item) => isSchema(item, draft) || (isNames(item) && (draft > 4 || (isArray(item) && item.length > 0))),
        ),
      { holds: 'mapOrNames' },
    ),
    dependentSchemas: schemaMap(2019),
    if: schema(7),
    else: schema(7),
    allOf: schemas(),
    anyOf: schemas(),
    oneOf: schemas(),
    not: schema(),
  }),
]);

/** The keyword of that name in a draft. */
export function keywordIn(name: string, draft: Draft): Keyword | undefined {
  const found = KEYWORDS.get(name);
  return found !== undefined && found.from <= draft && draft <= found.to ? found : undefined;
}

/** The subschemas of a schema, each with the steps to it. Values that do not fit are left out. */
export function* subschemasOf(
  object: JsonObject,
  draft: Draft,
): Generator<[schema: JsonValue, steps: readonly string[]]> {
  for (const [name, value] of object) {
    const holds = keywordIn(name, draft)?.holds;
    if (holds === undefined) continue;
    if (isArray(value)) {
      for (const [index, item] of value.entries()) yield [item, [name, String(index)]];
    } else if (holds === 'map' || holds === 'mapOrNames') {
      if (!isObject(value)) continue;
      for (const [key, item] of value) if (!isArray(item)) yield [item, [name, key]];
    } else yield [value, [name]];
  }
}
