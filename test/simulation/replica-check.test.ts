/**
 * Goal: the checker lets a row that says nothing pass where the truth has none, and never in the place of one that lives; and a
 * row that is gone by one history of the log does not bind what is shown by the next. Method: a log by hand; the row of an
 * entity that was erased in another log, beside the truth of this one; a fork of that log.
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

interface Row {
  readonly version: number;
  readonly bytes: string;
}

/** What is wrong of a replica that has that row of user 1, and nothing else. */
function verdict(truth: PartitionTruth, row: Row): string | undefined {
  const histories = new PartitionHistories(0);
  histories.all.push({ logId: 'a', truth });
  return look(new ReplicaCheck(), histories, row);
}

/** `throughUs`: what the replica says that it is complete through. */
function look(
  check: ReplicaCheck,
  histories: PartitionHistories,
  row: Row,
  throughUs = START_US + 4,
): string | undefined {
  const table = {
    viewId: VIEW_ID,
    generation: 1,
    completeThroughUs: throughUs,
    rows: new Map([[rowKeyOfText(userKey(1)), row]]),
  };
  const replica = {
    shards: () => [{ shard: 0, logId: 'a', position: 5, completeThroughUs: throughUs }],
    catalog: { views: new Map([['v', { name: 'v', plan: PLAN, tables: [table] }]]) },
  } as unknown as Replica;
  return check.check(replica, [histories], START_US + 4);
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

it('R2: a row that was gone by a history that the log has no more binds nobody by the next, one that was gone in both does', () => {
  const value = { entity: 'user', entityKey: keyBytes(userKey(1)), eraseId: 'e', routes: [1] };
  const old = truthOf(1, encodeRecord({ case: 'erase', value }));
  const gone = { version: 4, bytes: '' };
  const before = must(old.row(VIEW_ID, userKey(1), 3));
  // Before the row: nothing that the replica says tells which history it is in.
  const throughUs = START_US + 3;
  const after = (...truths: PartitionTruth[]): string | undefined => {
    const check = new ReplicaCheck();
    const histories = new PartitionHistories(0);
    for (const truth of [old, ...truths]) {
      histories.all.push({ logId: 'a', truth });
      expect(look(check, histories, gone, throughUs)).toBeUndefined();
    }
    return look(check, histories, before, throughUs);
  };
  const wentBack = 'went from version 4 back to 3';
  expect(after()).toContain(wentBack);
  // The log lost the last record, and has none there yet; or has another.
  const cut = new PartitionTruth();
  for (const entry of old.entries.slice(0, 4)) cut.take(entry);
  const fork = new PartitionTruth();
  for (const entry of old.entries.slice(0, 4)) fork.take(entry);
  fork.take({ ...must(old.entries[4]), record: encodeTick(), crc: 99 });
  expect(after(cut)).toBeUndefined();
  expect(after(fork)).toBeUndefined();
  expect(after(cut, fork)).toBeUndefined();
  // Nobody looked before the log was cut, and then it goes on with a row that only this history has.
  const short = new PartitionTruth();
  for (const entry of old.entries.slice(0, 3)) short.take(entry);
  const check = new ReplicaCheck();
  const histories = new PartitionHistories(0);
  histories.all.push({ logId: 'a', truth: old }, { logId: 'a', truth: short });
  expect(look(check, histories, gone, throughUs)).toBeUndefined();
  const record = change({ user: 1, sequence: 1, eventTimeUs: START_US - 1 });
  short.take({ offset: 3, logTimeUs: START_US + 3, record, crc: 98 });
  // It has come to the same version before the replica hears of it.
  short.take({ offset: 4, logTimeUs: START_US + 4, record: encodeTick(), crc: 97 });
  expect(look(check, histories, gone, throughUs)).toBeUndefined();
  const only = must(short.row(VIEW_ID, userKey(1), 3));
  expect(only.bytes).not.toBe(before.bytes);
  expect(look(check, histories, only, throughUs)).toBeUndefined();
  const same = new PartitionTruth();
  for (const entry of old.entries) same.take(entry);
  expect(after(same)).toContain(wentBack);
});
