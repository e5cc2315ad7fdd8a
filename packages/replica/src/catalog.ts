/**
 * What can be read now: services, views and their tables, as one immutable object that is replaced whole.
 *
 * Owns: which resolved plan of each service and view is served while a newer one is being built. Does not own: rows,
 * names' errors (services/serve).
 *
 * Rule: a service is served as the newest definitions have it once all its views are whole in all shards; until then as
 * the newest older definitions have it whose views are whole. The same holds for a view that is read by name. What the
 * newest definitions do not have is not served.
 */

import type { DefinitionSet, EntityPlan, ServicePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { type FeatureLayout, type RowLayout, rowLayout } from './row-layout.ts';
import type { ViewTable } from './view-table.ts';

/** A view that can be read. */
export interface ServedView {
  readonly plan: ViewPlan;
  readonly name: string;
  readonly entity: EntityPlan;
  readonly layout: RowLayout;
  /** By shard. */
  readonly tables: readonly ViewTable[];
}

/** An output of a service or a request. */
export interface Output {
  readonly name: string;
  readonly view: ServedView;
  /** The index of the feature in the view. */
  readonly feature: number;
  readonly layout: FeatureLayout;
}

/** A service that can be read. */
export interface ServedService {
  readonly name: string;
  /** The generation of the definitions that it is served by. */
  readonly generation: bigint;
  readonly outputs: readonly Output[];
  /** What it takes from its callers, and computes when it is read. */
  readonly plan: Pick<ServicePlan, 'request' | 'onDemand'>;
}

export interface Catalog {
  readonly services: ReadonlyMap<string, ServedService>;
  readonly views: ReadonlyMap<string, ServedView>;
  /** Services and views that the newest definitions have and that cannot be read yet. */
  readonly pending: ReadonlySet<string>;
  /** The newest generation of which everything is served. */
  readonly generation: bigint;
  readonly shardCount: number;
}

/** Where a view's rows are, if they are whole in all shards. */
export type WholeTables = (viewId: string) => readonly ViewTable[] | undefined;

export const EMPTY_CATALOG: Catalog = {
  services: new Map(),
  views: new Map(),
  pending: new Set(),
  generation: 0n,
  shardCount: 0,
};

/** The catalogue by definitions (newest first) and whole tables. */
export function buildCatalog(sets: readonly DefinitionSet[], tablesOf: WholeTables, shardCount: number): Catalog {
  const [newest] = sets;
  if (newest === undefined) return { ...EMPTY_CATALOG, shardCount };
  const views = new Map<string, ServedView>();
  const services = new Map<string, ServedService>();
  const pending = new Set<string>();
  const byId = new Map<string, ServedView>();
  for (const { name } of newest.views) {
    const view = firstServed(sets, (set) =>
      servedView(
        set.views.find((v) => v.name === name),
        byId,
        tablesOf,
      ),
    );
    if (view === undefined || view.set !== newest) pending.add(`view ${name}`);
    if (view !== undefined) views.set(name, view.found);
  }
  for (const { name } of newest.services) {
    const service = firstServed(sets, (set) => {
      const plan = set.services.find((s) => s.name === name);
      return plan === undefined ? undefined : servedService(plan, set, byId, tablesOf);
    });
    if (service === undefined || service.set !== newest) pending.add(`service ${name}`);
    if (service !== undefined) services.set(name, service.found);
  }
  const oldest = sets.findLast((set) => usesSet(set, newest, views, services));
  // While something is pending the newest is not served yet; without an older set nothing is.
  const generation = pending.size === 0 ? newest.generation : oldest === newest ? 0n : (oldest?.generation ?? 0n);
  return { services, views, pending, generation, shardCount };
}

/** The definition sets that the catalogue still needs: the newest, and older ones by which something is served. */
export function neededSets(sets: readonly DefinitionSet[], catalog: Catalog): DefinitionSet[] {
  const [newest] = sets;
  if (newest === undefined) return [];
  return sets.filter((set) => usesSet(set, newest, catalog.views, catalog.services));
}

function usesSet(
  set: DefinitionSet,
  newest: DefinitionSet,
  views: ReadonlyMap<string, ServedView>,
  services: ReadonlyMap<string, ServedService>,
): boolean {
  if (set === newest) return true;
  const plans = new Set(set.views);
  for (const view of views.values()) if (plans.has(view.plan)) return true;
  for (const service of services.values()) if (service.generation === set.generation) return true;
  return false;
}

function firstServed<T>(
  sets: readonly DefinitionSet[],
  find: (set: DefinitionSet) => T | undefined,
): { set: DefinitionSet; found: T } | undefined {
  for (const set of sets) {
    const found = find(set);
    if (found !== undefined) return { set, found };
  }
  return undefined;
}

function servedView(
  plan: ViewPlan | undefined,
  byId: Map<string, ServedView>,
  tablesOf: WholeTables,
): ServedView | undefined {
  if (plan === undefined) return undefined;
  const id = toHex(plan.viewId);
  // Two names of one plan share their rows, but not their name.
  const known = byId.get(`${id} ${plan.name}`);
  if (known?.plan === plan) return known;
  const tables = tablesOf(id);
  if (tables === undefined) return undefined;
  const view: ServedView = {
    plan,
    name: plan.name,
    entity: must(plan.entity, 'a view without an entity'),
    layout: rowLayout(plan),
    tables,
  };
  byId.set(`${id} ${plan.name}`, view);
  return view;
}

function servedService(
  plan: ServicePlan,
  set: DefinitionSet,
  byId: Map<string, ServedView>,
  tablesOf: WholeTables,
): ServedService | undefined {
  const outputs: Output[] = [];
  for (const ref of plan.features) {
    const id = toHex(ref.viewId);
    const view = servedView(
      set.views.find((v) => toHex(v.viewId) === id),
      byId,
      tablesOf,
    );
    const layout = view?.layout.features[ref.feature];
    if (view === undefined || layout === undefined) return undefined;
    outputs.push({ name: ref.output, view, feature: ref.feature, layout });
  }
  return { name: plan.name, generation: set.generation, outputs, plan };
}
