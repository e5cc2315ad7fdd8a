/**
 * The reading and judging of one request: what is small is done at once, the rest elsewhere.
 *
 *     decide ──▶ read, judge ──▶ known, or small: the result
 *                     └────────▶ WorkNeeded ──▶ supply ──▶ workers ──▶ known ──▶ decide again
 *
 * Owns which pieces are small, what is known, and the time that one request may take of anybody. A decision stays a
 * function of the index: it is asked anew with more known, until it needs nothing. Does not own how a piece is done
 * (schema-work.ts). Invariant: with what is not small the thread that answers is never busy for longer than a small piece
 * takes. Pure.
 */
import { type Incompatibility, InvalidSchema, SCHEMA_LIMITS, type SchemaLimits } from '@freshet/schemas/schema.ts';
import type { TagChange, TaggedPlace } from '@freshet/schemas/tags.ts';
import { refuse, SchemaApiError } from './errors.ts';
import { asRefusal } from './schema-reader.ts';
import {
  charactersOf,
  doWork,
  type Engines,
  type JudgeWork,
  type ParsedCache,
  type SchemaForm,
  type SchemaSource,
  type SchemaTexts,
  type SchemaWork,
  type SchemaWorkers,
  type WorkResults,
} from './schema-work.ts';

/** Small texts may be hostile: a pair that takes more steps than this (10 ms or so) is judged elsewhere. */
const SMALL_LIMITS: SchemaLimits = { ...SCHEMA_LIMITS, stepsMax: 10_000 };
/** What a request may do at once, in all: many small pieces are not small. */
const AT_ONCE_US_MAX = 10_000;
/** A piece counts for this long at least, so that no request has pieces without end. */
const PIECE_US_MIN = 500;

/** What a request may wait for threads in all, over its pieces: each may find as many others before it. */
const WAITING_US_MAX = 30_000_000;

export interface RequestWorkOptions {
  readonly engines: Engines;
  readonly cache: ParsedCache;
  readonly workers: SchemaWorkers;
  readonly clock: { monotonicUs(): number };
  /** How long the request may read and judge, in ms, not counting what it waits. */
  readonly judgingMs: number;
  /** Characters up to which a piece is small. */
  readonly atOnceCharacters: number;
}

type Outcome = { readonly result: WorkResults[SchemaWork['kind']] } | { readonly error: InvalidSchema };

/** Thrown by a decision that lacks the results of these pieces: each of them, or those up to one that does not fit. */
export class WorkNeeded extends Error {
  override readonly name = 'WorkNeeded';
  readonly pieces: Iterable<SchemaWork>;

  constructor(pieces: Iterable<SchemaWork>) {
    super('a decision needs work that is done elsewhere');
    this.pieces = pieces;
  }
}

export class RequestWork {
  readonly #options: RequestWorkOptions;
  readonly #known = new Map<string, Outcome>();
  /** Sources by number: they are long, and each is part of many keys. */
  readonly #numbers = new Map<string, number>();
  #tookUs = 0;
  #waitedUs = 0;
  #atOnceUs = 0;

  constructor(options: RequestWorkOptions) {
    this.#options = options;
  }

  /** Reads a schema. Throws 42201, 42209, WorkNeeded. */
  read(source: SchemaSource): SchemaTexts {
    return this.#resultOf({ kind: 'READ', source });
  }

  /** A schema in another form; undefined where it has none. Throws 42201, 42209, WorkNeeded. */
  describe(source: SchemaSource, form: SchemaForm): string | undefined {
    return this.#resultOf({ kind: 'DESCRIBE', source, form });
  }

  /** Those of the names that a schema has a field of. Throws 42201, 42209, WorkNeeded. */
  findFields(source: SchemaSource, names: readonly string[]): readonly string[] {
    return this.#resultOf({ kind: 'FIND_FIELDS', source, names });
  }

  /** What has tags in a schema's text, and which. Throws 42201, 42209, WorkNeeded. */
  findTags(source: SchemaSource): readonly TaggedPlace[] {
    return this.#resultOf({ kind: 'FIND_TAGS', source });
  }

  /** A schema's text with its tags changed. Throws 42201 for a place that is not there, 42209, WorkNeeded. */
  changeTags(source: SchemaSource, changes: readonly TagChange[]): string {
    return this.#resultOf({ kind: 'CHANGE_TAGS', source, changes });
  }

  /**
   * The first of the pairs, in their order, by which something does not fit, and what; undefined when all fit. Throws
   * 42201, 42209, WorkNeeded.
   */
  judge(pairs: Iterable<JudgeWork>): { readonly at: number; readonly found: readonly Incompatibility[] } | undefined {
    const each = pairs[Symbol.iterator]();
    let at = 0;
    for (let next = each.next(); next.done !== true; next = each.next(), at++) {
      const outcome = this.#try(next.value);
      if (outcome === undefined) throw new WorkNeeded(following(next.value, each));
      const found = settled<'JUDGE'>(outcome);
      if (found.length > 0) return { at, found };
    }
    return undefined;
  }

  /** Has the pieces done, one after the other, until one says how the decision goes. Throws 42209, 50302. */
  async supply({ pieces }: WorkNeeded): Promise<void> {
    for (const piece of pieces) {
      const outcome = await this.#elsewhere(piece);
      this.#known.set(this.#keyOf(piece), outcome);
      if ('error' in outcome || (piece.kind === 'JUDGE' && settled<'JUDGE'>(outcome).length > 0)) return;
    }
  }

  #resultOf<W extends SchemaWork>(work: W): WorkResults[W['kind']] {
    const outcome = this.#try(work);
    if (outcome === undefined) throw new WorkNeeded([work]);
    return settled<W['kind']>(outcome);
  }

  /** What is known, or can be had at once; undefined: it needs somebody else. */
  #try(work: SchemaWork): Outcome | undefined {
    const key = this.#keyOf(work);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (charactersOf(work) > this.#options.atOnceCharacters || this.#atOnceUs > AT_ONCE_US_MAX) return undefined;
    this.#requireTime();
    const startUs = this.#options.clock.monotonicUs();
    const outcome = this.#atOnce(work);
    const tookUs = this.#options.clock.monotonicUs() - startUs;
    this.#atOnceUs += tookUs;
    this.#tookUs += Math.max(PIECE_US_MIN, tookUs);
    if (outcome !== undefined) this.#known.set(key, outcome);
    return outcome;
  }

  #atOnce(work: SchemaWork): Outcome | undefined {
    const { engines, cache } = this.#options;
    try {
      return { result: doWork(work, { engines, cache, limits: SMALL_LIMITS }) };
    } catch (error) {
      if (!(error instanceof InvalidSchema)) throw error;
      return work.kind === 'JUDGE' && error.tooLarge ? undefined : { error };
    }
  }

  async #elsewhere(work: SchemaWork): Promise<Outcome> {
    this.#requireTime();
    if (this.#waitedUs >= WAITING_US_MAX)
      throw new SchemaApiError(50302, 'the registry is busy with large schemas; try again later');
    const msLeft = Math.max(1, this.#options.judgingMs - Math.floor(this.#tookUs / 1_000));
    const startUs = this.#options.clock.monotonicUs();
    try {
      const { result, tookMs } = await this.#options.workers.run(work, msLeft);
      this.#tookUs += Math.max(PIECE_US_MIN, tookMs * 1_000);
      this.#waitedUs += Math.max(0, this.#options.clock.monotonicUs() - startUs - tookMs * 1_000);
      return { result };
    } catch (error) {
      if (!(error instanceof InvalidSchema)) throw error;
      this.#tookUs += Math.max(PIECE_US_MIN, this.#options.clock.monotonicUs() - startUs);
      return { error };
    }
  }

  #requireTime(): void {
    const { judgingMs } = this.#options;
    if (this.#tookUs >= judgingMs * 1_000)
      throw refuse.tooLarge(`Reading and comparing the schemas takes longer than ${judgingMs} ms`);
  }

  #keyOf(work: SchemaWork): string {
    if (work.kind === 'DESCRIBE') return `${work.kind}:${work.form}:${this.#numberOf(work.source)}`;
    if (work.kind === 'FIND_FIELDS') return `${work.kind}:${this.#numberOf(work.source)}:${work.names.join()}`;
    if (work.kind === 'CHANGE_TAGS')
      return `${work.kind}:${this.#numberOf(work.source)}:${JSON.stringify(work.changes)}`;
    if (work.kind !== 'JUDGE') return `${work.kind}:${this.#numberOf(work.source)}`;
    const { now, old, policy, backward, forward } = work;
    return `JUDGE:${this.#numberOf(now)}:${this.#numberOf(old)}:${policy}:${backward}:${forward}`;
  }

  #numberOf({ type, checkDefaults, referred, text }: SchemaSource): number {
    const key = [type, checkDefaults, referred, text].join('\0');
    const number = this.#numbers.get(key) ?? this.#numbers.size;
    this.#numbers.set(key, number);
    return number;
  }
}

function* following<T>(first: T, rest: Iterator<T>): Generator<T> {
  yield first;
  for (let next = rest.next(); next.done !== true; next = rest.next()) yield next.value;
}

function settled<K extends SchemaWork['kind']>(outcome: Outcome): WorkResults[K] {
  if ('error' in outcome) throw asRefusal(outcome.error);
  return outcome.result as WorkResults[K];
}
