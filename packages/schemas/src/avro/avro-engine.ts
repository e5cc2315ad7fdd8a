/**
 * Avro as a kind of schema: text with its references in, tree with its two texts out, and one judgement of a pair.
 *
 * Owns the order in which references are read (a reference before what names it, each once; of two with one name the
 * first) and the limits on all of them together. The pieces are its neighbours'. Pure.
 */
import {
  InvalidSchema,
  type ReferencedSchema,
  SCHEMA_LIMITS,
  type SchemaEngine,
  type SchemaLimits,
} from '../schema.ts';
import type { AvroSchema, AvroType } from './avro-schema.ts';
import { changeAvroTags, findAvroTags } from './avro-tags.ts';
import { findAvroIncompatibilities } from './compare-avro.ts';
import { checkDefaults } from './default-value.ts';
import { parseJsonText } from './json-text.ts';
import { type AvroNames, parseAvroType } from './parse-avro.ts';
import { printAvro } from './print-avro.ts';

export const avroEngine: SchemaEngine<AvroSchema> = {
  type: 'AVRO',

  parse(text, references, options = {}) {
    const limits = options.limits ?? SCHEMA_LIMITS;
    const names: AvroNames = new Map();
    const loading = { limits, names, characters: text.length, seen: new Set<string>() };
    checkSize(loading);
    for (const reference of references) loadReference(reference, loading, 0);
    const known = [...names.keys()];
    const root = parseAvroType(parseJsonText(text, limits.depthMax), names);
    if (options.checkDefaults === true) {
      const elsewhere = new Set(known);
      const own = [...names.values()].filter((type) => !elsewhere.has(type.fullName));
      checkDefaults(
        own.filter((type) => type.kind === 'record'),
        limits,
      );
    }
    return {
      type: 'AVRO',
      root,
      canonical: printAvro(root, { known, sorted: false }),
      normalized: printAvro(root, { known, sorted: true }),
      get resolved(): string {
        return printResolved(root);
      },
    };
  },

  findIncompatibilities(reader, writer, options = {}) {
    return findAvroIncompatibilities(reader.root, writer.root, options.limits ?? SCHEMA_LIMITS);
  },

  hasField: ({ root }, name) => root.kind === 'record' && root.fieldsByName.has(name),
  findTags: findAvroTags,
  changeTags: (text, changes) => changeAvroTags(text, changes, SCHEMA_LIMITS),
};

/** Definitions of references come to stand in each other: the only text here that is deeper than what was read. */
function printResolved(root: AvroType): string {
  try {
    return printAvro(root, { known: [], sorted: false });
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new InvalidSchema('The schema nests too deep with all that it references.', { tooLarge: true, cause });
  }
}

interface Loading {
  readonly limits: SchemaLimits;
  readonly names: AvroNames;
  readonly seen: Set<string>;
  characters: number;
}

function loadReference(reference: ReferencedSchema, loading: Loading, depth: number): void {
  if (loading.seen.has(reference.name)) return;
  loading.seen.add(reference.name);
  loading.characters += reference.text.length;
  checkSize(loading);
  if (depth > loading.limits.depthMax)
    throw new InvalidSchema('References follow each other deeper than the limit.', { tooLarge: true });
  for (const inner of reference.references) loadReference(inner, loading, depth + 1);
  try {
    parseAvroType(parseJsonText(reference.text, loading.limits.depthMax), loading.names);
  } catch (error) {
    if (!(error instanceof InvalidSchema)) throw error;
    throw new InvalidSchema(`The referenced schema "${reference.name.slice(0, 200)}" is invalid: ${error.message}`, {
      tooLarge: error.tooLarge,
      cause: error,
    });
  }
}

function checkSize({ limits, characters }: Loading): void {
  if (characters > limits.charactersMax)
    throw new InvalidSchema(
      `The schema with its references has ${characters} characters; the limit is ${limits.charactersMax}.`,
      { tooLarge: true },
    );
}
