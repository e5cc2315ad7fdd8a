/**
 * A request of the Schema Registry API: media types, query, path and body, each bounded and read with a refusal for what
 * is wrong.
 *
 * Owns reading; does not own what it means. The body's nesting is looked at before it is parsed, so that nothing behind
 * it need fear depth.
 */
import type { IncomingMessage } from 'node:http';
import type { SchemaType } from '@freshet/schemas/schema.ts';
import { isObject, type Json, type JsonObject, type SchemaReference } from '../core/subjects/entity.ts';
import { refuse, SchemaApiError } from '../core/subjects/errors.ts';
import { ID_MAX } from '../core/subjects/records.ts';
import type { RegistrationRequest } from '../core/subjects/registration.ts';
import { checkMetadata, checkRuleSet, define } from '../core/subjects/settings.ts';

/** A schema of 1 MB, escaped, with all that goes with it. */
export const BODY_BYTES_MAX = 4 * 1024 * 1024;
const DEPTH_MAX = 64;
/** Characters of the properties that nobody knows, as JSON. */
const EXTRA_CHARACTERS_MAX = 64 * 1024;

const V1 = 'application/vnd.schemaregistry.v1+json';
const TYPES = [V1, 'application/vnd.schemaregistry+json', 'application/json'];

/** The media type of the answer. Throws 406. */
export function negotiate(accept: string | undefined): string {
  if (accept === undefined || accept.trim() === '') return V1;
  const wanted = accept.split(',').map((part) => {
    const [range = '', ...parameters] = part
      .trim()
      .toLowerCase()
      .split(/\s*;\s*/);
    const quality = parameters.find((parameter) => parameter.startsWith('q='));
    return { range, quality: quality === undefined ? 1 : Number(quality.slice(2)) };
  });
  let best: { type: string; quality: number } | undefined;
  for (const type of TYPES) {
    const fits = wanted.filter(({ range }) => range === type || range === '*/*' || range === 'application/*');
    const quality = Math.max(0, ...fits.map((each) => each.quality).filter((each) => !Number.isNaN(each)));
    if (quality > (best?.quality ?? 0)) best = { type, quality };
  }
  if (best === undefined) throw new SchemaApiError(406, 'HTTP 406 Not Acceptable');
  return best.type;
}

/** Throws 415 for a body of a type that is not taken. */
export function requireContentType(contentType: string | undefined): void {
  const type = contentType?.split(';')[0]?.trim().toLowerCase();
  if (type !== undefined && type !== '' && ![...TYPES, 'application/octet-stream'].includes(type))
    throw new SchemaApiError(415, 'HTTP 415 Unsupported Media Type');
}

/** Reads the body as text. Throws 42209 when it is too large, 400 when it is no UTF-8. */
export async function readBody(request: IncomingMessage): Promise<string> {
  const tooLarge = refuse.tooLarge(`the request is larger than ${BODY_BYTES_MAX} bytes`);
  if (Number(request.headers['content-length'] ?? 0) > BODY_BYTES_MAX) throw tooLarge;
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of request as AsyncIterable<Buffer>) {
    bytes += piece.length;
    if (bytes > BODY_BYTES_MAX) throw tooLarge;
    pieces.push(piece);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(pieces));
  } catch {
    throw refuse.badRequest('the body is not UTF-8');
  }
}

/** Reads a JSON object. Throws 400 when it is none or nests too deep. */
export function parseObject(text: string): JsonObject {
  if (depthOf(text) > DEPTH_MAX) throw refuse.badRequest(`the body nests deeper than ${DEPTH_MAX}`);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch (error) {
    throw refuse.badRequest(`the body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (!isObject(value)) throw refuse.badRequest('the body is not a JSON object');
  return value;
}

/** How deep brackets nest outside of strings: the most that parsing can nest. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let isString = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (isString) {
      if (code === 0x5c) i++;
      else if (code === 0x22) isString = false;
    } else if (code === 0x22) isString = true;
    else if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, ++depth);
    else if (code === 0x7d || code === 0x5d) depth--;
  }
  return deepest;
}

/** "latest" and -1 are undefined. Throws 42202. */
export function parseVersion(text: string): number | undefined {
  if (text === 'latest' || text === '-1') return undefined;
  const version = /^\d{1,10}$/.test(text) ? Number(text) : 0;
  if (version < 1 || version > ID_MAX) throw refuse.invalidVersion(text);
  return version;
}

/** An id in a path; one that is no number is no path. */
export function parseId(text: string): number {
  if (!/^-?\d{1,10}$/.test(text) || Number(text) > ID_MAX) throw new SchemaApiError(404, 'HTTP 404 Not Found');
  return Number(text);
}

export function flag(query: URLSearchParams, name: string): boolean {
  return query.get(name)?.toLowerCase() === 'true';
}

/** The part of a list that `offset` and `limit` ask for; never more than `most`. */
export function page<T>(items: readonly T[], query: URLSearchParams, most: number): readonly T[] {
  const offset = Math.max(0, integer(query, 'offset') ?? 0);
  const limit = integer(query, 'limit') ?? -1;
  return items.slice(offset, offset + (limit < 0 ? most : Math.min(limit, most)));
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  if (!/^-?\d{1,10}$/.test(text)) throw new SchemaApiError(404, 'HTTP 404 Not Found');
  return Number(text);
}

const KNOWN = new Set([
  'schema',
  'schemaType',
  'references',
  'metadata',
  'ruleSet',
  'id',
  'version',
  // What answers have, and a client may send back.
  'subject',
  'guid',
  'ts',
  'deleted',
  'maxId',
  'schemaTags',
  'aliases',
  // What a request does, and no schema has.
  'schemaTagsToAdd',
  'schemaTagsToRemove',
  'propagateSchemaTags',
]);

/** Reads a schema as requests give it. Throws 400, 42201, 42209, 42210. */
export function readSchemaRequest(body: JsonObject, query: URLSearchParams): RegistrationRequest {
  const { schema, metadata, ruleSet } = body;
  if (schema !== undefined && schema !== null && typeof schema !== 'string')
    throw refuse.badRequest('schema must be a string');
  if (metadata !== undefined && metadata !== null && !isObject(metadata))
    throw refuse.badRequest('metadata must be an object');
  if (ruleSet !== undefined && ruleSet !== null && !isObject(ruleSet))
    throw refuse.invalidRuleSet('ruleSet must be an object');
  if (isObject(metadata)) checkMetadata(metadata);
  if (isObject(ruleSet)) checkRuleSet(ruleSet);
  const normalize = query.get('normalize');
  return {
    schema: schema ?? undefined,
    schemaType: readSchemaType(body['schemaType']),
    references: readReferences(body['references']),
    metadata: metadata ?? undefined,
    ruleSet: ruleSet ?? undefined,
    normalize: normalize === null ? undefined : normalize.toLowerCase() === 'true',
    id: readNumber(body['id'], 'id', 0),
    version: readNumber(body['version'], 'version', 1),
    extra: readExtra(body),
  };
}

function readSchemaType(value: Json | undefined): SchemaType {
  if (value === undefined || value === null || value === '') return 'AVRO';
  if (typeof value !== 'string') throw refuse.badRequest('schemaType must be a string');
  const name = value.toUpperCase();
  if (name !== 'AVRO' && name !== 'JSON' && name !== 'PROTOBUF')
    throw refuse.invalidSchema(`Invalid schema type ${value.slice(0, 100)}`);
  return name;
}

function readReferences(value: Json | undefined): SchemaReference[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw refuse.badRequest('references must be a list');
  return (value as readonly Json[]).map((item) => {
    const { name, subject, version } = isObject(item) ? item : {};
    if (typeof name !== 'string' || typeof subject !== 'string' || !isVersion(version))
      throw refuse.badRequest('a reference must have a name, a subject and a version');
    return { name, subject, version };
  });
}

function isVersion(value: Json | undefined): value is number {
  return typeof value === 'number' && Number.isInteger(value) && (value === -1 || (value >= 1 && value <= ID_MAX));
}

/** -1 and, where the least is 1, 0 stand for "not given". */
function readNumber(value: Json | undefined, name: string, least: number): number | undefined {
  if (value === undefined || value === null || value === -1 || (value === 0 && least === 1)) return undefined;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < least || value > ID_MAX)
    throw refuse.badRequest(`${name} must be a whole number up to ${ID_MAX}`);
  return value;
}

function readExtra(body: JsonObject): JsonObject | undefined {
  const extra: Record<string, Json> = {};
  for (const [key, value] of Object.entries(body)) if (!KNOWN.has(key)) define(extra, key, value);
  if (Object.keys(extra).length === 0) return undefined;
  if (JSON.stringify(extra).length > EXTRA_CHARACTERS_MAX)
    throw refuse.tooLarge(`the properties that are not known are more than ${EXTRA_CHARACTERS_MAX} characters`);
  return extra;
}
