/**
 * How the rows of a view are laid out, derived from the view's plan once: which timeline holds which feature, how a
 * feature's values lie in its column, and what an entity without a row answers.
 *
 * Owns the derivation. The layout itself is the contract of freshet.type.v1.Row.
 */
import { aggregateByName } from '@freshet/engine/aggregates/table.ts';
import { featureGroups } from '@freshet/engine/state/view-plan.ts';
import type { FeaturePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type Held, held, zeroOf } from './held.ts';
import { Step } from './row-step.ts';

export interface FeatureLayout {
  readonly name: string;
  readonly type: ValueType;
  readonly kind: Kind;
  /** What ABSENT is replaced by. */
  readonly substitute: Held | undefined;
}

export interface RowLayout {
  readonly features: readonly FeatureLayout[];
  /** The features of each timeline, by index. */
  readonly groups: readonly (readonly number[])[];
  /** What an entity without a row answers, at any time. */
  readonly empty: Step;
  /** The numbers of a step before it is read: it holds at every time, and each number is 0. All are doubles. */
  readonly blank: readonly number[];
  /** The statuses of every step whose values are all there. */
  readonly allPresent: readonly ValueStatus[];
}

export function rowLayout(view: ViewPlan): RowLayout {
  const features = view.features.map((feature): FeatureLayout => {
    const type = must(feature.resultType, 'a feature without a result type');
    const { defaultValue } = feature;
    return {
      name: feature.name,
      type,
      kind: type.kind,
      substitute: defaultValue?.kind.case === undefined ? undefined : held(type.kind, defaultValue),
    };
  });
  return {
    features,
    groups: featureGroups(view.features),
    empty: emptyStep(view.features, features),
    blank: [Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, ...features.map(() => 0)],
    allPresent: features.map(() => ValueStatus.PRESENT),
  };
}

function emptyStep(plans: readonly FeaturePlan[], features: readonly FeatureLayout[]): Step {
  const values: Held[] = [];
  const statuses: ValueStatus[] = [];
  features.forEach((feature, index) => {
    const plan = must(plans[index]);
    const accumulator = aggregateByName(plan.aggregate)?.accumulator(plan.inputType);
    const result = accumulator?.result(new Array(accumulator.width).fill(0), 0);
    if (feature.kind === Kind.INT64 && (typeof result === 'number' || typeof result === 'bigint')) {
      values.push(result);
      statuses.push(ValueStatus.PRESENT);
    } else {
      values.push(feature.substitute ?? zeroOf(feature.kind));
      statuses.push(feature.substitute === undefined ? ValueStatus.ABSENT : ValueStatus.DEFAULTED);
    }
  });
  return Step.of({ from: Number.NEGATIVE_INFINITY, until: Number.POSITIVE_INFINITY }, values, statuses, -1, 0);
}
