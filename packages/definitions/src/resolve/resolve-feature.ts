/**
 * A feature against the columns that its view has. Owns the rules about inputs, windows, panes and defaults; the
 * default pane and the greatest number of panes are the engine's (windows.ts).
 */
import { create } from '@bufbuild/protobuf';
import { aggregateByName, aggregateNames } from '@freshet/engine/aggregates/table.ts';
import { defaultPaneUs, MAX_PANES } from '@freshet/engine/windows.ts';
import type { Feature, Location } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import {
  type FeaturePlan,
  FeaturePlanSchema,
  type RollingWindow,
  type Window,
  WindowSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Value, ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { closest } from '@freshet/kit/closest.ts';
import { typeName } from '@freshet/values/type-name.ts';
import { DURATION_US_MAX, formatDuration } from '../duration.ts';
import type { ResolveContext } from './context.ts';
import { defaultOfType } from './default-value.ts';

/** What a feature can aggregate: the source's columns and the view's derived ones. */
export type ColumnTypes = ReadonlyMap<string, ValueType>;

/** The plan of a feature; undefined, with problems, when it cannot work. */
export function resolveFeature(
  feature: Feature,
  columns: ColumnTypes,
  context: ResolveContext,
): FeaturePlan | undefined {
  const types = resolveTypes(feature, columns, context);
  const window = resolveWindow(feature, context);
  const ttlFits = feature.ttlUs <= DURATION_US_MAX;
  if (!ttlFits) {
    const message = `The ttl of feature ${feature.name} is longer than ${formatDuration(DURATION_US_MAX)}.`;
    context.problems.add(feature.location, message, 'Give a shorter one, or none for a value that never runs out.');
  }
  if (types === undefined || window === undefined || !ttlFits) return undefined;
  const written = feature.defaultValue;
  const defaultValue = written === undefined ? undefined : resolveDefault(feature, types.result, written, context);
  return create(FeaturePlanSchema, {
    name: feature.name,
    aggregate: feature.aggregate,
    input: feature.input,
    ...(types.input === undefined ? {} : { inputType: types.input }),
    window,
    resultType: types.result,
    ...(defaultValue === undefined ? {} : { defaultValue }),
    ttlUs: feature.ttlUs,
  });
}

function resolveTypes(
  feature: Feature,
  columns: ColumnTypes,
  context: ResolveContext,
): { input: ValueType | undefined; result: ValueType } | undefined {
  const aggregate = aggregateByName(feature.aggregate);
  if (aggregate === undefined) {
    const meant = closest(feature.aggregate, aggregateNames);
    const remedy = `${meant === undefined ? '' : `Did you mean "${meant}"? `}The aggregates are ${aggregateNames.join(', ')}.`;
    context.problems.add(
      feature.location,
      `Feature ${feature.name}: there is no aggregate "${feature.aggregate}".`,
      remedy,
    );
    return undefined;
  }
  const input = columns.get(feature.input);
  if (feature.input !== '' && input === undefined) {
    const names = [...columns.keys()];
    const meant = closest(feature.input, names);
    const remedy = meant === undefined ? `The columns are ${names.join(', ')}.` : `Did you mean "${meant}"?`;
    context.problems.add(feature.location, `Feature ${feature.name}: there is no column "${feature.input}".`, remedy);
    return undefined;
  }
  const result = aggregate.resultType(input);
  if (typeof result !== 'string') return { input, result };
  const column = feature.input === '' ? '' : ` (column ${feature.input})`;
  const remedy =
    feature.input === ''
      ? `Name a column: \`${feature.name}: { ${feature.aggregate}: amount }\`.`
      : 'Use another column or aggregate, or convert the column under `derived`, for example `as_number: double(column)`.';
  context.problems.add(feature.location, `Feature ${feature.name}: ${result}${column}.`, remedy);
  return undefined;
}

function resolveWindow(feature: Feature, context: ResolveContext): Window | undefined {
  const kind = feature.window?.kind;
  switch (kind?.case) {
    case 'rolling':
      return resolveRolling(feature, kind.value, context);
    case 'tumbling':
      if (!checkLength(feature, kind.value.lengthUs, context)) return undefined;
      return create(WindowSchema, { kind });
    default:
      return create(WindowSchema, { kind: { case: 'lifetime', value: {} } });
  }
}

function resolveRolling(feature: Feature, rolling: RollingWindow, context: ResolveContext): Window | undefined {
  if (!checkLength(feature, rolling.lengthUs, context)) return undefined;
  const lengthUs = Number(rolling.lengthUs);
  const written = Number(rolling.paneUs);
  const paneUs = written === 0 ? boundedDefaultPaneUs(lengthUs) : written;
  const length = formatDuration(lengthUs);
  const pane = formatDuration(paneUs);
  const problem = (message: string, remedy: string): void => {
    context.problems.add(feature.location, `Feature ${feature.name}: ${message}`, remedy);
  };
  if (paneUs <= 0 || lengthUs % paneUs !== 0) {
    const example = formatDuration(boundedDefaultPaneUs(lengthUs));
    const message = `the window of ${length} is not a whole number of panes of ${pane}.`;
    problem(message, `Write for example \`pane: ${example}\`, or leave \`pane\` out.`);
    return undefined;
  }
  const panes = lengthUs / paneUs;
  if (panes > MAX_PANES) {
    const message = `a window of ${length} in panes of ${pane}${written === 0 ? ' (the default)' : ''} has ${panes} panes; at most ${MAX_PANES} are allowed.`;
    problem(message, paneRemedy(lengthUs));
    return undefined;
  }
  const value = { lengthUs: rolling.lengthUs, paneUs: BigInt(paneUs) };
  return create(WindowSchema, { kind: { case: 'rolling', value } });
}

/**
 * The engine's default pane, but one second, which is refused for having too many panes, for lengths that no allowed
 * number of panes divides: looking for the default of a large prime number of seconds would take as many steps.
 */
function boundedDefaultPaneUs(lengthUs: number): number {
  const lengthS = lengthUs / 1_000_000;
  if (!Number.isInteger(lengthS) || lengthS <= MAX_PANES) return defaultPaneUs(lengthUs);
  for (let panes = 60; panes <= MAX_PANES; panes++) if (lengthS % panes === 0) return defaultPaneUs(lengthUs);
  return 1_000_000;
}

function paneRemedy(lengthUs: number): string {
  // The shortest pane that is allowed, if it is a round one; people round windows, so one is mostly near.
  for (let panes = MAX_PANES; panes > 1; panes--) {
    if (lengthUs % panes === 0 && (lengthUs / panes) % 1000 === 0)
      return `Write \`pane: ${formatDuration(lengthUs / panes)}\` or longer.`;
  }
  return 'Give a rounder window, such as one of whole minutes.';
}

function checkLength(feature: Feature, lengthUs: bigint, context: ResolveContext): boolean {
  if (lengthUs > 0n && lengthUs <= DURATION_US_MAX) return true;
  const message = `Feature ${feature.name}: a window must be longer than 0 and at most ${formatDuration(DURATION_US_MAX)}.`;
  context.problems.add(
    feature.location,
    message,
    'Give another length, for example `rolling: 5m`, or `lifetime: {}` for all time.',
  );
  return false;
}

function resolveDefault(feature: Feature, type: ValueType, written: Value, context: ResolveContext): Value | undefined {
  const value = defaultOfType(type, written);
  if (value !== undefined) return value;
  const location: Location | undefined = feature.location;
  const message = `Feature ${feature.name}: the default is not a value of type ${typeName(type)}.`;
  context.problems.add(location, message, `Write a value of type ${typeName(type)}, or take the default out.`);
  return undefined;
}
