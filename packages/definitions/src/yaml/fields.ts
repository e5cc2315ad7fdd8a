/**
 * Reads the fields of one YAML map, by name and expected form. Everything that is not as expected becomes a problem
 * with its place, and reading goes on.
 *
 * Owns the words of such problems. Does not know what fields mean.
 */
import type { Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { isMap, isScalar, isSeq, type Node, type Scalar } from 'yaml';
import { DURATION_FORMS, parseDuration } from '../duration.ts';
import type { Problems } from '../problems.ts';
import type { YamlDocument } from './yaml-file.ts';

/** One field: its name, its value, and where both are. */
export interface Field {
  readonly name: string;
  readonly nameLocation: Location;
  /** Null when nothing was written after the colon. */
  readonly node: Node | null;
  /** Where the value begins; the name's place when there is no value. */
  readonly location: Location;
}

export class Fields {
  readonly location: Location;
  /** What this map describes, for messages: "feature click_count_5min". */
  readonly what: string;
  readonly #document: YamlDocument;
  readonly #problems: Problems;
  readonly #fields: ReadonlyMap<string, Field>;

  private constructor(
    document: YamlDocument,
    problems: Problems,
    map: { what: string; location: Location; fields: ReadonlyMap<string, Field> },
  ) {
    this.#document = document;
    this.#problems = problems;
    this.what = map.what;
    this.location = map.location;
    this.#fields = map.fields;
  }

  /** The fields of a document's root. */
  static ofDocument(document: YamlDocument, problems: Problems): Fields | undefined {
    return Fields.#read(document, problems, document.root, document.locate(document.root), 'the document');
  }

  static #read(
    document: YamlDocument,
    problems: Problems,
    node: Node | null,
    location: Location,
    what: string,
  ): Fields | undefined {
    const map = document.resolve(node);
    if (!isMap(map)) {
      problems.add(
        location,
        `${capital(what)} must be a map of fields.`,
        'Write it as `name: value` lines, or as { name: value }.',
      );
      return undefined;
    }
    const fields = new Map<string, Field>();
    for (const { key, value } of map.items) {
      const keyNode = document.resolve(key as Node | null);
      const nameLocation = keyNode === null ? location : document.locate(keyNode);
      if (!isScalar(keyNode) || keyNode.value === null) {
        problems.add(
          nameLocation,
          `A field of ${what} has a name that is no text.`,
          'Name every field with a plain word.',
        );
        continue;
      }
      const name = textOf(keyNode);
      const valueNode = document.resolve(value as Node | null);
      const empty = valueNode === null || (isScalar(valueNode) && valueNode.value === null);
      fields.set(name, {
        name,
        nameLocation,
        node: empty ? null : valueNode,
        location: valueNode === null || empty ? nameLocation : document.locate(value as Node),
      });
    }
    return new Fields(document, problems, { what, location, fields });
  }

  /** The same fields under a better name, once it is known. */
  as(what: string): Fields {
    return new Fields(this.#document, this.#problems, { what, location: this.location, fields: this.#fields });
  }

  has(name: string): boolean {
    return this.#fields.has(name);
  }

  get(name: string): Field | undefined {
    return this.#fields.get(name);
  }

  all(): Iterable<Field> {
    return this.#fields.values();
  }

  /** Makes a problem of every field that is not known. */
  allow(known: readonly string[]): void {
    for (const field of this.#fields.values()) {
      if (!known.includes(field.name)) this.unknown(field, known);
    }
  }

  /** Makes a problem of a field that is not known. */
  unknown(field: Field, known: readonly string[]): void {
    const meant = closest(field.name, known);
    const remedy = meant === undefined ? `Its fields are ${known.join(', ')}.` : `Did you mean "${meant}"?`;
    this.problem(field.nameLocation, `${capital(this.what)} has no field "${field.name}".`, remedy);
  }

  problem(location: Location, message: string, remedy: string): void {
    this.#problems.add(location, message, remedy);
  }

  /** A text that must be there; empty, with a problem, when it is not. */
  requiredText(name: string, example: string): string {
    const field = this.#fields.get(name);
    if (field?.node == null) {
      const at = field?.nameLocation ?? this.location;
      this.problem(
        at,
        `${capital(this.what)} lacks the field "${name}".`,
        `Add it, for example \`${name}: ${example}\`.`,
      );
      return '';
    }
    return this.text(name);
  }

  /** A text; empty when it is not there. Numbers and booleans are no texts: they would lose their spelling. */
  text(name: string): string {
    const field = this.#fields.get(name);
    if (field?.node == null) return '';
    if (isScalar(field.node) && typeof field.node.value === 'string') return field.node.value;
    const message = `The field "${name}" of ${this.what} must be a text.`;
    this.problem(field.location, message, 'Write a text; put it in quotes if it looks like something else.');
    return '';
  }

  /** A CEL expression: any scalar as it was written, so that `where: true` works; empty when it is not there. */
  expression(name: string): string {
    const field = this.#fields.get(name);
    return field === undefined ? '' : this.expressionOf(field);
  }

  /** The CEL expression that a field holds. */
  expressionOf(field: Field): string {
    if (isScalar(field.node) && !(field.node.value instanceof Uint8Array)) return textOf(field.node).trim();
    const message = `The field "${field.name}" of ${this.what} must be a CEL expression.`;
    const remedy =
      'Write it on one line; put it in single quotes if it starts with a bracket, a brace, a quote or "!".';
    this.problem(field.location, message, remedy);
    return '';
  }

  /** A duration in microseconds; undefined when it is not there or is none. */
  duration(name: string): number | undefined {
    const field = this.#fields.get(name);
    if (field === undefined) return undefined;
    const text = isScalar(field.node) ? textOf(field.node) : '';
    const us = parseDuration(text);
    if (us !== undefined) return us;
    const message = `The field "${name}" of ${this.what} must be a duration${text === '' ? '' : `, which "${text}" is not`}.`;
    this.problem(field.location, message, `Write a whole number and a unit: ${DURATION_FORMS}; at most 36500d.`);
    return undefined;
  }

  /** A number; undefined when it is not there or, with a problem, is none. */
  number(name: string): number | undefined {
    const field = this.#fields.get(name);
    if (field === undefined) return undefined;
    const value = isScalar(field.node) ? field.node.value : undefined;
    if ((typeof value === 'number' || typeof value === 'bigint') && Number.isFinite(Number(value)))
      return Number(value);
    this.problem(field.location, `The field "${name}" of ${this.what} must be a number.`, 'Write it like 0.05 or 100.');
    return undefined;
  }

  /** True or false; false when it is not there. */
  boolean(name: string): boolean {
    const field = this.#fields.get(name);
    if (field === undefined) return false;
    if (isScalar(field.node) && typeof field.node.value === 'boolean') return field.node.value;
    this.problem(field.location, `The field "${name}" of ${this.what} must be true or false.`, 'Write true or false.');
    return false;
  }

  /** The fields of a map that must be there. */
  requiredMap(name: string, example: string): Fields | undefined {
    const field = this.#fields.get(name);
    if (field?.node != null) return this.mapOf(field, `the field "${name}" of ${this.what}`);
    const at = field?.nameLocation ?? this.location;
    this.problem(
      at,
      `${capital(this.what)} lacks the field "${name}".`,
      `Add it, for example \`${name}: ${example}\`.`,
    );
    return undefined;
  }

  /** The fields of a map; undefined when it is not there. */
  map(name: string): Fields | undefined {
    const field = this.#fields.get(name);
    return field?.node == null ? undefined : this.mapOf(field, `the field "${name}" of ${this.what}`);
  }

  /** The fields of the map that a field holds. */
  mapOf(field: Field, what: string): Fields | undefined {
    return Fields.#read(this.#document, this.#problems, field.node, field.location, what);
  }

  /** The entries of a list that must be there and not be empty, each a text. */
  requiredTexts(name: string, example: string): string[] {
    const field = this.#fields.get(name);
    if (field?.node == null || (isSeq(field.node) && field.node.items.length === 0)) {
      const at = field?.nameLocation ?? this.location;
      this.problem(
        at,
        `${capital(this.what)} lacks the field "${name}".`,
        `Add it, for example \`${name}: ${example}\`.`,
      );
      return [];
    }
    const texts: string[] = [];
    for (const item of this.items(field) ?? []) {
      if (isScalar(item) && typeof item.value === 'string') texts.push(item.value);
      else
        this.problem(
          this.locate(item, field),
          `An entry of "${name}" of ${this.what} is no text.`,
          `Write it like ${example}.`,
        );
    }
    return texts;
  }

  /** The entries of a list of texts; none when it is not there. */
  texts(name: string, example: string): string[] {
    return this.has(name) ? this.requiredTexts(name, example) : [];
  }

  /** The resolved entries of the list that a field holds; undefined, with a problem, when it holds none. */
  items(field: Field): (Node | null)[] | undefined {
    if (isSeq(field.node)) return field.node.items.map((item) => this.#document.resolve(item as Node | null));
    this.problem(
      field.location,
      `The field "${field.name}" of ${this.what} must be a list.`,
      'Write it as [one, two] or as lines that begin with "- ".',
    );
    return undefined;
  }

  locate(node: Node | null, within: Field): Location {
    return node === null ? within.location : this.#document.locate(node);
  }
}

/** What was written, for scalars whose spelling matters; else the value as text. */
export function textOf(scalar: Scalar): string {
  return typeof scalar.value === 'string' ? scalar.value : (scalar.source ?? String(scalar.value));
}

function capital(text: string): string {
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}
