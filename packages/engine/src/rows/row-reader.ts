/**
 * Reads a decoded row at a time: which values hold then (F2).
 *
 * Owns the choice of the step. Does not own defaults: a value that is ABSENT here may have a default that the reader
 * of a service puts in its place.
 */
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import type { Raw } from '../aggregates/aggregate.ts';
import { featureGroups } from '../state/view-plan.ts';
import type { ColumnTypes, DecodedColumn, DecodedRow } from './row-codec.ts';

/** Where the features of a view are in its rows. */
export interface RowLayout {
  /** By feature, in plan order: which column of which timeline. */
  readonly slots: readonly { readonly timeline: number; readonly column: number }[];
  /** By timeline and column. */
  readonly types: ColumnTypes;
}

export interface FeatureValue {
  /** Null unless the status is PRESENT. */
  readonly value: Scalar;
  readonly status: ValueStatus;
}

/** The layout of a view's rows. */
export function rowLayout(view: ViewPlan): RowLayout {
  const groups = featureGroups(view.features);
  const slots: { timeline: number; column: number }[] = [];
  groups.forEach((group, timeline) => {
    group.forEach((feature, column) => {
      slots[feature] = { timeline, column };
    });
  });
  const types = groups.map((group) => group.map((index): ValueType => must(must(view.features[index]).resultType)));
  return { slots, types };
}

/** The index of the value that holds at the time: how many steps are at or before it. */
export function stepAt(stepsUs: readonly number[], timeUs: number): number {
  let low = 0;
  let high = stepsUs.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((stepsUs[middle] as number) <= timeUs) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The values at time T, by timeline and column, or, with a layout, by feature in plan order. A T before the row's log
 * time is raised to it.
 */
export function valuesAt(row: DecodedRow, tUs: number): FeatureValue[][];
export function valuesAt(row: DecodedRow, tUs: number, layout: RowLayout): FeatureValue[];
export function valuesAt(row: DecodedRow, tUs: number, layout?: RowLayout): FeatureValue[] | FeatureValue[][] {
  const timeUs = Math.max(tUs, row.logTimeUs);
  const byTimeline = row.timelines.map(({ stepsUs, columns }) => {
    const step = stepAt(stepsUs, timeUs);
    return columns.map((column) => valueAt(column, step));
  });
  if (layout === undefined) return byTimeline;
  return layout.slots.map(({ timeline, column }) => must(byTimeline[timeline]?.[column]));
}

/** One value of a column. */
export function valueAt(column: DecodedColumn, index: number): FeatureValue {
  const status = (column.statuses?.[index] ?? ValueStatus.PRESENT) as ValueStatus;
  if (status !== ValueStatus.PRESENT) return { value: null, status };
  return { value: scalarOf(column.kind, must(column.values[index]), column.element), status };
}

/** A value in the form that everything outside the engine has: integers as bigints, in lists too. */
export function scalarOf(kind: Kind, value: Raw, element: Kind = Kind.UNSPECIFIED): Scalar {
  if (kind === Kind.INT64 || kind === Kind.TIMESTAMP) return typeof value === 'number' ? BigInt(value) : value;
  if (kind === Kind.LIST && Array.isArray(value)) return value.map((item: Raw) => scalarOf(element, item));
  return value;
}
