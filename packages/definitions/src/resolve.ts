/**
 * Resolving: definitions as written, and the live shapes of their tables, into what is in force.
 *
 * Owns the order of the parts and the references between definitions. Pure: the same input gives the same output,
 * ids and route numbers included. The DefinitionSet that comes out is the whole truth for the fold, the replicas and
 * every oracle: no default is left to fill in, no type to look up.
 */
import { create, equals, type MessageInitShape } from '@bufbuild/protobuf';
import type { Definitions, FeatureView, Source } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { type Contract, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  DefinitionSetSchema,
  type EntityPlan,
  EntityPlanSchema,
  type SourcePlan,
  type ViewPlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { isKeyKind } from '@freshet/values/key.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
import { kindName } from '@freshet/values/type-name.ts';
import { checkNames } from './check-names.ts';
import { Problems } from './problems.ts';
import type { ResolveContext } from './resolve/context.ts';
import {
  contractVersion,
  keepValuesSince,
  layoutChanges,
  previousContracts,
  promiseChanges,
  sameLayout,
} from './resolve/contract-version.ts';
import { ownersOf } from './resolve/owners.ts';
import { resolveService } from './resolve/resolve-service.ts';
import { resolveSource } from './resolve/resolve-source.ts';
import { resolveView } from './resolve/resolve-view.ts';
import { RouteTable } from './resolve/routes.ts';
import { usedSources } from './used-sources.ts';
import { checkMessage } from './validate.ts';

export interface ResolveInput {
  readonly definitions: Definitions;
  /** The live shape of each source's table, by source name. Versions in it are not looked at. */
  readonly contracts: ReadonlyMap<string, Contract>;
  /** What is in force now. */
  readonly previous: DefinitionSet | undefined;
  /** The highest route number ever given; numbers of `previous` need not be counted in. */
  readonly highestRoute?: number | undefined;
}

export interface Resolution {
  /** Generation: that of `previous` when nothing changed, else the next. */
  readonly resolved: DefinitionSet;
  /** What to know though it stops nothing, a sentence each. */
  readonly notes: readonly string[];
  /** To be kept, with the set, for the next call. */
  readonly highestRoute: number;
  /** Whether anything is different from `previous`. */
  readonly changed: boolean;
}

/** Resolves definitions. Throws INVALID_DEFINITION with everything that is wrong in `also`. */
export function resolveDefinitions(input: ResolveInput): Resolution {
  const { definitions, previous } = input;
  const context: ResolveContext = { problems: new Problems(), notes: [] };
  checkMessage(definitions, context.problems);
  checkNames(definitions, context.problems);
  const routes = new RouteTable(previous, input.highestRoute ?? 0);
  const parts: Parts = { entities: resolveEntities(definitions, context), sources: resolveSources(input, context) };
  const views = resolveViews(definitions, parts, routes, context);
  const known = { written: new Map(definitions.views.map((view) => [view.name, view])), resolved: views };
  const services = definitions.services.map((service) => resolveService(service, known, context));
  noteUnused(definitions, context);
  context.problems.throwIfAny();
  const sets: MessageInitShape<typeof DefinitionSetSchema> = {
    routes: routes.routes(),
    views: [...views.values()].sort((a, b) => compareStrings(a.name, b.name)),
    services: services.sort((a, b) => compareStrings(a.name, b.name)),
    owners: ownersOf(definitions),
  };
  const before = previous?.generation ?? 0n;
  const same = create(DefinitionSetSchema, { ...sets, generation: before });
  const changed = !equals(DefinitionSetSchema, same, previous ?? create(DefinitionSetSchema));
  const resolved = changed ? create(DefinitionSetSchema, { ...sets, generation: before + 1n }) : same;
  return { resolved, notes: context.notes, highestRoute: routes.highest, changed };
}

interface Parts {
  readonly entities: ReadonlyMap<string, EntityPlan>;
  /** Undefined for a source whose problems were told. */
  readonly sources: ReadonlyMap<string, SourcePlan | undefined>;
}

function resolveEntities(definitions: Definitions, context: ResolveContext): Map<string, EntityPlan> {
  const entities = new Map<string, EntityPlan>();
  for (const entity of definitions.entities) {
    for (const { name, kind } of entity.key) {
      if (isKeyKind(kind)) continue;
      const message = `Key column ${name} of entity ${entity.name} cannot be of type ${kindName(kind)}.`;
      context.problems.add(entity.location, message, 'Use int64, decimal, string, bool, bytes or timestamp.');
    }
    entities.set(entity.name, create(EntityPlanSchema, { name: entity.name, key: entity.key }));
  }
  return entities;
}

function resolveSources(input: ResolveInput, context: ResolveContext): Map<string, SourcePlan | undefined> {
  const used = usedSources(input.definitions);
  const sources = new Map<string, SourcePlan | undefined>();
  for (const source of input.definitions.sources) {
    // The table of a source that nobody uses need not be there.
    const contract = input.contracts.get(source.name);
    if (contract === undefined && !used.has(source.name)) {
      sources.set(source.name, undefined);
      continue;
    }
    const plan = resolveSource(source, contract, context);
    if (plan !== undefined) numberContract(source, plan, input.previous, context);
    sources.set(source.name, plan);
  }
  return sources;
}

function numberContract(
  source: Source,
  plan: SourcePlan,
  previous: DefinitionSet | undefined,
  context: ResolveContext,
): void {
  if (plan.contract === undefined) return;
  const before = previousContracts(plan, previous);
  keepValuesSince(plan.contract, before);
  plan.contract.version = contractVersion(plan.contract, before);
  const newest = before[0];
  if (newest === undefined) return;
  if (plan.mode === SourceMode.MUTABLE && !sameIdentity(newest, plan.contract)) {
    context.notes.push(
      `Source ${source.name}: rows of its table are told apart otherwise since the last apply; it is read anew, and its views are built beside those that serve.`,
    );
  }
  if (newest.version === plan.contract.version) return;
  const changes = layoutChanges(newest, plan.contract);
  const promises = promiseChanges(newest, plan.contract);
  if (promises.length > 0)
    context.notes.push(
      `Source ${source.name}: its table promises something else since the last apply: ${promises.join('; ')}.`,
    );
  if (sameLayout(newest, plan.contract)) return;
  const what = changes.length === 0 ? 'its columns are in another order' : changes.join(', ');
  const meaning =
    'rows captured before are read as they were, a renamed column that was read among them under its new name';
  context.notes.push(`Source ${source.name}: its table changed since the last apply (${what}); ${meaning}.`);
}

function sameIdentity(a: Contract, b: Contract): boolean {
  return JSON.stringify(rowIdentity(a)) === JSON.stringify(rowIdentity(b));
}

function resolveViews(
  definitions: Definitions,
  parts: Parts,
  routes: RouteTable,
  context: ResolveContext,
): Map<string, ViewPlan> {
  const views = new Map<string, ViewPlan>();
  const byId = new Map<string, FeatureView>();
  for (const view of definitions.views) {
    const entity = lookUp('entity', view.entity, view, parts.entities, context);
    const source = lookUp('source', view.source, view, parts.sources, context);
    if (entity === undefined || source === undefined) continue;
    const plan = resolveView(view, { entity, source, sources: parts.sources }, routes, context);
    if (plan === undefined) continue;
    views.set(view.name, plan);
    const id = Buffer.from(plan.viewId).toString('hex');
    const twin = byId.get(id);
    if (twin !== undefined) {
      const message = `Views ${twin.name} and ${view.name} compute the same.`;
      context.problems.add(view.location, message, `Take view ${view.name} out, and use ${twin.name} in its place.`);
    }
    byId.set(id, view);
  }
  return views;
}

function lookUp<T>(
  what: 'entity' | 'source',
  name: string,
  view: FeatureView,
  among: ReadonlyMap<string, T>,
  context: ResolveContext,
): T | undefined {
  if (!among.has(name)) {
    const names = [...among.keys()];
    const meant = closest(name, names);
    const list = names.length === 0 ? `No ${what} is defined` : `Defined are ${names.slice(0, 20).join(', ')}`;
    const remedy = meant === undefined ? `${list}: add one, or correct the name.` : `Did you mean "${meant}"?`;
    context.problems.add(view.location, `View ${view.name}: there is no ${what} "${name}".`, remedy);
  }
  return among.get(name);
}

function noteUnused(definitions: Definitions, context: ResolveContext): void {
  const used = usedSources(definitions);
  for (const { name } of definitions.sources) {
    if (!used.has(name)) context.notes.push(`Source ${name} is used by no view, so nothing of it is captured.`);
  }
}
