/**
 * Compares what two schemas limit themselves: type, values, text, numbers; objects and arrays have files of their own.
 *
 * A limit on a type that the old schema does not allow says nothing, and is passed over.
 */
import { compareNumbers, isMultiple, printJson } from '../json-value.ts';
import type { SchemaView } from '../schema-view.ts';
import { compareArrays } from './compare-array.ts';
import { compareObjects } from './compare-object.ts';
import type { Comparison } from './comparison.ts';
import { allowsType, possibleTypes, possibleValues } from './types.ts';

type BoundName =
  | 'MAX_LENGTH'
  | 'MIN_LENGTH'
  | 'MAXIMUM'
  | 'MINIMUM'
  | 'EXCLUSIVE_MAXIMUM'
  | 'EXCLUSIVE_MINIMUM'
  | 'MAX_PROPERTIES'
  | 'MIN_PROPERTIES'
  | 'MAX_ITEMS'
  | 'MIN_ITEMS';

const NUMBER_BOUNDS = {
  maximum: 'MAXIMUM',
  minimum: 'MINIMUM',
  exclusiveMaximum: 'EXCLUSIVE_MAXIMUM',
  exclusiveMinimum: 'EXCLUSIVE_MINIMUM',
} as const;

/** Both without combinations. */
export function compareLimits(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (!compareTypes(c, reader, writer, path) || c.isDecided) return;
  compareValues(c, reader, writer, path);
  const types = possibleTypes(writer);
  if (types.has('string')) compareStrings(c, reader, writer, path);
  if (types.has('number') || types.has('integer')) compareNumeric(c, reader, writer, path);
  if (types.has('array') && !c.isDecided) compareArrays(c, reader, writer, path);
  if (types.has('object') && !c.isDecided) compareObjects(c, reader, writer, path);
}

/** What is for people: told, never incompatible. */
export function compareAnnotations(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.changes === undefined) return;
  const kinds = [
    ['$id', 'ID_CHANGED'],
    ['id', 'ID_CHANGED'],
    ['title', 'TITLE_CHANGED'],
    ['description', 'DESCRIPTION_CHANGED'],
    ['default', 'DEFAULT_CHANGED'],
  ] as const;
  for (const [name, type] of kinds) {
    const now = reader.annotations.get(name);
    const before = writer.annotations.get(name);
    if (now === before) continue;
    if (now === undefined || before === undefined || printJson(now) !== printJson(before)) c.report(type, path);
  }
}

/** False when nothing more can be said, because not one type is common. */
function compareTypes(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): boolean {
  const { types } = reader;
  if (types === undefined) {
    if (writer.types !== undefined && reader.values === undefined) c.report('TYPE_EXTENDED', path);
    return true;
  }
  const before = possibleTypes(writer);
  if ([...before].every((type) => allowsType(types, type))) {
    if (writer.types !== undefined && [...types].some((type) => !writer.types?.has(type)))
      c.report('TYPE_EXTENDED', path);
    return true;
  }
  const isCommon = [...before].some((type) => allowsType(types, type) || (type === 'number' && types.has('integer')));
  c.report(isCommon ? 'TYPE_NARROWED' : 'TYPE_CHANGED', path);
  return isCommon;
}

function compareValues(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  const now = reader.values;
  const at = `${path}/enum`;
  if (now === undefined) {
    if (writer.values !== undefined) c.report('ENUM_ARRAY_EXTENDED', at);
    return;
  }
  const before = possibleValues(writer);
  c.step(now.size + (before?.size ?? 0));
  if (before === undefined) {
    c.report('ENUM_ARRAY_NARROWED', at);
    return;
  }
  const isGone = [...before.keys()].some((key) => !now.has(key));
  const isNew = [...now.keys()].some((key) => !before.has(key));
  if (isGone) c.report(isNew ? 'ENUM_ARRAY_CHANGED' : 'ENUM_ARRAY_NARROWED', at);
  else if (isNew && writer.values !== undefined) c.report('ENUM_ARRAY_EXTENDED', at);
}

function compareStrings(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  compareBound(c, { name: 'MAX_LENGTH', keyword: 'maxLength', reader, writer, path });
  compareBound(c, { name: 'MIN_LENGTH', keyword: 'minLength', reader, writer, path });
  if (reader.pattern === writer.pattern) return;
  const type =
    writer.pattern === undefined
      ? 'PATTERN_ADDED'
      : reader.pattern === undefined
        ? 'PATTERN_REMOVED'
        : 'PATTERN_CHANGED';
  c.report(type, `${path}/pattern`);
}

function compareNumeric(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  for (const keyword of ['maximum', 'minimum', 'exclusiveMaximum', 'exclusiveMinimum'] as const)
    compareBound(c, { name: NUMBER_BOUNDS[keyword], keyword, reader, writer, path });
  const now = reader.limits.get('multipleOf');
  const before = writer.limits.get('multipleOf');
  const at = `${path}/multipleOf`;
  if (now === undefined) {
    if (before !== undefined) c.report('MULTIPLE_OF_REMOVED', at);
  } else if (before === undefined) c.report('MULTIPLE_OF_ADDED', at);
  else if (compareNumbers(now, before) !== 0) {
    if (isMultiple(before, now)) c.report('MULTIPLE_OF_REDUCED', at);
    else c.report(isMultiple(now, before) ? 'MULTIPLE_OF_EXPANDED' : 'MULTIPLE_OF_CHANGED', at);
  }
}

/** One bound that is a number: added, removed, increased or decreased. */
export function compareBound(
  c: Comparison,
  bound: { name: BoundName; keyword: string; reader: SchemaView; writer: SchemaView; path: string },
): void {
  const { name, keyword, path } = bound;
  const now = bound.reader.limits.get(keyword);
  const before = bound.writer.limits.get(keyword);
  const at = `${path}/${keyword}`;
  if (now === undefined) {
    if (before !== undefined) c.report(`${name}_REMOVED`, at);
    return;
  }
  if (before === undefined) {
    c.report(`${name}_ADDED`, at);
    return;
  }
  const order = compareNumbers(now, before);
  if (order !== 0) c.report(order > 0 ? `${name}_INCREASED` : `${name}_DECREASED`, at);
}
