/**
 * Goal: a state that was stored is the state that it was (F1). Method: random events for a view with every aggregate and
 * window; a state that is stored and loaded at random moments must end with the same bytes as one that never was;
 * damaged bytes are refused.
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { feature, LIFETIME, rolling, SECOND_US, START_US, tumbling, view } from '../testing/plans.testing.ts';
import { ByteWriter } from './byte-writer.ts';
import { FIRST_GROUP, nextGroup, paneCount } from './cells.ts';
import { addEvent, emptyKeyState } from './key-state.ts';
import { isInReach } from './reach.ts';
import { decodeState, encodeState, readVersion } from './state-codec.ts';
import { runnableView } from './view-plan.ts';

const WINDOWS = [rolling(60, 10), rolling(20, 20), tumbling(30, true), tumbling(30, false), LIFETIME];
const AGGREGATES = [
  ['count', ''],
  ['count', 's'],
  ['sum', 'n'],
  ['sum', 'x'],
  ['sum', 'd'],
  ['mean', 'x'],
  ['min', 's'],
  ['max', 'd'],
  ['last', 'at'],
] as const;
const PLAN = runnableView(
  view(
    WINDOWS.flatMap((window, w) => AGGREGATES.map(([name, input], i) => feature(`f${w}_${i}`, name, input, window))),
  ),
);

const row: fc.Arbitrary<Raw[]> = fc.tuple(
  fc.option(fc.oneof(fc.integer(), fc.constantFrom(2n ** 62n, -(2n ** 63n)))),
  fc.option(fc.oneof(fc.double(), fc.constantFrom(0.1, 1e308, -1e308))),
  fc.option(fc.constantFrom('0.10', '-5', 'NaN', '12345678901234567890.5')),
  fc.option(fc.string()),
  fc.option(fc.integer({ min: 0, max: 2 ** 51 })),
);
const events = fc.array(
  fc.record({
    row,
    atS: fc.option(fc.integer({ min: -90, max: 30 })),
    stepS: fc.integer({ min: 0, max: 40 }),
    store: fc.boolean(),
  }),
  { maxLength: 20 },
);

describe('state codec', () => {
  it('F1: storing and loading at any moment changes nothing', () => {
    const writer = new ByteWriter();
    fc.assert(
      fc.property(events, fc.constantFrom(START_US, 0), (list, start) => {
        let stored = emptyKeyState(PLAN, 'k');
        const kept = emptyKeyState(PLAN, 'k');
        let logTimeUs = start;
        list.forEach(({ row: values, atS, stepS, store }, offset) => {
          logTimeUs += stepS * SECOND_US;
          const at = atS === null ? NO_EVENT_TIME : logTimeUs + atS * SECOND_US;
          if (!isInReach(PLAN.reach, at, logTimeUs)) return;
          addEvent(PLAN, kept, values, at, offset, logTimeUs);
          addEvent(PLAN, stored, values, at, offset, logTimeUs);
          if (store) stored = decodeState(PLAN, 'k', encodeState(writer, PLAN, stored));
        });
        const bytes = encodeState(writer, PLAN, kept);
        expect(encodeState(writer, PLAN, stored)).toEqual(bytes);
        expect(readVersion(bytes)).toBe(kept.version);
      }),
      { numRuns: 500 },
    );
  });

  it('drops panes that no window reaches any more when the state changes', () => {
    const plan = runnableView(
      view([feature('a', 'count', '', rolling(60, 10)), feature('b', 'count', '', tumbling(10, false))]),
    );
    const state = emptyKeyState(plan, 'k');
    for (let s = 0; s < 1000; s += 10) {
      const at = START_US + s * SECOND_US;
      addEvent(plan, state, [], at, s, at);
    }
    const second = nextGroup(state.cells, FIRST_GROUP, 2);
    expect([paneCount(state.cells, FIRST_GROUP), paneCount(state.cells, second)]).toEqual([7, 1]);
  });

  it('refuses bytes that are cut, longer, or of another format', () => {
    const writer = new ByteWriter();
    const state = emptyKeyState(PLAN, 'k');
    addEvent(PLAN, state, [5, 0.5, '1.5', 'text', START_US], START_US, 1, START_US);
    const bytes = encodeState(writer, PLAN, state);
    const damaged = [
      bytes.slice(0, -1),
      new Uint8Array([...bytes, 0]),
      Uint8Array.of(9, ...bytes.slice(1)),
      new Uint8Array(0),
    ];
    for (const one of damaged) {
      let thrown: unknown;
      try {
        decodeState(PLAN, 'k', one);
      } catch (error) {
        thrown = error;
      }
      expect(isFreshetError(thrown, 'DATA_DAMAGED')).toBe(true);
    }
  });
});
