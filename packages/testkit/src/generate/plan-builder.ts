/**
 * Plans by hand: the views, routes and services of a recipe as resolved definitions, without the definition language.
 *
 * Owns the mapping from recipe to plan, and the columns that every generated source has. View ids are made up (they
 * only have to be different), everything else is as resolving would make it.
 */
import { create } from '@bufbuild/protobuf';
import { type Column, ColumnSchema, ContractSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type EntityPlan,
  EntityPlanSchema,
  type FeaturePlan,
  FeaturePlanSchema,
  type RoutePlan,
  RoutePlanSchema,
  type ServicePlan,
  ServicePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
  type Window,
  WindowSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { ViewTwin } from '../oracle/history.ts';
import type { TwinExpression } from './cel-semantics.ts';
import type { FeatureRecipe, KeyRecipe, Recipe, RouteRecipe, ViewRecipe, WindowRecipe } from './recipe.ts';
import { protoValue } from './values.ts';

export function typeOf(kind: Kind, more: { element?: Kind; dimension?: number } = {}): ValueType {
  return create(ValueTypeSchema, { kind, ...more });
}

/** The types of the columns of every generated source, and of the derived columns. */
const COLUMN_TYPES: Readonly<Record<string, ValueType>> = {
  ki: typeOf(Kind.INT64),
  ks: typeOf(Kind.STRING),
  kb: typeOf(Kind.BOOL),
  ky: typeOf(Kind.BYTES),
  kt: typeOf(Kind.TIMESTAMP),
  km: typeOf(Kind.DECIMAL),
  at: typeOf(Kind.TIMESTAMP),
  i: typeOf(Kind.INT64),
  j: typeOf(Kind.INT64),
  d: typeOf(Kind.DOUBLE),
  m: typeOf(Kind.DECIMAL),
  s: typeOf(Kind.STRING),
  b: typeOf(Kind.BOOL),
  y: typeOf(Kind.BYTES),
  t: typeOf(Kind.TIMESTAMP),
  l: typeOf(Kind.LIST, { element: Kind.INT64 }),
  v: typeOf(Kind.VECTOR, { dimension: 3 }),
};

const DERIVED_TYPES: Readonly<Record<string, ValueType>> = {
  xi: typeOf(Kind.INT64),
  xs: typeOf(Kind.STRING),
  xd: typeOf(Kind.DOUBLE),
  xb: typeOf(Kind.BOOL),
};

const NUMBERS = ['i', 'j', 'd', 'm', 'xi', 'xd'];
const ORDERED = ['i', 'd', 'd', 'm', 'm', 's', 's', 'b', 'y', 't', 'xi', 'xs', 'xd', 'xb', 'ki'];
const INPUTS: Readonly<Record<FeatureRecipe['aggregate'], readonly string[]>> = {
  count: ['', 'i', 's', 'v', 'xd', ''],
  sum: NUMBERS,
  mean: NUMBERS,
  min: ORDERED,
  max: ORDERED,
  last: [...ORDERED, 'l', 'v', 'at', 'ks'],
};

const DEFAULTS: Readonly<Partial<Record<Kind, Scalar>>> = {
  [Kind.INT64]: -7n,
  [Kind.DOUBLE]: -0,
  [Kind.DECIMAL]: '0.50',
  [Kind.STRING]: 'none',
  [Kind.BOOL]: true,
  [Kind.BYTES]: Uint8Array.of(1, 2),
  [Kind.TIMESTAMP]: -1n,
  [Kind.LIST]: [1n, null],
  [Kind.VECTOR]: Float32Array.of(1, 2, 3),
};

export function columnType(name: string): ValueType {
  return must(COLUMN_TYPES[name] ?? DERIVED_TYPES[name], `no column ${name}`);
}

/** The entities of the recipe; their key columns are named otherwise than the source's. */
export function entityPlans(recipe: Recipe): EntityPlan[] {
  return recipe.entities.map((columns, index) =>
    create(EntityPlanSchema, {
      name: `entity_${index}`,
      key: columns.map((column) => ({ name: `${column}_key`, kind: columnType(column).kind })),
    }),
  );
}

/** The columns that make up the entity's key, as the source names them. */
export function keyColumns(recipe: Recipe, route: number): readonly (keyof KeyRecipe)[] {
  return must(recipe.entities[must(recipe.routes[route]).entity]);
}

/** The number by which records name the recipe's route. */
export function routeNumber(route: number): number {
  return route * 5 + 3;
}

function sourceMode(mode: RouteRecipe['mode']): SourceMode {
  return mode === 'append' ? SourceMode.APPEND : SourceMode.MUTABLE;
}

export function routePlan(recipe: Recipe, route: number): RoutePlan {
  const { entity, rotate, mode } = must(recipe.routes[route]);
  const names = Object.keys(COLUMN_TYPES);
  const order = [...names.slice(rotate % names.length), ...names.slice(0, rotate % names.length)];
  return create(RoutePlanSchema, {
    route: routeNumber(route),
    source: {
      name: `source_${route}`,
      mode: sourceMode(mode),
      origin: { case: 'postgres', value: { database: 'main', schema: 'public', table: `t${route}` } },
      eventTimeColumn: 'at',
      maxSkewUs: BigInt(recipe.unitUs) * 5n,
      contract: create(ContractSchema, {
        source: `source_${route}`,
        version: 1,
        columns: order.map(columnOf),
        // Which column it is does not matter here: records say which row they are about.
        primaryKey: mode === 'alike' ? [] : ['ki'],
      }),
    },
    entity: must(entityPlans(recipe)[entity]),
    keyColumns: [...keyColumns(recipe, route)],
  });
}

/** A view of the recipe and the JavaScript twin of its expressions. */
export function viewPlan(recipe: Recipe, index: number): { plan: ViewPlan; twin: ViewTwin } {
  const view = must(recipe.views[index]);
  const route = view.route % recipe.routes.length;
  const features = view.features.map((feature, i) => featurePlan(recipe, feature, i));
  const read = new Set([...features.map(({ input }) => input), ...(view.where?.columns ?? [])]);
  const derived = derivedOf(view, read);
  for (const { expression } of derived) for (const name of expression.columns) read.add(name);
  const plan = create(ViewPlanSchema, {
    viewId: Uint8Array.from({ length: 16 }, (_, i) => ((index + 3) * 83 + i * 29) % 256),
    name: `view_${index}`,
    route: routeNumber(route),
    entity: must(entityPlans(recipe)[must(recipe.routes[route]).entity]),
    mode: sourceMode(must(recipe.routes[route]).mode),
    source: `source_${route}`,
    columns: [...read]
      .filter((name) => name in COLUMN_TYPES)
      .sort()
      .map(columnOf),
    derived: derived.map(({ name, expression }) => ({ name, expression: expression.cel, type: columnType(name) })),
    where: view.where?.cel ?? '',
    features,
    engineVersion: 1,
  });
  return {
    plan,
    twin: {
      where: view.where?.evaluate,
      derived: derived.map(({ name, expression }) => ({ name, evaluate: expression.evaluate })),
    },
  };
}

/** The definitions with those of the views in force, and one service per view and one per entity over all its views. */
export function definitionSet(
  generation: number,
  routes: readonly RoutePlan[],
  views: readonly ViewPlan[],
): DefinitionSet {
  const perView = views.map((view) => servicePlan(`only_${view.name}`, [view]));
  const entities = [...new Set(views.map((view) => must(view.entity).name))].sort();
  const perEntity = entities.map((name) =>
    servicePlan(
      `all_${name}`,
      views.filter((view) => view.entity?.name === name),
    ),
  );
  return create(DefinitionSetSchema, {
    generation: BigInt(generation),
    routes: routes.filter(({ route }) => views.some((view) => view.route === route)),
    views: [...views],
    services: [...perEntity, ...perView],
  });
}

function servicePlan(name: string, views: readonly ViewPlan[]): ServicePlan {
  const features = views.flatMap((view) =>
    view.features.map((feature, index) => ({
      output: `${view.name}:${feature.name}`,
      viewId: view.viewId,
      feature: index,
    })),
  );
  return create(ServicePlanSchema, { name, features });
}

function columnOf(name: string): Column {
  const nullable = !/^k./.test(name);
  return create(ColumnSchema, { name, type: columnType(name), nullable, sourceType: 'generated' });
}

/** The derived columns that are read, in the order of evaluation, with those that they read themselves. */
function derivedOf(view: ViewRecipe, read: ReadonlySet<string>): { name: string; expression: TwinExpression }[] {
  const needed = new Set(read);
  const all = ['xi', 'xs', 'xd', 'xb'] as const;
  for (const name of [...all].reverse()) {
    if (needed.has(name)) for (const column of view[name].columns) needed.add(column);
  }
  return all.filter((name) => needed.has(name)).map((name) => ({ name, expression: view[name] }));
}

function featurePlan(recipe: Recipe, feature: FeatureRecipe, index: number): FeaturePlan {
  const inputs = INPUTS[feature.aggregate];
  const input = must(inputs[feature.input % inputs.length]);
  const inputType = input === '' ? undefined : columnType(input);
  const resultType = resultTypeOf(feature.aggregate, inputType);
  return create(FeaturePlanSchema, {
    name: `f${String(index).padStart(2, '0')}_${feature.aggregate}`,
    aggregate: feature.aggregate,
    input,
    ...(inputType === undefined ? {} : { inputType }),
    window: windowPlan(recipe, feature.window),
    resultType,
    ...(feature.hasDefault ? { defaultValue: protoValue(resultType, must(DEFAULTS[resultType.kind])) } : {}),
    ttlUs: BigInt(feature.ttl) * BigInt(recipe.unitUs),
  });
}

function resultTypeOf(aggregate: FeatureRecipe['aggregate'], inputType: ValueType | undefined): ValueType {
  if (aggregate === 'count') return typeOf(Kind.INT64);
  return aggregate === 'mean' ? typeOf(Kind.DOUBLE) : must(inputType);
}

function windowPlan(recipe: Recipe, { kind, pane, panes }: WindowRecipe): Window {
  const paneUs = BigInt(recipe.unitUs) * BigInt(pane);
  const lengthUs = paneUs * BigInt(panes);
  switch (kind) {
    case 'rolling':
      return create(WindowSchema, { kind: { case: 'rolling', value: { lengthUs, paneUs } } });
    case 'lifetime':
      return create(WindowSchema, { kind: { case: 'lifetime', value: {} } });
    default:
      return create(WindowSchema, { kind: { case: 'tumbling', value: { lengthUs, closed: kind === 'closed' } } });
  }
}
