/**
 * What is kept of the Schema Registry, one record by key: the form of Confluent's own topic, so that an export, a topic
 * and the store hold the same lines.
 *
 *     SCHEMA   subject, version  → the version: id, text, references, metadata, rule set, whether it is deleted
 *     CONFIG   scope             → its settings
 *     MODE     scope             → its mode
 *     CONTEXT  context           → the largest id that it ever gave, so that none is given twice
 *
 * Owns their text, as JSON, and reading it back with every value checked. Does not own bytes, checksums or order on a
 * disk (io/schema-store.ts). Pure.
 */
import type { SchemaType } from '@freshet/schemas/schema.ts';
import {
  fingerprintOf,
  guidOf,
  isObject,
  type Json,
  type JsonObject,
  type Row,
  type SchemaEntity,
  type SchemaReference,
} from './entity.ts';
import { type Config, MODES, type Mode } from './settings.ts';

export type StoredRecord =
  | { readonly kind: 'SCHEMA'; readonly subject: string; readonly version: number; readonly row: Row | undefined }
  | { readonly kind: 'CONFIG'; readonly scope: string; readonly config: Config | undefined }
  | { readonly kind: 'MODE'; readonly scope: string; readonly mode: Mode | undefined }
  | {
      readonly kind: 'CONTEXT';
      readonly context: string;
      /** `isListed`: false once it was deleted; its ids stay given. */
      readonly value: { readonly idMax: number; readonly isListed: boolean } | undefined;
    };

/** A record as text; the value is undefined when the record is to go. */
export interface RecordText {
  readonly key: string;
  readonly value: string | undefined;
}

export const ID_MAX = 2 ** 31 - 1;

export function encodeRecord(record: StoredRecord): RecordText {
  switch (record.kind) {
    case 'SCHEMA':
      return {
        key: JSON.stringify({ keytype: 'SCHEMA', subject: record.subject, version: record.version, magic: 1 }),
        value: record.row === undefined ? undefined : JSON.stringify(rowValue(record.row)),
      };
    case 'CONFIG':
      return {
        key: JSON.stringify({ keytype: 'CONFIG', subject: record.scope === '' ? null : record.scope, magic: 0 }),
        value: record.config === undefined ? undefined : JSON.stringify(record.config),
      };
    case 'MODE':
      return {
        key: JSON.stringify({ keytype: 'MODE', subject: record.scope === '' ? null : record.scope, magic: 0 }),
        value: record.mode === undefined ? undefined : JSON.stringify({ mode: record.mode }),
      };
    case 'CONTEXT':
      return {
        key: JSON.stringify({ keytype: 'CONTEXT', context: record.context, magic: 0 }),
        value: record.value === undefined ? undefined : JSON.stringify(record.value),
      };
  }
}

function rowValue({ subject, version, id, guid, entity, deleted, ts, extra }: Row): JsonObject {
  const { schema, schemaType, references, metadata, ruleSet } = entity;
  return {
    subject,
    version,
    id,
    guid,
    schemaType,
    ...(references.length > 0 ? { references: references.map((reference) => ({ ...reference })) } : {}),
    ...(metadata === undefined ? {} : { metadata }),
    ...(ruleSet === undefined ? {} : { ruleSet }),
    schema,
    deleted,
    ts,
    ...(extra === undefined ? {} : { extra }),
  };
}

/** Reads a record back. Throws an Error that says what is wrong with it. */
export function decodeRecord(key: string, value: string | undefined): StoredRecord {
  const name = asObject(JSON.parse(key) as Json, 'the key');
  const content = value === undefined ? undefined : asObject(JSON.parse(value) as Json, 'the value');
  const scope = (): string => (name['subject'] === null ? '' : asText(name['subject'], 'subject'));
  switch (name['keytype']) {
    case 'SCHEMA': {
      const subject = asText(name['subject'], 'subject');
      const version = asNumber(name['version'], 1, 'version');
      return { kind: 'SCHEMA', subject, version, row: content && readRow(subject, version, content) };
    }
    case 'CONFIG':
      return { kind: 'CONFIG', scope: scope(), config: content };
    case 'MODE': {
      const mode = content?.['mode'] as Mode | undefined;
      if (mode !== undefined && !MODES.includes(mode)) throw new Error('the mode is none');
      return { kind: 'MODE', scope: scope(), mode };
    }
    case 'CONTEXT': {
      const read = content && {
        idMax: asNumber(content['idMax'], 0, 'idMax'),
        isListed: content['isListed'] === true,
      };
      return { kind: 'CONTEXT', context: asText(name['context'], 'context'), value: read };
    }
    default:
      throw new Error('the key is of no kind that is known');
  }
}

function readRow(subject: string, version: number, value: JsonObject): Row {
  if (value['subject'] !== subject || value['version'] !== version) throw new Error('the value is another version’s');
  const schemaType = value['schemaType'] ?? 'AVRO';
  if (!['AVRO', 'JSON', 'PROTOBUF'].includes(schemaType as string)) throw new Error('the schema is of no known type');
  const entity: SchemaEntity = {
    schemaType: schemaType as SchemaType,
    schema: asText(value['schema'], 'schema'),
    references: readReferences(value['references']),
    metadata: isObject(value['metadata']) ? value['metadata'] : undefined,
    ruleSet: isObject(value['ruleSet']) ? value['ruleSet'] : undefined,
  };
  const guid = value['guid'];
  return {
    subject,
    version,
    id: asNumber(value['id'], 0, 'id'),
    guid: typeof guid === 'string' ? guid : guidOf(entity),
    fingerprint: fingerprintOf(entity),
    entity,
    deleted: value['deleted'] === true,
    ts: typeof value['ts'] === 'number' ? value['ts'] : 0,
    extra: isObject(value['extra']) ? value['extra'] : undefined,
  };
}

function readReferences(value: Json | undefined): SchemaReference[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new Error('references is no list');
  return (value as readonly Json[]).map((item) => {
    const reference = asObject(item, 'a reference');
    return {
      name: asText(reference['name'], 'the name of a reference'),
      subject: asText(reference['subject'], 'the subject of a reference'),
      version: asNumber(reference['version'], 1, 'the version of a reference'),
    };
  });
}

function asObject(value: Json | undefined, what: string): JsonObject {
  if (!isObject(value)) throw new Error(`${what} is no object`);
  return value;
}

function asText(value: Json | undefined, what: string): string {
  if (typeof value !== 'string') throw new Error(`${what} is no text`);
  return value;
}

function asNumber(value: Json | undefined, least: number, what: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > ID_MAX)
    throw new Error(`${what} is no number from ${least} to ${ID_MAX}`);
  return value;
}
