/**
 * When a row says nothing any more: from a time on, every value of it is that of an entity that was never seen.
 *
 * Owns the predicate over decoded rows. A replica may drop such a row at any time and a shard its state (../state/
 * dead-state.ts): an entity without a row is answered the same, so nobody is told. Does not own when that is done.
 *
 * A count is 0 for an entity never seen, everything else ABSENT. A count that a ttl has ended is ABSENT, so its row stays.
 */
import type { ViewPlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { featureGroups } from '../state/view-plan.ts';
import type { DecodedColumn, DecodedRow } from './row-codec.ts';

/** By timeline and column of a view's rows, whether an entity never seen has a count of 0 there; else it is ABSENT. */
export type UnseenColumns = readonly (readonly boolean[])[];

/** What an entity never seen has in the columns of the view's rows. */
export function unseenColumns(view: ViewPlan): UnseenColumns {
  return featureGroups(view.features).map((group) =>
    group.map((feature) => must(view.features[feature]).aggregate === 'count'),
  );
}

/**
 * Whether all values of the row are, at the time (microseconds) and at every later one, those of an entity never seen.
 * A time before the row's log time is raised to that, as everywhere.
 */
export function isDeadRow(row: DecodedRow, unseen: UnseenColumns, timeUs: number): boolean {
  const atUs = Math.max(timeUs, row.logTimeUs);
  for (let t = 0; t < row.timelines.length; t++) {
    const { stepsUs, columns } = must(row.timelines[t]);
    const lastStepUs = stepsUs.at(-1);
    if (lastStepUs !== undefined && lastStepUs > atUs) return false;
    for (let c = 0; c < columns.length; c++) {
      if (!isUnseen(must(columns[c]), stepsUs.length, unseen[t]?.[c] === true)) return false;
    }
  }
  return true;
}

function isUnseen({ statuses, values }: DecodedColumn, index: number, isCount: boolean): boolean {
  const status = statuses?.[index] ?? ValueStatus.PRESENT;
  return isCount ? status === ValueStatus.PRESENT && values[index] === 0 : status === ValueStatus.ABSENT;
}
