/**
 * A schema as the comparison sees it: references followed, drafts made alike, combinations apart from plain limits.
 *
 * Owns what a keyword means in each draft: exclusive bounds of draft 4, tuples, dependencies, what stands beside a
 * $ref. Does not compare. Views are made when asked for and kept, so that a cycle is a cycle of the same views. Pure.
 */
import { equalityKey, isArray, isObject, JsonNumber, type JsonObject, type JsonValue } from './json-value.ts';
import type { SchemaSet } from './schema-set.ts';

/** Limits that are one number. */
export const NUMBER_LIMITS = [
  'maxLength',
  'minLength',
  'maximum',
  'minimum',
  'exclusiveMaximum',
  'exclusiveMinimum',
  'multipleOf',
  'maxItems',
  'minItems',
  'maxContains',
  'minContains',
  'maxProperties',
  'minProperties',
] as const;

export interface SchemaView {
  /** Stands for the view in memories of pairs. */
  readonly id: number;
  /** What it was written as, with its set: for its subschemas. */
  readonly views: SchemaViews;
  /** Nothing is valid by it. */
  readonly isNever: boolean;
  /** Undefined: all. */
  readonly types: ReadonlySet<string> | undefined;
  /** The values of enum and const, by equality; undefined: all. */
  readonly values: ReadonlyMap<string, JsonValue> | undefined;
  readonly limits: ReadonlyMap<string, JsonNumber>;
  readonly pattern: string | undefined;
  readonly uniqueItems: boolean;
  /** The schemas of the first items, and of those after them; undefined: anything. */
  readonly tuple: readonly JsonValue[] | undefined;
  readonly rest: JsonValue | undefined;
  readonly contains: JsonValue | undefined;
  readonly properties: JsonObject;
  readonly patterns: JsonObject;
  readonly additional: JsonValue | undefined;
  readonly required: ReadonlySet<string>;
  readonly propertyNames: JsonValue | undefined;
  readonly dependentNames: ReadonlyMap<string, ReadonlySet<string>>;
  readonly dependentSchemas: ReadonlyMap<string, JsonValue>;
  readonly unevaluatedProperties: JsonValue | undefined;
  readonly unevaluatedItems: JsonValue | undefined;
  /** The schema as written; undefined for true and false. */
  readonly source: JsonObject | undefined;
  readonly allOf: readonly JsonValue[];
  readonly anyOf: readonly JsonValue[] | undefined;
  readonly oneOf: readonly JsonValue[] | undefined;
  readonly not: JsonValue | undefined;
  readonly condition: { readonly test: JsonValue; readonly yes: JsonValue; readonly no: JsonValue } | undefined;
  readonly annotations: ReadonlyMap<string, JsonValue>;
}

const NONE: ReadonlyMap<string, never> = new Map<string, never>();
/** What looks at the same value, and so may count its properties as evaluated. */
export const IN_PLACE = [
  'allOf',
  'anyOf',
  'oneOf',
  'if',
  'then',
  'else',
  'not',
  'dependentSchemas',
  'dependencies',
  '$ref',
  '$dynamicRef',
  '$recursiveRef',
];
/** Beside a $ref these ask for nothing. */
const SILENT = new Set([
  '$id',
  '$schema',
  '$anchor',
  '$dynamicAnchor',
  '$recursiveAnchor',
  '$comment',
  '$defs',
  'definitions',
  'title',
  'description',
  'default',
  'examples',
  'deprecated',
  'readOnly',
  'writeOnly',
  'format',
  '$vocabulary',
  'contentMediaType',
  'contentEncoding',
  'contentSchema',
]);

/** The views of one schema set. */
export class SchemaViews {
  readonly #set: SchemaSet;
  readonly #nextId: () => number;
  readonly #views = new Map<JsonValue, SchemaView>();
  /** Parts of views, kept so that a cycle through them meets the same one again. */
  readonly #parts = new Map<string, SchemaView>();

  constructor(set: SchemaSet, nextId: () => number) {
    this.#set = set;
    this.#nextId = nextId;
  }

  get root(): SchemaView {
    return this.of(this.#set.root);
  }

  /** The view of a schema in the set. An undefined schema allows everything. */
  of(schema: JsonValue | undefined): SchemaView {
    const value = this.#dereference(schema ?? true);
    let view = this.#views.get(value);
    if (view === undefined) {
      view = isObject(value) ? this.#make(value) : this.#plain(value === false);
      this.#views.set(value, view);
    }
    return view;
  }

  /** The same without combinations: only what it limits itself. */
  base(view: SchemaView): SchemaView {
    if (!hasCombinations(view)) return view;
    return this.#part(view, 'base', {
      allOf: [],
      anyOf: undefined,
      oneOf: undefined,
      not: undefined,
      condition: undefined,
    });
  }

  /** Only one list of alternatives of a view. */
  alternatives(view: SchemaView, kind: 'anyOf' | 'oneOf'): SchemaView {
    return this.#part(view, kind, { ...this.#plain(false), [kind]: view[kind] });
  }

  /** One view for each type of a view with several, so that each may find an alternative of its own. */
  byType(view: SchemaView): readonly SchemaView[] {
    if (view.types === undefined || view.types.size < 2 || view.values !== undefined) return [view];
    return [...view.types].map((type) => this.#part(view, type, { types: new Set([type]) }));
  }

  #part(view: SchemaView, name: string, fields: Partial<SchemaView>): SchemaView {
    const key = `${view.id}:${name}`;
    let part = this.#parts.get(key);
    if (part === undefined) {
      part = { ...view, ...fields, id: this.#nextId() };
      this.#parts.set(key, part);
    }
    return part;
  }

  #dereference(value: JsonValue): JsonValue {
    let at = value;
    // Empty cycles were refused, so this ends.
    while (isObject(at)) {
      const object = at;
      const [target] = this.#set.targets(object);
      if (target === undefined) return at;
      const alone =
        this.#set.draft(object) <= 7 || [...object.keys()].every((key) => key === '$ref' || SILENT.has(key));
      if (!alone || typeof object.get('$ref') !== 'string') return at;
      at = target;
    }
    return at;
  }

  #plain(isNever: boolean): SchemaView {
    return {
      id: this.#nextId(),
      views: this,
      isNever,
      types: undefined,
      values: undefined,
      limits: NONE,
      pattern: undefined,
      uniqueItems: false,
      tuple: undefined,
      rest: undefined,
      contains: undefined,
      properties: NONE,
      patterns: NONE,
      additional: undefined,
      required: new Set(),
      propertyNames: undefined,
      dependentNames: NONE,
      dependentSchemas: NONE,
      unevaluatedProperties: undefined,
      unevaluatedItems: undefined,
      source: undefined,
      allOf: [],
      anyOf: undefined,
      oneOf: undefined,
      not: undefined,
      condition: undefined,
      annotations: NONE,
    };
  }

  #make(object: JsonObject): SchemaView {
    const draft = this.#set.draft(object);
    const from2019 = draft >= 2019;
    const values = valuesOf(object, draft);
    const inPlace = IN_PLACE.filter((name) => object.has(name));
    const unevaluated = (name: string): JsonValue | undefined => (from2019 ? object.get(name) : undefined);
    const condition = draft >= 7 ? object.get('if') : undefined;
    // Without applicators in place, what is unevaluated is simply what is additional.
    const plain = inPlace.length === 0;
    return {
      ...this.#plain(values?.size === 0),
      types: typesOf(object.get('type')),
      values,
      limits: limitsOf(object, draft),
      pattern: textOf(object.get('pattern')),
      uniqueItems: object.get('uniqueItems') === true,
      ...itemsOf(object, draft, plain),
      contains: draft >= 6 ? object.get('contains') : undefined,
      properties: mapOf(object.get('properties')),
      patterns: mapOf(object.get('patternProperties')),
      additional: object.get('additionalProperties') ?? (plain ? unevaluated('unevaluatedProperties') : undefined),
      required: namesOf(object.get('required')),
      propertyNames: draft >= 6 ? object.get('propertyNames') : undefined,
      ...dependenciesOf(object, draft),
      unevaluatedProperties: plain ? undefined : unevaluated('unevaluatedProperties'),
      unevaluatedItems: plain && !object.has('contains') ? undefined : unevaluated('unevaluatedItems'),
      source: object,
      allOf: [...listOf(object.get('allOf')), ...this.#set.targets(object)],
      anyOf: object.has('anyOf') ? listOf(object.get('anyOf')) : undefined,
      oneOf: object.has('oneOf') ? listOf(object.get('oneOf')) : undefined,
      not: object.get('not'),
      condition:
        condition === undefined
          ? undefined
          : { test: condition, yes: object.get('then') ?? true, no: object.get('else') ?? true },
      annotations: new Map(
        ['$id', 'id', 'title', 'description', 'default'].flatMap((name) => {
          const value = object.get(name);
          return value === undefined ? [] : [[name, value] as const];
        }),
      ),
    };
  }
}

export function hasCombinations(view: SchemaView): boolean {
  return (
    view.allOf.length > 0 ||
    view.anyOf !== undefined ||
    view.oneOf !== undefined ||
    view.not !== undefined ||
    view.condition !== undefined
  );
}

/** Whether everything is valid by it. */
export function isAny(view: SchemaView): boolean {
  return !view.isNever && !hasCombinations(view) && !hasLimits(view);
}

/** Whether it asks for something itself, beside combinations. */
export function hasLimits(view: SchemaView): boolean {
  return (
    view.types !== undefined ||
    view.values !== undefined ||
    view.limits.size > 0 ||
    view.pattern !== undefined ||
    view.uniqueItems ||
    (view.tuple !== undefined && view.tuple.length > 0) ||
    view.rest !== undefined ||
    view.contains !== undefined ||
    view.properties.size > 0 ||
    view.patterns.size > 0 ||
    view.additional !== undefined ||
    view.required.size > 0 ||
    view.propertyNames !== undefined ||
    view.dependentNames.size > 0 ||
    view.dependentSchemas.size > 0 ||
    view.unevaluatedProperties !== undefined ||
    view.unevaluatedItems !== undefined
  );
}

function typesOf(value: JsonValue | undefined): ReadonlySet<string> | undefined {
  if (value === undefined) return undefined;
  const types = new Set((isArray(value) ? value : [value]).filter((type) => typeof type === 'string'));
  // Every integer is a number.
  if (types.has('number')) types.delete('integer');
  return types;
}

function valuesOf(object: JsonObject, draft: number): ReadonlyMap<string, JsonValue> | undefined {
  const one = draft >= 6 ? object.get('const') : undefined;
  const many = object.get('enum');
  if (one === undefined && many === undefined) return undefined;
  const all = new Map(listOf(many).map((value) => [equalityKey(value), value]));
  if (one === undefined) return all;
  const key = equalityKey(one);
  return many === undefined || all.has(key) ? new Map([[key, one]]) : new Map();
}

function limitsOf(object: JsonObject, draft: number): ReadonlyMap<string, JsonNumber> {
  const limits = new Map<string, JsonNumber>();
  for (const name of NUMBER_LIMITS) {
    const value = object.get(name);
    if (value instanceof JsonNumber && !(draft < 2019 && name.endsWith('Contains'))) limits.set(name, value);
  }
  // No lower limit of a count says as much as zero.
  for (const name of ['minLength', 'minItems', 'minProperties'])
    if (limits.get(name)?.digits === 0n) limits.delete(name);
  if (draft > 4) return limits;
  for (const [exclusive, bound] of [
    ['exclusiveMaximum', 'maximum'],
    ['exclusiveMinimum', 'minimum'],
  ] as const) {
    const value = limits.get(bound);
    if (object.get(exclusive) !== true || value === undefined) continue;
    limits.set(exclusive, value);
    limits.delete(bound);
  }
  return limits;
}

function itemsOf(object: JsonObject, draft: number, plain: boolean): Pick<SchemaView, 'tuple' | 'rest'> {
  const items = object.get('items');
  const last = draft >= 2019 && plain && !object.has('contains') ? object.get('unevaluatedItems') : undefined;
  if (draft === 2020) {
    const tuple = object.get('prefixItems');
    return { tuple: tuple === undefined ? undefined : listOf(tuple), rest: items ?? last };
  }
  if (isArray(items)) return { tuple: items, rest: object.get('additionalItems') ?? last };
  return { tuple: undefined, rest: items ?? last };
}

function dependenciesOf(object: JsonObject, draft: number): Pick<SchemaView, 'dependentNames' | 'dependentSchemas'> {
  const names = new Map<string, ReadonlySet<string>>();
  const schemas = new Map<string, JsonValue>();
  const sources = draft >= 2019 ? ['dependencies', 'dependentRequired', 'dependentSchemas'] : ['dependencies'];
  for (const source of sources) {
    for (const [key, value] of mapOf(object.get(source))) {
      if (isArray(value)) names.set(key, new Set([...(names.get(key) ?? []), ...namesOf(value)]));
      else schemas.set(key, schemas.has(key) ? new Map([['allOf', [schemas.get(key) ?? true, value]]]) : value);
    }
  }
  return { dependentNames: names, dependentSchemas: schemas };
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

function listOf(value: JsonValue | undefined): readonly JsonValue[] {
  return isArray(value) ? value : [];
}

function mapOf(value: JsonValue | undefined): JsonObject {
  return isObject(value) ? value : NONE;
}

function namesOf(value: JsonValue | undefined): ReadonlySet<string> {
  return new Set(listOf(value).filter((name) => typeof name === 'string'));
}
