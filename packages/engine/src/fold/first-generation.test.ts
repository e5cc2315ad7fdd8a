/**
 * Goal: R3, nothing half is ever shown: a view is complete when the first snapshot of its route is whole, and not before.
 * Method: cases, over commits and restarts. Random histories are in the differential suites.
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

describe('the first generation of a route', () => {
  const log = new Script().add(define(1, COUNTS)).add(begin(1, 1)).change({ sequence: 1, lane: 1 });
  log.change({ sequence: 9 }).change({ sequence: 2, lane: 1 }).add(snapshotEnd(1, 1)).change({ sequence: 10 });

  it('R3: has no view complete before its snapshot has ended, over restarts too; then it is at once', () => {
    const cold = new MemoryCold();
    let fold = newFold(cold);
    for (let offset = 0; offset < 6; offset++) {
      expect([fold.completeViews(), fold.row(V1, userKey(1)), fold.takeDirty()]).toEqual([[], undefined, new Map()]);
      fold.fold([log.entries[offset]!]);
      const { puts, meta, changed } = fold.takeCommit();
      expect([fold.builds(), changed]).toEqual([[], new Map()]);
      cold.put(puts);
      fold = newFold(cold, meta);
    }
    expect([fold.completeViews(), fold.completeAt(V1), value(fold, V1)]).toEqual([[V1], 6, 3n]);
    fold.fold(log.entries.slice(6));
    expect(fold.takeDirty()).toEqual(new Map([[V1, new Set([userKey(1)])]]));
    const whole = newFold();
    whole.fold(log.entries);
    expect(fold.digest()).toEqual(whole.digest());
  });

  it('R3: nor a view that definitions bring while it comes in, though its build is done', () => {
    const fold = newFold();
    const late = new Script().add(begin(1, 1)).change({ sequence: 1, lane: 1 }).add(define(1, COUNTS));
    fold.fold(late.entries);
    fold.foldBuild(V1, late.entries);
    expect([fold.builds(), fold.incompleteViews(), fold.row(V1, userKey(1))]).toEqual([[], [V1], undefined]);
    fold.fold(late.add(snapshotEnd(1, 1)).entries.slice(3));
    expect([fold.completeViews(), value(fold, V1)]).toEqual([[V1], 1n]);
  });

  it('R3: is not shown when another one begins before it is whole', () => {
    const fold = newFold();
    const again = new Script().add(define(1, COUNTS)).add(begin(1, 1)).change({ sequence: 1, lane: 1 });
    again.add(begin(1, 2)).add(snapshotEnd(1, 1)).change({ sequence: 1, lane: 1, generation: 2 });
    fold.fold(again.entries);
    expect([fold.incompleteViews(), fold.successors()]).toEqual([[V1], []]);
    fold.fold(again.add(snapshotEnd(1, 2)).entries.slice(6));
    expect([fold.completeViews(), fold.generationOf(V1), value(fold, V1)]).toEqual([[V1], 2, 1n]);
  });
});
