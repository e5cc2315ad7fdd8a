/**
 * The tree that an Avro text becomes.
 *
 * Owns the shapes. Named types are shared objects, so a recursive schema is a cycle of them; whoever walks the tree
 * stops at a name it has met. Built by parse-avro.ts and not changed after. Pure.
 */

import type { ParsedSchema } from '../schema.ts';
import type { JsonValue } from './json-text.ts';

export const AVRO_PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'] as const;
export type AvroPrimitiveKind = (typeof AVRO_PRIMITIVES)[number];

/** What a type has beyond what Avro defines for it (logicalType, precision, and anybody's own), as written. */
export type AvroAttributes = ReadonlyMap<string, JsonValue>;

export interface AvroPrimitive {
  readonly kind: AvroPrimitiveKind;
  readonly attributes: AvroAttributes;
}

/** What a record, an enum and a fixed have in common. */
export interface AvroNamed {
  /** Without its namespace. */
  readonly name: string;
  /** "" for none. */
  readonly namespace: string;
  readonly fullName: string;
  /** Full names. */
  readonly aliases: readonly string[];
  readonly doc: string | undefined;
  readonly attributes: AvroAttributes;
}

export interface AvroField {
  readonly name: string;
  readonly type: AvroType;
  readonly doc: string | undefined;
  /** Undefined: none, which null is not. */
  readonly default: JsonValue | undefined;
  readonly order: 'ascending' | 'descending' | 'ignore';
  readonly aliases: readonly string[];
  readonly attributes: AvroAttributes;
}

export interface AvroRecord extends AvroNamed {
  readonly kind: 'record';
  readonly isError: boolean;
  readonly fields: readonly AvroField[];
  /** The fields by name. */
  readonly fieldsByName: ReadonlyMap<string, AvroField>;
}

export interface AvroEnum extends AvroNamed {
  readonly kind: 'enum';
  readonly symbols: readonly string[];
  readonly default: string | undefined;
}

export interface AvroFixed extends AvroNamed {
  readonly kind: 'fixed';
  /** Bytes. */
  readonly size: number;
}

export interface AvroArray {
  readonly kind: 'array';
  readonly items: AvroType;
  readonly attributes: AvroAttributes;
}

export interface AvroMap {
  readonly kind: 'map';
  readonly values: AvroType;
  readonly attributes: AvroAttributes;
}

export interface AvroUnion {
  readonly kind: 'union';
  readonly branches: readonly AvroType[];
}

export type AvroNamedType = AvroRecord | AvroEnum | AvroFixed;
export type AvroType = AvroPrimitive | AvroNamedType | AvroArray | AvroMap | AvroUnion;

export interface AvroSchema extends ParsedSchema {
  readonly type: 'AVRO';
  readonly root: AvroType;
  /** The text with all that it references defined in it. Throws InvalidSchema when that nests too deep. */
  readonly resolved: string;
}

export function isAvroNamed(type: AvroType): type is AvroNamedType {
  return type.kind === 'record' || type.kind === 'enum' || type.kind === 'fixed';
}
