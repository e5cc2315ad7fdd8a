/**
 * The Schema Registry's decisions: what may be registered, deleted or set, and what that makes of the records.
 *
 *     mutation ──▶ queue (one at a time) ──▶ decide on the index ──▶ store (durable) ──▶ index ──▶ answer
 *     read ──────────────────────────────────▶ index
 *
 * Owns the order of mutations and the rules for ids, versions, deletes, settings. Does not own HTTP (rest/), how schemas
 * are judged (@freshet/schemas) or bytes at rest (SchemaStore). Invariants: nothing is answered or visible before it is
 * durable; an id is counted out once, for one entity, for ever (an import says itself what an id stands for that no row
 * has); nothing that is referenced goes.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { SchemaType } from '@freshet/schemas/schema.ts';
import type { JsonObject, Row } from './entity.ts';
import { refuse, SchemaApiError } from './errors.ts';
import { GLOBAL_KEY, parseSubject, qualified, type SubjectName, scopeKey } from './names.ts';
import { decodeRecord, encodeRecord, type RecordText, type StoredRecord } from './records.ts';
import { decideRegistration, type Registration, type RegistrationRequest } from './registration.ts';
import { RequestWork, WorkNeeded } from './request-work.ts';
import { SchemaIndex } from './schema-index.ts';
import type { SchemaStore } from './schema-store.ts';
import { type Engines, ParsedCache, type SchemaWorkers } from './schema-work.ts';
import { type Config, type Mode, mergeConfig } from './settings.ts';

export interface SubjectRegistryOptions {
  readonly store: SchemaStore;
  readonly engines: Engines;
  /** Where schemas are read and judged that would take long. */
  readonly workers: SchemaWorkers;
  readonly clock: Pick<Clock, 'nowUs' | 'monotonicUs'>;
  /** Whether every mutation is refused. */
  readonly readOnly?: boolean | undefined;
  readonly limits?: Partial<RegistryLimits> | undefined;
}

export interface RegistryLimits {
  readonly subjects: number;
  readonly versionsPerSubject: number;
  /** Characters of all texts, metadata, rule sets and settings together; they are held in memory. */
  readonly characters: number;
  /** Mutations that wait for their turn. */
  readonly waiting: number;
  /** How long one request may read and judge, in ms, wherever it is done. */
  readonly judgingMs: number;
  /** Characters up to which schemas are read and judged at once, in the thread that answers. */
  readonly atOnceCharacters: number;
}

export const REGISTRY_LIMITS: RegistryLimits = {
  subjects: 100_000,
  versionsPerSubject: 1_000,
  characters: 512_000_000,
  waiting: 1_000,
  judgingMs: 2_000,
  atOnceCharacters: 16_384,
};

/** How often a registration is decided anew because the subject changed while it was judged. */
const ATTEMPTS_MAX = 20;

/** Characters of one scope's settings, as JSON. */
const CONFIG_CHARACTERS_MAX = 256 * 1024;

/** What a mutation decided: what is written, and what is answered once it is durable. */
export interface Decision<T> {
  readonly records: readonly StoredRecord[];
  readonly answer: T;
}

export class SubjectRegistry {
  readonly readOnly: boolean;
  readonly limits: RegistryLimits;
  readonly #store: SchemaStore;
  readonly #clock: Pick<Clock, 'nowUs' | 'monotonicUs'>;
  readonly #engines: Engines;
  readonly #workers: SchemaWorkers;
  readonly #cache = new ParsedCache();
  #index: SchemaIndex;
  /** A write failed: what is stored is known again only after load(). */
  #isStale = false;
  #waiting = 0;
  #last: Promise<unknown> = Promise.resolve();

  private constructor(options: SubjectRegistryOptions, index: SchemaIndex) {
    this.#engines = options.engines;
    this.#workers = options.workers;
    this.readOnly = options.readOnly ?? false;
    this.limits = { ...REGISTRY_LIMITS, ...options.limits };
    this.#store = options.store;
    this.#clock = options.clock;
    this.#index = index;
  }

  /** Reads all that is stored. Throws DATA_DAMAGED. */
  static async open(options: SubjectRegistryOptions): Promise<SubjectRegistry> {
    return new SubjectRegistry(options, indexOf(await options.store.load()));
  }

  /** What is there now; for reads. */
  get index(): SchemaIndex {
    return this.#index;
  }

  /** The types of schema that are taken. */
  get types(): SchemaType[] {
    return [...this.#engines.keys()];
  }

  /** Looks at what is there, with what reading and judging say. `look` may be called several times. */
  async look<T>(look: (work: RequestWork) => T): Promise<T> {
    const work = this.#startWork();
    for (;;) {
      try {
        return look(work);
      } catch (error) {
        if (!(error instanceof WorkNeeded)) throw error;
        // Each piece takes of the request's time, so this ends.
        await work.supply(error);
      }
    }
  }

  /** Registers a schema; one that the subject has already is answered at once. */
  async register(subject: SubjectName, request: RegistrationRequest): Promise<Registration> {
    const work = this.#startWork();
    const on = { work, limits: this.limits, readOnly: this.readOnly };
    const decide = (): Decision<Registration> =>
      decideRegistration({ ...on, index: this.#index }, subject, request, this.#now());
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      try {
        // What changes nothing waits for nobody; and what is refused now might be refused in its turn just the same.
        if (!this.#isStale) {
          const first = decide();
          if (first.records.length === 0) return first.answer;
        }
        return await this.#mutate(decide);
      } catch (error) {
        if (!(error instanceof WorkNeeded)) throw error;
        // Not in its turn: nobody waits behind what takes long. What came in between may need work of its own.
        await work.supply(error);
      }
    }
    throw new SchemaApiError(50302, `the subject changed ${ATTEMPTS_MAX} times while this was judged; try again later`);
  }

  /** Deletes a subject; resolves with the versions that went. */
  deleteSubject(subject: SubjectName, permanent: boolean): Promise<number[]> {
    return this.#mutate(() => {
      this.#requireWritable(subject);
      const name = qualified(subject);
      const rows = this.#index.rowsOf(name);
      if (rows.length === 0) throw refuse.subjectNotFound(name);
      const live = rows.filter((row) => !row.deleted);
      if (!permanent && live.length === 0) throw refuse.subjectSoftDeleted(name);
      if (permanent && live.length > 0) throw refuse.subjectNotSoftDeleted(name);
      const doomed = permanent ? rows : live;
      const going = new Set(doomed);
      for (const row of doomed) this.#requireUnreferenced(row, permanent, going);
      const records = doomed.flatMap((row) => goneRecords(row, permanent));
      if (permanent) records.push(...this.#settingsGone(name));
      return { records, answer: doomed.map((row) => row.version) };
    });
  }

  /** Deletes a version; undefined stands for the latest. */
  deleteVersion(subject: SubjectName, version: number | undefined, permanent: boolean): Promise<number> {
    return this.#mutate(() => {
      this.#requireWritable(subject);
      const name = qualified(subject);
      const rows = this.#index.rowsOf(name);
      if (rows.length === 0) throw refuse.subjectNotFound(name);
      const row = version === undefined ? this.#index.latest(name, permanent) : this.#index.row(name, version);
      if (row === undefined && version === undefined) throw refuse.subjectNotFound(name);
      if (row === undefined) throw refuse.versionNotFound(version ?? -1);
      if (!permanent && row.deleted) throw refuse.versionSoftDeleted(name, row.version);
      if (permanent && !row.deleted) throw refuse.versionNotSoftDeleted(name, row.version);
      this.#requireUnreferenced(row, permanent);
      const records = goneRecords(row, permanent);
      if (permanent && rows.length === 1) records.push(...this.#settingsGone(name));
      return { records, answer: row.version };
    });
  }

  /** Changes the settings of a scope; resolves with what they are then. */
  updateConfig(scope: SubjectName, update: JsonObject): Promise<Config> {
    return this.#mutate(() => {
      this.#requireWritable(scope);
      const key = scopeKey(scope);
      const config = mergeConfig(this.#index.configOf(key), update);
      this.#requireScopeRoom(key, this.#index.configOf(key) === undefined, this.#index.configScopes.length);
      this.#requireRoomFor(config);
      return { records: [{ kind: 'CONFIG', scope: key, config }], answer: config };
    });
  }

  /** Removes the settings of a scope; resolves with what they were. Throws 40401 when a subject has none. */
  deleteConfig(scope: SubjectName): Promise<Config> {
    return this.#mutate(() => {
      this.#requireWritable(scope);
      const key = scopeKey(scope);
      const config = this.#index.configOf(key);
      if (config === undefined && key !== GLOBAL_KEY) throw refuse.subjectNotFound(key);
      return { records: [{ kind: 'CONFIG', scope: key, config: undefined }], answer: config ?? {} };
    });
  }

  /** Sets the mode of a scope. IMPORT needs it to be without versions, unless forced; deleted ones go for good. */
  setMode(scope: SubjectName, mode: Mode, force: boolean): Promise<Mode> {
    return this.#mutate(() => {
      const key = scopeKey(scope);
      this.#requireScopeRoom(key, this.#index.modeOf(key) === undefined, this.#index.modeScopes.length);
      const records: StoredRecord[] = [{ kind: 'MODE', scope: key, mode }];
      if (mode === 'IMPORT' && this.#index.modeInScope(scope) !== 'IMPORT' && !force) {
        const rows = this.#rowsIn(scope);
        if (rows.some((row) => !row.deleted)) throw refuse.notPermitted('Cannot import since found existing subjects');
        const going = new Set(rows);
        for (const row of rows) {
          for (const referrer of this.#index.referrersOf(row.subject, row.version))
            if (!going.has(referrer)) throw refuse.referenced(row.subject, row.version);
        }
        records.push(...rows.flatMap((row) => goneRecords(row, true)));
      }
      return { records, answer: mode };
    });
  }

  /**
   * Removes the mode of a scope, and with `recursive` those of all subjects of a context; resolves with what the scope's own
   * was. Throws 40401 when it has none, unless `recursive` asks for what is below.
   */
  deleteMode(scope: SubjectName, recursive: boolean): Promise<Mode | undefined> {
    return this.#mutate(() => {
      const key = scopeKey(scope);
      const mode = this.#index.modeOf(key);
      // A subject has nothing below it; what lies beside it in its context is not its own.
      const hasBelow = recursive && scope.name === '';
      const below = hasBelow ? this.#index.modeScopes.filter((each) => each !== key && isWithin(each, scope)) : [];
      if (mode === undefined && key !== GLOBAL_KEY && !hasBelow) throw refuse.subjectNotFound(key);
      const records = [key, ...below].map((each): StoredRecord => ({ kind: 'MODE', scope: each, mode: undefined }));
      return { records, answer: mode ?? (key === GLOBAL_KEY ? this.#index.modeInScope(scope) : undefined) };
    });
  }

  /** Takes a context off the list, with its settings. Its ids stay given. Throws 42211 when it has subjects. */
  deleteContext(context: string): Promise<void> {
    return this.#mutate(() => {
      const scope = { context, name: '' };
      this.#requireWritable(scope);
      if (this.#rowsIn(scope).length > 0) throw refuse.contextNotEmpty(context);
      const within = (keys: readonly string[]): string[] => keys.filter((key) => isWithin(key, scope));
      const idMax = this.#index.idMax(context);
      const records: StoredRecord[] = [
        { kind: 'CONTEXT', context, value: { idMax, isListed: false } },
        ...within(this.#index.configScopes).map(
          (key): StoredRecord => ({ kind: 'CONFIG', scope: key, config: undefined }),
        ),
        ...within(this.#index.modeScopes).map((key): StoredRecord => ({ kind: 'MODE', scope: key, mode: undefined })),
      ];
      return { records, answer: undefined };
    });
  }

  /** Puts records in as they are, into a registry that has none. Throws 42205 when it has, INVALID_REQUEST for a bad one. */
  restore(texts: readonly RecordText[]): Promise<number> {
    return this.#mutate(() => {
      if (this.#index.rows > 0) throw refuse.notPermitted('Cannot import since found existing subjects');
      indexOf(texts);
      const records = texts.map(({ key, value }) => this.#keepingIds(decodeRecord(key, value)));
      return { records, answer: records.length };
    });
  }

  /** Resolves when no mutation is under way. */
  async settle(): Promise<void> {
    await this.#last;
  }

  #startWork(): RequestWork {
    const { judgingMs, atOnceCharacters } = this.limits;
    const [engines, cache, workers, clock] = [this.#engines, this.#cache, this.#workers, this.#clock];
    return new RequestWork({ engines, cache, workers, clock, judgingMs, atOnceCharacters });
  }

  #now(): number {
    return Math.floor(this.#clock.nowUs() / 1000);
  }

  #mutate<T>(decide: () => Decision<T>): Promise<T> {
    if (this.readOnly) return Promise.reject(refuse.readOnly());
    if (this.#waiting >= this.limits.waiting)
      return Promise.reject(new SchemaApiError(50302, `${this.#waiting} changes wait already; try again later`));
    this.#waiting++;
    const turn = this.#last.then(() => this.#decideAndWrite(decide)).finally(() => this.#waiting--);
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  async #decideAndWrite<T>(decide: () => Decision<T>): Promise<T> {
    if (this.#isStale) {
      this.#index = indexOf(await this.#store.load().catch((error: unknown) => Promise.reject(refuse.store(error))));
      this.#isStale = false;
    }
    const { records, answer } = decide();
    if (records.length === 0) return answer;
    try {
      await this.#store.write(records.map(encodeRecord));
    } catch (error) {
      this.#isStale = true;
      throw refuse.store(error);
    }
    for (const record of records) this.#index.apply(record);
    return answer;
  }

  #requireWritable(scope: SubjectName): void {
    if (this.#index.modeInScope(scope).startsWith('READONLY'))
      throw refuse.notPermitted(`Subject ${scopeKey(scope) || 'null'} is in read-only mode`);
  }

  /** A version that lives holds what it refers to; one that is deleted still does against going for good. */
  #requireUnreferenced(row: Row, permanent: boolean, going: ReadonlySet<Row> = new Set()): void {
    for (const referrer of this.#index.referrersOf(row.subject, row.version))
      if ((permanent || !referrer.deleted) && !going.has(referrer)) throw refuse.referenced(row.subject, row.version);
  }

  /** A context's record that does not take back ids which were given here. */
  #keepingIds(record: StoredRecord): StoredRecord {
    if (record.kind !== 'CONTEXT' || record.value === undefined) return record;
    const idMax = Math.max(record.value.idMax, this.#index.idMax(record.context));
    return { ...record, value: { ...record.value, idMax } };
  }

  #settingsGone(subject: string): StoredRecord[] {
    return [
      { kind: 'CONFIG', scope: subject, config: undefined },
      { kind: 'MODE', scope: subject, mode: undefined },
    ];
  }

  /** The rows of a subject, or of all subjects of a context. */
  #rowsIn(scope: SubjectName): Row[] {
    if (scope.name !== '') return [...this.#index.rowsOf(qualified(scope))];
    return this.#index.subjects
      .filter((name) => isWithin(name, scope))
      .flatMap((name) => [...this.#index.rowsOf(name)]);
  }

  /** Settings are merged again and again: without an end of their own they would grow by each update. */
  #requireRoomFor(config: Config): void {
    const characters = JSON.stringify(config).length;
    if (characters > CONFIG_CHARACTERS_MAX)
      throw refuse.tooLarge(`the settings are longer than ${CONFIG_CHARACTERS_MAX} characters`);
    if (this.#index.characters + characters > this.limits.characters)
      throw refuse.notPermitted(`the registry holds ${this.#index.characters} characters, which is the most`);
  }

  #requireScopeRoom(key: string, isNew: boolean, count: number): void {
    if (isNew && key !== GLOBAL_KEY && count >= this.limits.subjects * 2)
      throw refuse.notPermitted(`there are settings of ${count} scopes already, which is the most`);
  }
}

function isWithin(key: string, scope: SubjectName): boolean {
  return parseSubject(key).context === scope.context;
}

function goneRecords(row: Row, permanent: boolean): StoredRecord[] {
  const { subject, version } = row;
  return [{ kind: 'SCHEMA', subject, version, row: permanent ? undefined : { ...row, deleted: true } }];
}

function indexOf(texts: readonly RecordText[]): SchemaIndex {
  const index = new SchemaIndex();
  for (const { key, value } of texts) {
    try {
      index.apply(decodeRecord(key, value));
    } catch (cause) {
      throw new FreshetError(
        'DATA_DAMAGED',
        `the record ${key.slice(0, 200)} cannot be read: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    }
  }
  return index;
}
