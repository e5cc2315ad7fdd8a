/**
 * On-demand features of a call: the service's program run for every entity, over the rows that were read for it.
 *
 * Owns: which value of a step each input is, what a whole request may cost, and the results laid out as rows, so that
 * they are written like stored ones. Does not own what an expression means (packages/engine/src/on-demand).
 *
 * R4: a request may cost REQUEST_COST_MAX and its results ANSWER_BYTES_MAX, whatever its expressions and data are; it is
 * computed in parts, between which others may run.
 */
import type { OnDemandProgram } from '@freshet/engine/on-demand/on-demand.ts';
import type { RequestFieldPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { type Held, heldOf, scalarOf, zeroOf } from '@freshet/replica/held.ts';
import type { RowBatch } from '@freshet/replica/row-batch.ts';
import { Step } from '@freshet/replica/row-step.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { ANSWER_BYTES_MAX, checkLimit, PART_COST, REQUEST_COST_MAX } from './limits.ts';
import type { OnDemandErrorCounts } from './on-demand-errors.ts';
import type { RequestData } from './request-data.ts';
import type { SelectedOutput } from './selection.ts';

/** What a service computes when it is read. */
export interface SelectedOnDemand {
  readonly service: string;
  readonly request: readonly RequestFieldPlan[];
  readonly program: OnDemandProgram;
}

export interface OnDemandCall {
  readonly onDemand: SelectedOnDemand;
  /** The stored outputs of the service. */
  readonly stored: readonly SelectedOutput[];
  /** By the selection's views. */
  readonly batches: readonly RowBatch[];
  readonly data: RequestData;
  /** Entities asked for. */
  readonly count: number;
  readonly asOfUs: number;
}

const REMEDY = 'Ask for fewer entities at once, or send shorter request data.';
const COPIED_BYTES_PER_COST = 16;
const ALWAYS = { from: Number.NEGATIVE_INFINITY, until: Number.POSITIVE_INFINITY };

/**
 * Puts each entity's on-demand features into the batch, as a step of its own. Stops now and then for others. Throws
 * REQUEST_TOO_LARGE.
 */
export function* computeOnDemand(
  call: OnDemandCall,
  results: RowBatch,
  errors: OnDemandErrorCounts,
): Generator<undefined, void> {
  const { onDemand, count } = call;
  const { program, service } = onDemand;
  checkCost(program.costMin * count);
  results.begin(count);
  const { features } = program;
  const row = program.newRow();
  const slots = program.slots.map((_, slot) => slotOf(call, slot));
  const values = new Array<Scalar>(features.length).fill(null);
  const onError = (feature: number, error: Error): void => errors.add(service, features[feature]?.name ?? '', error);
  let cost = 0;
  let bytes = 0;
  let part = 0;
  for (let i = 0; i < count; i++) {
    for (let slot = 0; slot < slots.length; slot++) row[slot] = (slots[slot] as Slot)(i);
    const statuses = new Array<ValueStatus>(features.length).fill(ValueStatus.ABSENT);
    const entityCost = program.run(row, values, statuses, onError);
    const held = values.map((value, at): Held => {
      const kind = (features[at] as (typeof features)[number]).type.kind;
      return value === null ? zeroOf(kind) : heldOf((features[at] as (typeof features)[number]).type, value);
    });
    const step = Step.of(ALWAYS, held, statuses, -1, 0);
    results.set(i, step);
    cost += entityCost;
    bytes += step.bytes;
    checkCost(cost);
    // An expression may give a long value at no cost: one that was sent.
    checkLimit(bytes, ANSWER_BYTES_MAX, 'bytes of on-demand features to be answered with', REMEDY);
    // Copying is cheaper than looking, but not for nothing.
    part += entityCost + step.bytes / COPIED_BYTES_PER_COST;
    if (part < PART_COST) continue;
    part = 0;
    yield;
  }
}

function checkCost(cost: number): void {
  if (cost <= REQUEST_COST_MAX) return;
  throw new FreshetError('REQUEST_TOO_LARGE', 'the on-demand features of the request have too much to compute', {
    remedy: REMEDY,
  });
}

/** The value of a slot for an entity, as expressions take it. */
type Slot = (entity: number) => Scalar;

function slotOf({ onDemand, stored, batches, data, asOfUs }: OnDemandCall, slot: number): Slot {
  const { source } = onDemand.program.slots[slot] as (typeof onDemand.program.slots)[number];
  if (source.from === 'now') return () => asOfUs;
  if (source.from === 'request') {
    const values = data[source.index] ?? [];
    const [first = null] = values;
    return values.length === 1 ? () => first : (entity) => values[entity] ?? null;
  }
  const { kind, view, feature } = stored[source.index] as SelectedOutput;
  const { steps } = batches[view] as RowBatch;
  return (entity) => {
    const step = steps[entity] as Step;
    const status = step.statuses[feature];
    if (status === ValueStatus.ABSENT || status === ValueStatus.OUT_OF_RANGE) return null;
    const value = step.value(feature);
    // An int64 or a timestamp may be a number in an expression's row.
    return typeof value === 'number' && kind !== Kind.BOOL ? value : scalarOf(kind, value);
  };
}
