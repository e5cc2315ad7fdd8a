/**
 * Views that join tables, over the three routes of join-scenario.ts. Owns their plans; view ids are made up. What a view says
 * in JavaScript (its twin) is for the oracle.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import type { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type FeaturePlan,
  FeaturePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { ViewTwin } from '../oracle/history.ts';
import { typeOf } from './plan-builder.ts';

export const EVENTS = 1;
export const CATALOG = 2;
export const PROFILE = 3;

/** The columns of each route. */
export const CONTRACTS: Readonly<Record<number, readonly (readonly [name: string, kind: Kind])[]>> = {
  [EVENTS]: [
    ['u', Kind.INT64],
    ['p', Kind.STRING],
    ['x', Kind.INT64],
  ],
  [CATALOG]: [
    ['price', Kind.INT64],
    ['p', Kind.STRING],
    ['cat', Kind.STRING],
  ],
  [PROFILE]: [
    ['u', Kind.INT64],
    ['grade', Kind.INT64],
  ],
};

const SECOND = 1_000_000n;

function feature(name: string, aggregate: string, input: string, kind: Kind, lengthS = 0, ttlS = 0): FeaturePlan {
  const result = aggregate === 'count' ? Kind.INT64 : aggregate === 'variance_pop' ? Kind.DOUBLE : kind;
  return create(FeaturePlanSchema, {
    name,
    aggregate,
    input,
    ...(input === '' ? {} : { inputType: typeOf(kind) }),
    resultType: typeOf(result),
    ttlUs: BigInt(ttlS) * SECOND,
    window:
      lengthS === 0
        ? { kind: { case: 'lifetime', value: {} } }
        : { kind: { case: 'rolling', value: { lengthUs: BigInt(lengthS) * SECOND, paneUs: 10n * SECOND } } },
  });
}

export const columnsOf = (route: number, ...names: string[]) =>
  must(CONTRACTS[route])
    .filter(([name]) => names.length === 0 || names.includes(name))
    .map(([name, kind]) => ({ name, type: typeOf(kind), nullable: true }));

function joinOf(route: number, columns: readonly (readonly [as: string, of: string])[]) {
  const [column, kind] = route === CATALOG ? (['p', Kind.STRING] as const) : (['u', Kind.INT64] as const);
  return {
    table: `table_${route}`,
    route,
    broadcast: route === CATALOG,
    on: [{ column, key: { name: column, kind } }],
    columns: columns.map(([name, of]) => ({ name, column: must(columnsOf(route, of)[0]) })),
  };
}

/** A view and what it says in JavaScript; rows of the twin have joined columns under their names in the view. */
export interface JoinView {
  readonly plan: ViewPlan;
  readonly twin: ViewTwin;
}

/** The views that definitions may name. */
export function joinViews(mode: SourceMode): readonly JoinView[] {
  const plan = (id: number, rest: Exclude<MessageInitShape<typeof ViewPlanSchema>, ViewPlan>): ViewPlan =>
    create(ViewPlanSchema, {
      viewId: new Uint8Array(16).fill(id),
      name: `v${id}`,
      route: EVENTS,
      mode,
      columns: columnsOf(EVENTS, 'p', 'x'),
      engineVersion: 2,
      ...rest,
    });
  return [
    {
      plan: plan(1, {
        joins: [
          joinOf(CATALOG, [
            ['cat', 'cat'],
            ['price', 'price'],
          ]),
        ],
        where: 'cat == "a" && price > 0',
        features: [feature('n', 'count', '', Kind.INT64), feature('s', 'sum', 'price', Kind.INT64, 60)],
      }),
      twin: { derived: [], where: (row) => row.get('cat') === 'a' && (row.get('price') as bigint) > 0n },
    },
    {
      plan: plan(2, {
        joins: [joinOf(PROFILE, [['level', 'grade']]), joinOf(CATALOG, [['cat', 'cat']])],
        derived: [{ name: 'both', expression: 'level + x', type: typeOf(Kind.INT64) }],
        features: [
          feature('best', 'max', 'level', Kind.INT64, 60),
          feature('last', 'last', 'cat', Kind.STRING),
          feature('sum', 'sum', 'both', Kind.INT64),
        ],
      }),
      twin: {
        derived: [
          {
            name: 'both',
            evaluate: (row) => {
              const [a, b] = [row.get('level') ?? null, row.get('x') ?? null];
              if (a === null || b === null) throw new Error('null');
              return (a as bigint) + (b as bigint);
            },
          },
        ],
        where: undefined,
      },
    },
    {
      plan: plan(3, {
        joins: [joinOf(PROFILE, [['level', 'grade']])],
        where: 'level != null',
        features: [feature('n', 'count', 'level', Kind.INT64), feature('x', 'sum', 'x', Kind.INT64, 60)],
      }),
      twin: { derived: [], where: (row) => row.get('level') !== null },
    },
    {
      // Windows only: its states die, and what no window reaches is swept.
      plan: plan(4, {
        joins: [joinOf(CATALOG, [['price', 'price']])],
        features: [
          feature('v', 'variance_pop', 'price', Kind.INT64, 60),
          feature('low', 'min', 'price', Kind.INT64, 60),
          feature('n', 'count', '', Kind.INT64, 20),
        ],
      }),
      twin: { derived: [], where: undefined },
    },
    {
      plan: plan(5, {
        joins: [joinOf(PROFILE, [['level', 'grade']])],
        features: [feature('top', 'max', 'level', Kind.INT64, 60, 30), feature('s', 'sum', 'x', Kind.INT64)],
      }),
      twin: { derived: [], where: undefined },
    },
    {
      // With itself: nothing of its table is ready while its own rows begin anew.
      plan: plan(6, {
        joins: [joinOf(EVENTS, [['before', 'x']]), joinOf(PROFILE, [['level', 'grade']])],
        features: [feature('s', 'sum', 'before', Kind.INT64), feature('top', 'max', 'level', Kind.INT64, 60)],
      }),
      twin: { derived: [], where: undefined },
    },
    {
      // With nothing: it comes and goes, is built and erased from among the others.
      plan: plan(7, {
        where: 'x != 1',
        features: [
          feature('n', 'count', '', Kind.INT64, 20),
          feature('s', 'sum', 'x', Kind.INT64),
          feature('last', 'last', 'p', Kind.STRING, 60, 30),
          feature('low', 'min', 'x', Kind.INT64),
        ],
      }),
      twin: { derived: [], where: (row) => row.get('x') !== 1n },
    },
  ];
}
