/**
 * What reading a schema takes: its text with all that it refers to, found in the index.
 *
 * Owns finding references and the bounds of their graph. Reads nothing itself (schema-work.ts). Pure.
 */
import { InvalidSchema, type ReferencedSchema, SCHEMA_LIMITS } from '@freshet/schemas/schema.ts';
import { digestOf, type Row, type SchemaEntity, type SchemaReference } from './entity.ts';
import { refuse, SchemaApiError } from './errors.ts';
import { parseSubject, qualified } from './names.ts';
import type { SchemaIndex } from './schema-index.ts';
import type { SchemaSource } from './schema-work.ts';

const REFERENCES_MAX = 1_000;

interface Found {
  readonly schema: ReferencedSchema;
  /** Characters and number of texts when all is written out as a tree: what an engine would walk. */
  readonly characters: number;
  readonly texts: number;
  /** Stands for it with all that it is made of. */
  readonly digest: string;
}

/** References with every version a number that exists. Throws 42201 for one that does not. */
export function resolveReferences(
  index: SchemaIndex,
  context: string,
  references: readonly SchemaReference[],
): SchemaReference[] {
  if (references.length > REFERENCES_MAX)
    throw refuse.invalidSchema(`Invalid schema, details: more than ${REFERENCES_MAX} references`);
  return references.map((reference) => {
    const subject = qualified(parseSubject(reference.subject, context));
    const row = reference.version === -1 ? index.latest(subject) : index.row(subject, reference.version);
    if (row === undefined || row.deleted)
      throw refuse.invalidSchema(
        `Invalid schema, details: No schema reference found for subject "${reference.subject}" and version ${reference.version}`,
      );
    return { ...reference, version: row.version };
  });
}

/** What reading the schema takes. Throws 42201, or 42209 when it is too large with all that it refers to. */
export function sourceOf(
  index: SchemaIndex,
  context: string,
  entity: SchemaEntity,
  checkDefaults = false,
): SchemaSource {
  try {
    if (entity.schema.length > SCHEMA_LIMITS.charactersMax)
      throw new InvalidSchema(`it is longer than ${SCHEMA_LIMITS.charactersMax} characters`, { tooLarge: true });
    const memo = new Map<Row, Found>();
    const found = entity.references.map((reference) => find(index, context, reference, memo, 0));
    const characters = found.reduce((sum, each) => sum + each.characters, entity.schema.length);
    const texts = found.reduce((sum, each) => sum + each.texts, 1);
    if (characters > SCHEMA_LIMITS.charactersMax || texts > REFERENCES_MAX)
      throw new InvalidSchema('it is too large with all that it refers to', { tooLarge: true });
    const references = found.map((each) => each.schema);
    const referred = found.length === 0 ? '' : digestOf(found.map(({ schema, digest }) => [schema.name, digest]));
    return { type: entity.schemaType, text: entity.schema, references, referred, checkDefaults, characters };
  } catch (error) {
    throw asRefusal(error);
  }
}

const DEPTH_MAX = 100;

function find(
  index: SchemaIndex,
  context: string,
  { name, subject, version }: SchemaReference,
  memo: Map<Row, Found>,
  depth: number,
): Found {
  const target = parseSubject(subject, context);
  const row = index.row(qualified(target), version);
  if (row === undefined)
    throw new InvalidSchema(`No schema reference found for subject "${subject}" and version ${version}`);
  // References are to what was there before, so there are no cycles; a chain may still be long.
  if (depth >= DEPTH_MAX) throw new InvalidSchema(`references go deeper than ${DEPTH_MAX}`, { tooLarge: true });
  let below = memo.get(row);
  if (below === undefined) {
    const inner = row.entity.references.map((each) => find(index, target.context, each, memo, depth + 1));
    below = {
      schema: { name, text: row.entity.schema, references: inner.map((each) => each.schema) },
      characters: inner.reduce((sum, each) => sum + each.characters, row.entity.schema.length),
      texts: inner.reduce((sum, each) => sum + each.texts, 1),
      // Not the id: where schemas went for good and others were imported, one may stand for another text by now.
      digest: digestOf([row.fingerprint, ...inner.map((each) => [each.schema.name, each.digest])]),
    };
    memo.set(row, below);
  }
  return { ...below, schema: { ...below.schema, name } };
}

/** What an engine throws as what the API answers. */
export function asRefusal(error: unknown): unknown {
  if (error instanceof SchemaApiError || !(error instanceof InvalidSchema)) return error;
  return error.tooLarge
    ? refuse.tooLarge(`Schema is too large: ${error.message}`)
    : refuse.invalidSchema(`Invalid schema, details: ${error.message}`);
}
