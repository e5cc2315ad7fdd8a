/** Compares what two schemas ask of arrays: counts, uniqueness, items by place and after, and what must be contained. */
import { compareNumbers, JsonNumber, type JsonValue } from '../json-value.ts';
import { isAny, type SchemaView } from '../schema-view.ts';
import { compareBound } from './compare-limits.ts';
import type { Comparison } from './comparison.ts';
import { keepsEvaluatedItems } from './evaluated.ts';

const ONE = new JsonNumber('1');

export function compareArrays(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  compareBound(c, { name: 'MAX_ITEMS', keyword: 'maxItems', reader, writer, path });
  compareBound(c, { name: 'MIN_ITEMS', keyword: 'minItems', reader, writer, path });
  if (reader.uniqueItems !== writer.uniqueItems)
    c.report(reader.uniqueItems ? 'UNIQUE_ITEMS_ADDED' : 'UNIQUE_ITEMS_REMOVED', `${path}/uniqueItems`);
  compareTuple(c, reader, writer, path);
  compareRest(c, reader, writer, path);
  compareContains(c, reader, writer, path);
  if (!keepsEvaluatedItems(c, reader, writer)) c.report('UNEVALUATED_CHANGED', `${path}/unevaluatedItems`);
}

function compareTuple(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  const now = reader.tuple ?? [];
  const before = writer.tuple ?? [];
  for (let index = 0; index < Math.max(now.length, before.length) && !c.isDecided; index++) {
    c.step();
    const at = `${path}/items/${index}`;
    const item = now[index];
    const old = before[index];
    if (item !== undefined && old !== undefined) c.descend(reader.views.of(item), writer.views.of(old), at);
    else if (item !== undefined) itemAdded(c, reader.views.of(item), writer.views.of(writer.rest), at);
    else itemRemoved(c, reader.views.of(reader.rest), writer.views.of(old), at);
  }
}

function itemAdded(c: Comparison, item: SchemaView, rest: SchemaView, path: string): void {
  if (isAny(rest))
    c.report(
      isAny(item) ? 'ITEM_WITH_EMPTY_SCHEMA_ADDED_TO_OPEN_CONTENT_MODEL' : 'ITEM_ADDED_TO_OPEN_CONTENT_MODEL',
      path,
    );
  else if (rest.isNever) c.report('ITEM_ADDED_TO_CLOSED_CONTENT_MODEL', path);
  else if (c.accepts(item, rest)) c.report('ITEM_ADDED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL', path);
  else c.report('ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL', path);
}

function itemRemoved(c: Comparison, rest: SchemaView, item: SchemaView, path: string): void {
  if (isAny(rest)) c.report('ITEM_REMOVED_FROM_OPEN_CONTENT_MODEL', path);
  else if (rest.isNever)
    c.report(
      item.isNever ? 'ITEM_WITH_FALSE_REMOVED_FROM_CLOSED_CONTENT_MODEL' : 'ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL',
      path,
    );
  else if (c.accepts(rest, item)) c.report('ITEM_REMOVED_IS_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL', path);
  else c.report('ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL', path);
}

function compareRest(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.isDecided || (reader.rest === undefined && writer.rest === undefined)) return;
  const now = reader.views.of(reader.rest);
  const before = writer.views.of(writer.rest);
  if (reader.tuple === undefined && writer.tuple === undefined) {
    if (reader.rest === undefined) c.report('SCHEMA_REMOVED', `${path}/items`);
    else if (writer.rest === undefined && !isAny(now)) c.report('SCHEMA_ADDED', `${path}/items`);
    else c.descend(now, before, `${path}/items`);
    return;
  }
  const at = `${path}/additionalItems`;
  if ((isAny(now) && isAny(before)) || (now.isNever && before.isNever)) return;
  if (isAny(now)) c.report(before.isNever ? 'ADDITIONAL_ITEMS_ADDED' : 'ADDITIONAL_ITEMS_EXTENDED', at);
  else if (before.isNever) c.report('ADDITIONAL_ITEMS_EXTENDED', at);
  else if (now.isNever) c.report(isAny(before) ? 'ADDITIONAL_ITEMS_REMOVED' : 'ADDITIONAL_ITEMS_NARROWED', at);
  else if (isAny(before)) c.report('ADDITIONAL_ITEMS_NARROWED', at);
  else c.descend(now, before, at);
}

function compareContains(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  const at = `${path}/contains`;
  if (reader.contains === undefined) {
    if (writer.contains !== undefined) c.report('SCHEMA_REMOVED', at);
    return;
  }
  const now = reader.views.of(reader.contains);
  const minNow = reader.limits.get('minContains') ?? ONE;
  const maxNow = reader.limits.get('maxContains');
  if (writer.contains === undefined) {
    if (minNow.digits > 0n) c.report('SCHEMA_ADDED', at);
    if (maxNow !== undefined) c.report('MAX_CONTAINS_ADDED', `${path}/maxContains`);
    return;
  }
  const before: JsonValue = writer.contains;
  const minBefore = writer.limits.get('minContains') ?? ONE;
  if (minNow.digits > 0n) c.descend(now, writer.views.of(before), at);
  const order = compareNumbers(minNow, minBefore);
  if (order !== 0) c.report(order > 0 ? 'MIN_CONTAINS_INCREASED' : 'MIN_CONTAINS_DECREASED', `${path}/minContains`);
  compareMaxContains(c, maxNow, writer.limits.get('maxContains'), `${path}/maxContains`);
  // At most so many: what counts now must have counted before.
  if (maxNow !== undefined && !c.accepts(writer.views.of(before), now))
    c.report('MAX_CONTAINS_ADDED', `${path}/maxContains`);
}

function compareMaxContains(
  c: Comparison,
  now: JsonNumber | undefined,
  before: JsonNumber | undefined,
  path: string,
): void {
  if (now === undefined && before !== undefined) c.report('MAX_CONTAINS_REMOVED', path);
  if (now === undefined) return;
  if (before === undefined) c.report('MAX_CONTAINS_ADDED', path);
  else if (compareNumbers(now, before) !== 0)
    c.report(compareNumbers(now, before) > 0 ? 'MAX_CONTAINS_INCREASED' : 'MAX_CONTAINS_DECREASED', path);
}
