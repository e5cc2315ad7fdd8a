/**
 * The names of subjects and contexts: "orders-value" lies in the default context ".", ":.ctx:orders-value" in ".ctx".
 *
 * Owns reading, writing and refusing them. A name is kept in one form: the default context is never written. Pure.
 */
import { refuse } from './errors.ts';

export const DEFAULT_CONTEXT = '.';
/** Its config and mode hold where no subject, no context and nothing global says anything. */
export const GLOBAL_CONTEXT = '.__GLOBAL';
/** The key of the global config and mode, which are those of the default context. */
export const GLOBAL_KEY = '';

/** Characters of a subject with its context. */
export const SUBJECT_CHARACTERS_MAX = 1024;

export interface SubjectName {
  /** "." or ".ctx". */
  readonly context: string;
  /** Without its context; empty for the context itself. */
  readonly name: string;
}

/** Reads a subject; one without a context lies in the one given. */
export function parseSubject(text: string, context: string = DEFAULT_CONTEXT): SubjectName {
  if (text.startsWith(':.')) {
    const end = text.indexOf(':', 2);
    if (end > 0) return { context: text.slice(1, end), name: text.slice(end + 1) };
    // ":.ctx" alone is a context as well.
    return { context: text.slice(1), name: '' };
  }
  return { context, name: text };
}

/** The one form in which a subject is kept and given back. */
export function qualified({ context, name }: SubjectName): string {
  return context === DEFAULT_CONTEXT ? name : `:${context}:${name}`;
}

/** A context as URLs write it: ".ctx", "ctx" or ":.ctx:". */
export function parseContext(text: string): string {
  const bare = text.startsWith(':') ? text.slice(1).replace(/:$/, '') : text;
  const context = bare.startsWith('.') ? bare : `.${bare}`;
  if (!isPrintable(context) || context.includes(':') || context.length > SUBJECT_CHARACTERS_MAX)
    throw refuse.invalidSubject(text);
  return context;
}

/** Reads the subject of a schema. Throws 42208. */
export function requireSubject(text: string, context: string): SubjectName {
  const subject = parseSubject(text, context);
  const reserved = subject.name === '__GLOBAL' || subject.name === '__EMPTY';
  if (subject.name === '' || reserved || subject.context === GLOBAL_CONTEXT || !isFit(text, subject))
    throw refuse.invalidSubject(text);
  return subject;
}

/** Reads what has a config or a mode: a subject, or a context, as ":.ctx:". Throws 42208. */
export function requireScope(text: string, context: string): SubjectName {
  const subject = parseSubject(text, context);
  if (text === '' || subject.name === '__GLOBAL' || subject.name === '__EMPTY' || !isFit(text, subject))
    throw refuse.invalidSubject(text);
  return subject;
}

/** The key of a scope's config and mode. */
export function scopeKey(scope: SubjectName): string {
  return scope.name === '' && scope.context === DEFAULT_CONTEXT ? GLOBAL_KEY : qualified(scope);
}

/** The keys whose config holds for a scope, the nearest first. */
export function scopeChain(scope: SubjectName): string[] {
  const keys = scope.name === '' ? [] : [scopeKey(scope)];
  keys.push(scopeKey({ context: scope.context, name: '' }));
  if (scope.context !== GLOBAL_CONTEXT) keys.push(scopeKey({ context: GLOBAL_CONTEXT, name: '' }));
  return keys;
}

function isFit(text: string, { context }: SubjectName): boolean {
  return isPrintable(text) && text.length <= SUBJECT_CHARACTERS_MAX && context.startsWith('.') && text.isWellFormed();
}

function isPrintable(text: string): boolean {
  return !/\p{Cc}/u.test(text);
}
