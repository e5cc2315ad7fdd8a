/**
 * All that the Schema Registry holds, in memory, by every way that the API asks for it.
 *
 * Owns the indexes and keeps them equal to the records that were applied. Does not decide what may happen
 * (subject-registry.ts) and writes nothing. Invariants: an id of a context stands for one entity for as long as any row has
 * it, and `idMax` only grows, so that no id is counted out twice (an import may give one again, to whatever it says, once its
 * last row is gone for good); a row is in every index or in none, also when a record is refused. Pure.
 */
import { assert } from '@freshet/kit/assert.ts';
import type { JsonObject, Row, SchemaEntity } from './entity.ts';
import { DEFAULT_CONTEXT, GLOBAL_KEY, parseSubject, qualified, type SubjectName, scopeChain } from './names.ts';
import type { StoredRecord } from './records.ts';
import { type Config, DEFAULT_MODE, type Mode } from './settings.ts';

interface ContextIndex {
  idMax: number;
  isListed: boolean;
  readonly byId: Map<number, Set<Row>>;
  /** The ids that were given to an entity: one, but imports may give more. */
  readonly idsOf: Map<string, Set<number>>;
}

export class SchemaIndex {
  /** The rows of a subject by version, ascending. */
  readonly #subjects = new Map<string, Row[]>();
  readonly #contexts = new Map<string, ContextIndex>();
  readonly #byGuid = new Map<string, Set<Row>>();
  /** Who refers to a version: by "subject\0version". */
  readonly #referrers = new Map<string, Set<Row>>();
  readonly #configs = new Map<string, Config>();
  readonly #modes = new Map<string, Mode>();
  #sorted: string[] | undefined;
  /** Versions there are, deleted ones included. */
  rows = 0;
  /** Characters of all that is held and may be long: texts, metadata, rule sets, references, unknown properties, settings. */
  characters = 0;

  apply(record: StoredRecord): void {
    switch (record.kind) {
      case 'SCHEMA':
        this.#setRow(record.subject, record.version, record.row);
        return;
      case 'CONFIG':
        this.characters += lengthOf(record.config) - lengthOf(this.#configs.get(record.scope));
        set(this.#configs, record.scope, record.config);
        return;
      case 'MODE':
        set(this.#modes, record.scope, record.mode);
        return;
      case 'CONTEXT': {
        const context = this.#context(record.context);
        context.idMax = Math.max(context.idMax, record.value?.idMax ?? 0);
        context.isListed = record.value?.isListed ?? false;
        return;
      }
    }
  }

  /** The rows of a subject, deleted ones included, ascending. */
  rowsOf(subject: string): readonly Row[] {
    return this.#subjects.get(subject) ?? [];
  }

  row(subject: string, version: number): Row | undefined {
    return this.rowsOf(subject).find((row) => row.version === version);
  }

  /** The newest row of a subject. */
  latest(subject: string, withDeleted = false): Row | undefined {
    return this.rowsOf(subject).findLast((row) => withDeleted || !row.deleted);
  }

  /** All subjects, sorted, those with deleted versions only included. */
  get subjects(): readonly string[] {
    this.#sorted ??= [...this.#subjects.keys()].sort();
    return this.#sorted;
  }

  get subjectCount(): number {
    return this.#subjects.size;
  }

  rowsById(context: string, id: number): ReadonlySet<Row> {
    return this.#contexts.get(context)?.byId.get(id) ?? new Set();
  }

  rowsByGuid(guid: string): ReadonlySet<Row> {
    return this.#byGuid.get(guid) ?? new Set();
  }

  /** What an id stands for. */
  entityOf(context: string, id: number): Row | undefined {
    return this.rowsById(context, id).values().next().value;
  }

  /** The id that an entity has in a context: the least, for the order in which records are read says nothing. */
  idOf(context: string, fingerprint: string): number | undefined {
    let least: number | undefined;
    for (const id of this.#contexts.get(context)?.idsOf.get(fingerprint) ?? [])
      if (least === undefined || id < least) least = id;
    return least;
  }

  idMax(context: string): number {
    return this.#contexts.get(context)?.idMax ?? 0;
  }

  get contexts(): readonly string[] {
    const listed = [...this.#contexts].filter(([, { isListed }]) => isListed).map(([name]) => name);
    return [...new Set([DEFAULT_CONTEXT, ...listed])].sort();
  }

  /** Every context that ever gave an id, listed or not. */
  get knownContexts(): readonly string[] {
    return [...this.#contexts.keys()].sort();
  }

  referrersOf(subject: string, version: number): ReadonlySet<Row> {
    return this.#referrers.get(`${subject}\0${version}`) ?? new Set();
  }

  configOf(key: string): Config | undefined {
    return this.#configs.get(key);
  }

  /** The settings that hold for a scope: the nearest there are, their level from further up when they have none. */
  configInScope(scope: SubjectName): Config | undefined {
    const configs = scopeChain(scope).map((key) => this.#configs.get(key));
    const nearest = configs.find((config) => config !== undefined);
    const level = configs.find((config) => config?.['compatibilityLevel'] !== undefined)?.['compatibilityLevel'];
    return nearest === undefined || level === undefined ? nearest : { ...nearest, compatibilityLevel: level };
  }

  modeOf(key: string): Mode | undefined {
    return this.#modes.get(key);
  }

  modeInScope(scope: SubjectName): Mode {
    if (this.#modes.get(GLOBAL_KEY) === 'READONLY_OVERRIDE') return 'READONLY_OVERRIDE';
    for (const key of scopeChain(scope)) {
      const mode = this.#modes.get(key);
      if (mode !== undefined) return mode;
    }
    return DEFAULT_MODE;
  }

  /** The scopes that have a mode. */
  get modeScopes(): readonly string[] {
    return [...this.#modes.keys()];
  }

  /** The scopes that have a config. */
  get configScopes(): readonly string[] {
    return [...this.#configs.keys()];
  }

  #setRow(subject: string, version: number, row: Row | undefined): void {
    const rows = this.#subjects.get(subject) ?? [];
    const at = rows.findIndex((other) => other.version === version);
    const before = at < 0 ? undefined : rows[at];
    if (row !== undefined) this.#requireSameEntity(row, before);
    if (before !== undefined) this.#forget(before);
    let kept: Row | undefined;
    if (row !== undefined) kept = this.#remember(row);
    if (kept !== undefined && at >= 0) rows[at] = kept;
    else if (kept !== undefined) insert(rows, kept);
    else if (at >= 0) rows.splice(at, 1);
    if (rows.length === 0) {
      if (this.#subjects.delete(subject)) this.#sorted = undefined;
    } else if (!this.#subjects.has(subject)) {
      this.#subjects.set(subject, rows);
      this.#sorted = undefined;
    }
  }

  /** Before anything is changed: a row that may not be is in no index, and the one that it was to replace is in each. */
  #requireSameEntity({ subject, id, fingerprint }: Row, replaced: Row | undefined): void {
    for (const other of this.rowsById(parseSubject(subject).context, id)) {
      if (other === replaced) continue;
      assert(other.fingerprint === fingerprint, 'an id stands for one schema');
      return;
    }
  }

  /** The row as it is kept: entities of one id are one object. */
  #remember(row: Row): Row {
    const context = this.#context(parseSubject(row.subject).context);
    const known: Row | undefined = context.byId.get(row.id)?.values().next().value;
    const entity: SchemaEntity = known?.entity ?? row.entity;
    const kept: Row = known === undefined ? row : { ...row, entity, guid: known.guid, fingerprint: known.fingerprint };
    add(context.byId, kept.id, kept);
    if (known === undefined) {
      const ids = context.idsOf.get(kept.fingerprint) ?? new Set();
      context.idsOf.set(kept.fingerprint, ids.add(kept.id));
    }
    context.idMax = Math.max(context.idMax, kept.id);
    context.isListed = true;
    add(this.#byGuid, kept.guid, kept);
    for (const key of referencesOf(kept)) add(this.#referrers, key, kept);
    this.rows++;
    if (known === undefined) this.characters += lengthOfEntity(entity);
    this.characters += lengthOf(kept.extra);
    return kept;
  }

  #forget(row: Row): void {
    const context = this.#context(parseSubject(row.subject).context);
    remove(context.byId, row.id, row);
    this.characters -= lengthOf(row.extra);
    if (!context.byId.has(row.id)) {
      this.characters -= lengthOfEntity(row.entity);
      const ids = context.idsOf.get(row.fingerprint);
      if (ids?.delete(row.id) === true && ids.size === 0) context.idsOf.delete(row.fingerprint);
    }
    remove(this.#byGuid, row.guid, row);
    for (const key of referencesOf(row)) remove(this.#referrers, key, row);
    this.rows--;
  }

  #context(name: string): ContextIndex {
    let context = this.#contexts.get(name);
    if (context === undefined) {
      context = { idMax: 0, isListed: false, byId: new Map(), idsOf: new Map() };
      this.#contexts.set(name, context);
    }
    return context;
  }
}

/** Characters of a schema with all that was registered with it, about. */
export function lengthOfEntity({ schema, references, metadata, ruleSet }: SchemaEntity): number {
  const named = references.reduce((sum, { name, subject }) => sum + name.length + subject.length, 0);
  return schema.length + named + lengthOf(metadata) + lengthOf(ruleSet);
}

function lengthOf(value: JsonObject | undefined): number {
  return value === undefined ? 0 : JSON.stringify(value).length;
}

/** The versions that a row refers to, as keys. */
function referencesOf(row: Row): string[] {
  const { context } = parseSubject(row.subject);
  return row.entity.references.map(({ subject, version }) => {
    return `${qualified(parseSubject(subject, context))}\0${version}`;
  });
}

function insert(rows: Row[], row: Row): void {
  const at = rows.findLastIndex((other) => other.version < row.version);
  rows.splice(at + 1, 0, row);
}

function set<V>(map: Map<string, V>, key: string, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}

function add<K>(map: Map<K, Set<Row>>, key: K, row: Row): void {
  const rows = map.get(key);
  if (rows === undefined) map.set(key, new Set([row]));
  else rows.add(row);
}

function remove<K>(map: Map<K, Set<Row>>, key: K, row: Row): void {
  const rows = map.get(key);
  if (rows?.delete(row) === true && rows.size === 0) map.delete(key);
}
