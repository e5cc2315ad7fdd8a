/**
 * A version as answers show it, by profile and by the format that was asked for.
 */
import type { JsonObject, Row } from '../core/subjects/entity.ts';
import type { Profile } from './profiles.ts';

/** The schema itself: text, type, references, metadata, rule set, and what nobody knows. */
export function schemaView({ entity, extra }: Row, profile: Profile): JsonObject {
  const { schema, schemaType, references, metadata, ruleSet } = entity;
  return {
    ...extra,
    ...(profile.omitsAvro && schemaType === 'AVRO' ? {} : { schemaType }),
    ...(references.length === 0 ? {} : { references: references.map((reference) => ({ ...reference })) }),
    ...(metadata === undefined ? {} : { metadata }),
    ...(ruleSet === undefined ? {} : { ruleSet }),
    schema,
  };
}

/** A version with where it stands. */
export function versionView(row: Row, profile: Profile): JsonObject {
  return {
    subject: row.subject,
    version: row.version,
    id: row.id,
    ...(profile.isFull ? { guid: row.guid } : {}),
    ...schemaView(row, profile),
    ...(profile.isFull ? { ts: row.ts } : {}),
    ...(profile.isFull && row.deleted ? { deleted: true } : {}),
  };
}

/** What an id stands for. */
export function idView(row: Row, profile: Profile): JsonObject {
  return {
    ...(profile.hasGuids ? { subject: row.subject, version: row.version, guid: row.guid } : {}),
    ...schemaView(row, profile),
  };
}

/** What registering answers. */
export function registeredView(row: Row, profile: Profile): JsonObject {
  if (!profile.isFull) return { id: row.id };
  const { subject: _subject, ...view } = versionView(row, profile) as { subject: string };
  return view as JsonObject;
}
