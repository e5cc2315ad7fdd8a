/**
 * On-demand features: CEL over stored features, request data and `now`, for one entity at a time.
 *
 * Owns what a service's plan means: which name is which value, the order of evaluation, what an error, a null or a value
 * that is too long gives. Does not own where stored values and request data come from (services/serve, or whoever makes
 * training sets: it is here, in the pure engine, so that both run the same code), nor how many entities are computed.
 *
 * Invariant F1, as for every expression: a result follows from the inputs alone.
 */

import { create } from '@bufbuild/protobuf';
import type { OnDemandPlan, ServicePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';
import { compileExpression, type Expression, type ExpressionColumn } from '../expression/expression.ts';
import { meteredCost } from '../expression/meter.ts';
import { isLong, isLongerThan, ON_DEMAND_COST_MAX, VALUE_BYTES_MAX } from '../limits.ts';

/** What a call costs beside what it looks at, in the meter's characters: a call of three takes some 0.5 µs. */
export const CALL_COST = 16;

/** A value that an entity's row of inputs has to hold. */
export type OnDemandSource =
  | { readonly from: 'now' }
  | { readonly from: 'request'; readonly index: number }
  | { readonly from: 'feature'; readonly index: number };

export interface OnDemandSlot {
  readonly source: OnDemandSource;
  readonly type: ValueType;
}

interface Step {
  readonly plan: OnDemandPlan;
  readonly type: ValueType;
  readonly expression: Expression;
  readonly default: Scalar;
  readonly isLong: boolean;
}

/** Told of every failure: which on-demand feature of the service, and why. */
export type OnDemandErrors = (feature: number, error: Error) => void;

/**
 * The on-demand features of a service, compiled. An entity is computed in a row of values: first the slots' values, as
 * expressions take them (null for what is not there; safe integers may be numbers), then one place for each result.
 */
export class OnDemandProgram {
  /** What the beginning of a row has to hold. */
  readonly slots: readonly OnDemandSlot[];
  /** The features' names and types, in order. */
  readonly features: readonly { readonly name: string; readonly type: ValueType }[];
  /** What computing one entity costs at least (CALL_COST). */
  readonly costMin: number;
  readonly #steps: readonly Step[];

  /** Throws INVALID_DEFINITION when the plan cannot be compiled, which none can that was resolved. */
  constructor({ onDemand }: Pick<ServicePlan, 'onDemand'>) {
    const slots = new Map<string, { index: number; slot: OnDemandSlot }>();
    for (const { inputs } of onDemand) {
      for (const input of inputs) {
        const source = sourceOf(input.source);
        if (source === undefined) continue;
        const key = slotKey(input.name, source);
        const type = must(input.type, `input ${input.name} has no type`);
        if (!slots.has(key)) slots.set(key, { index: slots.size, slot: { source, type } });
      }
    }
    this.slots = [...slots.values()].map(({ slot }) => slot);
    const first = this.slots.length;
    const steps: Step[] = [];
    for (const plan of onDemand) {
      // What an expression does not use has no name in it.
      const columns: ExpressionColumn[] = [...this.slots, ...steps].map(({ type }) => unnamed(type));
      for (const { name, type, source } of plan.inputs) {
        const own = sourceOf(source);
        const index = own === undefined ? first + Number(source.value) : must(slots.get(slotKey(name, own))).index;
        assert(index < columns.length, `input ${name} of on-demand feature ${plan.name} is none before it`);
        columns[index] = { name, type: must(type), nullable: true };
      }
      steps.push(stepOf(plan, columns));
    }
    this.#steps = steps;
    this.features = this.#steps.map(({ plan, type }) => ({ name: plan.name, type }));
    this.costMin = this.#steps.reduce((sum, { expression }) => sum + (1 + expression.calls) * CALL_COST, 0);
  }

  /** A row for the values of one entity; it may be used for one after the other. */
  newRow(): Scalar[] {
    return new Array<Scalar>(this.slots.length + this.#steps.length).fill(null);
  }

  /**
   * Computes the features of the entity whose inputs the row holds; puts each result and status. Returns what it cost
   * (limits.ts). A failed expression, or a result of null, gives the default, else null.
   */
  run(row: Scalar[], results: Scalar[], statuses: ValueStatus[], onError: OnDemandErrors): number {
    let cost = this.costMin;
    const first = this.slots.length;
    for (let i = 0; i < this.#steps.length; i++) {
      const step = this.#steps[i] as Step;
      let value: Scalar = null;
      try {
        value = step.expression.evaluate(row);
        if (step.isLong && isLongerThan(value, VALUE_BYTES_MAX)) {
          value = null;
          throw new Error(`the result is longer than ${VALUE_BYTES_MAX} bytes`);
        }
      } catch (error) {
        onError(i, error instanceof Error ? error : new Error(String(error)));
      }
      cost += meteredCost();
      let status: ValueStatus = ValueStatus.PRESENT;
      if (value === null) {
        value = step.default;
        status = value === null ? ValueStatus.ABSENT : ValueStatus.DEFAULTED;
      }
      row[first + i] = value;
      results[i] = value;
      statuses[i] = status;
    }
    return cost;
  }
}

function unnamed(type: ValueType): ExpressionColumn {
  return { name: '', type, nullable: true };
}

function stepOf(plan: OnDemandPlan, columns: readonly ExpressionColumn[]): Step {
  const expression = compileExpression(plan.expression, columns, { costMax: ON_DEMAND_COST_MAX, noun: 'name' });
  const { type } = expression;
  return { plan, type, expression, default: valueFromProto(plan.defaultValue), isLong: isLong(type.kind) };
}

/** Undefined for an earlier on-demand feature, which no row has to bring. */
function sourceOf(source: OnDemandPlan['inputs'][number]['source']): OnDemandSource | undefined {
  switch (source.case) {
    case 'now':
      return { from: 'now' };
    case 'request':
    case 'feature':
      return { from: source.case, index: source.value };
    default:
      return undefined;
  }
}

/** A value that one expression knows by two names has a slot for each: a column of an expression has one name. */
function slotKey(name: string, source: OnDemandSource): string {
  return source.from === 'now' ? `${name} now` : `${name} ${source.from} ${source.index}`;
}

/** The type of `now`. */
export const NOW_TYPE: ValueType = create(ValueTypeSchema, { kind: Kind.TIMESTAMP });
