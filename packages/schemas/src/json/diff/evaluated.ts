/**
 * Whether what counts as evaluated stays so, where a schema says what unevaluated properties or items may be.
 *
 * Owns a rule on the safe side: the same text in place, without references; or, for properties, all names that any
 * part of the old schema may evaluate are evaluated by parts of the new one that always apply.
 */
import { isArray, isObject, type JsonObject, type JsonValue, printJson } from '../json-value.ts';
import { IN_PLACE, isAny, type SchemaView } from '../schema-view.ts';
import type { Comparison } from './comparison.ts';

const EVALUATES = [
  'patternProperties',
  'additionalProperties',
  'unevaluatedProperties',
  'prefixItems',
  'items',
  'additionalItems',
  'contains',
  'unevaluatedItems',
];
const CHARACTERS_PER_STEP = 100;

export function keepsEvaluatedProperties(c: Comparison, reader: SchemaView, writer: SchemaView): boolean {
  if (!keepsUnevaluated(c, reader, writer, 'unevaluatedProperties')) return false;
  if (reader.unevaluatedProperties === undefined || isAny(reader.views.of(reader.unevaluatedProperties))) return true;
  if (hasSameText(c, reader, writer) && [...writer.properties.keys()].every((name) => reader.properties.has(name)))
    return true;
  const may = new Set<string>();
  const surely = new Set<string>();
  if (!collect(c, writer, { names: may, always: false })) return false;
  collect(c, reader, { names: surely, always: true });
  return [...may].every((name) => surely.has(name));
}

export function keepsEvaluatedItems(c: Comparison, reader: SchemaView, writer: SchemaView): boolean {
  if (!keepsUnevaluated(c, reader, writer, 'unevaluatedItems')) return false;
  if (reader.unevaluatedItems === undefined || isAny(reader.views.of(reader.unevaluatedItems))) return true;
  return hasSameText(c, reader, writer);
}

function keepsUnevaluated(
  c: Comparison,
  reader: SchemaView,
  writer: SchemaView,
  name: 'unevaluatedProperties' | 'unevaluatedItems',
): boolean {
  const now = reader[name];
  if (now === undefined) return true;
  return c.accepts(reader.views.of(now), writer.views.of(writer[name]));
}

function hasSameText(c: Comparison, reader: SchemaView, writer: SchemaView): boolean {
  const now = textInPlace(c, reader.source);
  return now === textInPlace(c, writer.source) && !/"\$(ref|dynamicRef|recursiveRef)":/.test(now);
}

function textInPlace(c: Comparison, source: JsonObject | undefined): string {
  const names = [...IN_PLACE, ...EVALUATES];
  const text = names.map((name) => `"${name}":${printJson(source?.get(name) ?? null).replace(/^null$/, '')}`).join();
  c.step(1 + Math.floor(text.length / CHARACTERS_PER_STEP));
  return text.replace(/"\$(?:ref|dynamicRef|recursiveRef)":(?=,|$)/g, '');
}

/** Collects names of properties from a view and what applies in place; false when more than names are evaluated. */
function collect(c: Comparison, view: SchemaView, into: { names: Set<string>; always: boolean }): boolean {
  const seen = new Set<SchemaView>();
  const open: SchemaView[] = [view];
  let isOnlyNames = true;
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (seen.has(at)) continue;
    seen.add(at);
    c.step();
    const { views } = at;
    for (const name of at.properties.keys()) into.names.add(name);
    if (at.patterns.size > 0 || at.additional !== undefined || (at !== view && at.unevaluatedProperties !== undefined))
      isOnlyNames = false;
    for (const member of inPlace(at, into.always)) open.push(views.of(member));
  }
  return isOnlyNames;
}

function inPlace(view: SchemaView, always: boolean): readonly JsonValue[] {
  // The view may be one without combinations; what was written has them.
  const source = view.source ?? new Map<string, JsonValue>();
  const full = view.views.of(view.source);
  const certain = full.allOf;
  if (always) return certain;
  const some = ['anyOf', 'oneOf'].flatMap((name) => {
    const list = source.get(name);
    return isArray(list) ? list : [];
  });
  const single = ['if', 'then', 'else'].flatMap((name) => {
    const value = source.get(name);
    return isObject(value) || typeof value === 'boolean' ? [value] : [];
  });
  return [...certain, ...some, ...single, ...view.dependentSchemas.values()];
}
