/**
 * Compares two schemas: whether all that the old one (the writer's) allows, the new one (the reader's) allows too.
 *
 * Owns the order of questions and the combinations: allOf, anyOf, oneOf, not, if. What a schema limits itself is
 * compare-limits.ts. oneOf is taken as anyOf, as other registries do: that no second alternative fits is not proved.
 */
import { equalityKey, type JsonValue } from '../json-value.ts';
import { hasCombinations, hasLimits, isAny, type SchemaView } from '../schema-view.ts';
import { compareAnnotations, compareLimits } from './compare-limits.ts';
import type { Comparison } from './comparison.ts';
import { matchMembers } from './matching.ts';
import { disjoint } from './types.ts';

export function compareSchemas(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (reader === writer) return;
  compareAnnotations(c, reader, writer, path);
  if (writer.isNever) return;
  if (reader.isNever) {
    c.report('TYPE_NARROWED', path);
    return;
  }
  if (isAny(reader)) {
    if (!isAny(writer)) c.report('SCHEMA_REMOVED', path);
    return;
  }
  if (!hasCombinations(reader) && !hasCombinations(writer)) {
    compareLimits(c, reader, writer, path);
    return;
  }
  compareOwnLimits(c, reader, writer, path);
  compareAllOf(c, reader, writer, path);
  for (const kind of ['anyOf', 'oneOf'] as const) compareAlternatives(c, kind, { reader, writer, path });
  compareNot(c, reader, writer, path);
  compareCondition(c, reader, writer, path);
}

/** What the reader limits beside its combinations: any one part of the writer may ensure it. */
function compareOwnLimits(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.isDecided) return;
  const base = reader.views.base(reader);
  if (!hasLimits(base)) return;
  const own = writer.views.base(writer);
  if (hasCombinations(writer)) {
    if (c.accepts(base, own)) {
      if (c.changes !== undefined) compareLimits(c, base, own, path);
      return;
    }
    if (members(c, writer, 'allOf').some((member) => c.accepts(base, member))) {
      if (reader.allOf.length === 0) c.report('PRODUCT_TYPE_NARROWED', path);
      return;
    }
    for (const kind of ['anyOf', 'oneOf'] as const) {
      const alternatives = members(c, writer, kind);
      if (alternatives.length > 0 && alternatives.every((member) => c.accepts(base, member))) {
        if (reader[kind] === undefined) c.report('TYPE_EXTENDED', path);
        return;
      }
    }
    if (!hasLimits(own) && !hasCombinations(reader) && (writer.anyOf ?? writer.oneOf) !== undefined) {
      c.report('SUM_TYPE_NARROWED', path);
      return;
    }
  }
  compareLimits(c, base, own, path);
}

function compareAllOf(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.isDecided || (reader.allOf.length === 0 && writer.allOf.length === 0)) return;
  const news = members(c, reader, 'allOf');
  const olds = members(c, writer, 'allOf');
  if (news.length === 0) {
    if (!hasLimits(reader)) c.report('PRODUCT_TYPE_NARROWED', path);
    return;
  }
  if (olds.length === 0) {
    const [only] = news;
    if (only !== undefined && news.length === 1) c.descend(only, writer, `${path}/allOf/0`);
    else if (!news.every((member) => c.accepts(member, writer))) c.report('PRODUCT_TYPE_EXTENDED', `${path}/allOf`);
    return;
  }
  if (news.length !== olds.length)
    c.report(news.length > olds.length ? 'PRODUCT_TYPE_EXTENDED' : 'PRODUCT_TYPE_NARROWED', `${path}/allOf`);
  const likely = sameText(c, reader.allOf, writer.allOf);
  const partner = matchMembers(news.length, olds.length, (left, right) => fits(c, news[left], olds[right]), likely);
  reportUnmatched(c, { news, olds, partner, path: `${path}/allOf` });
}

/** Every member of the smaller list must have a partner; for a single pair, the reason is told. */
function reportUnmatched(
  c: Comparison,
  found: { news: readonly SchemaView[]; olds: readonly SchemaView[]; partner: readonly number[]; path: string },
): void {
  const { news, olds, partner, path } = found;
  const matched = partner.filter((index) => index !== -1).length;
  // For allOf a member of the new list without a partner asks for something that nothing of the old one ensures.
  if (matched >= Math.min(news.length, olds.length)) return;
  const [reader] = news;
  const [writer] = olds;
  if (news.length === 1 && olds.length === 1 && reader !== undefined && writer !== undefined)
    c.descend(reader, writer, `${path}/0`);
  else c.report('COMBINED_TYPE_SUBSCHEMAS_CHANGED', path);
}

function compareAlternatives(
  c: Comparison,
  kind: 'anyOf' | 'oneOf',
  pair: { reader: SchemaView; writer: SchemaView; path: string },
): void {
  const { reader, writer, path } = pair;
  if (c.isDecided || reader[kind] === undefined) {
    if (!c.isDecided && writer[kind] !== undefined && !hasLimits(reader) && reader.anyOf === undefined)
      c.report('SUM_TYPE_EXTENDED', path);
    return;
  }
  const news = members(c, reader, kind);
  const same = writer[kind] !== undefined;
  const olds = same ? members(c, writer, kind) : kind === 'anyOf' ? members(c, writer, 'oneOf') : [];
  const at = `${path}/${kind}`;
  if (olds.length === 0) {
    compareToAlternatives(c, { kind, news, reader, writer, path: at });
    return;
  }
  if (!same) c.report('COMBINED_TYPE_EXTENDED', at);
  const likely = sameText(c, writer[same ? kind : 'oneOf'] ?? [], reader[kind] ?? []);
  const partner = matchMembers(olds.length, news.length, (left, right) => fits(c, news[right], olds[left]), likely);
  if (partner.every((index) => index !== -1)) {
    if (news.length > olds.length) c.report('SUM_TYPE_EXTENDED', at);
  } else if (news.length < olds.length) c.report('SUM_TYPE_NARROWED', at);
  else reportUnmatched(c, { news, olds, partner, path: at });
}

/** Alternatives in the new schema only: all that was allowed must be allowed by one of them. */
function compareToAlternatives(
  c: Comparison,
  pair: {
    kind: 'anyOf' | 'oneOf';
    news: readonly SchemaView[];
    reader: SchemaView;
    writer: SchemaView;
    path: string;
  },
): void {
  const { kind, news, reader, writer, path } = pair;
  const onlyThese = reader.views.alternatives(reader, kind);
  const views = writer.views.byType(writer);
  const isCovered =
    views.every((view) => news.some((member) => c.accepts(member, view))) ||
    members(c, writer, 'allOf').some((member) => c.accepts(onlyThese, member));
  if (isCovered) c.report('SUM_TYPE_EXTENDED', path);
  else if (writer.anyOf !== undefined || writer.oneOf !== undefined) c.report('COMBINED_TYPE_CHANGED', path);
  else if (news.length === 1 && news[0] !== undefined) c.descend(news[0], writer, `${path}/0`);
  else c.report('COMBINED_TYPE_SUBSCHEMAS_CHANGED', path);
}

/** What is forbidden now must have been forbidden before. */
function compareNot(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  if (c.isDecided) return;
  const now = reader.not;
  const before = writer.not;
  if (now === undefined) {
    if (before !== undefined) c.report('NOT_TYPE_NARROWED', `${path}/not`);
    return;
  }
  const forbidden = reader.views.of(now);
  if (before !== undefined && c.accepts(writer.views.of(before), forbidden))
    c.report('NOT_TYPE_NARROWED', `${path}/not`);
  else if (!disjoint(forbidden, writer)) c.report('NOT_TYPE_EXTENDED', `${path}/not`);
}

/** A condition holds when it was there: the same question, and answers that allow as much. */
function compareCondition(c: Comparison, reader: SchemaView, writer: SchemaView, path: string): void {
  const now = reader.condition;
  if (c.isDecided || now === undefined) return;
  const view = (value: JsonValue): SchemaView => reader.views.of(value);
  if (isAny(view(now.yes)) && isAny(view(now.no))) return;
  const before = writer.condition;
  const isSame =
    before !== undefined &&
    c.accepts(view(now.test), writer.views.of(before.test)) &&
    c.accepts(writer.views.of(before.test), view(now.test));
  if (before === undefined || !isSame) {
    if (!(c.accepts(view(now.yes), writer) && c.accepts(view(now.no), writer)))
      c.report('CONDITION_CHANGED', `${path}/if`);
    return;
  }
  c.descend(view(now.yes), writer.views.of(before.yes), `${path}/then`);
  c.descend(view(now.no), writer.views.of(before.no), `${path}/else`);
}

function members(c: Comparison, view: SchemaView, kind: 'allOf' | 'anyOf' | 'oneOf'): readonly SchemaView[] {
  c.step(STEPS_PER_MEMBER * (view[kind]?.length ?? 0));
  return (view[kind] ?? []).map((member) => view.views.of(member));
}

function fits(c: Comparison, reader: SchemaView | undefined, writer: SchemaView | undefined): boolean {
  return reader !== undefined && writer !== undefined && c.accepts(reader, writer);
}

/** Gives for a member of one list one of the other with the same text, each only once: mostly its partner. */
function sameText(
  c: Comparison,
  left: readonly JsonValue[],
  right: readonly JsonValue[],
): (index: number) => number | undefined {
  const byText = new Map<string, number[]>();
  for (const [index, member] of right.entries()) {
    const key = textKey(c, member);
    const same = byText.get(key);
    if (same === undefined) byText.set(key, [index]);
    else same.push(index);
  }
  for (const same of byText.values()) same.reverse();
  return (index) => byText.get(textKey(c, left[index] ?? null))?.pop();
}

const CHARACTERS_PER_STEP = 100;
/** Making a view is dear. */
const STEPS_PER_MEMBER = 5;

/** The text of a member; it costs work by its length, since members within members are printed again. */
function textKey(c: Comparison, member: JsonValue): string {
  const key = equalityKey(member);
  c.step(1 + Math.floor(key.length / CHARACTERS_PER_STEP));
  return key;
}
