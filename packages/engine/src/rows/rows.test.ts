/**
 * Goal: a row carries its own future: at every time from its log time on it gives what the definition of a feature value
 * gives (F2), and its bytes are those that protobuf-es would write. Method: hand-computed schedules for each window; then
 * random states, encoded here and decoded and re-encoded by protobuf-es. (Values are compared with an independent
 * oracle in packages/testkit.)
 */
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_EVENT_TIME, type Raw } from '../aggregates/aggregate.ts';
import { addEvent, emptyKeyState, type KeyState } from '../state/key-state.ts';
import { type RunnableView, runnableView } from '../state/view-plan.ts';
import { feature, LIFETIME, rolling, SECOND_US, START_US, tumbling, type, view } from '../testing/plans.testing.ts';
import { type DecodedRow, decodeRow } from './row-codec.ts';
import { RowEncoder } from './row-encoder.ts';
import { rowLayout, stepAt, valuesAt } from './row-reader.ts';

const encoder = new RowEncoder();

/** An event at a second after START_US, with n = its value; folded when the log time is a second too. */
interface TestEvent {
  readonly atS: number | undefined;
  readonly logS: number;
  readonly n: number;
}

function fold(plan: RunnableView, events: readonly TestEvent[]): KeyState {
  const state = emptyKeyState(plan, 'k');
  events.forEach(({ atS, logS, n }, offset) => {
    const eventTimeUs = atS === undefined ? NO_EVENT_TIME : START_US + atS * SECOND_US;
    addEvent(plan, state, [n, n / 2, '1.5', `s${n}`, eventTimeUs], eventTimeUs, offset, START_US + logS * SECOND_US);
  });
  return state;
}

/** The values of the first feature: first the one at the log time, then [second, value] per step. */
function schedule(row: DecodedRow): unknown[] {
  const [timeline] = row.timelines;
  return valuesAndSteps(timeline!.stepsUs, (tUs) => {
    const { value, status } = valuesAt(row, tUs)[0]![0]!;
    return status === ValueStatus.PRESENT
      ? Number(value)
      : status === ValueStatus.ABSENT
        ? 'absent'
        : `status ${status}`;
  });
}

function valuesAndSteps(stepsUs: readonly number[], at: (tUs: number) => unknown): unknown[] {
  return [at(Number.MIN_SAFE_INTEGER), ...stepsUs.map((step) => [(step - START_US) / SECOND_US, at(step)])];
}

function scheduleOf(features: Parameters<typeof view>[0], events: readonly TestEvent[]): unknown[] {
  const plan = runnableView(view(features));
  return schedule(decodeRow(encoder.encode(plan, fold(plan, events))));
}

describe('schedules', () => {
  it('F2: rolling: each pane leaves at its start + pane + length', () => {
    const count = [feature('a', 'count', '', rolling(60, 10))];
    expect(scheduleOf(count, [{ atS: 5, logS: 7, n: 1 }])).toEqual([1, [70, 0]]);
    const events = [
      { atS: 5, logS: 7, n: 1 },
      { atS: 9, logS: 9, n: 1 },
      { atS: 25, logS: 26, n: 1 },
    ];
    expect(scheduleOf(count, events)).toEqual([3, [70, 1], [90, 0]]);
    // The third event's log time is that at which the first pane leaves: it is gone.
    expect(scheduleOf(count, [...events, { atS: 70, logS: 70, n: 1 }])).toEqual([2, [90, 1], [140, 0]]);
  });

  it('F2: rolling: events of the future count at once, and leave on time', () => {
    const sum = [feature('a', 'sum', 'n', rolling(10, 10))];
    expect(scheduleOf(sum, [{ atS: 35, logS: 0, n: 7 }])).toEqual([7, [50, 'absent']]);
  });

  it('F2: rolling: last falls back to nothing, min to what is left', () => {
    const events = [
      { atS: 5, logS: 5, n: 1 },
      { atS: 15, logS: 15, n: 9 },
      { atS: 25, logS: 25, n: 4 },
    ];
    expect(scheduleOf([feature('a', 'min', 'n', rolling(60, 10))], events)).toEqual([1, [70, 4], [90, 'absent']]);
    expect(scheduleOf([feature('a', 'max', 'n', rolling(60, 10))], events)).toEqual([9, [80, 4], [90, 'absent']]);
    expect(scheduleOf([feature('a', 'last', 'n', rolling(60, 10))], events)).toEqual([4, [90, 'absent']]);
  });

  it('F2: tumbling, current: the window that T is in', () => {
    const sum = [feature('a', 'sum', 'n', tumbling(10, false))];
    expect(scheduleOf(sum, [{ atS: 5, logS: 7, n: 3 }])).toEqual([3, [10, 'absent']]);
    const ahead = [
      { atS: 5, logS: 7, n: 3 },
      { atS: 12, logS: 8, n: 4 },
      { atS: 39, logS: 8, n: 5 },
    ];
    expect(scheduleOf(sum, ahead)).toEqual([3, [10, 4], [20, 'absent'], [30, 5], [40, 'absent']]);
    expect(scheduleOf(sum, [{ atS: 12, logS: 8, n: 4 }])).toEqual(['absent', [10, 4], [20, 'absent']]);
  });

  it('F2: tumbling, closed: appears when it ends, and is there for one length', () => {
    const count = [feature('a', 'count', '', tumbling(10, true))];
    expect(scheduleOf(count, [{ atS: 5, logS: 7, n: 3 }])).toEqual([0, [10, 1], [20, 0]]);
    // Late, but still shown.
    expect(scheduleOf(count, [{ atS: 5, logS: 19, n: 3 }])).toEqual([1, [20, 0]]);
    // The window's last microsecond belongs to it, its end to the next.
    const edges = [
      { atS: 9.999999, logS: 10, n: 1 },
      { atS: 10, logS: 10, n: 1 },
    ];
    expect(scheduleOf(count, edges)).toEqual([1, [30, 0]]);
  });

  it('F2: lifetime has no steps; a ttl ends it', () => {
    expect(scheduleOf([feature('a', 'count', '', LIFETIME)], [{ atS: -5000, logS: 7, n: 3 }])).toEqual([1]);
    expect(scheduleOf([feature('a', 'count', '', LIFETIME, { ttlS: 30 })], [{ atS: 5, logS: 7, n: 3 }])).toEqual([
      1,
      [35, 'absent'],
    ]);
    // Newest event, not newest record; and long over.
    const late = [
      { atS: 5, logS: 7, n: 3 },
      { atS: 1, logS: 40, n: 3 },
    ];
    expect(scheduleOf([feature('a', 'count', '', LIFETIME, { ttlS: 30 })], late)).toEqual(['absent']);
    // Nothing with a time: no ttl runs.
    expect(
      scheduleOf([feature('a', 'count', '', LIFETIME, { ttlS: 30 })], [{ atS: undefined, logS: 7, n: 3 }]),
    ).toEqual([1]);
  });

  it('F2: a ttl cuts a rolling schedule off', () => {
    const count = [feature('a', 'count', '', rolling(60, 10), { ttlS: 33 })];
    expect(scheduleOf(count, [{ atS: 5, logS: 7, n: 1 }])).toEqual([1, [38, 'absent']]);
    const long = [feature('a', 'count', '', rolling(10, 10), { ttlS: 1000 })];
    expect(scheduleOf(long, [{ atS: 5, logS: 7, n: 1 }])).toEqual([1, [20, 0], [1005, 'absent']]);
  });

  it('F2: a sum beyond int64 comes back into range when a pane leaves', () => {
    const plan = runnableView(view([feature('a', 'sum', 'n', rolling(60, 10))]));
    const state = emptyKeyState(plan, 'k');
    const add = (n: bigint, s: number): void => {
      const at = START_US + s * SECOND_US;
      addEvent(plan, state, [n, 0, '0', '', at], at, 0, at);
    };
    add(2n ** 63n - 1n, 5);
    add(2n ** 62n, 15);
    const row = decodeRow(encoder.encode(plan, state));
    expect(row.timelines[0]!.columns[0]!.statuses).toEqual([
      ValueStatus.OUT_OF_RANGE,
      ValueStatus.PRESENT,
      ValueStatus.ABSENT,
    ]);
    expect(valuesAt(row, START_US + 75 * SECOND_US)[0]![0]).toEqual({ value: 2n ** 62n, status: ValueStatus.PRESENT });
  });
});

const FEATURES = [
  feature('c1', 'count', '', rolling(60, 10)),
  feature('c2', 'sum', 'x', rolling(60, 10)),
  feature('c3', 'sum', 'd', LIFETIME),
  feature('c4', 'last', 's', tumbling(30, true)),
  feature('c5', 'min', 'n', tumbling(30, false)),
  feature('c6', 'max', 'at', rolling(60, 10), { ttlS: 45 }),
  feature('c7', 'last', 'b', rolling(60, 10), { inputType: type(Kind.BOOL) }),
  feature('c8', 'last', 'l', LIFETIME, { inputType: type(Kind.LIST, Kind.INT64) }),
  feature('c9', 'last', 'v', rolling(60, 10), { inputType: type(Kind.VECTOR) }),
  feature('d1', 'max', 'y', LIFETIME, { inputType: type(Kind.BYTES) }),
  feature('d2', 'mean', 'n', rolling(60, 10)),
];
const WIDE = runnableView({
  ...view(FEATURES),
  derived: [],
  columns: [
    ...view([]).columns,
    ...(['b', 'l', 'v', 'y'] as const).map((name) => ({
      ...view([]).columns[0]!,
      name,
      type: FEATURES.find(({ input }) => input === name)!.inputType!,
    })),
  ],
});

const rawRow = fc.tuple(
  fc.option(fc.oneof(fc.integer(), fc.constantFrom(2n ** 62n, -(2n ** 63n)))),
  fc.option(fc.double()),
  fc.option(fc.constantFrom('0.10', '-5', 'NaN', '12345678901234567890.5')),
  fc.option(fc.string({ unit: 'grapheme' })),
  fc.option(fc.integer({ min: 0, max: 2 ** 50 })),
  fc.option(fc.boolean()),
  fc.option(fc.array(fc.option(fc.integer()), { maxLength: 3 })),
  fc.option(fc.float32Array({ maxLength: 3 })),
  fc.option(fc.uint8Array({ maxLength: 200 })),
);
const wideEvents = fc.array(
  fc.record({
    row: rawRow,
    atS: fc.option(fc.integer({ min: -100, max: 20 })),
    stepS: fc.integer({ min: 0, max: 15 }),
  }),
  { minLength: 1, maxLength: 12 },
);

function foldWide(events: readonly { row: Raw[]; atS: number | null; stepS: number }[], start = START_US): KeyState {
  const state = emptyKeyState(WIDE, 'k');
  let logTimeUs = start;
  events.forEach(({ row, atS, stepS }, offset) => {
    logTimeUs += stepS * SECOND_US;
    addEvent(WIDE, state, row, atS === null ? NO_EVENT_TIME : logTimeUs + atS * SECOND_US, offset, logTimeUs);
  });
  return state;
}

describe('row bytes', () => {
  it('are those of protobuf-es', () => {
    fc.assert(
      fc.property(wideEvents, fc.constantFrom(START_US, 0, -START_US), (events, start) => {
        const bytes = encoder.encode(WIDE, foldWide(events, start));
        expect(toBinary(RowSchema, fromBinary(RowSchema, bytes))).toEqual(bytes);
      }),
      { numRuns: 500 },
    );
  });

  it('F2: have steps that increase and lie after the log time, in every timeline of the plan', () => {
    const layout = rowLayout(WIDE.plan);
    fc.assert(
      fc.property(wideEvents, (events) => {
        const state = foldWide(events);
        const row = decodeRow(encoder.encode(WIDE, state), layout.types);
        expect(row).toMatchObject({ version: state.version, logTimeUs: state.logTimeUs });
        expect(row.timelines.map(({ columns }) => columns.length)).toEqual(layout.types.map(({ length }) => length));
        for (const { stepsUs, columns } of row.timelines) {
          expect([state.logTimeUs, ...stepsUs].every((step, i, all) => i === 0 || step > all[i - 1]!)).toBe(true);
          for (const { values, statuses } of columns) {
            expect(values.length).toBe(stepsUs.length + 1);
            expect(statuses?.length ?? values.length).toBe(values.length);
          }
        }
        expect(valuesAt(row, state.logTimeUs, layout).length).toBe(FEATURES.length);
      }),
      { numRuns: 300 },
    );
  });

  it('decode to what protobuf-es decodes', () => {
    const layout = rowLayout(WIDE.plan);
    fc.assert(
      fc.property(wideEvents, (events) => {
        const bytes = encoder.encode(WIDE, foldWide(events));
        const message = fromBinary(RowSchema, bytes);
        const row = decodeRow(bytes, layout.types);
        expect(row.eventTimeUs).toBe(message.eventTimeUs === undefined ? undefined : Number(message.eventTimeUs));
        row.timelines.forEach(({ columns }, t) => {
          columns.forEach(({ values, statuses, kind }, c) => {
            const { $typeName: _, $unknown: __, statuses: theirStatuses, ...lists } = message.timelines[t]!.columns[c]!;
            const [, list] = Object.entries(lists).find(([, one]) => one.length > 0)!;
            const theirs = (list as unknown[]).map((one) => {
              if (kind === Kind.LIST) return (one as { elements: [] }).elements.map(valueFromProto);
              if (kind === Kind.VECTOR) return Float32Array.from((one as { components: number[] }).components);
              return one;
            });
            const widen = (value: Raw): unknown => {
              if (Array.isArray(value))
                return value.map((item: Raw) => (typeof item === 'number' ? BigInt(item) : item));
              return kind !== Kind.DOUBLE && typeof value === 'number' ? BigInt(value) : value;
            };
            expect(values.map(widen)).toEqual(theirs);
            expect(statuses ?? []).toEqual(theirStatuses);
          });
        });
      }),
      { numRuns: 300 },
    );
  });

  it('refuse damage with DATA_DAMAGED or decode to something, but never read beyond their end', () => {
    const bytes = encoder.encode(
      WIDE,
      foldWide([{ row: [1, 2, '3', '4', 5, true, [6], new Float32Array(2), new Uint8Array(9)], atS: 1, stepS: 1 }]),
    );
    fc.assert(
      fc.property(fc.nat(bytes.length), fc.nat(bytes.length - 1), fc.nat(255), (length, at, byte) => {
        const damaged = bytes.slice(0, length);
        if (at < length) damaged[at] = byte;
        try {
          decodeRow(damaged, rowLayout(WIDE.plan).types);
        } catch (error) {
          expect(isFreshetError(error, 'DATA_DAMAGED') || /types of its columns/.test(String(error))).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('stepAt', () => {
  it('counts the steps at or before a time', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer()), fc.integer(), (times, t) => {
        const steps = times.sort((a, b) => a - b);
        expect(stepAt(steps, t)).toBe(steps.filter((step) => step <= t).length);
      }),
    );
  });
});
