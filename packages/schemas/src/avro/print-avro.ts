/**
 * Prints an Avro tree as JSON on one line, attributes in the order in which Avro's Java library prints them, so that
 * what was written in several ways is kept as one text.
 *
 * Owns the canonical and the normalized text. A type that was referenced, or printed before, is printed as its name;
 * definitions stay where they were, so the depth is that of the text. Pure.
 */
import {
  AVRO_PRIMITIVES,
  type AvroAttributes,
  type AvroField,
  type AvroNamedType,
  type AvroType,
  isAvroNamed,
} from './avro-schema.ts';
import { printJson, printSortedJson } from './json-text.ts';

const PRIMITIVES: ReadonlySet<string> = new Set(AVRO_PRIMITIVES);

export interface PrintAvroOptions {
  /** Full names that are defined elsewhere. */
  readonly known: Iterable<string>;
  /** Whether a type's own attributes and its aliases come in one order. */
  readonly sorted: boolean;
}

export function printAvro(type: AvroType, options: PrintAvroOptions): string {
  return new AvroPrinter(options).print(type, '');
}

class AvroPrinter {
  readonly #printed: Set<string>;
  readonly #sorted: boolean;

  constructor({ known, sorted }: PrintAvroOptions) {
    this.#printed = new Set(known);
    this.#sorted = sorted;
  }

  print(type: AvroType, namespace: string): string {
    if (isAvroNamed(type)) return this.#printNamed(type, namespace);
    switch (type.kind) {
      case 'union':
        return `[${type.branches.map((branch) => this.print(branch, namespace)).join(',')}]`;
      case 'array':
        return object([
          '"type":"array"',
          `"items":${this.print(type.items, namespace)}`,
          ...this.#own(type.attributes),
        ]);
      case 'map':
        return object([
          '"type":"map"',
          `"values":${this.print(type.values, namespace)}`,
          ...this.#own(type.attributes),
        ]);
      default:
        if (type.attributes.size === 0) return `"${type.kind}"`;
        return object([`"type":"${type.kind}"`, ...this.#own(type.attributes)]);
    }
  }

  #printNamed(type: AvroNamedType, namespace: string): string {
    if (this.#printed.has(type.fullName)) return JSON.stringify(nameFrom(type, namespace));
    this.#printed.add(type.fullName);
    const parts = [`"type":"${type.kind === 'record' && type.isError ? 'error' : type.kind}"`, `"name":"${type.name}"`];
    if (type.namespace !== namespace) parts.push(`"namespace":"${type.namespace}"`);
    if (type.doc !== undefined) parts.push(`"doc":${JSON.stringify(type.doc)}`);
    if (type.kind === 'record')
      parts.push(`"fields":[${type.fields.map((field) => this.#printField(field, type.namespace)).join(',')}]`);
    if (type.kind === 'fixed') parts.push(`"size":${type.size}`);
    if (type.kind === 'enum') {
      parts.push(`"symbols":${JSON.stringify(type.symbols)}`);
      if (type.default !== undefined) parts.push(`"default":"${type.default}"`);
    }
    parts.push(...this.#own(type.attributes));
    const near = (alias: string) =>
      type.namespace !== '' && alias.slice(0, alias.lastIndexOf('.')) === type.namespace
        ? alias.slice(type.namespace.length + 1)
        : alias;
    if (type.aliases.length > 0) parts.push(`"aliases":${this.#printAliases(type.aliases.map(near))}`);
    return object(parts);
  }

  #printField(field: AvroField, namespace: string): string {
    const parts = [`"name":"${field.name}"`, `"type":${this.print(field.type, namespace)}`];
    if (field.doc !== undefined) parts.push(`"doc":${JSON.stringify(field.doc)}`);
    if (field.default !== undefined)
      parts.push(`"default":${this.#sorted ? printSortedJson(field.default) : printJson(field.default)}`);
    if (field.order !== 'ascending') parts.push(`"order":"${field.order}"`);
    if (field.aliases.length > 0) parts.push(`"aliases":${this.#printAliases(field.aliases)}`);
    parts.push(...this.#own(field.attributes));
    return object(parts);
  }

  #printAliases(aliases: readonly string[]): string {
    return JSON.stringify(this.#sorted ? [...new Set(aliases)].sort() : [...new Set(aliases)]);
  }

  #own(attributes: AvroAttributes): string[] {
    if (!this.#sorted) return [...attributes].map(([key, value]) => `${JSON.stringify(key)}:${printJson(value)}`);
    return [...attributes]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => `${JSON.stringify(key)}:${printSortedJson(value)}`);
  }
}

/** The shortest name that means this type where `namespace` holds. */
function nameFrom(type: AvroNamedType, namespace: string): string {
  return type.namespace === namespace && !PRIMITIVES.has(type.name) ? type.name : type.fullName;
}

function object(parts: readonly string[]): string {
  return `{${parts.join(',')}}`;
}
