/**
 * What a kind of schema must offer: Avro, JSON Schema and Protobuf each implement SchemaEngine.
 *
 * Owns the interface and its promises. Does not own subjects, versions, ids or levels (services/registry): an engine
 * judges one pair in one direction, and the caller asks for the pairs that a level implies. Pure; no I/O.
 *
 * What comes in is not trusted: an engine bounds depth, size and work, executes and generates nothing, and throws
 * InvalidSchema and nothing else for any text whatever.
 */

import type { TagChange, TaggedPlace } from './tags.ts';

export type SchemaType = 'AVRO' | 'JSON' | 'PROTOBUF';

/** Another schema that a text names: found already by whoever calls, with what it names in turn. No cycles. */
export interface ReferencedSchema {
  /** The name by which the text names it: a full name, a URI, a file. */
  readonly name: string;
  readonly text: string;
  readonly references: readonly ReferencedSchema[];
}

/** A schema that was read. Immutable; may be kept. */
export interface ParsedSchema {
  readonly type: SchemaType;
  /** The text as it is kept and given back: re-serialised, but with attributes as written. Equal for equal ids. */
  readonly canonical: string;
  /** The text with `normalize`: also attributes, imports and options in one order, names qualified. */
  readonly normalized: string;
}

/** One thing by which two schemas do not fit. */
export interface Incompatibility {
  /** In upper case: "READER_FIELD_MISSING_DEFAULT_VALUE". */
  readonly type: string;
  /** Where in the new schema, "/fields/2/type" or "#/properties/a". */
  readonly path: string;
  /** A sentence for people. */
  readonly message: string;
}

/** How strict JSON Schema's open content models are taken; the others know STRICT only. */
export type CompatibilityPolicy = 'STRICT' | 'LENIENT';

/** How far an engine goes with one text or one pair. */
export interface SchemaLimits {
  /** Characters of a text with all that it references. */
  readonly charactersMax: number;
  /** How deep a text nests. */
  readonly depthMax: number;
  /** Steps of a judgement; more is InvalidSchema with `tooLarge`. */
  readonly stepsMax: number;
}

export const SCHEMA_LIMITS: SchemaLimits = { charactersMax: 1_000_000, depthMax: 200, stepsMax: 2_000_000 };

export interface SchemaEngine<P extends ParsedSchema = ParsedSchema> {
  readonly type: SchemaType;
  /** Reads a text. `checkDefaults`: also that defaults fit their types. Throws InvalidSchema. */
  parse(
    text: string,
    references: readonly ReferencedSchema[],
    options?: { readonly checkDefaults?: boolean | undefined; readonly limits?: SchemaLimits | undefined },
  ): P;
  /**
   * Why a reader with the new schema could not read what was written with the old one; empty: it could. BACKWARD asks
   * (new, old), FORWARD asks (old, new). Throws InvalidSchema when the pair takes more than the limits.
   */
  findIncompatibilities(
    reader: P,
    writer: P,
    options?: { readonly policy?: CompatibilityPolicy | undefined; readonly limits?: SchemaLimits | undefined },
  ): readonly Incompatibility[];
  /** Whether the record, the object or the first message that a text is of has a field of this name. */
  hasField(schema: P, name: string): boolean;
  /** What has tags in the text, and which. Throws InvalidSchema when the names of that are too long in all. */
  findTags(schema: P): readonly TaggedPlace[];
  /** The text of a schema that was read once, with its tags changed. Throws InvalidSchema for a place that is not there. */
  changeTags(text: string, changes: readonly TagChange[]): string;
}

/** A text that is no schema of its kind. */
export class InvalidSchema extends Error {
  override readonly name = 'InvalidSchema';
  /** Whether it went over a limit; the text may be right otherwise. */
  readonly tooLarge: boolean;

  constructor(message: string, options: { readonly tooLarge?: boolean; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.tooLarge = options.tooLarge ?? false;
  }
}
