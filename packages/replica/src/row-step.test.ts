/**
 * Goal: a step read from a row's bytes is what the engine's own reader says, at that time and for as long as the step
 * claims to hold.
 * Method: random rows of every kind, encoded by protobuf-es and so independent of the engine's encoder, read at random
 * times, at each step, and just before and after; compared with the engine's decodeRow and valuesAt.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { decodeRow } from '@freshet/engine/rows/row-codec.ts';
import { rowLayout as engineLayout, valuesAt } from '@freshet/engine/rows/row-reader.ts';
import {
  type FeaturePlan,
  FeaturePlanSchema,
  type ViewPlan,
  ViewPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { RowSchema } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind, type ValueColumn, ValueColumnSchema, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { scalarOf } from './held.ts';
import { rowLayout } from './row-layout.ts';
import { readStep } from './row-step.ts';

const KINDS = [
  Kind.INT64,
  Kind.DOUBLE,
  Kind.DECIMAL,
  Kind.STRING,
  Kind.BOOL,
  Kind.BYTES,
  Kind.TIMESTAMP,
  Kind.LIST,
  Kind.VECTOR,
] as const;

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -200n, max: 200n }),
  fc.constantFrom(2n ** 53n, -(2n ** 53n), 2n ** 52n, -(2n ** 52n)),
);

function arbitraryColumn(kind: Kind, count: number): fc.Arbitrary<ValueColumn> {
  const list = <T>(values: fc.Arbitrary<T>): fc.Arbitrary<T[]> =>
    fc.array(values, { minLength: count, maxLength: count });
  const statuses = fc.option(list(fc.constantFrom(ValueStatus.PRESENT, ValueStatus.ABSENT, ValueStatus.OUT_OF_RANGE)), {
    nil: [],
  });
  const byKind: Readonly<Record<number, fc.Arbitrary<object>>> = {
    [Kind.UNSPECIFIED]: fc.constant({}),
    [Kind.INT64]: list(int64).map((int64s) => ({ int64s })),
    [Kind.DOUBLE]: list(fc.double()).map((doubles) => ({ doubles })),
    [Kind.DECIMAL]: list(fc.constantFrom('0', '1.50', '-3', 'NaN')).map((decimals) => ({ decimals })),
    [Kind.STRING]: list(fc.string({ unit: 'grapheme' })).map((strings) => ({ strings })),
    [Kind.BOOL]: list(fc.boolean()).map((bools) => ({ bools })),
    [Kind.BYTES]: list(fc.uint8Array({ maxLength: 9 })).map((bytes) => ({ bytes })),
    [Kind.TIMESTAMP]: list(int64).map((timestamps) => ({ timestamps })),
    [Kind.LIST]: list(fc.array(fc.option(int64, { nil: undefined }), { maxLength: 3 })).map((lists) => ({
      lists: lists.map((elements) => ({
        elements: elements.map((e) => (e === undefined ? {} : { kind: { case: 'int64' as const, value: e } })),
      })),
    })),
    [Kind.VECTOR]: list(fc.array(fc.float({ noNaN: true }), { minLength: 2, maxLength: 2 })).map((vectors) => ({
      vectors: vectors.map((components) => ({ components })),
    })),
  };
  return fc.tuple(byKind[kind]!, statuses).map(([v, s]) => create(ValueColumnSchema, { ...v, statuses: s }));
}

function feature(kind: Kind, window: number, index: number, withDefault: boolean): FeaturePlan {
  return create(FeaturePlanSchema, {
    name: `f${index}`,
    aggregate: 'last',
    window: { kind: { case: 'rolling', value: { lengthUs: BigInt(window) * 1_000_000n, paneUs: 1_000_000n } } },
    inputType: { kind, element: kind === Kind.LIST ? Kind.INT64 : Kind.UNSPECIFIED },
    resultType: {
      kind,
      element: kind === Kind.LIST ? Kind.INT64 : Kind.UNSPECIFIED,
      dimension: kind === Kind.VECTOR ? 2 : 0,
    },
    ...(withDefault && kind === Kind.INT64 ? { defaultValue: { kind: { case: 'int64' as const, value: -1n } } } : {}),
  });
}

const arbitraryCase = fc
  .array(
    fc.record({ kind: fc.constantFrom(...KINDS), window: fc.integer({ min: 1, max: 3 }), withDefault: fc.boolean() }),
    {
      minLength: 1,
      maxLength: 6,
    },
  )
  .chain((specs) => {
    const plan = create(ViewPlanSchema, {
      features: specs.map(({ kind, window, withDefault }, i) => feature(kind, window, i, withDefault)),
    });
    const { groups } = rowLayout(plan);
    const timelines = groups.map((group) =>
      fc
        .record({
          unitUs: fc.constantFrom(1n, 1_000_000n, 86_400_000_000n),
          firstStep: fc.bigInt({ min: -5n, max: 5n }),
          gaps: fc.array(fc.bigInt({ min: 1n, max: 4n }), { maxLength: 5 }),
          hasSteps: fc.boolean(),
        })
        .chain((shape) => {
          const gaps = shape.hasSteps ? shape.gaps : [];
          const count = shape.hasSteps ? gaps.length + 2 : 1;
          return fc
            .tuple(...group.map((index) => arbitraryColumn(specs[index]!.kind, count)))
            .map((columns) => ({ ...shape, gaps, columns }));
        }),
    );
    return fc
      .record({
        version: fc.bigInt({ min: 0n, max: 2n ** 53n - 1n }),
        logTimeUs: fc.bigInt({ min: -10n, max: 1_700_000_000_000_000n }),
        eventTimeUs: fc.option(fc.bigInt({ min: -10n, max: 1_700_000_000_000_000n }), { nil: undefined }),
        timelines: fc.tuple(...timelines),
      })
      .map(({ eventTimeUs, ...row }) => ({
        plan,
        // Steps lie after the log time in every row that compute makes; here they need not, so it is put before them.
        bytes: toBinary(
          RowSchema,
          create(RowSchema, {
            ...row,
            logTimeUs: -(10n ** 15n),
            ...(eventTimeUs === undefined ? {} : { eventTimeUs }),
          }),
        ),
      }));
  });

function check(plan: ViewPlan, bytes: Uint8Array, tUs: number): void {
  const layout = rowLayout(plan);
  const decoded = decodeRow(bytes, engineLayout(plan).types);
  const step = readStep(bytes, layout, tUs);
  expect(step.holdsAt(tUs)).toBe(true);
  const [from = 0, until = 0] = step.numbers;
  const times = [tUs, from, until - 1].filter((time) => Number.isFinite(time));
  for (const time of times) {
    const expected = valuesAt(decoded, time, engineLayout(plan));
    expected.forEach(({ value, status }, i) => {
      const { kind, substitute } = layout.features[i]!;
      if (status === ValueStatus.ABSENT && substitute !== undefined) {
        expect(step.statuses[i]).toBe(ValueStatus.DEFAULTED);
        expect(step.value(i)).toBe(-1);
        return;
      }
      expect(step.statuses[i]).toBe(status);
      if (status === ValueStatus.PRESENT) expect(scalarOf(kind, step.value(i))).toEqual(value);
    });
  }
  expect(step.version).toBe(decoded.version);
  expect(step.eventTimeUs).toBe(decoded.eventTimeUs ?? 0);
}

describe('readStep', () => {
  it('F2: agrees with the engine at every time, and holds as long as it says', () => {
    fc.assert(
      fc.property(
        arbitraryCase,
        fc.array(fc.integer({ min: -12_000_000, max: 30_000_000 }), { maxLength: 4 }),
        ({ plan, bytes }, times) => {
          const steps = decodeRow(bytes, engineLayout(plan).types).timelines.flatMap((timeline) => timeline.stepsUs);
          for (const time of [...times, ...steps.flatMap((s) => [s - 1, s, s + 1])]) check(plan, bytes, time);
        },
      ),
      { numRuns: 400 },
    );
  });

  it('shares between steps what is the same, and never what differs', () => {
    const plan = create(ViewPlanSchema, {
      features: [feature(Kind.INT64, 1, 0, true), feature(Kind.INT64, 1, 1, false), feature(Kind.STRING, 1, 2, false)],
    });
    const layout = rowLayout(plan);
    const read = (int64s: bigint[], statuses: ValueStatus[], string: string): ReturnType<typeof readStep> => {
      const columns = [
        { int64s: [int64s[0]!], statuses: statuses.slice(0, 1) },
        { int64s: [int64s[1]!], statuses: statuses.slice(1, 2) },
        { strings: [string] },
      ];
      const row = create(RowSchema, { timelines: [{ unitUs: 1n, columns }] });
      return readStep(toBinary(RowSchema, row), layout, 0);
    };
    const { PRESENT, ABSENT, DEFAULTED, OUT_OF_RANGE } = ValueStatus;
    const steps = [
      read([1n, 2n], [], 'a'),
      read([2n ** 60n, 2n], [ABSENT, OUT_OF_RANGE], 'b'),
      read([3n, 4n], [PRESENT, ABSENT], 'c'),
      read([5n, 2n ** 61n], [PRESENT, PRESENT], 'd'),
    ];
    const seen = steps.map((step) => [step.statuses, step.value(0), step.value(1), step.allPresent, step.bytes]);
    expect(seen).toEqual([
      [[PRESENT, PRESENT, PRESENT], 1, 2, true, 1],
      [[DEFAULTED, OUT_OF_RANGE, PRESENT], -1, 2, false, 1],
      [[PRESENT, ABSENT, PRESENT], 3, 4, false, 1],
      [[PRESENT, PRESENT, PRESENT], 5, 2n ** 61n, true, 25],
    ]);
    expect(steps.map((step) => Buffer.from(step.value(2) as Uint8Array).toString())).toEqual(['a', 'b', 'c', 'd']);
    expect(layout.allPresent).toEqual([PRESENT, PRESENT, PRESENT]);
    expect(layout.blank).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY, 0, 0, 0]);
  });

  it('refuses bytes that are no row of the plan', () => {
    const plan = create(ViewPlanSchema, { features: [feature(Kind.INT64, 1, 0, false)] });
    const layout = rowLayout(plan);
    const good = toBinary(RowSchema, create(RowSchema, { timelines: [{ unitUs: 1n, columns: [{ int64s: [5n] }] }] }));
    expect(readStep(good, layout, 0).value(0)).toBe(5);
    const bad = [
      good.subarray(0, good.length - 1),
      new Uint8Array(0),
      toBinary(RowSchema, create(RowSchema, { timelines: [{ columns: [{ strings: ['x'] }] }] })),
      toBinary(RowSchema, create(RowSchema, { timelines: [{ columns: [{ int64s: [5n] }, { int64s: [5n] }] }] })),
      toBinary(RowSchema, create(RowSchema, { timelines: [{}, {}] })),
      toBinary(
        RowSchema,
        create(RowSchema, { timelines: [{ unitUs: 1n, hasSteps: true, columns: [{ int64s: [5n] }] }] }),
      ),
    ];
    for (const bytes of bad)
      expect(() => readStep(bytes, layout, 10)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
  });

  it('an entity without a row counts 0, and has nothing or the default else', () => {
    const plan = create(ViewPlanSchema, {
      features: [
        create(FeaturePlanSchema, { name: 'a', aggregate: 'count', resultType: { kind: Kind.INT64 } }),
        feature(Kind.INT64, 1, 1, true),
        feature(Kind.STRING, 1, 2, false),
      ],
    });
    const { empty } = rowLayout(plan);
    expect([0, 1].map((i) => empty.value(i))).toEqual([0, -1]);
    expect(empty.statuses).toEqual([ValueStatus.PRESENT, ValueStatus.DEFAULTED, ValueStatus.ABSENT]);
    expect(empty.version).toBe(-1);
  });
});
