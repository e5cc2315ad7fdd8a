/**
 * Goal: what a view that joins is when it goes and comes again, and to a fold that began late: no version is two rows (R1), and
 * nothing is joined with what is known by half. Method: short logs by hand, folded whole and from their middle on.
 */
import { create } from '@bufbuild/protobuf';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { JoinPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { describe, expect, it } from 'vitest';
import { ShardFold } from '../shard-fold.ts';
import { buildAll, catalog, define, priced, TABLE, tableRow, valuesOf, versionOf } from '../testing/joins.testing.ts';
import { encodeRecord, MemoryCold, type, userKey, viewHex } from '../testing/plans.testing.ts';
import { begin, newFold, Script, snapshotEnd } from '../testing/script.testing.ts';

describe('lives of a view that joins', () => {
  it('R1: no version of a view that comes again is one of its life before, since when its table was read anew', () => {
    const plan = priced();
    const log = new Script()
      .add(define(1, plan))
      .add(begin(2, 1))
      .add(tableRow('a', 10n))
      .add(snapshotEnd(2, 1))
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1, row: { s: 'a' } })
      .add(begin(2, 2))
      .add(tableRow('a', 70n, TABLE, 1, 2))
      .add(snapshotEnd(2, 2))
      .change({ sequence: 2, row: { s: 'a' } });
    const cold = new MemoryCold();
    const fold = newFold(cold);
    fold.fold(log.entries);
    expect([versionOf(fold), valuesOf(fold, plan)]).toEqual([10, [2n, 80n]]);
    log.add(encodeRecord({ case: 'definitions', value: { generation: 2n } })).add(define(3, plan));
    fold.fold(log.entries.slice(fold.position));
    buildAll(fold, log);
    // All of its events are joined with the table as it was read anew: other values, so another version.
    expect([versionOf(fold), valuesOf(fold, plan)]).toEqual([12, [2n, 140n]]);
    const commit = fold.takeCommit();
    cold.put(commit.puts);
    const again = newFold(cold, commit.meta);
    expect([versionOf(again), valuesOf(again, plan), again.digest()]).toEqual([12, [2n, 140n], fold.digest()]);
    again.fold(log.change({ sequence: 3, row: { s: 'a' } }).entries.slice(again.position));
    expect([versionOf(again), valuesOf(again, plan)]).toEqual([13, [3n, 210n]]);
  });

  it('R1: a view that waited for its table has no version from before, also when its source was emptied since', () => {
    const plan = priced([catalog()], SourceMode.MUTABLE);
    const log = new Script()
      .add(define(1, plan))
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1, row: { s: 'a' }, rowKey: 'x' })
      .add(encodeRecord({ case: 'truncate', value: { route: 1, generation: 1, lane: 0, sequence: { major: 2n } } }))
      .change({ sequence: 3, row: { s: 'a' }, rowKey: 'y' })
      .add(begin(2, 1))
      .add(tableRow('a', 10n))
      .add(snapshotEnd(2, 1));
    const fold = newFold();
    fold.fold(log.entries);
    buildAll(fold, log);
    expect([versionOf(fold), valuesOf(fold, plan)]).toEqual([8, [1n, 10n]]);
  });

  it('R1: a fold that does not know what its tables were offers no rows that another one has otherwise', () => {
    const plan = priced();
    const log = new Script()
      .add(define(1, plan))
      .add(begin(2, 1))
      .add(tableRow('a', 10n))
      .add(snapshotEnd(2, 1))
      .add(define(1, plan))
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1, row: { s: 'a' } });
    // The log of one begins behind the table.
    const cold = new MemoryCold();
    const whole = newFold();
    let late = new ShardFold({ cold, cacheBytes: 1e9, origin: 4 });
    const foldAll = (): void => {
      for (const fold of [whole, late]) {
        fold.fold(log.entries.slice(fold.position));
        buildAll(fold, log);
      }
    };
    foldAll();
    expect(late.waitingForRoutes()).toEqual([]);
    log
      .add(begin(2, 2))
      .add(tableRow('a', 70n, TABLE, 1, 2))
      .add(snapshotEnd(2, 2))
      .change({ sequence: 2, row: { s: 'a' } });
    foldAll();
    expect([versionOf(whole), valuesOf(whole, plan)]).toEqual([11, [2n, 80n]]);
    expect([late.completeViews(), late.waitingForRoutes()]).toEqual([[], [1]]);
    const commit = late.takeCommit();
    cold.put(commit.puts);
    late = newFold(cold, commit.meta);
    expect([late.completeViews(), late.waitingForRoutes()]).toEqual([[], [1]]);
    log
      .add(begin(1, 2))
      .change({ sequence: 1, generation: 2, row: { s: 'a' } })
      .add(snapshotEnd(1, 2));
    foldAll();
    expect(late.waitingForRoutes()).toEqual([]);
    for (const fold of [whole, late]) expect([versionOf(fold), valuesOf(fold, plan)]).toEqual([13, [1n, 70n]]);
    expect(late.row(viewHex(1), userKey(1))).toEqual(whole.row(viewHex(1), userKey(1)));
    expect(late.digest()).toEqual(whole.digest());
  });

  it('F1: a fold that learns of a view behind its table has the digest that others have, once its rows begin anew', () => {
    const plan = priced();
    const log = new Script()
      .add(define(1, plan))
      .add(begin(2, 1))
      .add(snapshotEnd(2, 1))
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1, row: { s: 'a' } })
      .add(begin(2, 2))
      .add(tableRow('a', 70n, TABLE, 1, 2))
      .add(snapshotEnd(2, 2))
      .add(define(1, plan))
      .add(begin(1, 2))
      .change({ sequence: 1, generation: 2, row: { s: 'a' } })
      .add(snapshotEnd(1, 2));
    const whole = newFold();
    const late = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9, origin: 6 });
    for (const fold of [whole, late]) {
      fold.fold(log.entries.slice(fold.position));
      buildAll(fold, log);
      expect([versionOf(fold), valuesOf(fold, plan)]).toEqual([11, [1n, 70n]]);
    }
    expect(late.digest()).toEqual(whole.digest());
  });

  it('R1: a fold that does not know what a table was that is joined with itself waits for one generation of it', () => {
    const join = create(JoinPlanSchema, {
      table: 'events',
      route: 1,
      columns: [{ name: 'price', column: { name: 'n', type: type(Kind.INT64) } }],
    });
    const plan = priced([join], SourceMode.MUTABLE);
    const log = new Script()
      .add(define(1, plan))
      .add(begin(1, 1))
      .change({ sequence: 1, row: { n: 1n }, rowKey: 'x' })
      .add(snapshotEnd(1, 1));
    const whole = newFold();
    const late = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9, origin: 4 });
    const read = (generation: number): void => {
      log
        .add(define(1, plan))
        .add(begin(1, generation))
        .change({ sequence: 1, generation, row: { n: BigInt(generation) }, rowKey: 'x' })
        .add(snapshotEnd(1, generation));
      for (const fold of [whole, late]) {
        fold.fold(log.entries.slice(fold.position));
        buildAll(fold, log);
      }
    };
    // What was before the second generation, with which its rows are joined, is not known; what is before the third is.
    read(2);
    expect([valuesOf(whole, plan), late.completeViews(), late.waitingForRoutes()]).toEqual([[1n, 1n], [], [1]]);
    read(3);
    expect([late.completeViews(), late.waitingForRoutes()]).toEqual([[viewHex(1)], []]);
    for (const fold of [whole, late]) expect([versionOf(fold), valuesOf(fold, plan)]).toEqual([10, [1n, 2n]]);
    expect(late.row(viewHex(1), userKey(1))).toEqual(whole.row(viewHex(1), userKey(1)));
    expect(late.digest()).toEqual(whole.digest());
  });

  it('a fold that begins late builds what it knows the tables of from their first generation on', () => {
    const plan = priced();
    const log = new Script()
      .add(encodeRecord({ case: 'tick', value: {} }))
      .add(define(1, plan))
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1, row: { s: 'a' } })
      .add(begin(2, 1))
      .add(tableRow('a', 7n))
      .add(snapshotEnd(2, 1));
    const fold = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9, origin: 1 });
    fold.fold(log.entries.slice(1));
    buildAll(fold, log);
    expect([versionOf(fold), valuesOf(fold, plan), fold.waitingForRoutes()]).toEqual([7, [1n, 7n], []]);
  });
});
