/**
 * Compares what two schemas ask of objects: counts, names that must be, properties by name, by pattern and all others,
 * and dependencies.
 *
 * Owns the content models: open (others may be anything), closed (no others), partially open (others by a schema or
 * by patterns). A pattern whose answer for a name is not known counts as matching and as not matching.
 */
import { isObject, type JsonValue } from '../json-value.ts';
import { escapePointer } from '../schema-set.ts';
import { isAny, type SchemaView } from '../schema-view.ts';
import { compareBound } from './compare-limits.ts';
import type { Comparison } from './comparison.ts';
import { keepsEvaluatedProperties } from './evaluated.ts';
import { matchesPattern } from './pattern.ts';

/** How much of the product of two lengths, which a match costs, is one step. */
const CHARACTER_PAIRS_PER_STEP = 10;

export function compareObjects(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  compareBound(c, { name: 'MAX_PROPERTIES', keyword: 'maxProperties', reader, writer, path });
  compareBound(c, { name: 'MIN_PROPERTIES', keyword: 'minProperties', reader, writer, path });
  const told = compareProperties(c, reader, writer, path);
  compareRequired(c, { reader, writer, path, told });
  comparePatterns(c, reader, writer, path);
  compareAdditional(c, reader, writer, path);
  compareOptional(c, {
    reader,
    writer,
    now: reader.propertyNames,
    before: writer.propertyNames,
    path: `${path}/propertyNames`,
  });
  compareDependencies(c, reader, writer, path);
  if (!keepsEvaluatedProperties(c, reader, writer)) c.report('UNEVALUATED_CHANGED', `${path}/unevaluatedProperties`);
}

/** Gives the names of new properties whose being required is told already. */
function compareProperties(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): ReadonlySet<string> {
  const told = new Set<string>();
  for (const [name, schema] of reader.properties) {
    if (c.isDecided) return told;
    c.step();
    const at = `${path}/properties/${escapePointer(name)}`;
    const old = writer.properties.get(name);
    const view = reader.views.of(schema);
    if (old === undefined) {
      if (propertyAdded(c, { name, view, reader, writer, path: at })) told.add(name);
      continue;
    }
    const before = writer.views.of(old);
    c.descend(view, before, at);
    if (!newPatternsOf(c, reader, writer, name).every((pattern) => c.accepts(pattern, before)))
      c.report('PATTERN_PROPERTY_ADDED', at);
  }
  for (const [name, schema] of writer.properties) {
    if (c.isDecided) return told;
    c.step();
    if (reader.properties.has(name)) continue;
    propertyRemoved(c, {
      name,
      view: writer.views.of(schema),
      reader,
      writer,
      path: `${path}/properties/${escapePointer(name)}`,
    });
  }
  return told;
}

interface OneProperty {
  readonly name: string;
  readonly view: SchemaView;
  readonly reader: SchemaView;
  readonly writer: SchemaView;
  readonly path: string;
}

/** Whether its being required was told. */
function propertyAdded(c: Comparison, { name, view, reader, writer, path }: OneProperty): boolean {
  const additional = writer.views.of(writer.additional);
  if (writer.patterns.size === 0 && isAny(additional)) {
    c.report(
      isAny(view) ? 'PROPERTY_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL' : 'PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL',
      path,
    );
    return false;
  }
  const { surely, perhaps } = patternsOf(c, writer, name);
  if (additional.isNever && surely.length + perhaps.length === 0) {
    const hasDefault = defaultOf(reader, name);
    if (!reader.required.has(name)) c.report('OPTIONAL_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL', path);
    else if (hasDefault) c.report('REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_UNOPEN_CONTENT_MODEL', path);
    else c.report('REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL', path);
    return true;
  }
  const isCovered =
    surely.some((pattern) => c.accepts(view, pattern)) ||
    (surely.length === 0 && c.accepts(view, additional) && perhaps.every((pattern) => c.accepts(view, pattern)));
  c.report(
    isCovered
      ? 'PROPERTY_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL'
      : 'PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL',
    path,
  );
  return false;
}

function propertyRemoved(c: Comparison, { name, view, reader, writer, path }: OneProperty): void {
  const additional = reader.views.of(reader.additional);
  if (reader.patterns.size === 0 && isAny(additional)) {
    c.report('PROPERTY_REMOVED_FROM_OPEN_CONTENT_MODEL', path);
    return;
  }
  const { surely, perhaps } = patternsOf(c, reader, name);
  if (additional.isNever && surely.length === 0) {
    c.report(
      view.isNever
        ? 'PROPERTY_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL'
        : 'PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL',
      path,
    );
    return;
  }
  const asked = [...newPatternsOf(c, reader, writer, name), ...(surely.length === 0 ? [additional] : [])];
  const isCovered =
    asked.every((schema) => c.accepts(schema, view)) &&
    (surely.length > 0 || perhaps.length === 0 || c.accepts(additional, view));
  c.report(
    isCovered
      ? 'PROPERTY_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL'
      : 'PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL',
    path,
  );
}

function compareRequired(
  c: Comparison,
  pair: { reader: SchemaView; writer: SchemaView; path: string; told: ReadonlySet<string> },
): void {
  const { reader, writer, path, told } = pair;
  c.step(1 + reader.required.size + writer.required.size);
  for (const name of reader.required) {
    if (writer.required.has(name) || told.has(name)) continue;
    const at = `${path}/required/${escapePointer(name)}`;
    c.report(defaultOf(reader, name) ? 'REQUIRED_ATTRIBUTE_WITH_DEFAULT_ADDED' : 'REQUIRED_ATTRIBUTE_ADDED', at);
  }
  for (const name of writer.required)
    if (!reader.required.has(name)) c.report('REQUIRED_ATTRIBUTE_REMOVED', `${path}/required/${escapePointer(name)}`);
}

/** Patterns on both sides are compared; one on one side only must not ask more of names that fall to it or from it. */
function comparePatterns(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  const before = writer.views.of(writer.additional);
  const now = reader.views.of(reader.additional);
  for (const [pattern, schema] of reader.patterns) {
    if (c.isDecided) return;
    const at = `${path}/patternProperties/${escapePointer(pattern)}`;
    const view = reader.views.of(schema);
    const old = writer.patterns.get(pattern);
    if (old !== undefined) c.descend(view, writer.views.of(old), at);
    else if (!isAny(view)) {
      const others = [...writer.patterns.values()].map((other) => writer.views.of(other));
      if (![before, ...others].every((other) => c.accepts(view, other))) c.report('PATTERN_PROPERTY_ADDED', at);
    }
  }
  for (const [pattern, schema] of writer.patterns) {
    if (c.isDecided) return;
    if (!reader.patterns.has(pattern) && !c.accepts(now, writer.views.of(schema)))
      c.report('PATTERN_PROPERTY_REMOVED', `${path}/patternProperties/${escapePointer(pattern)}`);
  }
}

function compareAdditional(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.isDecided || (reader.additional === undefined && writer.additional === undefined)) return;
  const now = reader.views.of(reader.additional);
  const before = writer.views.of(writer.additional);
  const at = `${path}/additionalProperties`;
  if ((isAny(now) && isAny(before)) || (now.isNever && before.isNever)) return;
  if (isAny(now)) c.report(before.isNever ? 'ADDITIONAL_PROPERTIES_ADDED' : 'ADDITIONAL_PROPERTIES_EXTENDED', at);
  else if (before.isNever) c.report('ADDITIONAL_PROPERTIES_EXTENDED', at);
  else if (now.isNever)
    c.report(isAny(before) ? 'ADDITIONAL_PROPERTIES_REMOVED' : 'ADDITIONAL_PROPERTIES_NARROWED', at);
  else if (isAny(before)) c.report('ADDITIONAL_PROPERTIES_NARROWED', at);
  else c.descend(now, before, at);
}

/** A schema that may be absent, which allows everything. */
function compareOptional(
  c: Comparison,
  pair: {
    reader: SchemaView;
    writer: SchemaView;
    now: JsonValue | undefined;
    before: JsonValue | undefined;
    path: string;
  },
): void {
  const { reader, writer, now, before, path } = pair;
  if (c.isDecided || (now === undefined && before === undefined)) return;
  if (now === undefined) c.report('SCHEMA_REMOVED', path);
  else if (before !== undefined) c.descend(reader.views.of(now), writer.views.of(before), path);
  else if (!isAny(reader.views.of(now))) c.report('SCHEMA_ADDED', path);
}

function compareDependencies(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.isDecided) return;
  const at = (name: string): string => `${path}/dependencies/${escapePointer(name)}`;
  for (const [name, now] of reader.dependentNames) {
    const before = writer.dependentNames.get(name);
    c.step(1 + now.size);
    if (before === undefined) {
      c.report('DEPENDENCY_ARRAY_ADDED', at(name));
      continue;
    }
    const isNew = [...now].some((item) => !before.has(item));
    const isGone = [...before].some((item) => !now.has(item));
    if (isNew) c.report(isGone ? 'DEPENDENCY_ARRAY_CHANGED' : 'DEPENDENCY_ARRAY_EXTENDED', at(name));
    else if (isGone) c.report('DEPENDENCY_ARRAY_NARROWED', at(name));
  }
  for (const name of writer.dependentNames.keys())
    if (!reader.dependentNames.has(name)) c.report('DEPENDENCY_ARRAY_REMOVED', at(name));
  for (const [name, schema] of reader.dependentSchemas) {
    const before = writer.dependentSchemas.get(name);
    if (before !== undefined) c.descend(reader.views.of(schema), writer.views.of(before), at(name));
    else if (!isAny(reader.views.of(schema))) c.report('DEPENDENCY_SCHEMA_ADDED', at(name));
  }
  for (const name of writer.dependentSchemas.keys())
    if (!reader.dependentSchemas.has(name)) c.report('DEPENDENCY_SCHEMA_REMOVED', at(name));
}

/** The schemas of a reader's patterns that may match a name and that the writer does not have. */
function newPatternsOf(c: Comparison, reader: SchemaView, writer: SchemaView, name: string): readonly SchemaView[] {
  const { patterns } = reader;
  const found: SchemaView[] = [];
  for (const [pattern, schema] of patterns) {
    c.step(1 + Math.ceil((pattern.length * name.length) / CHARACTER_PAIRS_PER_STEP));
    if (!writer.patterns.has(pattern) && matchesPattern(pattern, name) !== false) found.push(reader.views.of(schema));
  }
  return found;
}

function patternsOf(
  c: Comparison,
  view: SchemaView,
  name: string,
): { surely: readonly SchemaView[]; perhaps: readonly SchemaView[] } {
  const surely: SchemaView[] = [];
  const perhaps: SchemaView[] = [];
  for (const [pattern, schema] of view.patterns) {
    c.step(1 + Math.ceil((pattern.length * name.length) / CHARACTER_PAIRS_PER_STEP));
    const matches = matchesPattern(pattern, name);
    if (matches !== false) (matches ? surely : perhaps).push(view.views.of(schema));
  }
  return { surely, perhaps };
}

function defaultOf(view: SchemaView, name: string): boolean {
  const schema = view.properties.get(name);
  return (isObject(schema) && schema.has('default')) || view.views.of(schema).annotations.has('default');
}
