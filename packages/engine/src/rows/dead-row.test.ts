/**
 * Goal: a row counts as dead exactly from the time on at which all its values are those of an entity never seen. Method:
 * rows that the fold made, read before and after their last step; and the two cases in which they never are.
 */
import { must } from '@freshet/kit/assert.ts';
import { describe, expect, it } from 'vitest';
import { ShardFold } from '../shard-fold.ts';
import {
  change,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  rolling,
  SECOND_US,
  START_US,
  TestLog,
  tumbling,
  userKey,
  view,
  viewHex,
} from '../testing/plans.testing.ts';
import { isDeadRow, unseenColumns } from './dead-row.ts';
import { type DecodedRow, decodeRow } from './row-codec.ts';
import { rowLayout } from './row-reader.ts';

/** The row of user 1 after one event at START_US, and what an entity never seen has in it. */
function rowOf(features: Parameters<typeof view>[0]): { row: DecodedRow; dead: (afterS: number) => boolean } {
  const plan = view(features);
  const fold = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1_000_000 });
  const log = new TestLog();
  log.append(START_US, encodeRecord({ case: 'definitions', value: definitions(1, [plan]) }));
  log.append(START_US, encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
  log.append(START_US, encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
  log.append(START_US, change({ user: 1, sequence: 1, eventTimeUs: START_US, row: { n: 5n } }));
  fold.fold(log.entries);
  const row = decodeRow(must(fold.row(viewHex(1), userKey(1))).bytes, rowLayout(plan).types);
  const unseen = unseenColumns(plan);
  return { row, dead: (afterS) => isDeadRow(row, unseen, START_US + afterS * SECOND_US) };
}

describe('a row', () => {
  it('F2: is dead when its last pane has left its last window, and not before', () => {
    const { dead } = rowOf([
      feature('c', 'count', '', rolling(10, 1)),
      feature('s', 'sum', 'n', rolling(60, 1)),
      feature('t', 'max', 'n', tumbling(10, true)),
    ]);
    expect([0, 11, 20, 60].map(dead)).toEqual([false, false, false, false]);
    expect(dead(60.999999)).toBe(false);
    expect([61, 1000].map(dead)).toEqual([true, true]);
  });

  it('F2: is not dead between two windows of which one is yet to come', () => {
    const { dead } = rowOf([feature('t', 'count', '', tumbling(10, true))]);
    // An open window's events are shown when it has closed: the value is 0 until then, as if never seen.
    expect(dead(5)).toBe(false);
    expect([15, 20].map(dead)).toEqual([false, true]);
  });

  it('F2: with a lifetime feature is never dead', () => {
    const { dead } = rowOf([feature('c', 'count', '', LIFETIME), feature('s', 'sum', 'n', rolling(10, 1))]);
    expect(dead(1e6)).toBe(false);
  });

  it('F2: with a count that a ttl has ended is not dead, because that is ABSENT and not 0; a sum is', () => {
    expect(rowOf([feature('c', 'count', '', rolling(10, 1), { ttlS: 20 })]).dead(1e6)).toBe(false);
    const { dead } = rowOf([feature('s', 'sum', 'n', LIFETIME, { ttlS: 20 })]);
    expect([19, 20].map(dead)).toEqual([false, true]);
  });

  it('F2: a sum of 0 is not nothing', () => {
    const plan = view([feature('s', 'sum', 'n', LIFETIME)]);
    const { row } = rowOf(plan.features);
    const zero: DecodedRow = {
      ...row,
      timelines: row.timelines.map((timeline) => ({
        ...timeline,
        columns: timeline.columns.map((column) => ({ ...column, values: [0] })),
      })),
    };
    expect(isDeadRow(zero, unseenColumns(plan), START_US)).toBe(false);
  });
});
