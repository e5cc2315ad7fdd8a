/** Goal: what a plan says of a state's size is near what the engine keeps. Method: fill every pane and encode the state. */
import { create } from '@bufbuild/protobuf';
import { ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { LIFETIME, rolling, SECOND_US, START_US, tumbling, type } from '../testing/plans.testing.ts';
import { ByteWriter } from './byte-writer.ts';
import { addEvent, emptyKeyState } from './key-state.ts';
import { encodeState } from './state-codec.ts';
import { stateSize } from './state-size.ts';
import { runnableView } from './view-plan.ts';

function plan(aggregate: string, kind: Kind, window: ReturnType<typeof rolling>) {
  const input = aggregate === 'count' ? {} : { input: 'x', inputType: type(kind) };
  const resultType = type(aggregate === 'count' ? Kind.INT64 : kind);
  return create(ViewPlanSchema, {
    name: 'v',
    columns: [{ name: 'x', type: type(kind) }],
    features: [{ name: 'f', aggregate, window, resultType, ...input }],
  });
}

describe('stateSize', () => {
  it.each([
    ['count', Kind.INT64, rolling(3600, 60), 7n],
    ['sum', Kind.INT64, rolling(3600, 60), 123_456],
    ['sum', Kind.DOUBLE, rolling(3600, 60), 99.125],
    ['sum', Kind.DECIMAL, rolling(600, 10), '9876.54'],
    ['max', Kind.STRING, rolling(600, 10), 'some letters'],
    ['last', Kind.INT64, rolling(3600, 60), 42],
    ['mean', Kind.DOUBLE, tumbling(3600, true), 4.5],
    ['sum', Kind.INT64, LIFETIME, 5],
  ] as const)('%s of kind %s is within a third of what is encoded', (aggregate, kind, window, value) => {
    const view = plan(aggregate, kind, window);
    const runnable = runnableView(view);
    const state = emptyKeyState(runnable, 'k');
    const endUs = START_US + 7200 * SECOND_US;
    for (let s = 0; s <= 7200; s += 5) {
      addEvent(runnable, state, [value], START_US + s * SECOND_US, 100_000_000 + s, endUs);
    }
    const encoded = encodeState(new ByteWriter(), runnable, state).length;
    const { keyBytes, rowBytes } = stateSize(view, false);
    expect(rowBytes).toBe(0);
    expect(keyBytes).toBeGreaterThan(encoded * 0.67);
    expect(keyBytes).toBeLessThan(encoded * 1.5);
    expect(stateSize(view, true).rowBytes).toBeGreaterThan(30);
  });
});
