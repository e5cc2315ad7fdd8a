/**
 * What a plan would change, in sentences: the answer to "what happens if I apply this, and who is affected?".
 *
 * Owns the comparison of two resolved sets. Sources are compared by the routes that use them, since nothing else of
 * them is in force.
 */

import { create, equals } from '@bufbuild/protobuf';
import {
  type BuildCost,
  BuildWay,
  type ChangeDetail,
  ChangeDetailSchema,
  ChangeKind,
  type PlannedChange,
  PlannedChangeSchema,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DefinitionSet,
  type FeaturePlan,
  FeaturePlanSchema,
  type OnDemandPlan,
  OnDemandPlanSchema,
  RequestFieldPlanSchema,
  type RoutePlan,
  type ServicePlan,
  ServicePlanSchema,
  type SourcePlan,
  type ViewPlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { featuresTouched, serviceDetails, sourceDetails, viewDetails } from './diff-details.ts';
import { formatDuration } from './duration.ts';
import { buildCost, type TableRows } from './plan-cost.ts';
import { layoutChanges, promiseChanges } from './resolve/contract-version.ts';
import { originName } from './resolve/origin.ts';

/** The changes from what is in force (undefined: nothing) to what would be, by subject ascending. */
export function diffDefinitions(
  previous: DefinitionSet | undefined,
  next: DefinitionSet,
  rows: TableRows = new Map(),
): PlannedChange[] {
  const changes = [
    ...diffViews(previous, next, rows),
    ...diffServices(previous, next),
    ...diffSources(previous, next),
    ...diffOwners(previous, next),
  ];
  return changes.sort((a, b) => compareStrings(a.subject, b.subject));
}

interface Change {
  readonly kind: ChangeKind;
  readonly subject: string;
  readonly effect: string;
  readonly services: Iterable<string>;
  readonly details?: ChangeDetail[];
  /** As "view:feature". */
  readonly features?: string[];
  readonly cost?: BuildCost;
}

function change({ services, ...rest }: Change): PlannedChange {
  return create(PlannedChangeSchema, { ...rest, services: [...new Set(services)].sort(compareStrings) });
}

function diffViews(previous: DefinitionSet | undefined, next: DefinitionSet, rows: TableRows): PlannedChange[] {
  const old = new Map((previous?.views ?? []).map((view) => [view.name, view]));
  const names = new Map((previous?.views ?? []).map((view) => [stateOf(view), view.name]));
  const routes = new Set(previous?.routes.map(({ route }) => route));
  const changes: PlannedChange[] = [];
  for (const view of next.views) {
    const before = old.get(view.name);
    old.delete(view.name);
    if (before !== undefined && stateOf(before) === stateOf(view)) continue;
    const services = [...servicesOf(previous, before), ...servicesOf(next, view)];
    const subject = `view ${view.name}`;
    const formerName = names.get(stateOf(view));
    const renamed = `takes over the state of view ${formerName}, which computes the same`;
    const isNew = !routes.has(view.route);
    const folds = isNew
      ? 'is built from a first snapshot of its source'
      : "folds from the log's beginning in the background, and is served when complete";
    const builds = isNew || readsAnew(view, previous) ? BuildWay.READS_TABLE : BuildWay.FOLDS_LOG;
    const cost = buildCost(view, next, formerName === undefined ? builds : BuildWay.KEEPS, rows);
    if (before === undefined) {
      const effect = formerName === undefined ? folds : renamed;
      const features = formerName === undefined ? qualified(view) : [];
      changes.push(change({ kind: ChangeKind.ADDED, subject, effect, services, features, cost }));
    } else {
      const what = viewChanges(before, view).join('; ');
      const then = formerName === undefined ? `${folds}; until then the services keep what they have` : renamed;
      const details = viewDetails(routed(before, previous), routed(view, next));
      const touched = featuresTouched(details);
      const features = touched === undefined ? qualified(view) : [...touched].map((name) => `${view.name}:${name}`);
      const effect = `${what}: ${then}`;
      changes.push(change({ kind: ChangeKind.CHANGED, subject, effect, services, details, features, cost }));
    }
  }
  const kept = new Set(next.views.map(stateOf));
  for (const view of old.values()) {
    const effect = kept.has(stateOf(view))
      ? 'goes on under another name'
      : 'is no longer folded, and its state is deleted';
    const features = kept.has(stateOf(view)) ? [] : qualified(view);
    const services = servicesOf(previous, view);
    changes.push(change({ kind: ChangeKind.DROPPED, subject: `view ${view.name}`, effect, services, features }));
  }
  return changes;
}

/** A mutable source whose rows in the log lack a column that the view reads, or have it in another type, is read anew. */
function readsAnew(view: ViewPlan, previous: DefinitionSet | undefined): boolean {
  if (view.mode !== SourceMode.MUTABLE) return false;
  const source = previous?.routes.find(({ route }) => route === view.route)?.source;
  const had = new Map((source?.contract?.columns ?? []).map((column) => [column.name, column.type?.kind]));
  return view.columns.some(({ name, type }) => had.get(name) !== type?.kind);
}

/** Views of one state: what computes the same of another route's rows is built anew. */
function stateOf(view: ViewPlan): string {
  return `${hex(view)} ${[view, ...view.joins].map(({ route }) => route).join(' ')}`;
}

function qualified(view: ViewPlan): string[] {
  return view.features.map(({ name }) => `${view.name}:${name}`);
}

function routed(view: ViewPlan, set: DefinitionSet | undefined): { view: ViewPlan; route: RoutePlan | undefined } {
  return { view, route: set?.routes.find(({ route }) => route === view.route) };
}

function viewChanges(before: ViewPlan, after: ViewPlan): string[] {
  const changes: string[] = [];
  const old = new Map(before.features.map((feature) => [feature.name, feature]));
  for (const feature of after.features) {
    const was = old.get(feature.name);
    old.delete(feature.name);
    if (was === undefined) changes.push(`feature ${feature.name} added`);
    else if (!equals(FeaturePlanSchema, was, feature)) {
      changes.push(`feature ${feature.name} is ${describeFeature(feature)}, was ${describeFeature(was)}`);
    }
  }
  for (const name of old.keys()) changes.push(`feature ${name} dropped`);
  if (before.where !== after.where) changes.push('its condition changed');
  const derivedOf = (view: ViewPlan): string =>
    JSON.stringify(view.derived.map(({ name, expression }) => [name, expression]));
  if (derivedOf(before) !== derivedOf(after)) changes.push('its derived columns changed');
  const joinsOf = (view: ViewPlan): string =>
    JSON.stringify(
      view.joins.map(({ table, on, columns }) => [
        table,
        on.map(({ column, key }) => [column, key?.name]),
        columns.map(({ name, column }) => [name, column?.name]),
      ]),
    );
  if (joinsOf(before) !== joinsOf(after)) changes.push('its joins changed');
  if (before.engineVersion !== after.engineVersion) changes.push('the engine computes it by newer rules');
  if (changes.length === 0 && hex(before) === hex(after)) changes.push('a column that it reads is another one now');
  if (changes.length === 0) changes.push('its source, entity or columns changed');
  return changes;
}

/** "sum of amount over 1h in panes of 1m". */
function describeFeature(feature: FeaturePlan): string {
  const parts = [feature.input === '' ? feature.aggregate : `${feature.aggregate} of ${feature.input}`];
  const window = feature.window?.kind;
  if (window?.case === 'rolling') {
    parts.push(`over ${formatDuration(window.value.lengthUs)} in panes of ${formatDuration(window.value.paneUs)}`);
  } else if (window?.case === 'tumbling') {
    parts.push(`in the ${window.value.closed ? 'last closed' : 'current'} ${formatDuration(window.value.lengthUs)}`);
  } else parts.push('over all time');
  if (feature.ttlUs !== 0n) parts.push(`for ${formatDuration(feature.ttlUs)}`);
  if (feature.defaultValue !== undefined) parts.push('with a default');
  return parts.join(' ');
}

function diffServices(previous: DefinitionSet | undefined, next: DefinitionSet): PlannedChange[] {
  const old = new Map((previous?.services ?? []).map((service) => [service.name, service]));
  const changes: PlannedChange[] = [];
  const push = (kind: ChangeKind, name: string, effect: string, details: ChangeDetail[] = []): void => {
    changes.push(change({ kind, subject: `service ${name}`, effect, services: [name], details }));
  };
  for (const service of next.services) {
    const before = old.get(service.name);
    old.delete(service.name);
    if (before === undefined)
      push(
        ChangeKind.ADDED,
        service.name,
        `serves ${count(service.features.length + service.onDemand.length, 'feature')}`,
      );
    else if (!equals(ServicePlanSchema, before, service))
      push(ChangeKind.CHANGED, service.name, outputChanges(before, service), serviceDetails(before, service));
  }
  for (const name of old.keys()) push(ChangeKind.DROPPED, name, 'can no longer be read');
  return changes;
}

function outputChanges(before: ServicePlan, after: ServicePlan): string {
  const had = new Set(before.features.map(({ output }) => output));
  const has = new Set(after.features.map(({ output }) => output));
  const added = [...has].filter((output) => !had.has(output));
  const dropped = [...had].filter((output) => !has.has(output));
  const parts: string[] = [];
  if (added.length > 0) parts.push(`also returns ${added.join(', ')}`);
  if (dropped.length > 0) parts.push(`no longer returns ${dropped.join(', ')}`);
  parts.push(...onDemandChanges(before, after));
  if (parts.length > 0) return parts.join('; ');
  const order = (service: ServicePlan): string => service.features.map(({ output }) => output).join('\n');
  return order(before) === order(after) ? 'its views changed' : 'returns its features in another order';
}

/** What a service asks of its callers and computes for them at read time. */
function onDemandChanges(before: ServicePlan, after: ServicePlan): string[] {
  const changes: string[] = [];
  const compare = <T extends { readonly name: string }>(
    [old, now]: readonly [readonly T[], readonly T[]],
    isSame: (a: T, b: T) => boolean,
    [added, dropped, changed]: readonly [string, string, string],
  ): void => {
    const names = (items: readonly T[]): string => items.map(({ name }) => name).join(', ');
    const had = new Map(old.map((item) => [item.name, item]));
    const has = new Set(now.map(({ name }) => name));
    const isAdded = now.filter(({ name }) => !had.has(name));
    const isDropped = old.filter(({ name }) => !has.has(name));
    const isChanged = now.filter((item) => {
      const was = had.get(item.name);
      return was !== undefined && !isSame(was, item);
    });
    if (isAdded.length > 0) changes.push(`${added} ${names(isAdded)}`);
    if (isDropped.length > 0) changes.push(`${dropped} ${names(isDropped)}`);
    if (isChanged.length > 0) changes.push(`${changed} ${names(isChanged)}`);
  };
  compare([before.request, after.request], (a, b) => equals(RequestFieldPlanSchema, a, b), [
    'needs the request data',
    'no longer takes the request data',
    'takes another type of the request data',
  ]);
  compare([before.onDemand, after.onDemand], isSameOnDemand, [
    'also computes',
    'no longer computes',
    'computes in another way',
  ]);
  return changes;
}

/** Whether they compute the same: where an input stands in the plan says nothing about that. */
function isSameOnDemand(a: OnDemandPlan, b: OnDemandPlan): boolean {
  return equals(OnDemandPlanSchema, { ...a, inputs: [] }, { ...b, inputs: [] });
}

function diffSources(previous: DefinitionSet | undefined, next: DefinitionSet): PlannedChange[] {
  const old = sourcesOf(previous);
  const changes: PlannedChange[] = [];
  for (const [name, source] of sourcesOf(next)) {
    const before = old.get(name);
    old.delete(name);
    const services = [...servicesOfSource(previous, name), ...servicesOfSource(next, name)];
    const subject = `source ${name}`;
    if (before === undefined) {
      const former = sharedRoute(name, next, previous);
      const effect =
        former === undefined ? `is captured from ${originName(source)}` : `goes on with what source ${former} captured`;
      changes.push(change({ kind: ChangeKind.ADDED, subject, effect, services }));
      continue;
    }
    const what = sourceChanges(before, source);
    const details = sourceDetails(before, source);
    // Said also beside what else changes: who lets rows through that were kept back must be seen to do so.
    if (details.length > 0) what.push('rows that come are judged otherwise');
    if (what.length === 0) continue;
    changes.push(change({ kind: ChangeKind.CHANGED, subject, effect: what.join('; '), services, details }));
  }
  for (const name of old.keys()) {
    const effect =
      sharedRoute(name, previous, next) === undefined ? 'is no longer captured' : 'goes on under another name';
    const services = servicesOfSource(previous, name);
    changes.push(change({ kind: ChangeKind.DROPPED, subject: `source ${name}`, effect, services }));
  }
  return changes;
}

/** Owners of what stays: those of what is new or goes are told with it. */
function diffOwners(previous: DefinitionSet | undefined, next: DefinitionSet): PlannedChange[] {
  const [old, now] = [subjectsOf(previous), subjectsOf(next)];
  const [before, after] = [ownersOf(previous), ownersOf(next)];
  const details = [...new Set([...before.keys(), ...after.keys()])].sort(compareStrings).flatMap((subject) => {
    const [was, is] = [before.get(subject) ?? '', after.get(subject) ?? ''];
    if (was === is || !old.has(subject) || !now.has(subject)) return [];
    const kind = was === '' ? ChangeKind.ADDED : is === '' ? ChangeKind.DROPPED : ChangeKind.CHANGED;
    return [create(ChangeDetailSchema, { kind, part: 'owner', name: subject, before: was, after: is })];
  });
  if (details.length === 0) return [];
  const effect = 'others answer for what is there; nothing is computed anew';
  return [change({ kind: ChangeKind.CHANGED, subject: 'owners', effect, services: [], details })];
}

function ownersOf(set: DefinitionSet | undefined): Map<string, string> {
  return new Map((set?.owners ?? []).map(({ subject, owner }) => [subject, owner]));
}

function subjectsOf(set: DefinitionSet | undefined): Set<string> {
  return new Set([
    ...(set?.views ?? []).flatMap((view) => [`view ${view.name}`, ...qualified(view).map((name) => `feature ${name}`)]),
    ...(set?.services ?? []).map(({ name }) => `service ${name}`),
  ]);
}

/** What the other set calls a source whose route it has, if it does. */
function sharedRoute(
  name: string,
  set: DefinitionSet | undefined,
  other: DefinitionSet | undefined,
): string | undefined {
  const routes = (set?.routes ?? []).filter(({ source }) => source?.name === name).map(({ route }) => route);
  return other?.routes.find(({ route }) => routes.includes(route))?.source?.name;
}

function sourceChanges(before: SourcePlan, after: SourcePlan): string[] {
  const changes: string[] = [];
  if (originName(before) !== originName(after))
    changes.push(`comes from ${originName(after)}, was ${originName(before)}`);
  if (before.mode !== after.mode) changes.push('its mode changed');
  if (before.eventTimeColumn !== after.eventTimeColumn) {
    changes.push(`event time is ${timeOf(after)}, was ${timeOf(before)}`);
  }
  if (before.maxSkewUs !== after.maxSkewUs)
    changes.push(`max_skew is ${formatDuration(after.maxSkewUs)}, was ${formatDuration(before.maxSkewUs)}`);
  // What makes another route of it starts over; a contract's new version goes on where the old one was.
  if (changes.length > 0) changes.push('its capture starts over from a new snapshot');
  if (
    before.contract !== undefined &&
    after.contract !== undefined &&
    before.contract.version !== after.contract.version
  ) {
    const columns = [
      ...layoutChanges(before.contract, after.contract),
      ...promiseChanges(before.contract, after.contract),
    ];
    changes.push(
      `its contract takes version ${after.contract.version}${columns.length === 0 ? '' : ` (${columns.join(', ')})`}`,
    );
  }
  return changes;
}

function timeOf(source: SourcePlan): string {
  return source.eventTimeColumn === '' ? 'the time of the commit' : `column ${source.eventTimeColumn}`;
}

function sourcesOf(set: DefinitionSet | undefined): Map<string, SourcePlan> {
  const sources = new Map<string, SourcePlan>();
  for (const { source } of set?.routes ?? []) if (source !== undefined) sources.set(source.name, source);
  return sources;
}

/** By set, which services have a view's features, by the view's id. */
const servicesByView = new WeakMap<DefinitionSet, ReadonlyMap<string, ReadonlySet<string>>>();

/** Made once per set: a thousand views would otherwise look at every output of every service, each. */
function indexServices(set: DefinitionSet): ReadonlyMap<string, ReadonlySet<string>> {
  const known = servicesByView.get(set);
  if (known !== undefined) return known;
  const index = new Map<string, Set<string>>();
  for (const service of set.services) {
    for (const { viewId } of service.features) {
      const id = toHex(viewId);
      const names = index.get(id);
      if (names === undefined) index.set(id, new Set([service.name]));
      else names.add(service.name);
    }
  }
  servicesByView.set(set, index);
  return index;
}

function servicesOf(set: DefinitionSet | undefined, view: ViewPlan | undefined): string[] {
  if (set === undefined || view === undefined) return [];
  return [...(indexServices(set).get(hex(view)) ?? [])];
}

function servicesOfSource(set: DefinitionSet | undefined, source: string): string[] {
  const views = (set?.views ?? []).filter(
    (view) => view.source === source || view.joins.some(({ table }) => table === source),
  );
  return views.flatMap((view) => servicesOf(set, view));
}

function hex(view: ViewPlan): string {
  return toHex(view.viewId);
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
