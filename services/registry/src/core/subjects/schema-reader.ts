/**
 * Texts read by the engine of their type, with what they refer to; the newest ones are kept.
 *
 * Owns finding references and the bounds of their graph, and the cache (bounded by count and by characters). A cached
 * schema is found by the ids of what it refers to, which stand for one text for ever. Pure.
 */
import {
  InvalidSchema,
  type ParsedSchema,
  type ReferencedSchema,
  SCHEMA_LIMITS,
  type SchemaEngine,
  type SchemaType,
} from '@freshet/schemas/schema.ts';
import type { Row, SchemaEntity, SchemaReference } from './entity.ts';
import { refuse, SchemaApiError } from './errors.ts';
import { parseSubject, qualified } from './names.ts';
import type { SchemaIndex } from './schema-index.ts';

export type Engines = ReadonlyMap<SchemaType, SchemaEngine>;

const CACHED_MAX = 2_000;
/** Characters of the texts of cached schemas; what was read of them takes a few times that. */
const CACHED_CHARACTERS_MAX = 8_000_000;
const REFERENCES_MAX = 1_000;

interface Found {
  readonly schema: ReferencedSchema;
  /** Characters and number of texts when all is written out as a tree: what an engine would walk. */
  readonly characters: number;
  readonly texts: number;
  /** The ids of all that it is made of. */
  readonly ids: string;
}

export class SchemaReader {
  readonly #engines: Engines;
  readonly #cached = new Map<string, ParsedSchema>();
  #characters = 0;

  constructor(engines: Engines) {
    this.#engines = engines;
  }

  get types(): SchemaType[] {
    return [...this.#engines.keys()];
  }

  engine(type: SchemaType): SchemaEngine {
    const engine = this.#engines.get(type);
    if (engine === undefined) throw refuse.invalidSchema(`Invalid schema type ${type}`);
    return engine;
  }

  /** References with every version a number that exists. Throws 42201 for one that does not. */
  resolve(index: SchemaIndex, context: string, references: readonly SchemaReference[]): SchemaReference[] {
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

  /** What a schema refers to, read with it. Throws InvalidSchema. */
  references(index: SchemaIndex, context: string, entity: SchemaEntity): readonly Found[] {
    const memo = new Map<Row, Found>();
    return entity.references.map((reference) => find(index, context, reference, memo, 0));
  }

  /** Reads a schema. Throws 42201, or 42209 when it goes over a limit. */
  read(index: SchemaIndex, context: string, entity: SchemaEntity, checkDefaults = false): ParsedSchema {
    const engine = this.engine(entity.schemaType);
    try {
      if (entity.schema.length > SCHEMA_LIMITS.charactersMax)
        throw new InvalidSchema(`it is longer than ${SCHEMA_LIMITS.charactersMax} characters`, { tooLarge: true });
      const found = this.references(index, context, entity);
      const characters = found.reduce((sum, each) => sum + each.characters, entity.schema.length);
      const texts = found.reduce((sum, each) => sum + each.texts, 1);
      if (characters > SCHEMA_LIMITS.charactersMax || texts > REFERENCES_MAX)
        throw new InvalidSchema('it is too large with all that it refers to', { tooLarge: true });
      const key = [entity.schemaType, checkDefaults, ...found.map((each) => each.ids), entity.schema].join('\0');
      const cached = this.#cached.get(key);
      if (cached !== undefined) {
        this.#cached.delete(key);
        this.#cached.set(key, cached);
        return cached;
      }
      const referenced = found.map((each) => each.schema);
      const parsed = engine.parse(entity.schema, referenced, { checkDefaults });
      this.#keep(key, parsed);
      return parsed;
    } catch (error) {
      throw asRefusal(error);
    }
  }

  #keep(key: string, parsed: ParsedSchema): void {
    this.#cached.set(key, parsed);
    this.#characters += key.length;
    for (const oldest of this.#cached.keys()) {
      if (this.#cached.size <= CACHED_MAX && this.#characters <= CACHED_CHARACTERS_MAX) break;
      this.#cached.delete(oldest);
      this.#characters -= oldest.length;
    }
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
      ids: `${target.context}:${row.id}`,
    };
    memo.set(row, below);
  }
  return { ...below, schema: { ...below.schema, name }, ids: `${name}=${below.ids}` };
}

/** What an engine throws as what the API answers. */
export function asRefusal(error: unknown): unknown {
  if (error instanceof SchemaApiError || !(error instanceof InvalidSchema)) return error;
  return error.tooLarge
    ? refuse.tooLarge(`Schema is too large: ${error.message}`)
    : refuse.invalidSchema(`Invalid schema, details: ${error.message}`);
}
