/**
 * Goal: the checker lets a row that says nothing pass where the truth has none, and never in the place of one that lives.
 * Method: a log by hand; the row of an entity that was erased in another log, beside the truth of this one.
 */
import {
  change,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  START_US,
  userKey,
  view,
  viewHex,
} from '@freshet/engine/testing/plans.testing.ts';
import { must } from '@freshet/kit/assert.ts';
import { encodeTick } from '@freshet/log/record-writer.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import { rowKeyOfText } from '@freshet/replica/row-key.ts';
import { keyBytes } from '@freshet/values/key.ts';
import { expect, it } from 'vitest';
import { PartitionHistories } from './histories.ts';
import { ReplicaCheck } from './replica-check.ts';
import { PartitionTruth } from './truth.ts';

const PLAN = view([feature('all', 'count', '', LIFETIME)]);
const VIEW_ID = viewHex(1);

/** The truth of a log of one user's event, if there is a user, and another record. */
function truthOf(user: number | undefined, last: Uint8Array): PartitionTruth {
  const truth = new PartitionTruth();
  const records = [
    encodeRecord({ case: 'definitions', value: definitions(1, [PLAN]) }),
    encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }),
    encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }),
    user === undefined ? encodeTick() : change({ user, sequence: 1 }),
    last,
  ];
  for (const [offset, record] of records.entries())
    expect(truth.take({ offset, logTimeUs: START_US + offset, record, crc: offset })).toBeUndefined();
  return truth;
}

/** What is wrong of a replica that has that row of user 1, and nothing else. */
function verdict(truth: PartitionTruth, row: { readonly version: number; readonly bytes: string }): string | undefined {
  const histories = new PartitionHistories(0);
  histories.all.push({ logId: 'a', truth });
  const table = {
    viewId: VIEW_ID,
    generation: 1,
    completeThroughUs: START_US + 4,
    rows: new Map([[rowKeyOfText(userKey(1)), row]]),
  };
  const replica = {
    shards: () => [{ shard: 0, logId: 'a', position: 5, completeThroughUs: START_US + 4 }],
    catalog: { views: new Map([['v', { name: 'v', plan: PLAN, tables: [table] }]]) },
  } as unknown as Replica;
  return new ReplicaCheck().check(replica, [histories], START_US + 4);
}

it('R1: a row that says nothing passes where there is none, and not in the place of one that lives', () => {
  const value = { entity: 'user', entityKey: keyBytes(userKey(1)), eraseId: 'e', routes: [1] };
  const erased = truthOf(1, encodeRecord({ case: 'erase', value }));
  const { version, bytes } = must(erased.row(VIEW_ID, userKey(1), 4));
  expect(verdict(erased, { version, bytes })).toBeUndefined();
  const empty = truthOf(undefined, encodeTick());
  expect(verdict(empty, { version, bytes })).toBeUndefined();
  const lives = truthOf(1, encodeTick());
  const row = must(lives.row(VIEW_ID, userKey(1), 3));
  expect(verdict(lives, row)).toBeUndefined();
  expect(verdict(lives, { version, bytes })).toContain('has version 4, which it never had');
  expect(verdict(empty, row)).toContain('has version 3, which it never had');
});
