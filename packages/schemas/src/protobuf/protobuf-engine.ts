/**
 * Protobuf as a kind of schema: text (or a descriptor in base64) with its imports in, tree with its two texts out, and
 * one judgement of a pair.
 *
 * Owns how imports are found: an import is one of the references, by its path, or a file that everybody has; a file sees
 * what it imports and what that imports publicly. Nothing is read from a disk, generated or executed. The pieces are its
 * neighbours'. Pure.
 */
import {
  InvalidSchema,
  type ReferencedSchema,
  SCHEMA_LIMITS,
  type SchemaEngine,
  type SchemaLimits,
} from '../schema.ts';
import { checkProto } from './check-proto.ts';
import type { OneofRule } from './compare-oneofs.ts';
import { findProtoIncompatibilities } from './compare-proto.ts';
import { parseProto } from './parse-proto.ts';
import { printProto } from './print-proto.ts';
import { type ProtoFile, type ProtoSchema, type ProtoSymbol, SCALARS } from './proto-file.ts';
import { NameBudget, ProtoNames } from './proto-names.ts';
import { changeProtoTags, findProtoTags } from './proto-tags.ts';
import { isDescriptor, readDescriptor } from './read-descriptor.ts';
import { serializedDescriptor } from './to-descriptor.ts';
import { wellKnownTypes } from './well-known.ts';

/** What Confluent's registry calls a file in its descriptor; clients give it the name by which it is referenced. */
const FILE_NAME = 'default';

/** With the rule for oneofs that Confluent's registry has since June 2026. */
export const protobufEngine: SchemaEngine<ProtoSchema> = createProtobufEngine('latest');

/** With the rule for oneofs of the releases before or after June 2026 (compare-oneofs.ts). */
export function createProtobufEngine(oneofRule: OneofRule): SchemaEngine<ProtoSchema> {
  return {
    type: 'PROTOBUF',
    parse: parseProtobuf,
    findIncompatibilities: (reader, writer, options = {}) =>
      findProtoIncompatibilities(reader, writer, { limits: options.limits ?? SCHEMA_LIMITS, oneofRule }),
    hasField: ({ file }, name) => file.messages[0]?.fields.some((field) => field.name === name) === true,
    findTags: ({ file }) => findProtoTags(file),
    changeTags: (text, changes) => changeProtoTags(text, changes, SCHEMA_LIMITS),
  };
}

function parseProtobuf(
  text: string,
  references: readonly ReferencedSchema[],
  options: { readonly limits?: SchemaLimits | undefined } = {},
): ProtoSchema {
  const limits = options.limits ?? SCHEMA_LIMITS;
  const loader = new Loader(limits);
  const loaded = loader.load(text, references, 0);
  const { file, names } = loaded;
  const resolve = (type: string, scope: string) => names.resolve(type, scope);
  const budget = new NameBudget(limits.charactersMax);
  const qualify = (type: string, scope: string) => {
    const symbol = SCALARS.has(type) ? undefined : resolve(type, scope);
    return symbol === undefined ? type : `.${budget.spend(symbol.fullName)}`;
  };
  const resolvers = new Map<string, (type: string, scope: string) => ProtoSymbol | undefined>();
  const symbols = new Map<string, ProtoSymbol>();
  for (const other of loader.files())
    for (const symbol of other.own) {
      symbols.set(symbol.fullName, symbol);
      resolvers.set(symbol.fullName, (type, scope) => other.names.resolve(type, scope));
    }
  for (const symbol of loaded.own) {
    symbols.set(symbol.fullName, symbol);
    resolvers.set(symbol.fullName, resolve);
  }
  let serialized: string | undefined;
  return {
    type: 'PROTOBUF',
    file,
    symbols,
    resolve,
    resolverOf: (fullName) => resolvers.get(fullName),
    canonical: printProto(file, { sorted: false }),
    normalized: printProto(file, { sorted: true, qualify }),
    get serialized(): string {
      // Made when first asked for: most schemas are never read this way.
      serialized ??= serializedDescriptor(file, {
        name: FILE_NAME,
        resolve,
        budget: new NameBudget(limits.charactersMax),
      });
      return serialized;
    },
  };
}

/**
 * The indexes that stand before a message's bytes in Confluent's wire format: [0] for the first message, [1, 0] for the
 * first one inside the second. Undefined when the file has no such message.
 */
export function messageIndexes(schema: ProtoSchema, fullName: string): readonly number[] | undefined {
  const { file } = schema;
  const prefix = file.package === '' ? '' : `${file.package}.`;
  if (!fullName.startsWith(prefix)) return undefined;
  const indexes: number[] = [];
  let messages = file.messages;
  for (const name of fullName.slice(prefix.length).split('.')) {
    const index = messages.findIndex((message) => message.name === name);
    if (index < 0) return undefined;
    indexes.push(index);
    messages = messages[index]?.messages ?? [];
  }
  return indexes;
}

interface Loaded {
  readonly file: ProtoFile;
  /** What the file sees. */
  readonly names: ProtoNames;
  /** What it defines. */
  readonly own: readonly ProtoSymbol[];
  /** What whoever imports it sees through it. */
  readonly seen: readonly ProtoSymbol[];
}

class Loader {
  readonly #limits: SchemaLimits;
  readonly #byPath = new Map<string, Loaded>();
  #characters = 0;
  #steps = 0;

  constructor(limits: SchemaLimits) {
    this.#limits = limits;
  }

  files(): Iterable<Loaded> {
    return this.#byPath.values();
  }

  load(text: string, references: readonly ReferencedSchema[], depth: number): Loaded {
    this.#characters += text.length;
    if (this.#characters > this.#limits.charactersMax || depth > this.#limits.depthMax)
      throw new InvalidSchema(
        `The schema with its references has over ${this.#limits.charactersMax} characters, or references deeper than ${this.#limits.depthMax}.`,
        { tooLarge: true },
      );
    for (const reference of references) this.#loadReference(reference, depth + 1);
    if (text.trim() === '') throw new InvalidSchema('The schema is empty.');
    const file = isDescriptor(text) ? readDescriptor(text, this.#limits) : parseProto(text, this.#limits);
    const names = new ProtoNames();
    names.addFile(file);
    const own = [...names.symbols.values()];
    const seen = [...own];
    const imported = new Set<string>();
    for (const { path, kind } of file.imports) {
      if (imported.has(path)) throw new InvalidSchema(`The file "${path.slice(0, 200)}" is imported twice.`);
      imported.add(path);
      const known = this.#byPath.get(path)?.seen ?? wellKnownTypes(path);
      // What serves options only need not be there.
      if (known === undefined && kind !== 'option')
        throw new InvalidSchema(
          `The file "${path.slice(0, 200)}" is imported and is not among the references; reference it by that name.`,
        );
      this.#step(known?.length ?? 0);
      names.addSymbols(known ?? []);
      if (kind === 'public') for (const symbol of known ?? []) seen.push(symbol);
    }
    checkProto(file, names);
    return { file, names, own, seen };
  }

  #loadReference(reference: ReferencedSchema, depth: number): void {
    if (this.#byPath.has(reference.name)) return;
    try {
      this.#byPath.set(reference.name, this.load(reference.text, reference.references, depth));
    } catch (error) {
      if (!(error instanceof InvalidSchema)) throw error;
      throw new InvalidSchema(
        `The referenced schema "${reference.name.slice(0, 200)}" is invalid: ${error.message.slice(0, 1000)}`,
        {
          tooLarge: error.tooLarge,
          cause: error,
        },
      );
    }
  }

  #step(count: number): void {
    this.#steps += count;
    if (this.#steps > this.#limits.stepsMax)
      throw new InvalidSchema('The imports of the schema bring more types than the limit.', { tooLarge: true });
  }
}
