/**
 * Changes of the tags in a schema's text that come with a request.
 *
 * Owns reading and bounding them. Does not own what they make of a registration (text-tags.ts) nor where tags stand in a
 * text (@freshet/schemas).
 */
import type { TagChange, TagPlaceKind } from '@freshet/schemas/tags.ts';
import { isObject, type Json } from '../core/subjects/entity.ts';
import { refuse } from '../core/subjects/errors.ts';
import type { RegistrationRequest } from '../core/subjects/registration.ts';
import { readSchemaRequest } from './request.ts';
import type { Call } from './router.ts';

/** Places whose tags are changed in one request; more is asked for by nobody. */
const CHANGES_MAX = 10_000;
/** Tags that one request names at all its places. */
const TAGS_MAX = 10_000;

/** The registration that a request asks for, with what it asks for of its text's tags. Throws 400, 42201, 42209, 42210. */
export function readRegistration({ body, query }: Call): RegistrationRequest {
  const request = readSchemaRequest(body, query);
  const changes = readTagChanges(body['schemaTagsToAdd'], body['schemaTagsToRemove']);
  const propagates = body['propagateSchemaTags'] === true;
  return changes.length === 0 && !propagates ? request : { ...request, tagging: { changes, propagates } };
}

/** Changes of tags, one for each place. Throws 400. */
export function readTagChanges(toAdd: Json | undefined, toRemove: Json | undefined): readonly TagChange[] {
  const changes = new Map<string, { path: string; kind: TagPlaceKind; add: string[]; remove: string[] }>();
  let count = 0;
  for (const [list, what] of [
    [toAdd, 'add'],
    [toRemove, 'remove'],
  ] as const) {
    for (const { path, kind, tags } of readSchemaTags(list)) {
      count += tags.length;
      if (count > TAGS_MAX) throw refuse.badRequest(`one request changes ${TAGS_MAX} tags at most`);
      const key = `${kind} ${path}`;
      const change = changes.get(key) ?? { path, kind, add: [], remove: [] };
      change[what].push(...tags);
      changes.set(key, change);
    }
  }
  if (changes.size > CHANGES_MAX)
    throw refuse.badRequest(`tags of more than ${CHANGES_MAX} places are changed at once`);
  return [...changes.values()];
}

/** [{schemaEntity: {entityPath, entityType}, tags}]; a dot before a path means nothing. */
function readSchemaTags(value: Json | undefined): { path: string; kind: TagPlaceKind; tags: readonly string[] }[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw refuse.badRequest('tags to add and to remove must be lists');
  return (value as readonly Json[]).map((item) => {
    const { schemaEntity, tags } = isObject(item) ? item : {};
    const { entityPath, entityType } = isObject(schemaEntity) ? schemaEntity : {};
    if (typeof entityPath !== 'string' || !isTexts(tags))
      throw refuse.badRequest('a change of tags must have schemaEntity.entityPath and tags');
    // Half a character is none in Protobuf: it would be read back as another tag.
    if (!tags.every((tag) => tag.isWellFormed())) throw refuse.badRequest('a tag must be text');
    if (entityType !== 'sr_record' && entityType !== 'sr_field')
      throw refuse.badRequest('schemaEntity.entityType must be sr_record or sr_field');
    return { path: entityPath.replace(/^\./, ''), kind: entityType, tags };
  });
}

export function isTexts(value: Json | undefined): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}
