/**
 * Random histories of views that join tables: events of an append or a mutable source, a broadcast catalogue, a table keyed
 * by the views' entity, generations of each, truncations, repetitions, erased users, and definitions that name the views
 * or not.
 *
 * Owns records; the views are join-views.ts.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { type LogRecord, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { type DefinitionSet, DefinitionSetSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeKey } from '@freshet/values/key.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { CATALOG, CONTRACTS, columnsOf, EVENTS, type JoinView, joinViews, PROFILE } from './join-views.ts';
import { typeOf } from './plan-builder.ts';
import { protoValue } from './values.ts';

const START_US = 1_700_000_000_000_000;

type Step =
  | {
      readonly kind: 'event';
      readonly row: number;
      readonly user: number;
      readonly product: number;
      readonly x: number;
      readonly lagS: number;
    }
  | { readonly kind: 'gone'; readonly row: number }
  | { readonly kind: 'table'; readonly route: number; readonly key: number; readonly value: number }
  | { readonly kind: 'delete' | 'repeat'; readonly route: number; readonly key: number }
  | { readonly kind: 'truncate' | 'begin' | 'end'; readonly route: number }
  | { readonly kind: 'define'; readonly views: readonly number[] }
  /** The views go; a table is read anew, or as much of it as one row; and they come again. */
  | { readonly kind: 'return'; readonly route: number; readonly key: number; readonly value: number }
  | { readonly kind: 'erase'; readonly user: number; readonly routes: readonly number[] }
  | { readonly kind: 'tick'; readonly gapS: number };

export interface JoinRecipe {
  readonly mode: SourceMode;
  readonly first: readonly number[];
  /** The routes that begin at once. */
  readonly begun: readonly number[];
  readonly steps: readonly Step[];
}

const route = fc.constantFrom(EVENTS, CATALOG, CATALOG, PROFILE, PROFILE);
const table = fc.constantFrom(CATALOG, PROFILE);
const small = fc.integer({ min: 0, max: 3 });

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constant('event' as const),
      row: fc.integer({ min: 0, max: 6 }),
      user: fc.integer({ min: 0, max: 2 }),
      product: small,
      x: small,
      lagS: fc.constantFrom(0, 0, 0, 5, 30, 200),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('gone' as const), row: fc.integer({ min: 0, max: 6 }) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('table' as const),
      route: table,
      key: small,
      value: fc.integer({ min: -1, max: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constantFrom('delete' as const, 'repeat' as const), route, key: small }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('truncate' as const), route }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('begin' as const), route }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('end' as const), route }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('define' as const), views: fc.subarray([0, 1, 2, 3, 4, 5, 6]) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('return' as const),
      route: table,
      key: small,
      value: fc.integer({ min: -1, max: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('erase' as const),
      user: fc.integer({ min: 0, max: 2 }),
      routes: fc.subarray([EVENTS, PROFILE], { minLength: 1 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('tick' as const), gapS: fc.constantFrom(0, 1, 15, 70) }) },
);

export const joinRecipes: fc.Arbitrary<JoinRecipe> = fc.record({
  mode: fc.constantFrom(SourceMode.APPEND, SourceMode.MUTABLE),
  first: fc.subarray([0, 1, 2, 3, 4, 5, 6]),
  begun: fc.shuffledSubarray([EVENTS, CATALOG, PROFILE]),
  steps: fc.array(step, { maxLength: 60, size: 'max' }),
});

/**
 * The recipe, and then what ingest does for whoever lost its state: each table is read anew, then the events, and those once
 * more for views that join them with themselves.
 */
export function readAnew(recipe: JoinRecipe): JoinRecipe {
  const anew = (of: number, ...rows: readonly Step[]): readonly Step[] => [
    { kind: 'begin', route: of },
    ...rows,
    { kind: 'end', route: of },
  ];
  const table = (of: number): readonly Step[] => anew(of, { kind: 'table', route: of, key: 1, value: 4 });
  const event = (row: number, x: number): Step => ({ kind: 'event', row, user: 1, product: 1, x, lagS: 0 });
  const events = anew(EVENTS, event(0, 1), event(1, 2));
  return { ...recipe, steps: [...recipe.steps, ...table(CATALOG), ...table(PROFILE), ...events, ...events] };
}

export interface JoinScenario {
  readonly records: readonly { readonly logTimeUs: number; readonly record: Uint8Array }[];
  readonly messages: readonly LogRecord[];
  readonly views: readonly JoinView[];
  readonly users: readonly Uint8Array[];
  readonly endUs: number;
}

export const userKey = (user: number): Uint8Array => encodeKey([Kind.INT64], [BigInt(user)]);

/** The records that a recipe describes. */
export function buildJoinScenario(recipe: JoinRecipe): JoinScenario {
  return new Writer(recipe).write();
}

class Writer {
  readonly #recipe: JoinRecipe;
  readonly #views: readonly JoinView[];
  readonly #messages: LogRecord[] = [];
  readonly #times: number[] = [];
  readonly #generations = new Map<number, number>();
  /** The user under which each row of the events lives now. */
  readonly #rows = new Map<number, number>();
  #definitions = 0n;
  #named: readonly number[] = [];
  #sequence = 0n;
  #nowUs = START_US;

  constructor(recipe: JoinRecipe) {
    this.#recipe = recipe;
    this.#views = joinViews(recipe.mode);
  }

  write(): JoinScenario {
    this.#define(this.#recipe.first);
    for (const of of this.#recipe.begun) this.#step({ kind: 'begin', route: of });
    for (const one of this.#recipe.steps) this.#step(one);
    return {
      records: this.#messages.map((message, i) => ({
        logTimeUs: must(this.#times[i]),
        record: toBinary(LogRecordSchema, message),
      })),
      messages: this.#messages,
      views: this.#views,
      users: [0, 1, 2].map(userKey),
      endUs: this.#nowUs,
    };
  }

  #step(one: Step): void {
    switch (one.kind) {
      case 'tick':
        this.#nowUs += one.gapS * 1_000_000;
        this.#add({ case: 'tick', value: {} as never });
        return;
      case 'define':
        this.#define(one.views);
        return;
      case 'return': {
        const named = this.#named;
        this.#define([]);
        for (const kind of ['begin', 'table', 'end'] as const) this.#step({ ...one, kind });
        this.#define(named);
        return;
      }
      case 'erase': {
        const { routes } = one;
        this.#add({ case: 'erase', value: { entity: '', entityKey: userKey(one.user), routes } as never });
        return;
      }
      case 'begin': {
        const generation = this.#generation(one.route) + 1;
        this.#generations.set(one.route, generation);
        if (one.route === EVENTS) this.#rows.clear();
        // As ingest does: a log that begins late has them, too.
        this.#add(must(this.#messages.findLast(({ kind }) => kind.case === 'definitions')).kind as never);
        this.#add({ case: 'routeBegin', value: { route: one.route, generation } as never });
        return;
      }
      case 'end':
        if (this.#generation(one.route) === 0) return;
        this.#add({
          case: 'snapshotEnd',
          value: { route: one.route, generation: this.#generation(one.route) } as never,
        });
        return;
      case 'truncate':
        if (this.#generation(one.route) === 0) return;
        if (one.route === EVENTS) {
          if (this.#recipe.mode === SourceMode.APPEND) return;
          this.#rows.clear();
        }
        this.#add({ case: 'truncate', value: this.#place(one.route) as never });
        return;
      case 'repeat': {
        const last = this.#messages.findLast(({ kind }) => kind.case === (one.route === CATALOG ? 'table' : 'change'));
        if (last !== undefined) this.#add(last.kind as never);
        return;
      }
      case 'event':
        this.#event(one);
        return;
      case 'gone':
        this.#gone(one.row);
        return;
      default:
        this.#table(one);
        return;
    }
  }

  #event({ row, user, product, x, lagS }: Extract<Step, { kind: 'event' }>): void {
    if (this.#generation(EVENTS) === 0) return;
    const mutable = this.#recipe.mode === SourceMode.MUTABLE;
    const before = mutable ? this.#rows.get(row) : undefined;
    const place = this.#place(EVENTS);
    const values: Scalar[] = [BigInt(user), product === 3 ? null : `p${product}`, x === 3 ? null : BigInt(x)];
    const common = {
      contractVersion: 1,
      eventTimeUs: BigInt(this.#nowUs - lagS * 1_000_000),
      rowKey: mutable ? Uint8Array.of(row) : new Uint8Array(),
    };
    const operation = before === undefined ? Operation.INSERT : Operation.UPDATE;
    this.#change({ ...place, ...common, operation, entityKey: userKey(user), row: this.#values(EVENTS, values) });
    if (mutable) this.#rows.set(row, user);
    if (before === undefined || before === user) return;
    const sequence = { ...place.sequence, part: 1 };
    this.#change({ ...place, ...common, sequence, operation: Operation.DELETE, entityKey: userKey(before), row: [] });
  }

  #gone(row: number): void {
    const user = this.#rows.get(row);
    if (user === undefined) return;
    this.#rows.delete(row);
    this.#change({
      ...this.#place(EVENTS),
      contractVersion: 1,
      operation: Operation.DELETE,
      entityKey: userKey(user),
      rowKey: Uint8Array.of(row),
      row: [],
    });
  }

  #table(one: { readonly kind: string; readonly route: number; readonly key: number; readonly value?: number }): void {
    if (one.route === EVENTS || this.#generation(one.route) === 0) return;
    const { value = 0, key } = one;
    const text = `p${key}`;
    const values: Scalar[] =
      one.route === CATALOG
        ? [value < 0 ? null : BigInt(value), text, value % 2 === 0 ? 'a' : 'b']
        : [BigInt(key), value < 0 ? null : BigInt(value)];
    const gone = one.kind === 'delete';
    this.#change({
      ...this.#place(one.route),
      contractVersion: 1,
      operation: gone ? Operation.DELETE : value % 2 === 0 ? Operation.INSERT : Operation.UPDATE,
      entityKey: one.route === CATALOG ? encodeKey([Kind.STRING], [text]) : userKey(key),
      row: gone ? [] : this.#values(one.route, values),
    });
  }

  #values(of: number, values: readonly Scalar[]) {
    return must(CONTRACTS[of]).map(([, kind], i) => protoValue(typeOf(kind), values[i] ?? null));
  }

  #place(of: number) {
    this.#sequence += 1n;
    const sequence = { major: this.#sequence, minor: 0n, part: 0 };
    return { route: of, generation: this.#generation(of), lane: 2, sequence };
  }

  #change(change: { readonly route: number; readonly [field: string]: unknown }): void {
    if (change.route === CATALOG) this.#add({ case: 'table', value: { change } as never });
    else this.#add({ case: 'change', value: change as never });
  }

  #define(views: readonly number[]): void {
    this.#definitions += 1n;
    this.#named = views;
    const plans = views.map((index) => must(this.#views[index]).plan);
    const value: DefinitionSet = create(DefinitionSetSchema, {
      generation: this.#definitions,
      views: plans,
      routes: [EVENTS, CATALOG, PROFILE].map((of) => ({
        route: of,
        source: {
          name: `table_${of}`,
          mode: of === EVENTS ? this.#recipe.mode : SourceMode.MUTABLE,
          contract: { version: 1, columns: columnsOf(of), primaryKey: [of === CATALOG ? 'p' : 'u'] },
        },
      })),
    });
    this.#add({ case: 'definitions', value });
  }

  #generation(of: number): number {
    return this.#generations.get(of) ?? 0;
  }

  #add(kind: LogRecord['kind']): void {
    this.#messages.push(create(LogRecordSchema, { kind: kind as never }));
    this.#times.push(this.#nowUs);
  }
}
