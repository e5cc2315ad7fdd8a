/** What types of value a schema may allow, from its own type, enum and const. Always at least those it does. Pure. */
import { isArray, isObject, JsonNumber, type JsonValue } from '../json-value.ts';
import type { SchemaView } from '../schema-view.ts';

/** "integer" is there beside "number" only when numbers with a fraction are not. */
const ALL: ReadonlySet<string> = new Set(['array', 'boolean', 'null', 'number', 'object', 'string']);

/** The types that a schema may allow. */
export function possibleTypes(view: SchemaView): ReadonlySet<string> {
  if (view.values === undefined) return view.types ?? ALL;
  return new Set([...(possibleValues(view)?.values() ?? [])].map(typeOf));
}

/** All values that a schema may allow, if it names them or there are few: by equality. */
export function possibleValues(view: SchemaView): ReadonlyMap<string, JsonValue> | undefined {
  if (view.values !== undefined)
    return new Map([...view.values].filter(([, value]) => allowsType(view.types, typeOf(value))));
  if (view.types === undefined) return undefined;
  const values = new Map<string, JsonValue>();
  for (const type of view.types) {
    if (type === 'null') values.set('null', null);
    else if (type === 'boolean') values.set('true', true).set('false', false);
    else return undefined;
  }
  return values;
}

/** Whether a schema with these types allows the type. */
export function allowsType(types: ReadonlySet<string> | undefined, type: string): boolean {
  return types === undefined || types.has(type) || (type === 'integer' && types.has('number'));
}

/** Whether surely no value is valid by both. False when that is not plain. */
export function disjoint(a: SchemaView, b: SchemaView): boolean {
  if (a.isNever || b.isNever) return true;
  const valuesA = possibleValues(a);
  const valuesB = possibleValues(b);
  if (valuesA !== undefined && valuesB !== undefined) return ![...valuesA.keys()].some((key) => valuesB.has(key));
  const typesA = possibleTypes(a);
  const typesB = possibleTypes(b);
  return ![...typesA].some((type) => allowsType(typesB, type)) && ![...typesB].some((type) => allowsType(typesA, type));
}

function typeOf(value: JsonValue): string {
  if (value === null) return 'null';
  if (isArray(value)) return 'array';
  if (isObject(value)) return 'object';
  // Draft 4 does not take 1.0 for an integer; where drafts differ, the wider type is the safe one.
  if (value instanceof JsonNumber) return /^-?\d+$/.test(value.text) ? 'integer' : 'number';
  return typeof value;
}
