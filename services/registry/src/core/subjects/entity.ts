/**
 * What an id stands for: a schema's text with its references, metadata and rule set; and the two names made of them.
 *
 * Owns the fingerprint (equal for equal entities, and only for them: an id is given by it) and the GUID (MD5 over the
 * same bytes as Confluent's registry takes, so that records which carry a GUID find their schema after an import; it has
 * no lengths between its parts, so it is a name, not a proof). Pure.
 */
import type { SchemaType } from '@freshet/schemas/schema.ts';
import { md5 } from '@noble/hashes/legacy.js';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, concatBytes, utf8ToBytes } from '@noble/hashes/utils.js';

export type Json = null | boolean | number | string | readonly Json[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: Json;
}

export interface SchemaReference {
  /** The name by which the text names it. */
  readonly name: string;
  /** Of the referring schema's context, unless it names one. */
  readonly subject: string;
  readonly version: number;
}

export interface SchemaEntity {
  readonly schemaType: SchemaType;
  readonly schema: string;
  readonly references: readonly SchemaReference[];
  readonly metadata?: JsonObject | undefined;
  readonly ruleSet?: JsonObject | undefined;
}

/** One version of a subject. Immutable: a soft delete makes another one. */
export interface Row {
  /** In its one form. */
  readonly subject: string;
  readonly version: number;
  readonly id: number;
  readonly guid: string;
  readonly fingerprint: string;
  readonly entity: SchemaEntity;
  readonly deleted: boolean;
  /** When it was registered, in ms since the epoch. */
  readonly ts: number;
  /** Properties of the request that nobody here knows: given back as they came. */
  readonly extra?: JsonObject | undefined;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON with the keys of every object in order. Its depth is that of the request, which is bounded. */
export function stableJson(value: Json): string {
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(stableJson).join(',')}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const keys = Object.keys(value).sort();
  return `{${keys.map((key) => `${JSON.stringify(key)}:${stableJson(value[key] as Json)}`).join(',')}}`;
}

/** Equal for equal entities, and only for them. */
export function fingerprintOf(entity: SchemaEntity): string {
  const references = entity.references.map(({ name, subject, version }) => [name, subject, version]);
  const parts = [entity.schemaType, entity.schema, references, entity.metadata ?? null, entity.ruleSet ?? null];
  return digestOf(parts);
}

/** Equal for equal parts, and only for them. */
export function digestOf(parts: Json): string {
  return bytesToHex(sha256(utf8ToBytes(stableJson(parts).toWellFormed())));
}

/** A UUID of the entity's MD5. */
export function guidOf(entity: SchemaEntity): string {
  const parts: Uint8Array[] = [];
  const text = (value: Json | undefined): void => {
    if (typeof value === 'string') parts.push(utf8ToBytes(value.toWellFormed()));
  };
  text(entity.schema);
  for (const { name, subject, version } of entity.references) {
    text(name);
    text(subject);
    parts.push(new Uint8Array([version >>> 24, version >>> 16, version >>> 8, version]));
  }
  if (entity.metadata !== undefined) {
    parts.push(new Uint8Array([1]));
    hashMetadata(entity.metadata, text);
  }
  if (entity.ruleSet !== undefined) {
    parts.push(new Uint8Array([1]));
    for (const kind of ['migrationRules', 'domainRules', 'encodingRules']) hashRules(entity.ruleSet[kind], text);
  }
  const hex = bytesToHex(md5(concatBytes(...parts)));
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

type Text = (value: Json | undefined) => void;

function hashMetadata(metadata: JsonObject, text: Text): void {
  for (const part of [metadata['tags'], metadata['properties']]) {
    if (!isObject(part)) continue;
    for (const key of Object.keys(part).sort()) {
      text(key);
      const value = part[key] as Json;
      for (const item of Array.isArray(value) ? sortedTexts(value) : [value]) text(item);
    }
  }
  const sensitive = metadata['sensitive'];
  if (Array.isArray(sensitive)) for (const item of sortedTexts(sensitive)) text(item);
}

function sortedTexts(values: readonly Json[]): string[] {
  const texts = values.filter((value): value is string => typeof value === 'string');
  return texts.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
}

function hashRules(rules: Json | undefined, text: Text): void {
  if (!Array.isArray(rules)) return;
  for (const rule of rules as readonly Json[]) {
    if (!isObject(rule)) continue;
    for (const key of ['name', 'doc', 'kind', 'mode', 'type']) text(rule[key]);
    const tags = rule['tags'];
    if (Array.isArray(tags)) for (const tag of sortedTexts(tags)) text(tag);
    const params = rule['params'];
    if (isObject(params)) {
      for (const key of Object.keys(params).sort()) {
        text(key);
        text(params[key]);
      }
    }
    for (const key of ['expr', 'onSuccess', 'onFailure']) text(rule[key]);
  }
}
