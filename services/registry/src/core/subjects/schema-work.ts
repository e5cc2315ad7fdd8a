/**
 * Reading and judging schemas as pieces of work that can be done anywhere: in the thread that answers, or in another.
 *
 * Owns what a piece is (plain data, so that it can be sent), how it is done with the engines, and the cache of what was
 * read (bounded by count and by characters; a thread has one of its own). Does not own who does a piece where
 * (request-work.ts, io/schema-workers.ts). A cached schema is found by its text and a
 * digest of what it refers to. Pure.
 */
import type {
  CompatibilityPolicy,
  Incompatibility,
  ParsedSchema,
  ReferencedSchema,
  SchemaEngine,
  SchemaLimits,
  SchemaType,
} from '@freshet/schemas/schema.ts';
import type { TagChange, TaggedPlace } from '@freshet/schemas/tags.ts';
import { refuse } from './errors.ts';

export type Engines = ReadonlyMap<SchemaType, SchemaEngine>;

/** A text with all that reading it takes. */
export interface SchemaSource {
  readonly type: SchemaType;
  readonly text: string;
  readonly references: readonly ReferencedSchema[];
  /** Stands for the names and texts of all that it refers to, directly or not; empty: nothing. */
  readonly referred: string;
  readonly checkDefaults: boolean;
  /** Of the text and all that it refers to. */
  readonly characters: number;
}

/** The texts of a schema that was read. */
export interface SchemaTexts {
  readonly canonical: string;
  readonly normalized: string;
}

export interface ReadWork {
  readonly kind: 'READ';
  readonly source: SchemaSource;
}

/** Another form of a schema than its text: Protobuf's descriptor in base64, Avro's text with what it references. */
export type SchemaForm = 'serialized' | 'resolved';

/** A schema in another form; undefined for a kind of schema that has none. */
export interface DescribeWork {
  readonly kind: 'DESCRIBE';
  readonly source: SchemaSource;
  readonly form: SchemaForm;
}

/** Those of the names that the schema has a field of. */
export interface FindFieldsWork {
  readonly kind: 'FIND_FIELDS';
  readonly source: SchemaSource;
  readonly names: readonly string[];
}

/** What has tags in the text, and which. */
export interface FindTagsWork {
  readonly kind: 'FIND_TAGS';
  readonly source: SchemaSource;
}

/** The text with its tags changed. */
export interface ChangeTagsWork {
  readonly kind: 'CHANGE_TAGS';
  readonly source: SchemaSource;
  readonly changes: readonly TagChange[];
}

export interface JudgeWork {
  readonly kind: 'JUDGE';
  readonly now: SchemaSource;
  readonly old: SchemaSource;
  readonly policy: CompatibilityPolicy;
  /** Whether the new one must read what the old one wrote, and the other way round. */
  readonly backward: boolean;
  readonly forward: boolean;
}

export type SchemaWork = ReadWork | DescribeWork | FindFieldsWork | FindTagsWork | ChangeTagsWork | JudgeWork;

/** What a piece of work gives. */
export interface WorkResults {
  readonly READ: SchemaTexts;
  readonly DESCRIBE: string | undefined;
  readonly FIND_FIELDS: readonly string[];
  readonly FIND_TAGS: readonly TaggedPlace[];
  readonly CHANGE_TAGS: string;
  readonly JUDGE: readonly Incompatibility[];
}

/** Does work in other threads. Implemented in io/. */
export interface SchemaWorkers {
  /**
   * Rejects with InvalidSchema as the engines throw it; with 42209 when the piece took longer than `msMax` or more memory
   * than it may; with 50302 when too much waits already. `tookMs` is without waiting.
   */
  run<W extends SchemaWork>(
    work: W,
    msMax: number,
  ): Promise<{ readonly result: WorkResults[W['kind']]; readonly tookMs: number }>;
}

/** Of one pair this many findings are told, and of reserved fields of each kind; more help nobody. */
export const TOLD_MAX = 100;

/** Characters of the texts of a piece of work, with all that they refer to, and of what is asked of them. */
export function charactersOf(work: SchemaWork): number {
  switch (work.kind) {
    case 'JUDGE':
      return work.now.characters + work.old.characters;
    case 'FIND_FIELDS':
      return work.source.characters + lengthOf(work.names);
    case 'CHANGE_TAGS':
      return work.changes.reduce(
        (sum, { path, add, remove }) => sum + path.length + lengthOf(add) + lengthOf(remove),
        work.source.characters,
      );
    default:
      return work.source.characters;
  }
}

/** Characters of all, and one for each: also many empty ones are much. */
function lengthOf(texts: readonly string[]): number {
  return texts.reduce((sum, text) => sum + text.length + 1, 0);
}

/** Does a piece of work here and now. `limits` are of the judgement of a pair. Throws InvalidSchema. */
export function doWork<W extends SchemaWork>(
  work: W,
  on: { readonly engines: Engines; readonly cache: ParsedCache; readonly limits: SchemaLimits },
): WorkResults[W['kind']];
export function doWork(
  work: SchemaWork,
  on: { readonly engines: Engines; readonly cache: ParsedCache; readonly limits: SchemaLimits },
): WorkResults[SchemaWork['kind']] {
  const { engines, cache, limits } = on;
  switch (work.kind) {
    case 'READ': {
      const { canonical, normalized } = cache.read(engines, work.source);
      return { canonical, normalized };
    }
    case 'DESCRIBE': {
      const parsed = cache.read(engines, work.source);
      return work.form in parsed ? (parsed as ParsedSchema & Record<SchemaForm, string>)[work.form] : undefined;
    }
    case 'FIND_FIELDS': {
      const parsed = cache.read(engines, work.source);
      const engine = engineOf(engines, work.source.type);
      return work.names.filter((name) => engine.hasField(parsed, name));
    }
    case 'FIND_TAGS':
      return engineOf(engines, work.source.type).findTags(cache.read(engines, work.source));
    case 'CHANGE_TAGS':
      return engineOf(engines, work.source.type).changeTags(work.source.text, work.changes);
    case 'JUDGE': {
      const { policy, backward, forward } = work;
      const now = cache.read(engines, work.now);
      const old = cache.read(engines, work.old);
      const engine = engineOf(engines, work.now.type);
      const found: Incompatibility[] = [];
      if (backward) found.push(...engine.findIncompatibilities(now, old, { policy, limits }));
      if (forward) found.push(...engine.findIncompatibilities(old, now, { policy, limits }));
      return found.slice(0, TOLD_MAX);
    }
  }
}

export function engineOf(engines: Engines, type: SchemaType): SchemaEngine {
  const engine = engines.get(type);
  if (engine === undefined) throw refuse.invalidSchema(`Invalid schema type ${type}`);
  return engine;
}

const CACHED_MAX = 2_000;
/** Characters of the texts of cached schemas; what was read of them takes a few times that. */
const CACHED_CHARACTERS_MAX = 8_000_000;

/** What was read, the newest; the oldest goes first. */
export class ParsedCache {
  readonly #cached = new Map<string, ParsedSchema>();
  #characters = 0;

  /** Throws InvalidSchema. */
  read(engines: Engines, source: SchemaSource): ParsedSchema {
    const { type, text, references, referred, checkDefaults } = source;
    const key = [type, checkDefaults, referred, text].join('\0');
    const cached = this.#cached.get(key);
    if (cached !== undefined) {
      this.#cached.delete(key);
      this.#cached.set(key, cached);
      return cached;
    }
    const parsed = engineOf(engines, type).parse(text, references, { checkDefaults });
    this.#cached.set(key, parsed);
    this.#characters += key.length;
    for (const oldest of this.#cached.keys()) {
      if (this.#cached.size <= CACHED_MAX && this.#characters <= CACHED_CHARACTERS_MAX) break;
      this.#cached.delete(oldest);
      this.#characters -= oldest.length;
    }
    return parsed;
  }
}
