/**
 * Goal: memory stays within its budget, and nothing that is not safely stored is ever dropped (R4). Method: a fold over many
 * keys with a small budget, against the same fold with a large one; and the order of take, settle and evict.
 */
import { describe, expect, it } from 'vitest';
import { ShardFold } from '../shard-fold.ts';
import {
  change,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  START_US,
  TestLog,
  userKey,
  view,
  viewHex,
} from '../testing/plans.testing.ts';

const V1 = viewHex(1);
const KEYS = 500;

function log(events: number): TestLog {
  const plan = view([feature('count', 'count', '', LIFETIME), feature('last', 'last', 's', LIFETIME)]);
  const result = new TestLog();
  result.append(START_US, encodeRecord({ case: 'definitions', value: definitions(1, [plan]) }));
  result.append(START_US, encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
  result.append(START_US, encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
  for (let i = 0; i < events; i++) {
    const user = (i * 7919) % KEYS;
    result.append(START_US + i, change({ user, sequence: i + 1, eventTimeUs: START_US, row: { s: `value ${i}` } }));
  }
  return result;
}

describe('StateCache', () => {
  it('R4: eviction brings the fold under its budget, and never shows in a row', () => {
    const { entries } = log(3000);
    const budget = 40_000;
    const cold = new MemoryCold();
    const small = new ShardFold({ cold, cacheBytes: budget });
    const large = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9 });
    for (let i = 0; i < entries.length; i += 100) {
      small.fold(entries.slice(i, i + 100));
      large.fold(entries.slice(i, i + 100));
      cold.put(small.takeCommit().puts);
      expect(small.dirtyBytes).toBe(0);
      small.evict();
      expect(small.stats().cacheBytes).toBeLessThanOrEqual(budget);
    }
    expect(small.stats().keys).toBe(KEYS);
    expect(large.stats().cacheBytes).toBeGreaterThan(budget * 3);
    for (let user = 0; user < KEYS; user++) {
      expect(small.row(V1, userKey(user))).toEqual(large.row(V1, userKey(user)));
      expect(small.version(V1, userKey(user))).toBe(large.version(V1, userKey(user)));
    }
    // Reading every row kept none of them in memory.
    expect(small.stats().cacheBytes).toBeLessThanOrEqual(budget);
    expect(small.digest()).toEqual(large.digest());
  });

  it('keeps what is dirty, and what was taken until it is durable, whatever the budget', () => {
    const { entries } = log(50);
    const cold = new MemoryCold();
    const fold = new ShardFold({ cold, cacheBytes: 0 });
    fold.fold(entries);
    fold.evict();
    expect(fold.stats().cacheBytes).toBeGreaterThan(0);
    const { puts } = fold.takeCommit();
    // Before the commit is durable the cold store has nothing; all rows are still there.
    for (let i = 0; i < 50; i++) expect(fold.row(V1, userKey((i * 7919) % KEYS))).toBeDefined();
    expect(cold.loads).toBe(0);
    cold.put(puts);
    fold.evict();
    expect(fold.stats().cacheBytes).toBe(0);
    expect(fold.row(V1, userKey(0))).toBeDefined();
    expect(cold.loads).toBe(1);
  });

  it('F1: a row is that of the state as it is, though what was handed out for emission was dropped since', () => {
    const { entries } = log(KEYS + 1);
    const cold = new MemoryCold();
    const fold = new ShardFold({ cold, cacheBytes: 0 });
    fold.fold(entries.slice(0, -1));
    const [first] = fold.takeDirty().get(V1)!;
    cold.put(fold.takeCommit().puts);
    fold.evict();
    fold.fold(entries.slice(-1));
    expect(first).toBe(userKey(0));
    expect(fold.row(V1, userKey(0))!.version).toBe(entries.length - 1);
  });

  it('does not ask the cold store for keys that it cannot have', () => {
    const cold = new MemoryCold();
    const fold = new ShardFold({ cold, cacheBytes: 1e9 });
    fold.fold(log(200).entries);
    cold.put(fold.takeCommit().puts);
    fold.evict();
    expect(fold.row(V1, userKey(-1))).toBeUndefined();
    expect(cold.loads).toBe(0);
  });
});
