/**
 * What exactly is another in a view, a service or how a source's rows are judged than before, part by part: for programs, and for the lines that
 * `freshet plan` shows below a change.
 *
 * Owns the parts and how each is written. The sentence that sums them up is diff.ts.
 */
import { create } from '@bufbuild/protobuf';
import { NULL_RATE_ROWS } from '@freshet/contracts/null-rate.ts';
import { type ChangeDetail, ChangeDetailSchema, ChangeKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { ValueRule } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type {
  FeaturePlan,
  JoinPlan,
  OnDemandPlan,
  RoutePlan,
  ServicePlan,
  SourcePlan,
  ViewPlan,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Value } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { typeName } from '@freshet/values/type-name.ts';
import { formatDuration } from './duration.ts';
import { HOLDS, POLICIES } from './parse/parse-source.ts';

/** A part of something: its kind, its name where there are several, and how it is written. */
type Parts = Map<string, { readonly part: string; readonly name: string; readonly text: string }>;

/** A view with the route that it folds, which says whose key its features are under. */
export interface RoutedView {
  readonly view: ViewPlan;
  readonly route: RoutePlan | undefined;
}

/** What is another in a view, by part and name. Features that keep their name but not their window are told as "window". */
export function viewDetails(before: RoutedView, after: RoutedView): ChangeDetail[] {
  const details = compare(viewParts(before), viewParts(after));
  const engine = [before.view.engineVersion, after.view.engineVersion].map((version) => `version ${version}`);
  if (engine[0] !== engine[1]) details.push(changed('engine', '', engine[0] ?? '', engine[1] ?? ''));
  return details;
}

/** The names of the features whose values are other ones by these details; undefined: all of the view. */
export function featuresTouched(details: readonly ChangeDetail[]): Set<string> | undefined {
  const touched = new Set<string>();
  for (const { part, name } of details) {
    // A column that is read besides changes nothing by itself; what reads it is told by its own detail.
    if (part === 'column' || part === 'derived' || part === 'join') continue;
    if (part !== 'feature' && part !== 'window' && part !== 'default' && part !== 'ttl') return undefined;
    touched.add(name);
  }
  const rewritten = details.some(
    ({ part, kind }) => kind === ChangeKind.CHANGED && /^(column|derived|join)$/.test(part),
  );
  return rewritten || touched.size === 0 ? undefined : touched;
}

/** What is another in a service: outputs, on-demand features, request data. */
export function serviceDetails(before: ServicePlan, after: ServicePlan): ChangeDetail[] {
  return compare(serviceParts(before), serviceParts(after));
}

/** What is another in how the rows of a source are judged: its policy, what it holds, its value rules. */
export function sourceDetails(before: SourcePlan, after: SourcePlan): ChangeDetail[] {
  return compare(judgingParts(before), judgingParts(after));
}

function compare(before: Parts, after: Parts): ChangeDetail[] {
  const details: ChangeDetail[] = [];
  for (const [key, { part, name, text }] of after) {
    const was = before.get(key);
    if (was === undefined) {
      // A feature's window goes with the feature.
      if (!isOfFeature(part) || before.has(`feature ${name}`))
        details.push(create(ChangeDetailSchema, { kind: ChangeKind.ADDED, part, name, after: text }));
    } else if (was.text !== text) details.push(changed(part, name, was.text, text));
  }
  for (const [key, { part, name, text }] of before) {
    if (after.has(key) || (isOfFeature(part) && !after.has(`feature ${name}`))) continue;
    details.push(create(ChangeDetailSchema, { kind: ChangeKind.DROPPED, part, name, before: text }));
  }
  return details.sort((a, b) => compareStrings(a.part, b.part) || compareStrings(a.name, b.name));
}

function changed(part: string, name: string, before: string, after: string): ChangeDetail {
  return create(ChangeDetailSchema, { kind: ChangeKind.CHANGED, part, name, before, after });
}

function isOfFeature(part: string): boolean {
  return part === 'window' || part === 'default' || part === 'ttl';
}

function viewParts({ view, route }: RoutedView): Parts {
  const parts: Parts = new Map();
  const put = (part: string, name: string, text: string): void => {
    if (text !== '') parts.set(`${part} ${name}`.trim(), { part, name, text });
  };
  put('source', '', view.source);
  put('entity', '', view.entity?.name ?? '');
  put('key', '', keyText(view, route));
  put('where', '', view.where);
  for (const { name, expression } of view.derived) put('derived', name, expression);
  for (const join of view.joins) put('join', join.table, joinText(join));
  for (const { name, type } of view.columns) put('column', name, type === undefined ? '?' : typeName(type));
  for (const feature of view.features) {
    put('feature', feature.name, feature.input === '' ? feature.aggregate : `${feature.aggregate} of ${feature.input}`);
    put('window', feature.name, windowText(feature));
    put('ttl', feature.name, feature.ttlUs === 0n ? '' : formatDuration(feature.ttlUs));
    put('default', feature.name, feature.defaultValue === undefined ? '' : valueText(feature.defaultValue));
  }
  return parts;
}

function serviceParts(service: ServicePlan): Parts {
  const parts: Parts = new Map();
  for (const { output } of service.features)
    parts.set(`output ${output}`, { part: 'output', name: output, text: output });
  for (const field of service.request) {
    const text = field.type === undefined ? '?' : typeName(field.type);
    parts.set(`request ${field.name}`, { part: 'request', name: field.name, text });
  }
  for (const feature of service.onDemand) {
    parts.set(`on-demand ${feature.name}`, { part: 'on-demand', name: feature.name, text: onDemandText(feature) });
  }
  return parts;
}

function judgingParts({ policy, hold, rules }: SourcePlan): Parts {
  const parts: Parts = new Map();
  const put = (part: string, name: string, text: string): void =>
    void parts.set(`${part} ${name}`, { part, name, text });
  put('policy', '', wordOf(POLICIES, policy) ?? 'evolve');
  put('hold', '', wordOf(HOLDS, hold) ?? 'as it breaks');
  for (const rule of rules) put('rule', rule.name, ruleText(rule));
  return parts;
}

function wordOf<T>(words: Readonly<Record<string, T>>, value: T): string | undefined {
  return Object.keys(words).find((word) => words[word] === value);
}

function ruleText({ rule, onlyTell }: ValueRule): string {
  const { column, max, rows } = rule.case === 'nullRate' ? rule.value : { column: '', max: 0, rows: 0 };
  const text =
    rule.case === 'expression' ? rule.value : `nulls of ${column} up to ${max} of ${rows || NULL_RATE_ROWS} rows`;
  return onlyTell ? `${text} (only tells)` : text;
}

function onDemandText({ expression, defaultValue }: OnDemandPlan): string {
  return defaultValue === undefined ? expression : `${expression} (default ${valueText(defaultValue)})`;
}

function keyText(view: ViewPlan, route: RoutePlan | undefined): string {
  return (view.entity?.key ?? [])
    .map(({ name }, index) => {
      const column = route?.keyColumns[index] ?? name;
      return column === name ? name : `${name} from ${column}`;
    })
    .join(', ');
}

function joinText({ on, columns }: JoinPlan): string {
  const keys = on.map(({ column, key }) => `${key?.name ?? '?'} = ${column}`).join(' and ');
  const names = columns.map(({ name, column }) => (column?.name === name ? name : `${column?.name} as ${name}`));
  return `on ${keys}: ${names.join(', ')}`;
}

/** "rolling 1h in panes of 1m". */
export function windowText({ window }: Pick<FeaturePlan, 'window'>): string {
  const kind = window?.kind;
  if (kind?.case === 'rolling')
    return `rolling ${formatDuration(kind.value.lengthUs)} in panes of ${formatDuration(kind.value.paneUs)}`;
  if (kind?.case === 'tumbling')
    return `tumbling ${formatDuration(kind.value.lengthUs)}, ${kind.value.closed ? 'the last closed' : 'the current'}`;
  return 'lifetime';
}

function valueText({ kind }: Value): string {
  if (kind.case === undefined) return 'null';
  if (kind.case === 'string') return JSON.stringify(kind.value);
  return typeof kind.value === 'object' ? kind.case : String(kind.value);
}
