/**
 * The on-demand features of a service: what the names in their expressions mean, and whether they fit together.
 *
 * Owns the names. A stored feature is known by its name, `spend_1h`, as long as only one view of the service has it, and
 * always by both names, `user_spend__spend_1h`, since a colon cannot stand in CEL. Request fields, `now` and the
 * on-demand features before have their own. Nobody who wrote a name is to wonder which value it is: a name that could be
 * two things is refused. Type checking of CEL is the engine's.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { compileExpression, type Expression, type ExpressionColumn } from '@freshet/engine/expression/expression.ts';
import { ON_DEMAND_COST_MAX } from '@freshet/engine/limits.ts';
import { NOW_TYPE } from '@freshet/engine/on-demand/on-demand.ts';
import type { FeatureService, Location, OnDemandFeature } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import {
  type OnDemandInput,
  OnDemandInputSchema,
  type OnDemandPlan,
  OnDemandPlanSchema,
  type RequestFieldPlan,
  RequestFieldPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, type Value, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { compareStrings } from '@freshet/values/compare.ts';
import { kindName, typeName } from '@freshet/values/type-name.ts';
import type { ResolveContext } from './context.ts';
import { defaultOfType } from './default-value.ts';

/** A stored feature of a service, in the order of its outputs. */
export interface ServiceOutput {
  readonly view: string;
  readonly feature: string;
  readonly type: ValueType;
}

/** What CEL keeps for itself, and `now`. */
const RESERVED: ReadonlySet<string> = new Set(
  (
    'now true false null in as break const continue else for function if import let loop package namespace return ' +
    'var void while'
  ).split(' '),
);

interface Meaning {
  readonly name: string;
  readonly type: ValueType;
  readonly source: OnDemandInput['source'];
  /** In words: "feature user_spend:spend_1h". */
  readonly what: string;
}

/** Everything that an expression may name. */
class Scope {
  readonly #meanings: Meaning[] = [];
  readonly #byName = new Map<string, Meaning>();
  /** Names of several features, which mean none; with what to write in their place. */
  readonly #ambiguous = new Map<string, string[]>();

  constructor(outputs: readonly ServiceOutput[]) {
    this.add({ name: 'now', type: NOW_TYPE, source: { case: 'now', value: true }, what: 'the time of the answer' });
    const plain = Map.groupBy(outputs, ({ feature }) => feature);
    outputs.forEach(({ view, feature, type }, index) => {
      const source = { case: 'feature', value: index } as const;
      const what = `feature ${view}:${feature}`;
      const both = `${view}__${feature}`;
      if (!this.has(both)) this.add({ name: both, type, source, what });
      const namesakes = plain.get(feature) ?? [];
      if (namesakes.length > 1) this.#ambiguous.set(feature, [...(this.#ambiguous.get(feature) ?? []), both]);
      else if (!RESERVED.has(feature) && !this.has(feature)) this.add({ name: feature, type, source, what });
    });
  }

  add(meaning: Meaning): void {
    this.#meanings.push(meaning);
    this.#byName.set(meaning.name, meaning);
  }

  has(name: string): boolean {
    return this.#byName.has(name) || this.#ambiguous.has(name);
  }

  /** What has the name already, in words. */
  taken(name: string): string | undefined {
    const ambiguous = this.#ambiguous.get(name);
    if (ambiguous !== undefined) return `features of several views (${ambiguous.join(', ')})`;
    return this.#byName.get(name)?.what;
  }

  columns(): ExpressionColumn[] {
    return this.#meanings.map(({ name, type }) => ({ name, type, nullable: true }));
  }

  /** What the columns at the indexes mean, by name ascending. */
  at(indexes: readonly number[]): Meaning[] {
    const meanings = indexes.map((index) => must(this.#meanings[index]));
    return meanings.sort((a, b) => compareStrings(a.name, b.name));
  }

  /** What to write for a name of several features that an error tells as unknown; undefined when it is none. */
  instead(message: string): string | undefined {
    const name = /there is no name (\w+)/.exec(message)?.[1] ?? '';
    return this.#ambiguous.get(name)?.join(' or ');
  }
}

/** What the plan of a service says about request data and on-demand features; with problems, what could be resolved. */
export function resolveOnDemand(
  service: FeatureService,
  outputs: readonly ServiceOutput[],
  context: ResolveContext,
): { request: RequestFieldPlan[]; onDemand: OnDemandPlan[] } {
  const scope = new Scope(outputs);
  const request = resolveRequest(service, scope, context);
  const onDemand: OnDemandPlan[] = [];
  const used = new Set<number>();
  const problemsBefore = context.problems.count;
  for (const feature of service.onDemand) {
    const plan = resolveFeature(service, feature, scope, context);
    if (plan === undefined) continue;
    const what = `on-demand feature ${plan.name}`;
    const source = { case: 'onDemand', value: onDemand.length } as const;
    onDemand.push(plan);
    scope.add({ name: plan.name, type: must(plan.type), source, what });
    for (const { source: from } of plan.inputs) if (from.case === 'request') used.add(from.value);
  }
  request.forEach(({ name }, index) => {
    // After a problem nobody knows what was to use it.
    if (used.has(index) || context.problems.count > problemsBefore) return;
    context.notes.push(
      `Service ${service.name}: request field ${name} is used by no on-demand feature, and callers must send it.`,
    );
  });
  return { request, onDemand };
}

function resolveRequest(service: FeatureService, scope: Scope, context: ResolveContext): RequestFieldPlan[] {
  const request: RequestFieldPlan[] = [];
  for (const { name, type, location } of service.request) {
    const what = `Request field ${name} of service ${service.name}`;
    if (type === undefined || !isRequestType(type)) {
      const is = type === undefined ? 'nothing' : typeName(type);
      const remedy = 'Use int64, double, decimal, string, bool, bytes, timestamp, or a list of one of these.';
      context.problems.add(location, `${what} cannot be of type ${is}.`, remedy);
      continue;
    }
    if (!isFree(name, what, location, scope, context)) continue;
    const source = { case: 'request', value: request.length } as const;
    scope.add({ name, type, source, what: `request field ${name}` });
    request.push(create(RequestFieldPlanSchema, { name, type }));
  }
  return request;
}

function isRequestType({ kind, element }: ValueType): boolean {
  const scalar = kind === Kind.LIST ? element : kind;
  return scalar !== Kind.LIST && scalar !== Kind.VECTOR && !/ |unspecified/.test(kindName(scalar));
}

function isFree(
  name: string,
  what: string,
  location: Location | undefined,
  scope: Scope,
  context: ResolveContext,
): boolean {
  const taken = RESERVED.has(name) ? 'a word of expressions' : scope.taken(name);
  if (taken === undefined) return true;
  context.problems.add(location, `${what} has a name that is taken: by ${taken}.`, 'Give it another name.');
  return false;
}

function resolveFeature(
  service: FeatureService,
  { name, expression: text, defaultValue, location }: OnDemandFeature,
  scope: Scope,
  context: ResolveContext,
): OnDemandPlan | undefined {
  const what = `On-demand feature ${name} of service ${service.name}`;
  if (!isFree(name, what, location, scope, context)) return undefined;
  const expression = compiled(text, what, location, scope, context);
  if (expression === undefined) return undefined;
  const type = create(ValueTypeSchema, expression.type);
  const plan: MessageInitShape<typeof OnDemandPlanSchema> = {
    name,
    expression: text,
    type,
    inputs: scope
      .at(expression.uses)
      .map((meaning) =>
        create(OnDemandInputSchema, { name: meaning.name, type: meaning.type, source: meaning.source }),
      ),
  };
  if (defaultValue === undefined) return create(OnDemandPlanSchema, plan);
  const value: Value | undefined = defaultOfType(type, defaultValue);
  if (value === undefined) {
    const remedy = `Write a value of type ${typeName(type)}, or take the default out.`;
    context.problems.add(location, `${what}: the default is not a value of type ${typeName(type)}.`, remedy);
  }
  return create(OnDemandPlanSchema, { ...plan, ...(value === undefined ? {} : { defaultValue: value }) });
}

function compiled(
  text: string,
  what: string,
  location: Location | undefined,
  scope: Scope,
  context: ResolveContext,
): Expression | undefined {
  try {
    return compileExpression(text, scope.columns(), { costMax: ON_DEMAND_COST_MAX, noun: 'name' });
  } catch (error) {
    if (!(error instanceof FreshetError)) throw error;
    const at = error.place === '' ? '' : ` (line:column ${error.place} of the expression)`;
    const instead = scope.instead(error.message);
    const remedy =
      instead === undefined
        ? error.remedy || 'Correct the expression; see the documentation for what CEL has here.'
        : `Several views of the service have a feature of that name: write ${instead}.`;
    context.problems.add(location, `${what}: ${error.message}${at}`, remedy);
    return undefined;
  }
}
