/**
 * Who reads what of a source: for each column the views, features, services and owners that a change of it reaches. Pure.
 *
 * Owns the walk from columns through value rules, keys, event time, condition, derived columns, features, joins, services and
 * on-demand features. Both its readers (a verdict, lineage) start from resolved definitions, the only thing in force.
 */

import { create } from '@bufbuild/protobuf';
import { compileExpression } from '@freshet/engine/expression/expression.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, RoutePlan, ServicePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { type RuleColumns, ruleColumnsOf } from './value-rules.ts';

/**
 * What a view does with a column, or a value rule of its source, which decides the rows that the view gets; one that only tells
 * decides none.
 */
export type Way =
  | 'key'
  | 'event time'
  | 'condition'
  | 'derived'
  | 'feature'
  | 'join key'
  | 'joined'
  | 'rule'
  | 'telling rule';

/** A view that reads a source, with everything behind it. */
export interface Consumer {
  readonly view: string;
  /** "view:feature", ascending: what a change reaches. */
  readonly features: readonly string[];
  /** "service", or "service:on_demand_feature" for what is computed from the features; ascending. */
  readonly services: readonly string[];
  /** Who answers for the view, the features and the services, ascending; empty when nobody is named. */
  readonly owners: readonly string[];
}

/** One view's use of one column. */
export interface ColumnUse extends Consumer {
  readonly column: string;
  readonly ways: readonly Way[];
}

export interface SourceUsage {
  readonly source: string;
  /** By column; a column that is not here is read by nobody. */
  readonly columns: ReadonlyMap<string, readonly ColumnUse[]>;
  /** Everybody who reads any row of the source: whom a change of the table as a whole reaches. */
  readonly readers: readonly Consumer[];
  /** Views that need to know which row an update or delete means, or find rows by the table's key. */
  readonly needIdentity: ReadonlySet<string>;
}

/** What the definitions read of the source. */
export function usageOf(definitions: DefinitionSet, source: string): SourceUsage {
  const owners = new Map(definitions.owners.map(({ subject, owner }) => [subject, owner]));
  const routes = new Map(definitions.routes.map((route) => [route.route, route]));
  const rules = ruleColumnsOf(definitions.routes.find((route) => route.source?.name === source)?.source);
  const columns = new Map<string, ColumnUse[]>();
  const readers: Consumer[] = [];
  const needIdentity = new Set<string>();
  for (const view of definitions.views) {
    const uses = usesOf(view, source, routes, rules);
    if (uses === undefined) continue;
    const describe = (features: ReadonlySet<string>): Consumer => consumerOf(view, features, definitions, owners);
    readers.push(describe(new Set(view.features.map(({ name }) => name))));
    for (const [column, { ways, features }] of uses.columns) {
      const use = { ...describe(features), column, ways: [...ways].sort() };
      columns.set(column, [...(columns.get(column) ?? []), use]);
    }
    if (uses.needsIdentity) needIdentity.add(view.name);
  }
  return { source, columns, readers, needIdentity };
}

interface Use {
  readonly ways: Set<Way>;
  readonly features: Set<string>;
}

/** Collects what a view reads of one source. */
class Uses {
  readonly columns = new Map<string, Use>();
  needsIdentity = false;

  add(column: string, way: Way, features: Iterable<string>): void {
    if (column === '') return;
    const use = this.columns.get(column) ?? { ways: new Set<Way>(), features: new Set<string>() };
    this.columns.set(column, use);
    use.ways.add(way);
    for (const feature of features) use.features.add(feature);
  }

  /** A row that breaks a rule is missing to whoever would get it. */
  addRules({ holding, telling }: RuleColumns, features: readonly string[]): void {
    for (const column of holding) this.add(column, 'rule', features);
    for (const column of telling) this.add(column, 'telling rule', features);
  }
}

function usesOf(
  view: ViewPlan,
  source: string,
  routes: ReadonlyMap<number, RoutePlan>,
  rules: RuleColumns,
): Uses | undefined {
  const joins = view.joins.filter(({ table }) => table === source);
  const isSource = view.source === source;
  if (!isSource && joins.length === 0) return undefined;
  const uses = new Uses();
  const all = view.features.map(({ name }) => name);
  const reads = readsOf(view);
  if (isSource) {
    const route = routes.get(view.route);
    for (const column of route?.keyColumns ?? []) uses.add(column, 'key', all);
    uses.add(route?.source?.eventTimeColumn ?? '', 'event time', all);
    for (const { name } of view.columns) addReads(uses, name, name, reads);
    for (const join of view.joins) {
      const behind = join.columns.flatMap(({ name }) => [...(reads.get(name)?.features ?? [])]);
      for (const { column } of join.on) uses.add(column, 'join key', behind);
    }
    uses.addRules(rules, all);
    if (view.mode === SourceMode.MUTABLE) uses.needsIdentity = true;
  }
  for (const join of joins) {
    const behind = join.columns.flatMap(({ name }) => [...(reads.get(name)?.features ?? [])]);
    for (const { key } of join.on) uses.add(key?.name ?? '', 'join key', behind);
    for (const column of routes.get(join.route)?.keyColumns ?? []) uses.add(column, 'join key', behind);
    for (const { name, column } of join.columns) {
      addReads(uses, column?.name ?? '', name, reads);
      uses.add(column?.name ?? '', 'joined', reads.get(name)?.features ?? []);
    }
    uses.addRules(rules, behind);
    uses.needsIdentity = true;
  }
  return uses;
}

function addReads(uses: Uses, column: string, name: string, reads: ReadonlyMap<string, Use>): void {
  const use = reads.get(name);
  for (const way of use?.ways ?? []) uses.add(column, way, use?.features ?? []);
}

/** For each name that the view's expressions and features may use, how it is read and which features come of it. */
function readsOf(view: ViewPlan): Map<string, Use> {
  const reads = new Map<string, Use>();
  const scope = [
    ...view.columns.map(({ name, type }) => ({ name, type })),
    ...view.joins.flatMap((join) => join.columns.map(({ name, column }) => ({ name, type: column?.type }))),
  ].map(({ name, type }) => ({ name, type: type ?? create(ValueTypeSchema), nullable: true }));
  const add = (name: string, way: Way, features: Iterable<string>): void => {
    const use = reads.get(name) ?? { ways: new Set<Way>(), features: new Set<string>() };
    reads.set(name, use);
    use.ways.add(way);
    for (const feature of features) use.features.add(feature);
  };
  for (const { name, input } of view.features) if (input !== '') add(input, 'feature', [name]);
  // What a derived column reads is in scope before it; its own readers are known once those behind it were looked at.
  const derived = view.derived.map(({ name, expression, type }) => {
    const names = namesOf(expression, scope);
    scope.push({ name, type: type ?? create(ValueTypeSchema), nullable: true });
    return { name, names };
  });
  const all = view.features.map(({ name }) => name);
  if (view.where !== '') for (const name of namesOf(view.where, scope)) add(name, 'condition', all);
  for (const { name, names } of derived.reverse()) {
    const use = reads.get(name);
    for (const read of names)
      add(read, use?.ways.has('condition') === true ? 'condition' : 'derived', use?.features ?? []);
  }
  return reads;
}

function namesOf(expression: string, scope: Parameters<typeof compileExpression>[1]): string[] {
  return compileExpression(expression, scope).uses.flatMap((index) => scope[index]?.name ?? []);
}

function consumerOf(
  view: ViewPlan,
  features: ReadonlySet<string>,
  definitions: DefinitionSet,
  known: ReadonlyMap<string, string>,
): Consumer {
  const services: string[] = [];
  const owners = new Set<string>();
  const own = (subject: string): void => {
    const owner = known.get(subject);
    if (owner !== undefined) owners.add(owner);
  };
  own(`view ${view.name}`);
  for (const name of features) own(`feature ${view.name}:${name}`);
  for (const service of definitions.services) {
    const outputs = outputsOf(service, view, features);
    if (outputs.size === 0) continue;
    services.push(service.name, ...onDemandOf(service, outputs).map((name) => `${service.name}:${name}`));
    own(`service ${service.name}`);
  }
  return {
    view: view.name,
    features: [...features].map((name) => `${view.name}:${name}`).sort(),
    services: services.sort(),
    owners: [...owners].sort(),
  };
}

/** The indexes of the service's outputs that are one of the view's features. */
function outputsOf(service: ServicePlan, view: ViewPlan, features: ReadonlySet<string>): Set<number> {
  const id = view.viewId.join();
  return new Set(
    service.features.flatMap(({ viewId, feature }, index) =>
      features.has(view.features[feature]?.name ?? '') && viewId.join() === id ? [index] : [],
    ),
  );
}

/** The on-demand features that come of the outputs, directly or through one before. */
function onDemandOf(service: ServicePlan, outputs: ReadonlySet<number>): string[] {
  const reached = new Set<number>();
  service.onDemand.forEach(({ inputs }, index) => {
    const isReached = inputs.some(
      ({ source }) =>
        (source.case === 'feature' && outputs.has(source.value)) ||
        (source.case === 'onDemand' && reached.has(source.value)),
    );
    if (isReached) reached.add(index);
  });
  return [...reached].flatMap((index) => service.onDemand[index]?.name ?? []);
}
