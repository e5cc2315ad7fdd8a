/**
 * Reads Avro's JSON into the tree of avro-schema.ts.
 *
 * Owns what is a schema: names and their scope, what a type must and may have, that nothing is defined twice. Does not
 * own defaults (default-value.ts). Stricter than Java in two places, both by Avro's specification: a namespace is names
 * with dots, and names are ASCII. A name must be defined before it is used. Pure.
 */
import { InvalidSchema } from '../schema.ts';
import {
  AVRO_PRIMITIVES,
  type AvroAttributes,
  type AvroField,
  type AvroNamed,
  type AvroNamedType,
  type AvroPrimitive,
  type AvroPrimitiveKind,
  type AvroType,
  isAvroNamed,
} from './avro-schema.ts';
import { isJsonArray, isJsonObject, JsonNumber, type JsonObject, type JsonValue } from './json-text.ts';

/** Characters of a full name, which is put together wherever one is looked up. */
const NAME_MAX = 1024;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const PRIMITIVES: ReadonlySet<string> = new Set(AVRO_PRIMITIVES);
/** What Java gives a meaning in every type, and leaves out of a type's own attributes. */
const TYPE_WORDS: ReadonlySet<string> = new Set(
  'doc fields items name namespace size symbols values type aliases'.split(' '),
);
const ENUM_WORDS: ReadonlySet<string> = new Set([...TYPE_WORDS, 'default']);
const FIELD_WORDS: ReadonlySet<string> = new Set('default doc name order type aliases'.split(' '));
const NONE: AvroAttributes = new Map();
const PLAIN_PRIMITIVES: ReadonlyMap<string, AvroPrimitive> = new Map(
  AVRO_PRIMITIVES.map((kind) => [kind, { kind, attributes: NONE }]),
);

/** The names that a text may use: by full name. Parsing adds what it defines. */
export type AvroNames = Map<string, AvroNamedType>;

/** Reads one text's JSON; `names` are known already and are added to. Throws InvalidSchema. */
export function parseAvroType(json: JsonValue, names: AvroNames): AvroType {
  return parseType(json, { names, namespace: '', path: '' });
}

/** Where a type stands. */
interface Scope {
  readonly names: AvroNames;
  readonly namespace: string;
  /** "/fields/1/type", for messages. */
  readonly path: string;
}

function at(scope: Scope, step: string): Scope {
  return { ...scope, path: `${scope.path}/${step}` };
}

function invalid(scope: Scope, what: string): InvalidSchema {
  return new InvalidSchema(`${what} (at ${scope.path === '' ? 'the root' : scope.path}).`);
}

function parseType(json: JsonValue, scope: Scope): AvroType {
  if (typeof json === 'string') return findType(json, scope);
  if (isJsonArray(json)) return parseUnion(json, scope);
  if (!isJsonObject(json)) throw invalid(scope, 'A type is a name, an object or an array');
  const word = json.get('type');
  if (typeof word !== 'string') throw invalid(scope, 'A type needs "type", and that is a string');
  if (PRIMITIVES.has(word)) return parsePrimitive(word as AvroPrimitiveKind, json);
  switch (word) {
    case 'record':
    case 'error':
      return parseRecord(json, scope, word === 'error');
    case 'enum':
      return parseEnum(json, scope);
    case 'fixed':
      return parseFixed(json, scope);
    case 'array':
      return { kind: 'array', items: parsePart(json, 'items', scope), attributes: attributesOf(json, TYPE_WORDS) };
    case 'map':
      return { kind: 'map', values: parsePart(json, 'values', scope), attributes: attributesOf(json, TYPE_WORDS) };
    default:
      return findType(word, scope);
  }
}

function parsePrimitive(kind: AvroPrimitiveKind, json: JsonObject): AvroType {
  const attributes = attributesOf(json, TYPE_WORDS);
  return attributes.size === 0 ? plainPrimitive(kind) : { kind, attributes };
}

function plainPrimitive(kind: AvroPrimitiveKind): AvroPrimitive {
  return PLAIN_PRIMITIVES.get(kind) ?? { kind, attributes: NONE };
}

function parsePart(json: JsonObject, part: 'items' | 'values', scope: Scope): AvroType {
  const type = json.get(part);
  if (type === undefined) throw invalid(scope, `The type needs "${part}"`);
  return parseType(type, at(scope, part));
}

function findType(name: string, scope: Scope): AvroType {
  if (PRIMITIVES.has(name)) return plainPrimitive(name as AvroPrimitiveKind);
  const inScope = name.includes('.') || scope.namespace === '' ? name : `${scope.namespace}.${name}`;
  // Java looks outside of every namespace last, and what it prints relies on that.
  const found = scope.names.get(inScope) ?? (name.includes('.') ? undefined : scope.names.get(name));
  if (found === undefined)
    throw invalid(scope, `The type "${inScope.slice(0, 200)}" is not defined before here; define it or reference it`);
  return found;
}

function parseUnion(json: readonly JsonValue[], scope: Scope): AvroType {
  // Java lets it pass; no value has such a type, and other libraries do not read it.
  if (json.length === 0) throw invalid(scope, 'A union needs a branch');
  const branches = json.map((branch, index) => parseType(branch, at(scope, String(index))));
  const seen = new Set<string>();
  for (const branch of branches) {
    if (branch.kind === 'union') throw invalid(scope, 'A union must not hold a union');
    const key = isAvroNamed(branch) ? `:${branch.fullName}` : branch.kind;
    if (seen.has(key)) throw invalid(scope, `A union must not hold ${key.replace(':', '')} twice`);
    seen.add(key);
  }
  return { kind: 'union', branches };
}

function parseRecord(json: JsonObject, scope: Scope, isError: boolean): AvroType {
  const named = parseNamed(json, scope, TYPE_WORDS);
  const fields: AvroField[] = [];
  const fieldsByName = new Map<string, AvroField>();
  const record = { kind: 'record' as const, isError, ...named, fields, fieldsByName };
  // Known before its fields are read: they may name it.
  define(record, scope);
  const list = json.get('fields');
  if (!isJsonArray(list)) throw invalid(scope, `The record ${named.fullName} needs "fields", an array`);
  for (const [index, each] of list.entries()) {
    const inner = { ...at(scope, `fields/${index}`), namespace: named.namespace };
    const field = parseField(each, inner);
    if (fieldsByName.has(field.name)) throw invalid(inner, `The field "${field.name}" comes twice`);
    fields.push(field);
    fieldsByName.set(field.name, field);
  }
  return record;
}

function parseField(json: JsonValue, scope: Scope): AvroField {
  if (!isJsonObject(json)) throw invalid(scope, 'A field is an object');
  const name = json.get('name');
  if (typeof name !== 'string' || !NAME.test(name)) throw invalid(scope, nameMessage('A field', name));
  const type = json.get('type');
  if (type === undefined) throw invalid(scope, `The field "${name}" needs a "type"`);
  const order = json.get('order');
  const known = typeof order === 'string' ? order.toLowerCase() : (order ?? 'ascending');
  if (known !== 'ascending' && known !== 'descending' && known !== 'ignore')
    throw invalid(scope, `The order of "${name}" is none of ascending, descending, ignore`);
  return {
    name,
    type: parseType(type, at(scope, 'type')),
    doc: parseDoc(json),
    default: json.get('default'),
    order: known,
    aliases: parseStrings(json, 'aliases', scope) ?? [],
    attributes: attributesOf(json, FIELD_WORDS),
  };
}

function parseEnum(json: JsonObject, scope: Scope): AvroType {
  const named = parseNamed(json, scope, ENUM_WORDS);
  const symbols = parseStrings(json, 'symbols', scope);
  if (symbols === undefined) throw invalid(scope, `The enum ${named.fullName} needs "symbols", an array of strings`);
  const seen = new Set<string>();
  for (const symbol of symbols) {
    if (!NAME.test(symbol)) throw invalid(scope, nameMessage('A symbol', symbol));
    if (seen.has(symbol)) throw invalid(scope, `The symbol "${symbol}" comes twice`);
    seen.add(symbol);
  }
  const fallback = json.get('default');
  if (fallback !== undefined && (typeof fallback !== 'string' || !seen.has(fallback)))
    throw invalid(scope, `The default of the enum ${named.fullName} is none of its symbols`);
  const type = { kind: 'enum' as const, ...named, symbols, default: fallback };
  define(type, scope);
  return type;
}

function parseFixed(json: JsonObject, scope: Scope): AvroType {
  const named = parseNamed(json, scope, TYPE_WORDS);
  const size = json.get('size');
  const bytes = size instanceof JsonNumber ? Number(size.text) : Number.NaN;
  if (!Number.isInteger(bytes) || bytes < 0 || bytes > 0x7fff_ffff)
    throw invalid(scope, `The fixed ${named.fullName} needs "size", a whole number from 0 to 2^31-1`);
  const type = { kind: 'fixed' as const, ...named, size: bytes };
  define(type, scope);
  return type;
}

function define(type: AvroNamedType, scope: Scope): void {
  if (scope.names.has(type.fullName)) throw invalid(scope, `The type "${type.fullName}" is defined twice`);
  scope.names.set(type.fullName, type);
}

function parseNamed(json: JsonObject, scope: Scope, words: ReadonlySet<string>): AvroNamed {
  const written = json.get('name');
  const space = json.get('namespace') ?? null;
  if (typeof written !== 'string') throw invalid(scope, nameMessage('A type', written));
  if (space !== null && typeof space !== 'string') throw invalid(scope, 'A namespace is a string');
  const dot = written.lastIndexOf('.');
  const name = written.slice(dot + 1);
  // A dotted name says its own namespace; "namespace" is then without meaning.
  const namespace = dot >= 0 ? written.slice(0, dot) : (space ?? scope.namespace);
  if (name.length + namespace.length > NAME_MAX)
    throw new InvalidSchema(`A full name is longer than ${NAME_MAX} characters.`, { tooLarge: true });
  if (!NAME.test(name)) throw invalid(scope, nameMessage('A type', written));
  if (namespace !== '' && !namespace.split('.').every((part) => NAME.test(part)))
    throw invalid(scope, nameMessage('A namespace', namespace));
  if (namespace === '' && PRIMITIVES.has(name)) throw invalid(scope, `A type must not be named "${name}"`);
  const qualify = (alias: string) => (alias.includes('.') || namespace === '' ? alias : `${namespace}.${alias}`);
  return {
    name,
    namespace,
    fullName: namespace === '' ? name : `${namespace}.${name}`,
    aliases: (parseStrings(json, 'aliases', scope) ?? []).map(qualify),
    doc: parseDoc(json),
    attributes: attributesOf(json, words),
  };
}

function parseDoc(json: JsonObject): string | undefined {
  const doc = json.get('doc');
  return typeof doc === 'string' ? doc : undefined;
}

function parseStrings(json: JsonObject, key: string, scope: Scope): string[] | undefined {
  const list = json.get(key);
  if (list === undefined) return undefined;
  if (!isJsonArray(list) || !list.every((each) => typeof each === 'string'))
    throw invalid(scope, `"${key}" is an array of strings`);
  return [...list];
}

function attributesOf(json: JsonObject, words: ReadonlySet<string>): AvroAttributes {
  const own = [...json].filter(([key]) => !words.has(key));
  return own.length === 0 ? NONE : new Map(own);
}

function nameMessage(what: string, name: JsonValue | undefined): string {
  const given = typeof name === 'string' ? JSON.stringify(name.slice(0, 100)) : 'none';
  return `${what} needs a name of letters, digits and "_" that starts with no digit, not ${given}`;
}
