/**
 * Reads an encoded row by what proto/freshet/type/v1/row.proto says, with protobuf-es, independently of the engine's own
 * reader, and checks that the row is well formed.
 *
 * Owns: which value of a timeline holds at a time, the grouping of features into timelines, the shape of value columns.
 */
import { fromBinary } from '@bufbuild/protobuf';
import type { FeaturePlan, ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { type Row, RowSchema, type Timeline } from '@freshet/gen/freshet/type/v1/row_pb.ts';
import { Kind, type ValueColumn, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { type OracleAnswer, scalarOf } from '../oracle/oracle.ts';
import { show } from './compare.ts';

const LISTS = {
  [Kind.INT64]: 'int64s',
  [Kind.DOUBLE]: 'doubles',
  [Kind.DECIMAL]: 'decimals',
  [Kind.STRING]: 'strings',
  [Kind.BOOL]: 'bools',
  [Kind.BYTES]: 'bytes',
  [Kind.TIMESTAMP]: 'timestamps',
  [Kind.LIST]: 'lists',
  [Kind.VECTOR]: 'vectors',
} as const;

/** A decoded row that was found well formed. */
export interface RowView {
  readonly version: number;
  readonly logTimeUs: bigint;
  readonly eventTimeUs: bigint | undefined;
  /** The times of all steps, microseconds, ascending. */
  readonly steps: readonly bigint[];
  /** One answer per feature of the view, in plan order. */
  answersAt(tUs: bigint): OracleAnswer[];
}

/** Decodes and checks. Throws when the row is not as the contract says. */
export function viewRow(view: ViewPlan, bytes: Uint8Array): RowView {
  const row = fromBinary(RowSchema, bytes);
  const groups = groupsOf(view);
  assert(row.timelines.length === groups.length, `${row.timelines.length} timelines for ${groups.length} groups`);
  const timelines = groups.map((features, i) => ({
    features,
    timeline: must(row.timelines[i]),
    steps: [] as bigint[],
  }));
  for (const entry of timelines) {
    entry.steps = stepsOf(row, entry.timeline);
    checkColumns(
      entry.timeline,
      entry.features.map((feature) => must(view.features[feature])),
      entry.steps.length + 1,
    );
  }
  return {
    version: Number(row.version),
    logTimeUs: row.logTimeUs,
    eventTimeUs: row.eventTimeUs,
    steps: [...new Set(timelines.flatMap(({ steps }) => steps))].sort((a, b) => Number(a - b)),
    answersAt: (tUs) => {
      const answers: OracleAnswer[] = [];
      for (const { features, timeline, steps } of timelines) {
        const index = steps.filter((step) => step <= tUs).length;
        features.forEach((feature, i) => {
          answers[feature] = answerOf(must(view.features[feature]), must(timeline.columns[i]), index);
        });
      }
      return answers;
    },
  };
}

/** Features with the same window and ttl share a timeline: groups by first feature, features in plan order. */
function groupsOf(view: ViewPlan): number[][] {
  const groups = new Map<string, number[]>();
  view.features.forEach(({ window, ttlUs }, index) => {
    const name = show([window?.kind, ttlUs]);
    groups.set(name, [...(groups.get(name) ?? []), index]);
  });
  return [...groups.values()];
}

function stepsOf(row: Row, timeline: Timeline): bigint[] {
  if (!timeline.hasSteps) {
    assert(timeline.gaps.length === 0, 'a timeline without steps has gaps');
    return [];
  }
  assert(timeline.unitUs > 0n, 'a timeline with steps has no unit');
  let unit = timeline.firstStep;
  const steps = [unit];
  for (const gap of timeline.gaps) {
    assert(gap >= 1n, 'steps do not ascend');
    unit += gap;
    steps.push(unit);
  }
  const times = steps.map((step) => step * timeline.unitUs);
  assert(must(times[0]) > row.logTimeUs, `the first step ${times[0]} is not after the row's log time ${row.logTimeUs}`);
  return times;
}

function checkColumns(timeline: Timeline, features: readonly FeaturePlan[], values: number): void {
  assert(timeline.columns.length === features.length, 'a timeline has not one column per feature');
  timeline.columns.forEach((column, i) => {
    const feature = must(features[i]);
    const used = listName(must(feature.resultType));
    for (const name of Object.values(LISTS)) {
      const length = name === used ? values : 0;
      assert(column[name].length === length, `${feature.name}: ${column[name].length} ${name} instead of ${length}`);
    }
    assert(
      [0, values].includes(column.statuses.length),
      `${feature.name}: ${column.statuses.length} statuses for ${values} values`,
    );
  });
}

function answerOf(feature: FeaturePlan, column: ValueColumn, index: number): OracleAnswer {
  const given = column.statuses[index] ?? ValueStatus.PRESENT;
  const status = given === ValueStatus.UNSPECIFIED ? ValueStatus.PRESENT : given;
  if (status === ValueStatus.ABSENT || status === ValueStatus.OUT_OF_RANGE) return { status, value: null };
  return { status, value: columnValue(must(feature.resultType), column, index) };
}

/** The value at an index of a column of the type. */
export function columnValue(type: ValueType, column: ValueColumn, index: number): Scalar {
  if (type.kind === Kind.LIST) return must(column.lists[index]).elements.map(scalarOf);
  if (type.kind === Kind.VECTOR) return Float32Array.from(must(column.vectors[index]).components);
  return must(column[listName(type)][index]) as Scalar;
}

function listName(type: ValueType): (typeof LISTS)[keyof typeof LISTS] {
  return must(Object.entries(LISTS).find(([kind]) => Number(kind) === type.kind)?.[1], `no list for kind ${type.kind}`);
}
