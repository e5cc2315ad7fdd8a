/**
 * A view against its entity and its source: which column is which key, what expressions mean, which columns are read.
 *
 * Owns these rules; features are resolve-feature.ts, type checking of CEL is the engine's. The plan that comes out has
 * every default filled in and needs nobody to be asked: the fold reads it from the log.
 */
import { create } from '@bufbuild/protobuf';
import { ROW_BYTES_MAX, rowBytesMax, VALUE_BYTES_MIN, valueBytesMax } from '@freshet/engine/limits.ts';
import { engineVersion, JOINS_ENGINE_VERSION, MAX_PANES } from '@freshet/engine/windows.ts';
import type { Feature, FeatureView } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { ReplicaIdentity, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import {
  type DerivedColumn,
  DerivedColumnSchema,
  type EntityPlan,
  type FeaturePlan,
  type SourcePlan,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { closest } from '@freshet/kit/closest.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { rowIdentity } from '@freshet/values/row-identity.ts';
import { kindName, typeName } from '@freshet/values/type-name.ts';
import { formatDuration } from '../duration.ts';
import { formatTableName } from '../table-name.ts';
import { ColumnScope } from './column-scope.ts';
import type { ResolveContext } from './context.ts';
import { resolveFeature } from './resolve-feature.ts';
import { planJoins, resolveJoins } from './resolve-joins.ts';
import type { RouteTable } from './routes.ts';
import { viewIdOf } from './view-id.ts';

export interface ViewParts {
  readonly entity: EntityPlan;
  readonly source: SourcePlan;
  /** All sources by name, for joins; undefined for one whose problems were told. */
  readonly sources: ReadonlyMap<string, SourcePlan | undefined>;
}

/** The plan of a view over a route of the table; undefined, with problems, when it cannot work. */
export function resolveView(
  view: FeatureView,
  { entity, source, sources }: ViewParts,
  routes: RouteTable,
  context: ResolveContext,
): ViewPlan | undefined {
  const problemsBefore = context.problems.count;
  const keyColumns = resolveKey(view, entity, source, context);
  checkOldRows(view, source, keyColumns, context);
  const columns = new ColumnScope(source);
  const joins = resolveJoins(view, { source, sources }, columns, context);
  const derived = resolveDerived(view, columns, context);
  resolveWhere(view, columns, context);
  const features: FeaturePlan[] = [];
  for (const feature of view.features) {
    const plan = resolveFeature(feature, columns.types(), context);
    if (plan === undefined) continue;
    checkLead(feature, plan, source, context);
    columns.read(plan.input);
    features.push(plan);
  }
  checkRowBytes(view, features, source, context);
  if (context.problems.count > problemsBefore) return undefined;
  noteMissingTimes(view, source, features, context);
  noteLargeValues(view, source, columns.columnsRead(), context);
  const route = { source, entity, keyColumns };
  const joined = planJoins(view, { entity, keyColumns, joins }, columns, context);
  const plan = create(ViewPlanSchema, {
    name: view.name,
    entity,
    mode: source.mode,
    source: source.name,
    columns: columns.columnsRead(),
    derived,
    where: view.where,
    features: features.sort((a, b) => compareStrings(a.name, b.name)),
    // By what it needs, so that the ids of views without joins stay what they were.
    engineVersion: joined.length === 0 ? engineVersion : JOINS_ENGINE_VERSION,
    joins: joined.map(({ plan: join }) => join),
  });
  const joinRoutes = joined.map((join) => join.route);
  plan.viewId = viewIdOf(plan, route, joinRoutes) as Uint8Array<ArrayBuffer>;
  const { number, lacking } = routes.numberOf(route, plan);
  plan.route = number;
  if (lacking.length > 0) noteReadAnew(view, source, lacking, context);
  plan.joins.forEach((join, index) => {
    const joined = must(joinRoutes[index]);
    const columns = join.columns.flatMap(({ column }) => column ?? []);
    const given = routes.numberOfJoin(joined, columns, number);
    join.route = given.number;
    if (given.lacking.length > 0) noteReadAnew(view, must(joined.source), given.lacking, context);
  });
  return plan;
}

/** An update or delete of a mutable source must tell which entity the old row was of, and which row it was. */
function checkOldRows(
  view: FeatureView,
  source: SourcePlan,
  keyColumns: readonly string[],
  context: ResolveContext,
): void {
  const { contract, origin } = source;
  if (source.mode !== SourceMode.MUTABLE || contract === undefined || origin.case !== 'postgres') return;
  if (contract.replicaIdentity === ReplicaIdentity.FULL) return;
  const { columns, unique } = rowIdentity(contract);
  const untold = unique ? keyColumns.filter((name) => !columns.includes(name)) : keyColumns;
  if (untold.length === 0 && contract.replicaIdentity !== ReplicaIdentity.NOTHING) return;
  const told = unique ? `only ${columns.join(', ')}` : 'no column';
  const message = `View ${view.name}: when a row of source ${source.name} is updated or deleted, the table tells ${told} of the old row, and not ${untold.join(', ') || columns.join(', ')}, so its entity would not be known.`;
  const remedy = `ALTER TABLE ${formatTableName(origin.value)} REPLICA IDENTITY FULL; -- and so for each partition, if it has any; or, if rows are only ever inserted, write \`mode: append\` in the source`;
  context.problems.add(view.location, message, remedy);
}

/** The source's column for each key column, in key order. */
function resolveKey(view: FeatureView, entity: EntityPlan, source: SourcePlan, context: ResolveContext): string[] {
  const keyNames = entity.key.map(({ name }) => name);
  for (const name of Object.keys(view.keyColumns)) {
    if (keyNames.includes(name)) continue;
    const message = `View ${view.name}: entity ${entity.name} has no key column "${name}".`;
    const remedy = `Its key columns are ${keyNames.join(', ')}; under \`key\`, write the key column first: { ${keyNames[0]}: column_of_the_source }.`;
    context.problems.add(view.location, message, remedy);
  }
  return entity.key.map(({ name, kind }) => {
    const mapped = Object.hasOwn(view.keyColumns, name) ? (view.keyColumns[name] ?? name) : name;
    const column = source.contract?.columns.find((candidate) => candidate.name === mapped);
    if (column === undefined) {
      const names = (source.contract?.columns ?? []).map((candidate) => candidate.name);
      const meant = closest(mapped, names);
      const message = `View ${view.name}: source ${source.name} has no column "${mapped}" for the key of entity ${entity.name}.`;
      const remedy = `Say which column it is, for example \`key: { ${name}: ${meant ?? names[0] ?? 'column'} }\`; the columns are ${names.join(', ')}.`;
      context.problems.add(view.location, message, remedy);
    } else if (column.type?.kind !== kind) {
      const is = typeName(column.type ?? create(ValueTypeSchema));
      const message = `View ${view.name}: key column ${name} of entity ${entity.name} is ${kindName(kind)}, but column ${mapped} of source ${source.name} is ${is}.`;
      context.problems.add(view.location, message, 'Use a column of the same type, or change the type in the entity.');
    } else if (column.nullable) {
      context.notes.push(
        `View ${view.name}: key column ${mapped} of source ${source.name} may be null; rows in which it is belong to no entity and are not folded.`,
      );
    }
    return mapped;
  });
}

function resolveDerived(view: FeatureView, columns: ColumnScope, context: ResolveContext): DerivedColumn[] {
  const resolved: DerivedColumn[] = [];
  for (const { name, expression, location } of view.derived) {
    const what = `Derived column ${name} of view ${view.name}`;
    if (columns.has(name)) {
      const message = `${what} has the name of another column.`;
      context.problems.add(location, message, 'Give it a name that neither the source nor the view has.');
      continue;
    }
    const type = columns.compile(expression, what, location, context);
    if (type === undefined) continue;
    columns.addDerived(name, type);
    resolved.push(create(DerivedColumnSchema, { name, expression, type }));
  }
  return resolved;
}

function resolveWhere(view: FeatureView, columns: ColumnScope, context: ResolveContext): void {
  if (view.where === '') return;
  const what = `The condition of view ${view.name}`;
  const location = view.whereLocation ?? view.location;
  const type = columns.compile(view.where, what, location, context);
  if (type === undefined || type.kind === Kind.BOOL) return;
  const message = `${what} must be true or false, but it is ${typeName(type)}.`;
  context.problems.add(location, message, `Compare it with something, for example \`where: (${view.where}) == …\`.`);
}

/** Kinds whose values may be so large that the server stores them apart, and does not send them when they did not change. */
const LARGE_KINDS: ReadonlySet<Kind> = new Set([Kind.STRING, Kind.BYTES, Kind.LIST, Kind.VECTOR]);

function noteLargeValues(
  view: FeatureView,
  { mode, contract, origin, name }: SourcePlan,
  read: NonNullable<SourcePlan['contract']>['columns'],
  context: ResolveContext,
): void {
  if (mode !== SourceMode.MUTABLE || contract === undefined || origin.case !== 'postgres') return;
  if (contract.replicaIdentity === ReplicaIdentity.FULL) return;
  const told = new Set(rowIdentity(contract).columns);
  const large = read.filter(
    (column) => LARGE_KINDS.has(column.type?.kind ?? Kind.UNSPECIFIED) && !told.has(column.name),
  );
  if (large.length === 0) return;
  context.notes.push(
    `View ${view.name}: values of more than about 2 kB in ${large.map((column) => column.name).join(', ')} of source ${name} are not sent by updates that do not change them; such an update is quarantined. With ALTER TABLE ${formatTableName(origin.value)} REPLICA IDENTITY FULL; (and so for each partition, if it has any) they are sent.`,
  );
}

function noteReadAnew(
  view: FeatureView,
  source: SourcePlan,
  lacking: readonly string[],
  context: ResolveContext,
): void {
  context.notes.push(
    `View ${view.name}: rows of source ${source.name} that were captured before have no value of ${lacking.join(', ')} as it is now, so the table is read anew for it; rows that are no longer in the table are not in it, other views keep theirs.`,
  );
}

function noteMissingTimes(
  view: FeatureView,
  source: SourcePlan,
  features: readonly FeaturePlan[],
  context: ResolveContext,
): void {
  if (source.eventTimeColumn !== '') return;
  const windowed = features.filter(({ window }) => window?.kind.case !== 'lifetime').map(({ name }) => name);
  if (windowed.length === 0) return;
  context.notes.push(
    `View ${view.name}: source ${source.name} names no event_time, so events count at the time of their commit, and rows that were there before the capture began feed lifetime features only (not ${windowed.join(', ')}).`,
  );
}

/** Events may lead the clock by max_skew, and each pane that they reach is one more step of a row. */
function checkLead(feature: Feature, plan: FeaturePlan, source: SourcePlan, context: ResolveContext): void {
  if (plan.window?.kind.case !== 'rolling') return;
  const { paneUs } = plan.window.kind.value;
  if (source.maxSkewUs <= paneUs * BigInt(MAX_PANES)) return;
  const [skew, pane] = [formatDuration(Number(source.maxSkewUs)), formatDuration(Number(paneUs))];
  context.problems.add(
    feature.location,
    `Feature ${feature.name}: source ${source.name} takes events up to ${skew} ahead (max_skew), which is more than ${MAX_PANES} panes of ${pane}.`,
    `Lower \`max_skew\` of the source, or give the feature a longer pane.`,
  );
}

/** A row holds every value of every feature until the last one has left its window. */
function checkRowBytes(
  view: FeatureView,
  features: readonly FeaturePlan[],
  source: SourcePlan,
  context: ResolveContext,
): void {
  const isTooLong = rowBytesMax(features, Number(source.maxSkewUs)) > ROW_BYTES_MAX;
  if (!isTooLong && valueBytesMax(features) >= VALUE_BYTES_MIN) return;
  context.problems.add(
    view.location,
    `View ${view.name}: a row of its features could be longer than ${ROW_BYTES_MAX / 1024} KiB.`,
    'Make two views of it, or give features over texts, bytes, lists and decimals longer panes, so that a row has fewer of them.',
  );
}
