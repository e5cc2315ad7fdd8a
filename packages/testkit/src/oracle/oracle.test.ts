/**
 * Goal: the oracle says what the design says. Method: cases computed by hand from "What a feature value is", the case
 * that a peer's tiled windows get wrong, and properties of the definition itself (dropping expired events is invisible).
 */
import { create } from '@bufbuild/protobuf';
import {
  type FeaturePlan,
  FeaturePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
  type Window,
  WindowSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { floorTo, inWindow, isFolded, type OracleAnswer, type OracleEvent, oracleValue } from './oracle.ts';

const rolling = (lengthUs: bigint, paneUs: bigint): Window =>
  create(WindowSchema, { kind: { case: 'rolling', value: { lengthUs, paneUs } } });
const tumbling = (lengthUs: bigint, closed: boolean): Window =>
  create(WindowSchema, { kind: { case: 'tumbling', value: { lengthUs, closed } } });
const lifetime = create(WindowSchema, { kind: { case: 'lifetime', value: {} } });

interface Options {
  readonly kind?: Kind;
  readonly ttlUs?: bigint;
  readonly defaultInt?: bigint;
}

function feature(
  aggregate: string,
  window: Window,
  { kind = Kind.INT64, ttlUs = 0n, defaultInt }: Options = {},
): FeaturePlan {
  return create(FeaturePlanSchema, {
    name: aggregate,
    aggregate,
    input: 'x',
    inputType: { kind },
    window,
    ttlUs,
    ...(defaultInt === undefined ? {} : { defaultValue: { kind: { case: 'int64', value: defaultInt } } }),
  });
}

/** Events at their times with inputs, each logged at its own time unless told. */
function events(...list: readonly (readonly [at: bigint | undefined, x: Scalar, logTimeUs?: bigint])[]): OracleEvent[] {
  let logTimeUs = 0n;
  return list.map(([eventTimeUs, x, logged], offset) => {
    logTimeUs = logged ?? (eventTimeUs !== undefined && eventTimeUs > logTimeUs ? eventTimeUs : logTimeUs);
    return { offset, logTimeUs, eventTimeUs, values: new Map([['x', x]]) };
  });
}

const present = (value: Scalar): OracleAnswer => ({ status: ValueStatus.PRESENT, value });
const absent: OracleAnswer = { status: ValueStatus.ABSENT, value: null };

describe('windows', () => {
  it('floor towards the past, also before the epoch', () => {
    expect([-7n, -6n, -1n, 0n, 1n, 6n].map((t) => floorTo(t, 3n))).toEqual([-9n, -6n, -3n, 0n, 0n, 6n]);
  });

  it('of a tumbling feature are half-open', () => {
    const current = tumbling(10n, false);
    expect([-1n, 0n, 9n, 10n].map((et) => inWindow(current, et, 5n))).toEqual([false, true, true, false]);
    expect([-11n, -10n, -1n, 0n].map((et) => inWindow(current, et, -10n))).toEqual([false, true, true, false]);
    const closed = tumbling(10n, true);
    expect([-1n, 0n, 9n, 10n].map((et) => inWindow(closed, et, 10n))).toEqual([false, true, true, false]);
    expect([-10n, -1n, 0n].map((et) => inWindow(closed, et, 9n))).toEqual([true, true, false]);
  });

  it('of a rolling feature never forget early, forget at most a pane late, and hold the future', () => {
    const window = rolling(10n, 5n);
    // floor_5(T - 10): the event at 3 is in the pane [0, 5), which is left behind when T - 10 reaches 5.
    expect([13n, 14n, 15n].map((t) => inWindow(window, 3n, t))).toEqual([true, true, false]);
    expect(inWindow(window, 1000n, 0n)).toBe(true);
    expect([-3n, -2n].map((t) => inWindow(window, -13n, t))).toEqual([true, true]);
    expect(inWindow(window, -11n, 0n)).toBe(false);
  });

  it('never hold an event without a time, but for lifetime', () => {
    expect([rolling(5n, 5n), tumbling(5n, false), lifetime].map((w) => inWindow(w, undefined, 0n))).toEqual([
      false,
      false,
      true,
    ]);
  });
});

describe('values', () => {
  it('are right where tiled windows of a peer are not (amounts 10, 20, 30 at 0:00, 0:05, 0:20; window 10, hop 5)', () => {
    const minute = 60_000_000n;
    const all = events([0n, 10n], [5n * minute, 20n], [20n * minute, 30n]);
    // Its tile ending at T holds [T - 10, T): our rolling window read at T, of the events logged before T.
    const at = (t: bigint): OracleAnswer[] => {
      const known = all.filter(({ logTimeUs }) => logTimeUs < t * minute);
      return ['sum', 'count', 'min', 'max', 'mean'].map((name) =>
        oracleValue(feature(name, rolling(10n * minute, 5n * minute)), known, t * minute),
      );
    };
    expect(at(10n)).toEqual([present(30n), present(2n), present(10n), present(20n), present(15)]);
    expect(at(15n)).toEqual([present(20n), present(1n), present(20n), present(20n), present(20)]);
    expect(at(20n)).toEqual([absent, present(0n), absent, absent, absent]);
    expect(at(25n)).toEqual([present(30n), present(1n), present(30n), present(30n), present(30)]);
  });

  it('of the closed window appear when it ends and stay for one length', () => {
    const list = events([3n, 1n], [7n, 2n]);
    const sum = feature('sum', tumbling(10n, true));
    expect([7n, 9n, 10n, 19n, 20n].map((t) => oracleValue(sum, list, t))).toEqual([
      absent,
      absent,
      present(3n),
      present(3n),
      absent,
    ]);
  });

  it('of the current window end with it', () => {
    const count = feature('count', tumbling(10n, false));
    expect([8n, 9n, 10n].map((t) => oracleValue(count, events([8n, 1n]), t))).toEqual([
      present(1n),
      present(1n),
      present(0n),
    ]);
  });

  it('before the row are those at its log time', () => {
    const count = feature('count', tumbling(10n, false));
    expect(oracleValue(count, events([3n, 1n], [4n, 1n, 25n]), 4n)).toEqual(present(0n));
  });

  it('skip nulls, but rows are counted without an input', () => {
    const list = events([1n, null], [2n, 5n], [3n, null]);
    const rows = create(FeaturePlanSchema, { aggregate: 'count', window: lifetime });
    expect(oracleValue(rows, list, 3n)).toEqual(present(3n));
    expect(oracleValue(feature('count', lifetime), list, 3n)).toEqual(present(1n));
    expect(oracleValue(feature('last', lifetime), list, 3n)).toEqual(present(5n));
    expect(oracleValue(feature('sum', lifetime), events([1n, null]), 3n)).toEqual(absent);
  });

  it('are absent, or the default, when there is none; a count is 0', () => {
    expect(oracleValue(feature('last', lifetime), [], 0n)).toEqual(absent);
    expect(oracleValue(feature('count', lifetime, { defaultInt: 7n }), [], 0n)).toEqual(present(0n));
    const defaulted = { status: ValueStatus.DEFAULTED, value: 7n };
    expect(oracleValue(feature('sum', lifetime, { defaultInt: 7n }), [], 0n)).toEqual(defaulted);
    expect(oracleValue(feature('sum', lifetime, { defaultInt: 7n, ttlUs: 5n }), events([1n, 1n]), 6n)).toEqual(
      defaulted,
    );
  });

  it('end with the ttl since the newest event', () => {
    const list = events([1n, 1n], [4n, null], [2n, 1n]);
    const count = feature('count', lifetime, { ttlUs: 5n });
    expect([8n, 9n].map((t) => oracleValue(count, list, t))).toEqual([present(2n), absent]);
    expect(oracleValue(count, events([undefined, 1n]), 1_000n)).toEqual(present(1n));
  });

  it('last is by event time, then offset, events without a time before all', () => {
    const last = feature('last', lifetime);
    expect(oracleValue(last, events([5n, 1n], [5n, 2n], [4n, 3n], [undefined, 4n]), 9n)).toEqual(present(2n));
    expect(oracleValue(last, events([undefined, 4n], [undefined, 5n]), 9n)).toEqual(present(5n));
  });

  it('sum integers exactly, and say when the sum is no int64', () => {
    const max = 2n ** 63n - 1n;
    const sum = feature('sum', lifetime);
    expect(oracleValue(sum, events([1n, max], [2n, 5n], [3n, -5n]), 9n)).toEqual(present(max));
    expect(oracleValue(sum, events([1n, max], [2n, 1n]), 9n)).toEqual({
      status: ValueStatus.OUT_OF_RANGE,
      value: null,
    });
    expect(oracleValue(feature('mean', lifetime), events([1n, max], [2n, max]), 9n)).toEqual(present(2 ** 63));
  });

  it('order doubles with -0 below 0 and NaN above all, strings by code point, decimals by number, then digits', () => {
    const extremes = (kind: Kind, ...inputs: Scalar[]): Scalar[] =>
      ['min', 'max'].map(
        (name) =>
          oracleValue(feature(name, lifetime, { kind }), events(...inputs.map((x) => [1n, x] as const)), 9n).value,
      );
    expect(extremes(Kind.DOUBLE, 0, -0)).toEqual([-0, 0]);
    expect(extremes(Kind.DOUBLE, NaN, Infinity, -Infinity)).toEqual([-Infinity, NaN]);
    expect(extremes(Kind.STRING, '\u{1f600}', '\u{ff5e}')).toEqual(['\u{ff5e}', '\u{1f600}']);
    expect(extremes(Kind.DECIMAL, '1.00', '1.0', '0.999')).toEqual(['0.999', '1.00']);
    expect(extremes(Kind.DECIMAL, 'Infinity', '-3', 'NaN')).toEqual(['-3', 'NaN']);
    expect(extremes(Kind.BYTES, Uint8Array.of(1), Uint8Array.of(1, 0), Uint8Array.of(0xff))).toEqual([
      Uint8Array.of(1),
      Uint8Array.of(0xff),
    ]);
  });
});

describe('events that no window reaches', () => {
  const windows = fc.oneof(
    fc.tuple(fc.bigInt(1n, 4n), fc.bigInt(1n, 4n)).map(([pane, panes]) => rolling(pane * panes, pane)),
    fc.tuple(fc.bigInt(1n, 9n), fc.boolean()).map(([length, closed]) => tumbling(length, closed)),
  );
  const someEvents = fc
    .array(fc.tuple(fc.bigInt(-20n, 20n), fc.bigInt(-3n, 3n), fc.bigInt(0n, 5n)), { minLength: 1, maxLength: 8 })
    .map((list) => {
      let logTimeUs = 0n;
      return list.map(([eventTimeUs, x, step], offset) => {
        logTimeUs += step;
        return { offset, logTimeUs, eventTimeUs, values: new Map([['x', x]]) };
      });
    });

  it('are invisible from their log time on, so that not folding them is no loss', () => {
    fc.assert(
      fc.property(
        fc.array(windows, { minLength: 1, maxLength: 3 }),
        someEvents,
        fc.bigInt(0n, 30n),
        (list, all, after) => {
          const view: ViewPlan = create(ViewPlanSchema, { features: list.map((window) => feature('sum', window)) });
          const t = (all.at(-1)?.logTimeUs ?? 0n) + after; // log times never decrease
          const folded = all.filter((event) => isFolded(view, event));
          for (const plan of view.features) expect(oracleValue(plan, folded, t)).toEqual(oracleValue(plan, all, t));
        },
      ),
    );
  });

  it('are those of which a window at some later time holds none (isFolded is exactly that)', () => {
    fc.assert(
      fc.property(windows, someEvents, (window, [event]) => {
        if (event === undefined) return;
        const view = create(ViewPlanSchema, { features: [feature('sum', window)] });
        const seen = Array.from({ length: 60 }, (_, i) =>
          inWindow(window, event.eventTimeUs, event.logTimeUs + BigInt(i)),
        );
        expect(isFolded(view, event)).toBe(seen.includes(true));
      }),
    );
  });
});
