/**
 * Random recipes: flat, shrinkable descriptions of a partition's history, that scenario.ts turns into definitions and
 * encoded records.
 *
 * Owns what is drawn and how often. Everything refers to everything else by a number that is taken modulo the number
 * of choices, so that any part can shrink on its own and the recipe stays valid.
 */
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import type { TwinExpression } from './cel-semantics.ts';
import { expressionsOver } from './expressions.ts';
import { byteStrings, decimals, doubles, int64Lists, int64s, strings, timestamps, vectors } from './values.ts';

/** The key columns that entities choose from: one of each kind that a key may have. */
export interface KeyRecipe {
  readonly ki: bigint;
  readonly ks: string;
  readonly kb: boolean;
  readonly ky: Uint8Array;
  readonly kt: bigint;
  readonly km: string;
}

/** The columns of every source beside the key's; any may be null. */
export interface RowRecipe {
  readonly i: bigint | null;
  readonly j: bigint | null;
  readonly d: number | null;
  readonly m: string | null;
  readonly s: string | null;
  readonly b: boolean | null;
  readonly y: Uint8Array | null;
  readonly t: bigint | null;
  readonly l: readonly Scalar[] | null;
  readonly v: Float32Array | null;
}

export interface WindowRecipe {
  readonly kind: 'rolling' | 'closed' | 'current' | 'lifetime';
  /** The pane in units of the scenario's time (a tumbling window's length is pane times a small number). */
  readonly pane: number;
  readonly panes: number;
}

export interface FeatureRecipe {
  readonly aggregate: 'count' | 'sum' | 'mean' | 'min' | 'max' | 'last';
  /** Chooses the input among those that the aggregate takes. */
  readonly input: number;
  readonly window: WindowRecipe;
  /** In units of the scenario's time; 0: none. */
  readonly ttl: number;
  readonly hasDefault: boolean;
}

export interface ViewRecipe {
  readonly route: number;
  readonly where: TwinExpression | undefined;
  /** The derived columns; those that nothing reads are left out of the view. */
  readonly xi: TwinExpression;
  readonly xs: TwinExpression;
  readonly xd: TwinExpression;
  readonly xb: TwinExpression;
  readonly features: readonly FeatureRecipe[];
}

/** An event's time, relative to what surrounds it. */
export interface EventTimeRecipe {
  readonly mode: 'near' | 'late' | 'future' | 'same' | 'ancient' | 'unknown';
  readonly units: number;
  readonly micros: number;
}

export interface RecordRecipe {
  readonly kind: 'change' | 'tick' | 'redeliver' | 'stray' | 'restart';
  /** How far log time advances before the record. */
  readonly stepUnits: number;
  readonly stepMicros: number;
  readonly route: number;
  readonly key: number;
  /**
   * Redeliver: how many of the route's last changes come again. Stray: which kind of record nobody should fold. Restart:
   * how many rows the snapshot of the route's new generation has.
   */
  readonly count: number;
  /** Mutable sources: what the change does, and to which of the live rows. */
  readonly dml: 'insert' | 'update' | 'rekey' | 'move' | 'delete' | 'again' | 'touch' | 'truncate';
  readonly pick: number;
  readonly time: EventTimeRecipe;
  readonly row: RowRecipe;
}

export interface RouteRecipe {
  readonly entity: number;
  readonly snapshot: number;
  readonly rotate: number;
  /** Append: every row is an event. Keyed, alike: rows are changed, and have a key, or may be alike. */
  readonly mode: 'append' | 'keyed' | 'alike';
}

export interface Recipe {
  /** The unit of the scenario's times, microseconds. */
  readonly unitUs: number;
  /** The log time before the first record, microseconds. */
  readonly baseUs: number;
  /** Values differ only in what a careless comparison overlooks: 0 and -0, 1 and 1.0. */
  readonly ties: boolean;
  /** Which key columns the two entities have; at least one each. */
  readonly entities: readonly [readonly (keyof KeyRecipe)[], readonly (keyof KeyRecipe)[]];
  readonly keys: readonly KeyRecipe[];
  /** The entity of each route, and how many of its first changes are its snapshot. */
  readonly routes: readonly RouteRecipe[];
  readonly views: readonly ViewRecipe[];
  /** Which views are put in force before which record; the first is before all records unless it is late. */
  readonly definitions: readonly { readonly before: number; readonly views: number }[];
  readonly records: readonly RecordRecipe[];
}

const expressions = expressionsOver({
  int: ['i', 'j'],
  double: ['d'],
  decimal: ['m'],
  string: ['s'],
  bool: ['b'],
  timestamp: ['t'],
});

/** Also over the first derived columns, on which later ones may build. */
const laterExpressions = expressionsOver({
  int: ['i', 'xi'],
  double: ['d'],
  decimal: ['m'],
  string: ['s', 'xs'],
  bool: ['b'],
  timestamp: ['t'],
});

/** Also over all derived columns, in which the condition may be written. */
const conditions = expressionsOver({
  int: ['i', 'j', 'xi'],
  double: ['d', 'xd'],
  decimal: ['m'],
  string: ['s', 'xs'],
  bool: ['b', 'xb'],
  timestamp: ['t'],
});

const nullable = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | null> =>
  fc.option(arbitrary, { freq: 8, nil: null });

const keys: fc.Arbitrary<KeyRecipe> = fc.record({
  ki: int64s,
  ks: strings,
  kb: fc.boolean(),
  ky: byteStrings,
  kt: timestamps,
  km: decimals,
});

const rows: fc.Arbitrary<RowRecipe> = fc.record({
  i: nullable(int64s),
  j: nullable(int64s),
  d: nullable(doubles),
  m: nullable(decimals),
  s: nullable(strings),
  b: nullable(fc.boolean()),
  y: nullable(byteStrings),
  t: nullable(timestamps),
  l: nullable(int64Lists),
  v: nullable(vectors),
});

const windows: fc.Arbitrary<WindowRecipe> = fc.record({
  kind: fc.constantFrom('rolling', 'rolling', 'closed', 'current', 'lifetime'),
  pane: fc.constantFrom(1, 2, 3, 5),
  panes: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 1, max: 6 }) },
    { weight: 1, arbitrary: fc.constantFrom(60, 360) },
  ),
});

const features: fc.Arbitrary<FeatureRecipe> = fc.record({
  aggregate: fc.constantFrom('count', 'sum', 'mean', 'min', 'max', 'last'),
  input: fc.nat(30),
  window: windows,
  ttl: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.integer({ min: 1, max: 20 }) }),
  hasDefault: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
});

const views: fc.Arbitrary<ViewRecipe> = fc.record({
  route: fc.nat(3),
  where: fc.option(conditions.bool, { freq: 2, nil: undefined }),
  xi: expressions.int,
  xs: expressions.string,
  xd: laterExpressions.double,
  xb: laterExpressions.bool,
  features: fc.array(features, { minLength: 1, maxLength: 6 }),
});

const eventTimes: fc.Arbitrary<EventTimeRecipe> = fc.record({
  mode: fc.constantFrom('near', 'near', 'near', 'near', 'late', 'future', 'same', 'same', 'ancient', 'unknown'),
  units: fc.nat(40),
  micros: fc.constantFrom(0, 0, 0, 1, -1),
});

const recordsWith = (restarts: number): fc.Arbitrary<RecordRecipe> =>
  fc.record({
    kind: fc.oneof(
      { weight: 40, arbitrary: fc.constant('change' as const) },
      { weight: 5, arbitrary: fc.constant('tick' as const) },
      { weight: 5, arbitrary: fc.constant('redeliver' as const) },
      { weight: 5, arbitrary: fc.constant('stray' as const) },
      { weight: restarts, arbitrary: fc.constant('restart' as const) },
    ),
    stepUnits: fc.oneof(
      { weight: 6, arbitrary: fc.nat(2) },
      { weight: 2, arbitrary: fc.nat(12) },
      { weight: 1, arbitrary: fc.constantFrom(60, 400) },
    ),
    stepMicros: fc.constantFrom(0, 0, 0, 1, 2),
    route: fc.nat(3),
    key: fc.nat(3),
    count: fc.nat(4),
    dml: fc.oneof(
      { weight: 12, arbitrary: fc.constant('insert' as const) },
      { weight: 10, arbitrary: fc.constant('update' as const) },
      { weight: 2, arbitrary: fc.constant('rekey' as const) },
      { weight: 3, arbitrary: fc.constant('move' as const) },
      { weight: 6, arbitrary: fc.constant('delete' as const) },
      { weight: 2, arbitrary: fc.constant('again' as const) },
      { weight: 2, arbitrary: fc.constant('touch' as const) },
      { weight: 1, arbitrary: fc.constant('truncate' as const) },
    ),
    pick: fc.nat(9),
    time: eventTimes,
    row: rows,
  });

/** Single records, for histories put together by hand. */
export const recordRecipes: fc.Arbitrary<RecordRecipe> = recordsWith(1);

const entityColumns = fc.shuffledSubarray<keyof KeyRecipe>(['ki', 'ks', 'kb', 'ky', 'kt', 'km'], {
  minLength: 1,
  maxLength: 3,
});

export interface RecipeOptions {
  readonly maxRecords: number;
  /** Views come and go, and routes begin anew, much more often than they would. */
  readonly churn?: boolean | undefined;
  /** Every source is mutable; else every one is append-only. */
  readonly mutable?: boolean | undefined;
}

const routesOf = (mutable: boolean): fc.Arbitrary<RouteRecipe> =>
  fc.record({
    entity: fc.nat(1),
    snapshot: fc.nat(3),
    rotate: fc.nat(15),
    mode: mutable
      ? fc.constantFrom('keyed' as const, 'keyed' as const, 'alike' as const)
      : fc.constant('append' as const),
  });

/** Random recipes with at most that many records. */
export function recipes({ maxRecords, churn = false, mutable = false }: RecipeOptions): fc.Arbitrary<Recipe> {
  return fc.record({
    unitUs: fc.constantFrom(1_000_000, 1_000, 60_000_000, 10),
    baseUs: fc.constantFrom(1_700_000_000_000_000, 0, 1_699_999_999_999_999, 7_000_000_123),
    ties: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    entities: fc.tuple(entityColumns, entityColumns),
    keys: fc.array(keys, { minLength: 1, maxLength: 3 }),
    routes: fc.array(routesOf(mutable), {
      minLength: 1,
      maxLength: 2,
    }),
    views: fc.array(views, { minLength: 1, maxLength: 3 }),
    definitions: fc
      .array(fc.record({ before: fc.nat(maxRecords), views: fc.integer({ min: 1, max: 7 }) }), {
        maxLength: churn ? 6 : 2,
      })
      .map((later) => [{ before: 0, views: 7 }, ...later]),
    records: fc.array(recordsWith(churn ? 10 : 1), { maxLength: maxRecords, size: 'max' }),
  });
}
