/** A feature service against the views. Owns the meaning of "view:feature" and "view:*". */
import { create } from '@bufbuild/protobuf';
import type { FeatureService, FeatureView } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import {
  type FeatureRef,
  FeatureRefSchema,
  type ServicePlan,
  ServicePlanSchema,
  type ViewPlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { kindName } from '@freshet/values/type-name.ts';
import type { ResolveContext } from './context.ts';
import { resolveOnDemand, type ServiceOutput } from './resolve-on-demand.ts';

/** One read returns at most so many features. */
export const SERVICE_FEATURES_MAX = 500;

export interface KnownViews {
  /** As written: a view that cannot be resolved is still no unknown view. */
  readonly written: ReadonlyMap<string, FeatureView>;
  readonly resolved: ReadonlyMap<string, ViewPlan>;
}

/** The plan of a service, with what could be resolved of it. Problems of its views are told by them. */
export function resolveService(service: FeatureService, views: KnownViews, context: ResolveContext): ServicePlan {
  const outputs = new Map<string, FeatureRef>();
  const seen = new Set<string>();
  for (const text of service.features) {
    if (seen.has(text)) {
      context.problems.add(service.location, `Service ${service.name} lists "${text}" twice.`, 'Take one of them out.');
    }
    seen.add(text);
    for (const output of expand(service, text, views, context)) {
      if (!outputs.has(output.output)) outputs.set(output.output, output);
    }
  }
  const count = outputs.size + service.onDemand.length;
  if (count > SERVICE_FEATURES_MAX) {
    const message = `Service ${service.name} has ${count} features; a service has at most ${SERVICE_FEATURES_MAX}.`;
    context.problems.add(service.location, message, 'List the ones that its model reads, or make several services.');
  }
  checkKeys(service, views, context);
  const features = [...outputs.values()];
  const known = features.flatMap((ref) => outputOf(ref, views) ?? []);
  // Of a view that cannot be resolved no feature is known: its names would all be told as unknown.
  const isWhole = service.features.every((text) => views.resolved.has(text.split(':')[0] ?? ''));
  const onDemand = isWhole ? resolveOnDemand(service, known, context) : {};
  return create(ServicePlanSchema, { name: service.name, features, ...onDemand });
}

function outputOf({ output, feature }: FeatureRef, views: KnownViews): ServiceOutput | undefined {
  const [view = ''] = output.split(':');
  const plan = views.resolved.get(view)?.features[feature];
  return plan?.resultType === undefined ? undefined : { view, feature: plan.name, type: plan.resultType };
}

function expand(service: FeatureService, text: string, views: KnownViews, context: ResolveContext): FeatureRef[] {
  const problem = (message: string, remedy: string): FeatureRef[] => {
    context.problems.add(service.location, `Service ${service.name}: ${message}`, remedy);
    return [];
  };
  const [viewName = '', featureName, more] = text.split(':');
  if (featureName === undefined || viewName === '' || featureName === '' || more !== undefined) {
    return problem(`"${text}" names no feature.`, 'Write "view:feature", or "view:*" for all features of a view.');
  }
  const written = views.written.get(viewName);
  if (written === undefined) {
    const names = [...views.written.keys()];
    return problem(`there is no view "${viewName}".`, meantOrAll(viewName, names, 'views'));
  }
  const names = written.features.map(({ name }) => name);
  if (featureName !== '*' && !names.includes(featureName)) {
    return problem(`view ${viewName} has no feature "${featureName}".`, meantOrAll(featureName, names, 'features'));
  }
  const view = views.resolved.get(viewName);
  return (view?.features ?? []).flatMap((feature, index) =>
    featureName === '*' || feature.name === featureName
      ? [
          create(FeatureRefSchema, {
            output: `${viewName}:${feature.name}`,
            viewId: view?.viewId ?? new Uint8Array(),
            feature: index,
          }),
        ]
      : [],
  );
}

function meantOrAll(name: string, names: readonly string[], what: string): string {
  const meant = closest(name, names);
  if (meant !== undefined) return `Did you mean "${meant}"?`;
  return names.length === 0 ? `There are no ${what}.` : `The ${what} are ${names.slice(0, 20).join(', ')}.`;
}

/** A reader gives each key column once for all entities of a service: one name must mean one kind. */
function checkKeys(service: FeatureService, views: KnownViews, context: ResolveContext): void {
  const kinds = new Map<string, { kind: Kind; entity: string }>();
  const told = new Set<string>();
  for (const text of service.features) {
    const entity = views.resolved.get(text.split(':')[0] ?? '')?.entity;
    for (const { name, kind } of entity?.key ?? []) {
      const other = kinds.get(name);
      if (other === undefined) kinds.set(name, { kind, entity: entity?.name ?? '' });
      else if (other.kind !== kind && !told.has(name)) {
        told.add(name);
        const message = `Service ${service.name}: key column ${name} is ${kindName(other.kind)} in entity ${other.entity} and ${kindName(kind)} in entity ${entity?.name}.`;
        context.problems.add(
          service.location,
          message,
          'Rename the key column in one of the entities, or make two services.',
        );
      }
    }
  }
}
