/**
 * Goal: an on-demand feature is its expression over the inputs, whatever fails: errors, nulls and values without end give
 * the default or ABSENT, are told, and cost no more than they may. Method: cases by rule. (Random expressions against
 * twins go through a serve node: test/differential/on-demand.fuzz.test.ts.)
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type OnDemandInputSchema, type ServicePlan, ServicePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { describe, expect, it } from 'vitest';
import { ON_DEMAND_COST_MAX } from '../limits.ts';
import { type } from '../testing/plans.testing.ts';
import { CALL_COST, OnDemandProgram } from './on-demand.ts';

const { PRESENT, ABSENT, DEFAULTED } = ValueStatus;

type Input = MessageInitShape<typeof OnDemandInputSchema>;

const cart: Input = { name: 'cart', type: type(Kind.DOUBLE), source: { case: 'request', value: 0 } };
const text: Input = { name: 'text', type: type(Kind.STRING), source: { case: 'request', value: 1 } };
const spend: Input = { name: 'spend', type: type(Kind.INT64), source: { case: 'feature', value: 3 } };
const now: Input = { name: 'now', type: type(Kind.TIMESTAMP), source: { case: 'now', value: true } };
const earlier = (name: string, kind: Kind, value: number): Input => ({
  name,
  type: type(kind),
  source: { case: 'onDemand', value },
});

function service(...onDemand: NonNullable<MessageInitShape<typeof ServicePlanSchema>['onDemand']>): ServicePlan {
  return create(ServicePlanSchema, { name: 's', onDemand });
}

/** The results of an entity with those values, statuses, errors, and the cost. */
function run(plan: ServicePlan, values: Readonly<Record<string, Scalar>>) {
  const program = new OnDemandProgram(plan);
  const row = program.newRow();
  program.slots.forEach(({ source }, slot) => {
    row[slot] = values[source.from === 'now' ? 'now' : `${source.from} ${source.index}`] ?? null;
  });
  const results: Scalar[] = [];
  const statuses: ValueStatus[] = [];
  const errors: string[] = [];
  const cost = program.run(row, results, statuses, (feature, error) => errors.push(`${feature}: ${error.message}`));
  return { results, statuses, errors, cost };
}

describe('OnDemandProgram', () => {
  it('F1: computes in order, over request data, stored features, the time and what it computed before', () => {
    const plan = service(
      { name: 'ratio', expression: 'cart / (double(spend) + 1.0)', inputs: [cart, spend] },
      { name: 'high', expression: 'ratio > 2.0', inputs: [earlier('ratio', Kind.DOUBLE, 0)] },
      { name: 'age', expression: 'int(now) - spend', inputs: [now, spend] },
    );
    const values = { 'request 0': 12.5, 'feature 3': 4, now: 1_700_000_000_000_000 };
    expect(run(plan, values)).toMatchObject({
      results: [2.5, true, 1_699_999_996n],
      statuses: [PRESENT, PRESENT, PRESENT],
      errors: [],
    });
  });

  it('makes ABSENT of an error and of null, or the default, and tells errors only', () => {
    const plan = service(
      { name: 'a', expression: '10 / spend', inputs: [spend] },
      {
        name: 'b',
        expression: '10 / spend',
        inputs: [spend],
        defaultValue: { kind: { case: 'int64', value: 7n } },
      },
      { name: 'c', expression: 'cart', inputs: [cart] },
      {
        name: 'd',
        expression: 'a == null ? b : 0',
        inputs: [earlier('a', Kind.INT64, 0), earlier('b', Kind.INT64, 1)],
      },
    );
    expect(run(plan, { 'feature 3': 0 })).toMatchObject({
      results: [null, 7n, null, 7n],
      statuses: [ABSENT, DEFAULTED, ABSENT, PRESENT],
      errors: [expect.stringMatching(/^0: .*zero/), expect.stringMatching(/^1: /)],
    });
  });

  it('knows a value by several names, in one expression too', () => {
    const plan = service(
      { name: 'a', expression: 'spend + view__spend', inputs: [spend, { ...spend, name: 'view__spend' }] },
      { name: 'b', expression: 'spend * 10', inputs: [spend] },
    );
    expect(run(plan, { 'feature 3': 2n })).toMatchObject({ results: [4n, 20n], errors: [] });
  });

  it('keeps NaN and infinities as values', () => {
    const plan = service({ name: 'a', expression: 'cart / 0.0', inputs: [cart] });
    expect(run(plan, { 'request 0': 0 })).toMatchObject({ results: [Number.NaN], statuses: [PRESENT] });
    expect(run(plan, { 'request 0': -1 })).toMatchObject({ results: [Number.NEGATIVE_INFINITY] });
  });

  it('R4: a result longer than a value may be is an error', () => {
    const plan = service({ name: 'a', expression: 'text + text', inputs: [text] });
    expect(run(plan, { 'request 1': 'x'.repeat(32_768) }).statuses).toEqual([PRESENT]);
    expect(run(plan, { 'request 1': 'x'.repeat(32_769) })).toMatchObject({
      results: [null],
      statuses: [ABSENT],
      errors: ['0: the result is longer than 65536 bytes'],
    });
  });

  it('R4: an expression that looks at too much is an error, and says what it cost', () => {
    const plan = service({ name: 'a', expression: 'text.contains("b") || text.matches("c+")', inputs: [text] });
    const short = run(plan, { 'request 1': 'x'.repeat(1000) });
    expect(short).toMatchObject({ results: [false], errors: [] });
    // Sixteen and two calls look at a thousand characters.
    expect(short.cost).toBe((1 + 18) * CALL_COST + 18_000);
    const long = run(plan, { 'request 1': 'x'.repeat(ON_DEMAND_COST_MAX / 18 + 1) });
    expect(long).toMatchObject({ statuses: [ABSENT], errors: [expect.stringContaining('too much to look at')] });
    expect(long.cost).toBeGreaterThan(ON_DEMAND_COST_MAX);
  });
});
