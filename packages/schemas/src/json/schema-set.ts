/**
 * A schema with all that it names: every subschema checked against its draft, every $ref led to its target.
 *
 * Owns identifiers, anchors, pointers and the drafts of documents. Nothing is fetched: what a $ref names is in the
 * text or among the references, or the schema is invalid. Cycles are allowed, except a $ref that leads to itself with
 * nothing in between, which means nothing. Pure; work is linear in the texts.
 */
import { InvalidSchema, type ReferencedSchema, type SchemaLimits } from '../schema.ts';
import { isArray, isObject, type JsonObject, type JsonValue } from './json-value.ts';
import { DEFAULT_DRAFT, type Draft, draftOf, keywordIn, subschemasOf } from './keywords.ts';
import { readJson } from './read-json.ts';

/** What relative names are relative to, when a schema has no absolute identifier. */
const NO_BASE = 'schema:///';
const REFERENCES_MAX = 1000;

interface Scope {
  readonly draft: Draft;
  /** The identifier of the resource, absolute, without a fragment. */
  readonly base: string;
  readonly root: JsonValue;
}

interface Visit {
  readonly value: JsonValue;
  readonly scope: Scope;
  readonly path: string;
}

export class SchemaSet {
  readonly root: JsonValue;
  readonly #limits: SchemaLimits;
  readonly #resources = new Map<string, Scope>();
  readonly #names = new Map<string, Scope>();
  readonly #texts = new Map<string, string>();
  readonly #anchors = new Map<string, JsonObject>();
  readonly #scopes = new Map<JsonObject, Scope>();
  readonly #targets = new Map<JsonObject, readonly JsonValue[]>();
  #characters = 0;
  /** Schemas with references that are not followed yet, with their places. */
  readonly #open: { readonly object: JsonObject; readonly path: string }[] = [];

  constructor(text: string, references: readonly ReferencedSchema[], limits: SchemaLimits) {
    this.#limits = limits;
    this.root = this.#read(text, 'The schema');
    this.#addReferences(references, 0);
    const scope = { draft: draftOfDocument(this.root), base: NO_BASE, root: this.root };
    this.#resources.set(NO_BASE, scope);
    this.#walk(this.root, scope, '#');
    // Following a pointer may find schemas where nobody looked yet, so the list grows on the way.
    for (let next = this.#open.pop(); next !== undefined; next = this.#open.pop()) this.#follow(next.object, next.path);
    this.#refuseEmptyCycles();
  }

  /** The draft that a schema object is read by. */
  draft(object: JsonObject): Draft {
    return this.#scopes.get(object)?.draft ?? DEFAULT_DRAFT;
  }

  /** What $ref, $dynamicRef and $recursiveRef of a schema object lead to. */
  targets(object: JsonObject): readonly JsonValue[] {
    return this.#targets.get(object) ?? [];
  }

  #read(text: string, what: string): JsonValue {
    this.#characters += text.length;
    if (this.#characters > this.#limits.charactersMax) {
      const max = this.#limits.charactersMax;
      throw new InvalidSchema(`The schema has more than ${max} characters with what it references.`, {
        tooLarge: true,
      });
    }
    const value = readJson(text, this.#limits.depthMax);
    if (!isObject(value) && typeof value !== 'boolean')
      throw new InvalidSchema(`${what} must be a JSON object, or true or false.`);
    return value;
  }

  #addReferences(references: readonly ReferencedSchema[], depth: number): void {
    if (depth > this.#limits.depthMax) throw new InvalidSchema('References nest too deep.', { tooLarge: true });
    for (const reference of references) {
      const name = reference.name.split('#')[0] ?? '';
      const known = this.#texts.get(name);
      if (known !== undefined && known !== reference.text)
        throw new InvalidSchema(`Two different schemas are referenced by the name "${name}".`);
      if (known !== undefined) continue;
      this.#texts.set(name, reference.text);
      if (this.#texts.size > REFERENCES_MAX)
        throw new InvalidSchema(`The schema references more than ${REFERENCES_MAX} others.`, { tooLarge: true });
      const root = this.#read(reference.text, `The reference "${name}"`);
      const scope = { draft: draftOfDocument(root), base: resolveUri(NO_BASE, name), root };
      this.#resources.set(scope.base, scope);
      this.#names.set(name, scope);
      this.#walk(root, scope, `${name}#`);
      this.#addReferences(reference.references, depth + 1);
    }
  }

  /** Checks a schema with all below it, and notes identifiers and references. */
  #walk(value: JsonValue, scope: Scope, path: string): void {
    const stack: Visit[] = [{ value, scope, path }];
    for (let visit = stack.pop(); visit !== undefined; visit = stack.pop()) {
      if (!isObject(visit.value)) {
        if (typeof visit.value === 'boolean') continue;
        throw new InvalidSchema(`${visit.path} must be a schema.`);
      }
      const object = visit.value;
      if (this.#scopes.has(object)) continue;
      const inner = this.#enter(object, visit);
      this.#scopes.set(object, inner);
      checkKeywords(object, inner.draft, visit.path);
      if (['$ref', '$dynamicRef', '$recursiveRef'].some((name) => isReference(object, name, inner.draft)))
        this.#open.push({ object, path: visit.path });
      for (const [child, steps] of subschemasOf(object, inner.draft))
        stack.push({ value: child, scope: inner, path: `${visit.path}/${steps.map(escapePointer).join('/')}` });
    }
  }

  /** The scope within a schema: its own identifier makes it a resource of its own. */
  #enter(object: JsonObject, { scope, path }: Visit): Scope {
    const own = object.get('$schema');
    const named = typeof own === 'string' ? draftOf(own) : undefined;
    const id = object.get((named ?? scope.draft) === 4 ? 'id' : '$id');
    const draft = typeof id === 'string' || path === '#' ? (named ?? scope.draft) : scope.draft;
    let inner: Scope = draft === scope.draft ? scope : { ...scope, draft };
    // Up to draft 7 what stands beside a $ref means nothing.
    if (typeof id === 'string' && !(draft <= 7 && typeof object.get('$ref') === 'string')) {
      const [uri = '', anchor] = id.split('#', 2);
      if (uri !== '') {
        inner = { draft, base: resolveUri(scope.base, uri), root: object };
        const other = this.#resources.get(inner.base);
        if (other !== undefined && other.root !== object)
          throw new InvalidSchema(`The identifier "${uri}" is given to two schemas, the second at ${path}.`);
        this.#resources.set(inner.base, inner);
      }
      if (anchor !== undefined && anchor !== '') this.#addAnchor(inner.base, anchor, object, path);
    }
    for (const name of ['$anchor', '$dynamicAnchor']) {
      const anchor = object.get(name);
      if (typeof anchor === 'string' && keywordIn(name, draft) !== undefined)
        this.#addAnchor(inner.base, anchor, object, path);
    }
    return inner;
  }

  #addAnchor(base: string, name: string, object: JsonObject, path: string): void {
    const key = `${base}#${name}`;
    const other = this.#anchors.get(key);
    if (other !== undefined && other !== object)
      throw new InvalidSchema(`The anchor "${name}" is given to two schemas, the second at ${path}.`);
    this.#anchors.set(key, object);
  }

  #follow(object: JsonObject, path: string): void {
    const scope = this.#scopes.get(object);
    if (scope === undefined) return;
    const targets: JsonValue[] = [];
    for (const name of ['$ref', '$dynamicRef', '$recursiveRef']) {
      const reference = object.get(name);
      if (typeof reference === 'string' && isReference(object, name, scope.draft))
        targets.push(this.#resolve(reference, scope, `${path}/${name}`));
    }
    this.#targets.set(object, targets);
  }

  #resolve(reference: string, scope: Scope, path: string): JsonValue {
    const hash = reference.indexOf('#');
    const uri = hash < 0 ? reference : reference.slice(0, hash);
    const fragment = hash < 0 ? '' : decodeFragment(reference.slice(hash + 1), path);
    const resource =
      uri === ''
        ? (this.#resources.get(scope.base) ?? scope)
        : (this.#resources.get(resolveUri(scope.base, uri)) ?? this.#names.get(uri));
    if (resource === undefined) {
      const remedy = `Put it into the schema, or name it "${uri.slice(0, 200)}" in its references.`;
      throw new InvalidSchema(`${path} leads to "${reference.slice(0, 200)}", which is not there. ${remedy}`);
    }
    if (fragment === '') return resource.root;
    const target = fragment.startsWith('/')
      ? this.#point(resource, fragment, path)
      : this.#anchors.get(`${resource.base}#${fragment}`);
    if (target === undefined || (!isObject(target) && typeof target !== 'boolean'))
      throw new InvalidSchema(`${path} leads to "${reference.slice(0, 200)}", where no schema is.`);
    return target;
  }

  #point(resource: Scope, pointer: string, path: string): JsonValue | undefined {
    let at: JsonValue | undefined = resource.root;
    let scope = resource;
    for (const step of pointer.slice(1).split('/')) {
      const key = step.replaceAll('~1', '/').replaceAll('~0', '~');
      at = isObject(at) ? at.get(key) : isArray(at) && /^(0|[1-9]\d{0,8})$/.test(key) ? at[Number(key)] : undefined;
      if (isObject(at)) scope = this.#scopes.get(at) ?? scope;
    }
    if (isObject(at) && !this.#scopes.has(at)) this.#walk(at, scope, `${path} -> #${pointer.slice(0, 200)}`);
    return at;
  }

  #refuseEmptyCycles(): void {
    const fine = new Set<JsonObject>();
    for (const start of this.#targets.keys()) {
      const seen = new Set<JsonObject>();
      let at: JsonValue | undefined = start;
      while (isObject(at) && !fine.has(at)) {
        if (seen.has(at)) throw new InvalidSchema('A $ref leads back to itself with nothing in between.');
        seen.add(at);
        at = this.#targets.get(at)?.[0];
      }
      for (const object of seen) fine.add(object);
    }
  }
}

function isReference(object: JsonObject, name: string, draft: Draft): boolean {
  return keywordIn(name, draft) !== undefined && typeof object.get(name) === 'string';
}

function checkKeywords(object: JsonObject, draft: Draft, path: string): void {
  for (const [name, value] of object) {
    const keyword = keywordIn(name, draft);
    if (keyword !== undefined && !keyword.fits(value, draft))
      throw new InvalidSchema(`${path}/${name} must be ${keyword.what}.`);
  }
  if (draft !== 4) return;
  // Draft 4 wants the bound beside its exclusiveness.
  for (const bound of ['Maximum', 'Minimum']) {
    if (object.has(`exclusive${bound}`) && !object.has(bound.toLowerCase()))
      throw new InvalidSchema(`${path}/exclusive${bound} stands alone: give ${bound.toLowerCase()} too.`);
  }
}

function draftOfDocument(root: JsonValue): Draft {
  const uri = isObject(root) ? root.get('$schema') : undefined;
  if (typeof uri !== 'string') return DEFAULT_DRAFT;
  if (/json-schema\.org\/draft-0?[0-3]\//.test(uri))
    throw new InvalidSchema(`The draft "${uri.slice(0, 200)}" is too old: use draft 4, 6, 7, 2019-09 or 2020-12.`);
  return draftOf(uri) ?? DEFAULT_DRAFT;
}

function resolveUri(base: string, uri: string): string {
  try {
    return new URL(uri, base.includes(':/') ? base : NO_BASE).href.split('#')[0] ?? '';
  } catch {
    throw new InvalidSchema(`"${uri.slice(0, 200)}" is no URI.`);
  }
}

function decodeFragment(fragment: string, path: string): string {
  try {
    return decodeURIComponent(fragment);
  } catch {
    throw new InvalidSchema(`${path} has a wrong % escape.`);
  }
}

/** A step of a JSON pointer as it is written. */
export function escapePointer(step: string): string {
  return step.replaceAll('~', '~0').replaceAll('/', '~1');
}
