/**
 * Which path is whose: patterns of segments, "{name}" for one that varies.
 *
 * Owns matching and the difference between 404 and 405. Paths are decoded segment by segment, so a subject may have a
 * slash in it.
 */
import type { JsonObject } from '../core/subjects/entity.ts';
import { refuse, SchemaApiError } from '../core/subjects/errors.ts';
import {
  DEFAULT_CONTEXT,
  parseContext,
  requireScope,
  requireSubject,
  type SubjectName,
} from '../core/subjects/names.ts';
import type { SubjectRegistry } from '../core/subjects/subject-registry.ts';
import type { Profile } from './profiles.ts';

export interface Call {
  readonly registry: SubjectRegistry;
  readonly profile: Profile;
  /** The context of the URL's prefix. */
  readonly context: string;
  readonly params: Readonly<Record<string, string>>;
  readonly query: URLSearchParams;
  /** Of POST and PUT; an empty object where there was none. */
  readonly body: JsonObject;
}

/** What is answered: JSON, a text as it is, or nothing (204). */
export type Answer = { readonly json: unknown } | { readonly text: string } | undefined;

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  readonly path: string;
  /** Whether the profile has it; always when undefined. */
  readonly isOffered?: ((profile: Profile) => boolean) | undefined;
  readonly answer: (call: Call) => Answer | Promise<Answer>;
}

export interface Matched {
  readonly route: Route;
  readonly params: Readonly<Record<string, string>>;
  readonly context: string;
}

const SEGMENTS_MAX = 16;

export class Router {
  readonly #routes: readonly (readonly [Route, readonly string[]])[];

  constructor(routes: readonly Route[]) {
    this.#routes = routes.map((route) => [route, route.path.split('/').slice(1)]);
  }

  /** Throws 404, 405, and 400 for a path that cannot be decoded. */
  match(method: string, path: string, profile: Profile): Matched {
    const whole = segmentsOf(path);
    const isPrefixed = whole[0] === 'contexts' && whole.length > 2;
    const context = isPrefixed ? parseContext(whole[1] ?? '') : DEFAULT_CONTEXT;
    const segments = isPrefixed ? whole.slice(2) : whole;
    let isKnown = false;
    for (const [route, pattern] of this.#routes) {
      if (route.isOffered?.(profile) === false) continue;
      const params = fit(pattern, segments);
      if (params === undefined) continue;
      isKnown = true;
      // HEAD is GET without the body, which node leaves out.
      if (route.method === method || (method === 'HEAD' && route.method === 'GET')) return { route, params, context };
    }
    throw isKnown
      ? new SchemaApiError(405, 'HTTP 405 Method Not Allowed')
      : new SchemaApiError(404, 'HTTP 404 Not Found');
  }
}

function segmentsOf(path: string): string[] {
  const parts = path.replace(/\/$/, '').split('/').slice(1);
  if (parts.length === 0) return [''];
  if (parts.length > SEGMENTS_MAX) throw new SchemaApiError(404, 'HTTP 404 Not Found');
  try {
    return parts.map(decodeURIComponent);
  } catch {
    throw refuse.badRequest('the path is not URL-encoded UTF-8');
  }
}

function fit(pattern: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  if (pattern.length !== segments.length) return undefined;
  const params: Record<string, string> = {};
  for (const [at, part] of pattern.entries()) {
    const segment = segments[at] ?? '';
    if (part.startsWith('{')) params[part.slice(1, -1)] = segment;
    else if (part !== segment) return undefined;
  }
  return params;
}

/** The subject of a path, an alias followed one step. Throws 42208. */
export function subjectOf({ params, context, registry }: Call): SubjectName {
  const subject = requireSubject(params['subject'] ?? '', context);
  const alias = registry.index.configInScope(subject)?.['alias'];
  return typeof alias === 'string' && alias !== '' ? requireSubject(alias, subject.context) : subject;
}

/** The subject or context of a path that has settings; the URL's context where the path names none. */
export function scopeOf({ params, context }: Call): SubjectName {
  return params['subject'] === undefined ? { context, name: '' } : requireScope(params['subject'], context);
}
