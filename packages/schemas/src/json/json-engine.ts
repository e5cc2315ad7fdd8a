/**
 * JSON Schema as a SchemaEngine: drafts 4, 6, 7, 2019-09 and 2020-12.
 *
 * Owns the whole: text in, verdict out. Executes nothing of a schema: no code is generated from it, and its regular
 * expressions are run on nothing. Pure.
 */
import {
  type CompatibilityPolicy,
  type Incompatibility,
  InvalidSchema,
  type ParsedSchema,
  type ReferencedSchema,
  SCHEMA_LIMITS,
  type SchemaEngine,
} from '../schema.ts';
import { type Change, describeChange, isCompatibleChange } from './changes.ts';
import { compareSchemas } from './diff/compare.ts';
import { Comparison } from './diff/comparison.ts';
import { changeJsonTags, findJsonTags } from './json-tags.ts';
import { isObject, printJson } from './json-value.ts';
import { SchemaSet } from './schema-set.ts';
import { SchemaViews } from './schema-view.ts';

export interface ParsedJsonSchema extends ParsedSchema {
  readonly type: 'JSON';
  readonly set: SchemaSet;
}

export const jsonEngine: SchemaEngine<ParsedJsonSchema> = {
  type: 'JSON',

  /** `checkDefaults` changes nothing: JSON Schema takes defaults for notes, which need not be valid. */
  parse(text, references, options = {}) {
    return parseJsonSchema(text, references, options.limits ?? SCHEMA_LIMITS);
  },

  findIncompatibilities(reader, writer, options = {}) {
    const policy = options.policy ?? 'STRICT';
    const incompatible: Incompatibility[] = [];
    for (const change of findChanges(reader, writer, {
      policy,
      stepsMax: (options.limits ?? SCHEMA_LIMITS).stepsMax,
    })) {
      if (isCompatibleChange(change.type, policy)) continue;
      incompatible.push({ type: change.type, path: change.path, message: describeChange(change) });
    }
    return incompatible;
  },

  hasField({ set }, name) {
    const properties = isObject(set.root) ? set.root.get('properties') : undefined;
    return isObject(properties) && properties.has(name);
  },

  findTags: ({ set }) => withinStack(() => findJsonTags(set.root)),
  changeTags: (text, changes) => withinStack(() => changeJsonTags(text, changes, SCHEMA_LIMITS)),
};

/** All changes from the writer's schema to the reader's, compatible or not, in the order of the new schema. */
export function findChanges(
  reader: ParsedJsonSchema,
  writer: ParsedJsonSchema,
  options: { readonly policy: CompatibilityPolicy; readonly stepsMax: number },
): readonly Change[] {
  if (reader.set === writer.set) return [];
  let id = 0;
  const nextId = (): number => id++;
  const views = new SchemaViews(reader.set, nextId).root;
  const old = new SchemaViews(writer.set, nextId).root;
  return withinStack(() => Comparison.run(views, old, { ...options, compare: compareSchemas }));
}

function parseJsonSchema(
  text: string,
  references: readonly ReferencedSchema[],
  limits: NonNullable<Parameters<SchemaEngine['parse']>[2]>['limits'] & object,
): ParsedJsonSchema {
  const set = withinStack(() => new SchemaSet(text, references, limits));
  return { type: 'JSON', set, canonical: printJson(set.root), normalized: printJson(set.root, { sorted: true }) };
}

/** The bounds of depth keep the stack; where a caller left less of it, that is told as a limit too. */
function withinStack<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof RangeError)
      throw new InvalidSchema('The schema nests too deep.', { tooLarge: true, cause: error });
    throw error;
  }
}
