/**
 * Tags in JSON Schemas: the keyword "confluent:tags" of an object or of a property.
 *
 * Owns where they are, and what the places are called: "object" for an object, "object.name" for its property, with the
 * steps "array", "anyof.0", "oneof.0", "allof.0", "not" and "definitions.Name" in between. Members are counted in the
 * order of the text. A $ref is not followed; what it leads to in the text has a place of its own. Pure; depth is that of
 * the text, which is bounded.
 */
import type { SchemaLimits } from '../schema.ts';
import {
  changedTags,
  PathBudget,
  TAGS_KEY,
  type TagChange,
  TagChanges,
  type TaggedPlace,
  type TagPlace,
} from '../tags.ts';
import { isArray, isObject, type JsonObject, type JsonValue, printJson } from './json-value.ts';
import { readJson } from './read-json.ts';

interface JsonPlace extends TagPlace {
  readonly object: JsonObject;
}

/** All that has tags, in the order of the text. */
export function findJsonTags(root: JsonValue): readonly TaggedPlace[] {
  const found: TaggedPlace[] = [];
  for (const { path, kind, object } of placesOf(root)) {
    const tags = tagsOf(object);
    if (tags.length > 0) found.push({ path, kind, tags });
  }
  return found;
}

/** The text with its tags changed. Throws InvalidSchema for a place that it does not have. */
export function changeJsonTags(text: string, changes: readonly TagChange[], limits: SchemaLimits): string {
  const root = readJson(text, limits.depthMax);
  const open = new TagChanges(changes);
  for (const place of placesOf(root)) {
    const change = open.take(place);
    if (change === undefined) continue;
    // This tree was read for this change, and nobody else has it.
    const own = place.object as Map<string, JsonValue>;
    const tags = changedTags(tagsOf(own), change);
    if (tags.length === 0) own.delete(TAGS_KEY);
    else own.set(TAGS_KEY, tags);
  }
  open.requireAllMet();
  return printJson(root);
}

function placesOf(root: JsonValue): JsonPlace[] {
  const places: JsonPlace[] = [];
  const budget = new PathBudget();
  collect(root, '', (place) => {
    budget.spend(place.path);
    places.push(place);
  });
  return places;
}

const LISTS = [
  ['anyOf', 'anyof'],
  ['oneOf', 'oneof'],
  ['allOf', 'allof'],
] as const;

/** `prefix`: empty, or ends with a dot. */
function collect(value: JsonValue | undefined, prefix: string, add: (place: JsonPlace) => void): void {
  if (!isObject(value)) return;
  const path = objectPath(value, prefix);
  if (path !== undefined) collectObject(value, path, add);
  collect(value.get('items'), `${prefix}array.`, add);
  for (const [keyword, step] of LISTS) {
    const members = value.get(keyword);
    if (!isArray(members)) continue;
    for (const [index, member] of members.entries()) collect(member, `${prefix}${step}.${index}.`, add);
  }
  collect(value.get('not'), `${prefix}not.`, add);
  if (value.has('allOf')) return;
  for (const part of ['if', 'then', 'else']) collect(value.get(part), `${prefix}allof.0.conditional.${part}.`, add);
}

function collectObject(value: JsonObject, path: string, add: (place: JsonPlace) => void): void {
  add({ path, kind: 'sr_record', object: value });
  const properties = value.get('properties');
  for (const [name, property] of isObject(properties) ? properties : []) {
    if (isObject(property)) add({ path: `${path}.${name}`, kind: 'sr_field', object: property });
    collect(property, `${path}.${name}.`, add);
  }
  for (const keyword of ['definitions', '$defs']) {
    const definitions = value.get(keyword);
    for (const [name, definition] of isObject(definitions) ? definitions : [])
      collect(definition, `${path}.${keyword}.${name}.`, add);
  }
}

/** The name of an object's place; undefined when the schema is of no object. */
function objectPath(value: JsonObject, prefix: string): string | undefined {
  const type = value.get('type');
  if (isArray(type)) {
    const index = type.indexOf('object');
    return index < 0 ? undefined : `${prefix}anyof.${index}.object`;
  }
  const isOne = type === 'object' || ['properties', 'definitions', '$defs'].some((keyword) => value.has(keyword));
  return isOne ? `${prefix}object` : undefined;
}

function tagsOf(object: JsonObject): readonly string[] {
  const tags = object.get(TAGS_KEY);
  return isArray(tags) ? tags.filter((tag): tag is string => typeof tag === 'string') : [];
}
