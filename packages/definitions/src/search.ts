/**
 * Finding definitions by what people wrote about them: names, descriptions, owners, tags.
 * Owns what matches and in which order. Pure, over the definitions as written.
 */
import { create } from '@bufbuild/protobuf';
import type { Definitions, Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { type SearchHit, SearchHitSchema, SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { compareStrings } from '@freshet/values/compare.ts';

export interface SearchQuery {
  /** Words that must all be there, in any case. */
  readonly text: string;
  /** Tags that must all be there. */
  readonly tags: readonly string[];
  /** Empty: any. */
  readonly owner: string;
  /** Empty: all. */
  readonly kinds: readonly SubjectKind[];
}

/** What matches, those first whose name does, then by name and kind. */
export function searchDefinitions(definitions: Definitions, query: SearchQuery): SearchHit[] {
  const words = query.text
    .toLowerCase()
    .split(/\s+/)
    .filter((word) => word !== '');
  const hits = allDefinitions(definitions).filter(
    (hit) =>
      (query.kinds.length === 0 || query.kinds.includes(hit.kind)) &&
      (query.owner === '' || hit.owner === query.owner) &&
      query.tags.every((tag) => hit.tags.includes(tag)) &&
      holdsAll([hit.name, hit.description, hit.owner, ...hit.tags].join('\n'), words),
  );
  const byName = new Set(hits.filter(({ name }) => holdsAll(name, words)));
  return hits.sort(
    (a, b) => Number(byName.has(b)) - Number(byName.has(a)) || compareStrings(a.name, b.name) || a.kind - b.kind,
  );
}

function holdsAll(text: string, words: readonly string[]): boolean {
  const lower = text.toLowerCase();
  return words.every((word) => lower.includes(word));
}

interface Described {
  readonly name: string;
  readonly description?: string | undefined;
  readonly owner?: string | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly location?: Location | undefined;
}

function allDefinitions(definitions: Definitions): SearchHit[] {
  const hits: SearchHit[] = [];
  const put = (kind: SubjectKind, item: Described, parent?: Described): void => {
    const { name, description = '', location } = item;
    hits.push(
      create(SearchHitSchema, {
        kind,
        name: parent === undefined ? name : `${parent.name}:${name}`,
        description,
        owner: item.owner || parent?.owner || '',
        tags: [...new Set([...(item.tags ?? []), ...(parent?.tags ?? [])])],
        ...(location === undefined ? {} : { location }),
      }),
    );
  };
  for (const entity of definitions.entities) put(SubjectKind.ENTITY, entity);
  for (const source of definitions.sources) put(SubjectKind.SOURCE, source);
  for (const view of definitions.views) {
    put(SubjectKind.VIEW, view);
    for (const derived of view.derived) put(SubjectKind.DERIVED, derived, view);
    for (const feature of view.features) put(SubjectKind.FEATURE, feature, view);
  }
  for (const service of definitions.services) {
    put(SubjectKind.SERVICE, service);
    for (const feature of service.onDemand) put(SubjectKind.ON_DEMAND, feature, service);
  }
  return hits;
}
