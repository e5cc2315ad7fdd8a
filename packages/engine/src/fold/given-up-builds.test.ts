/**
 * Goal: a build that cannot go on keeps nothing of what it had folded, in which somebody who is erased meanwhile would stay, and is
 * right if it begins anew. Method: short logs by hand, of which one record is damaged or the rest is said to be gone.
 */
import { describe, expect, it } from 'vitest';
import { decodeRow } from '../rows/row-codec.ts';
import { valuesAt } from '../rows/row-reader.ts';
import type { ShardFold } from '../shard-fold.ts';
import { MemoryCold, userKey } from '../testing/plans.testing.ts';
import { begin, COUNTS, define, newFold, Script, snapshotEnd, V1 } from '../testing/script.testing.ts';

function value(fold: ShardFold, viewId: string): unknown {
  const row = fold.row(viewId, userKey(1));
  return row === undefined ? undefined : valuesAt(decodeRow(row.bytes), fold.logTimeUs)[0]![0]!.value;
}

describe('a build that cannot go on', () => {
  it('keeps nothing when it met a record that cannot be read', () => {
    const fold = newFold();
    const log = new Script().add(begin(1, 1)).change({ sequence: 1 }).change({ sequence: 2 }).add(define(1, COUNTS));
    const { entries } = log;
    fold.fold(entries);
    fold.foldBuild(V1, entries.slice(0, 2));
    expect(fold.forget(userKey(1))).toEqual([V1]);
    fold.foldBuild(V1, [{ ...entries[2]!, record: entries[2]!.record.slice(0, -3) }]);
    expect(fold.builds()).toEqual([{ viewId: V1, position: 2, broken: expect.stringContaining('record 2') }]);
    expect([fold.forget(userKey(1)), fold.takeCommit().puts]).toEqual([[], []]);
  });

  it('keeps nothing when the log no longer has the rest, and would be right if it were fed from its beginning', () => {
    const cold = new MemoryCold();
    let fold = newFold(cold);
    const log = new Script().add(begin(1, 1)).add(snapshotEnd(1, 1)).change({ sequence: 1 }).change({ sequence: 2 });
    const { entries } = log.add(define(1, COUNTS));
    fold.fold(entries);
    fold.foldBuild(V1, entries.slice(0, 3));
    const before = fold.instanceOf(V1);
    fold.restartBuild(V1);
    expect([fold.forget(userKey(1)), fold.instances().includes(before!)]).toEqual([[], false]);
    expect(fold.builds()).toEqual([{ viewId: V1, position: 0, broken: undefined }]);
    // There is nothing to be taken back: it stays as it is.
    const empty = fold.instanceOf(V1);
    fold.restartBuild(V1);
    expect(fold.instanceOf(V1)).toBe(empty);
    const { puts, meta } = fold.takeCommit();
    cold.put(puts);
    fold = newFold(cold, meta);
    fold.foldBuild(V1, entries);
    expect([fold.completeViews(), value(fold, V1)]).toEqual([[V1], 2n]);
    fold.restartBuild(V1);
    expect(value(fold, V1)).toBe(2n);
  });
});
