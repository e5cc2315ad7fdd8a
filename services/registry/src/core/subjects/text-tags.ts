/**
 * What a registration asks for of the tags in its text: changes of its own, and the tags of the version before.
 *
 * Owns which changes that makes of the text. It is part of the decision of a registration, so that tags which came in
 * between are not lost. Does not own where tags stand in a text (@freshet/schemas). Pure.
 */
import type { TagChange } from '@freshet/schemas/tags.ts';
import type { Row, SchemaEntity } from './entity.ts';
import type { RequestWork } from './request-work.ts';
import type { SchemaIndex } from './schema-index.ts';
import { sourceOf } from './schema-reader.ts';

export interface Tagging {
  /** One for each place. */
  readonly changes: readonly TagChange[];
  /** Whether the tags of the version before come too, where their places still are. */
  readonly propagates: boolean;
}

/** The text of a schema of a context with its tags changed. Throws 42201 for a place that is not there, 42209, WorkNeeded. */
export function taggedText(
  { index, work, context }: { readonly index: SchemaIndex; readonly work: RequestWork; readonly context: string },
  entity: SchemaEntity,
  { changes, propagates }: Tagging,
  previous: Row | undefined,
): string {
  const before = propagates && previous !== undefined ? work.findTags(sourceOf(index, context, previous.entity)) : [];
  const all = new Map<string, TagChange>();
  for (const { path, kind, tags } of before)
    all.set(`${kind} ${path}`, { path, kind, add: tags, remove: [], isOptional: true });
  for (const change of changes) {
    const key = `${change.kind} ${change.path}`;
    all.set(key, { ...change, add: [...(all.get(key)?.add ?? []), ...change.add] });
  }
  return all.size === 0 ? entity.schema : work.changeTags(sourceOf(index, context, entity), [...all.values()]);
}
