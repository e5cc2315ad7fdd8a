/**
 * The Schema Registry API on the registry's HTTP port: plain paths beside Connect's.
 *
 * Owns what every request goes through: who may, media types, body, route, answer, and the form of errors. Does not own
 * what a route does (*-routes.ts) or the port (@freshet/kit/http). Every request is answered, with a code that says whose
 * fault it is; a fault of ours is logged and told as 500 without its text.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Logger } from '@freshet/kit/logger.ts';
import type { JsonObject } from '../core/subjects/entity.ts';
import { INCOMPATIBLE, SchemaApiError } from '../core/subjects/errors.ts';
import type { SubjectRegistry } from '../core/subjects/subject-registry.ts';
import { COMPATIBILITY_ROUTES } from './compatibility-routes.ts';
import type { Profile } from './profiles.ts';
import { negotiate, parseObject, readBody, requireContentType } from './request.ts';
import { type Answer, Router } from './router.ts';
import { SCHEMA_ROUTES } from './schemas-routes.ts';
import { SERVER_ROUTES } from './server-routes.ts';
import { SETTINGS_ROUTES } from './settings-routes.ts';
import { SUBJECT_ROUTES } from './subjects-routes.ts';
import { TAG_ROUTES } from './tags-routes.ts';

export interface SchemaApiOptions {
  readonly registry: SubjectRegistry;
  readonly profile: Profile;
  readonly log: Logger;
  /** Whether a request with this Authorization header may; undefined: everybody may. */
  readonly allows?: ((authorization: string | undefined) => boolean) | undefined;
}

/** Paths that are not this API's: Connect's, by "/package.Service/Method" and no more, and those of the process. */
const OTHERS = /^\/(?:[a-z]\w*\.[\w.]+\/\w+(?:\?|$)|metrics$|healthz$|readyz$)/;

/** Bytes that are still read of a refused body, so that its sender reads the answer. */
const DRAINED_BYTES_MAX = 64 * 1024 * 1024;

/** Answers a plain path; false when it is not one of its own. */
export function createSchemaApi(
  options: SchemaApiOptions,
): (request: IncomingMessage, response: ServerResponse) => boolean {
  const router = new Router([
    ...SUBJECT_ROUTES,
    ...TAG_ROUTES,
    ...SCHEMA_ROUTES,
    ...COMPATIBILITY_ROUTES,
    ...SETTINGS_ROUTES,
    ...SERVER_ROUTES,
  ]);
  return (request, response) => {
    if (OTHERS.test(request.url ?? '/')) return false;
    void serve(options, router, request, response);
    return true;
  };
}

async function serve(
  options: SchemaApiOptions,
  router: Router,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  let type = 'application/vnd.schemaregistry.v1+json';
  try {
    if (options.allows?.(request.headers.authorization) === false) {
      response.setHeader('WWW-Authenticate', 'Basic realm="schema-registry"');
      throw new SchemaApiError(401, 'HTTP 401 Unauthorized');
    }
    const [path, query] = splitOnce(request.url ?? '/', '?');
    const { route, params, context } = router.match(request.method ?? 'GET', path, options.profile);
    type = negotiate(request.headers.accept);
    const body = await readJson(request);
    const { registry, profile } = options;
    const answer = await route.answer({ registry, profile, context, params, query: new URLSearchParams(query), body });
    send(response, answer === undefined ? 204 : 200, type, bytesOf(answer));
  } catch (error) {
    if (request.destroyed && !request.complete) return;
    const refusal = asSchemaApiError(error, options.log);
    const code = refusal.code === INCOMPATIBLE ? options.profile.incompatibleCode : refusal.code;
    drain(request);
    const text = JSON.stringify({ error_code: code, message: refusal.message.toWellFormed() });
    send(response, refusal.status, type, text);
  }
}

async function readJson(request: IncomingMessage): Promise<JsonObject> {
  // Some clients send "null" with a GET; nothing reads the body of one.
  if (request.method !== 'POST' && request.method !== 'PUT') return {};
  const text = await readBody(request);
  if (text.trim() === '') return {};
  requireContentType(request.headers['content-type']);
  return parseObject(text);
}

function bytesOf(answer: Answer): string {
  if (answer === undefined) return '';
  return 'text' in answer ? answer.text : JSON.stringify(answer.json);
}

function send(response: ServerResponse, status: number, type: string, text: string): void {
  const bytes = Buffer.from(text);
  if (status !== 204) {
    response.setHeader('Content-Type', type);
    response.setHeader('Content-Length', bytes.length);
  }
  response.writeHead(status).end(status === 204 ? undefined : bytes);
}

function asSchemaApiError(error: unknown, log: Logger): SchemaApiError {
  if (error instanceof SchemaApiError) {
    // What others wait for is no fault, and clients hear of it; a disk or a thread that fails is somebody's to mend.
    if (error.status >= 500 && error.cause !== undefined)
      log.error('the Schema Registry could not do what it was asked', { error: error.cause });
    return error;
  }
  log.error('a call of the Schema Registry failed', { error });
  return new SchemaApiError(500, 'HTTP 500 Internal Server Error');
}

/** Reads what is left of a request and drops it; one that goes on for ever is cut off. */
function drain(request: IncomingMessage): void {
  if (request.complete) return;
  let bytes = 0;
  request.on('data', (piece: Buffer) => {
    bytes += piece.length;
    if (bytes > DRAINED_BYTES_MAX) request.destroy();
  });
  request.on('error', () => undefined);
  request.resume();
}

function splitOnce(text: string, by: string): [string, string] {
  const at = text.indexOf(by);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}
