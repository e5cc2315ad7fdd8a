/**
 * Goal: an Erase record leaves a key as if it had never been seen, in every view that is meant and in no other, whatever
 * was folded, evicted, built or taken out of the log before; and what nothing is in can be dropped without a trace in a
 * value. Method: small logs against folds in which the key's events never were; a random history against one whose
 * records of the key were replaced by fillers.
 */

import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { ErasedSchema, LogRecordSchema, Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { EntityPlanSchema, type ViewPlan, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { encodeErased } from '@freshet/log/erased-record.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isDeadRow, unseenColumns } from '../rows/dead-row.ts';
import { decodeRow } from '../rows/row-codec.ts';
import { rowLayout, valuesAt } from '../rows/row-reader.ts';
import type { FoldEntry, ShardFold } from '../shard-fold.ts';
import { encodeRecord, feature, LIFETIME, MemoryCold, rolling, userKey, view } from '../testing/plans.testing.ts';
import {
  begin,
  COUNTS,
  define,
  newFold,
  Script,
  SUMS,
  snapshotEnd,
  started,
  V1,
  V2,
} from '../testing/script.testing.ts';

function erase(user: number, routes: number[] = [1], entity = 'user'): Uint8Array {
  const entityKey = Buffer.from(userKey(user), 'latin1');
  return encodeRecord({ case: 'erase', value: { entity, entityKey, routes, eraseId: 'e1' } });
}

function count(fold: ShardFold, viewId: string, user = 1): unknown {
  const row = fold.row(viewId, userKey(user));
  return row === undefined ? undefined : valuesAt(decodeRow(row.bytes), fold.logTimeUs)[0]![0]!.value;
}

/** The log as it is once the key's records below the erase were taken out of it. */
function withoutRecords(entries: readonly FoldEntry[], user: number, below: number): FoldEntry[] {
  return entries.map((entry) => {
    const isOne = entry.offset < below && Buffer.from(entry.record).includes(Buffer.from(userKey(user), 'latin1'));
    if (!isOne) return entry;
    const { kind } = fromBinary(LogRecordSchema, entry.record);
    const { route = 0, generation = 0, lane = 0, sequence } = kind.case === 'change' ? kind.value : {};
    const place = { route, generation, lane, ...(sequence === undefined ? {} : { sequence }) };
    const kept = toBinary(ErasedSchema, create(ErasedSchema, place));
    return { ...entry, record: encodeErased(entry.record.length, entry.crc, kept) };
  });
}

describe('an Erase record', () => {
  it('leaves a dead row at its own version, also for a key that had none, and touches no other key', () => {
    const fold = newFold();
    const log = started(COUNTS, SUMS)
      .change({ sequence: 1, row: { n: 5n } })
      .change({ sequence: 2, user: 2, row: { n: 6n } });
    fold.fold(log.add(erase(1)).add(erase(9)).entries);
    for (const plan of [COUNTS, SUMS]) {
      const viewId = Buffer.from(plan.viewId).toString('hex');
      for (const [user, version] of [
        [1, 5],
        [9, 6],
      ] as const) {
        const row = decodeRow(fold.row(viewId, userKey(user))!.bytes, rowLayout(plan).types);
        expect(row.version).toBe(version);
        expect(row.eventTimeUs).toBeUndefined();
        expect(isDeadRow(row, unseenColumns(plan), fold.logTimeUs)).toBe(true);
      }
    }
    expect([count(fold, V1, 2), count(fold, V2, 2)]).toEqual([1n, 6n]);
    expect(fold.takeDirty().get(V1)).toEqual(new Set([1, 2, 9].map(userKey)));
    fold.fold(log.change({ sequence: 3, row: { n: 7n } }).entries.slice(7));
    expect([count(fold, V1), count(fold, V2)]).toEqual([1n, 7n]);
  });

  it('means views of the entity by name, and those that fold a route it names, and no others', () => {
    const other = view([feature('all', 'count', '', LIFETIME)], { id: 2, route: 2 });
    const named = { ...view([feature('all', 'count', '', LIFETIME)], { id: 3, route: 3 }), entity: undefined };
    const user = { ...named, entity: { $typeName: 'freshet.type.v1.EntityPlan' as const, name: 'user', key: [] } };
    const fold = newFold();
    const log = new Script().add(define(1, COUNTS, other, user));
    for (const route of [1, 2, 3]) log.add(begin(route, 1)).add(snapshotEnd(route, 1)).change({ sequence: 1, route });
    fold.fold(log.add(erase(1, [1])).entries);
    expect([V1, V2, '03'.repeat(16)].map((id) => count(fold, id))).toEqual([0n, 1n, 0n]);
  });

  it('takes the rows of a mutable source out with the key: what comes of them later changes nothing', () => {
    const fold = newFold();
    const plan = view([feature('all', 'count', '', LIFETIME)], { mode: SourceMode.MUTABLE });
    const log = started(plan);
    // More than a leaf takes.
    for (let i = 0; i < 200; i++) log.change({ sequence: i + 1, rowKey: `row-${i}` });
    log.add(erase(1)).change({ sequence: 300, rowKey: 'row-7', operation: Operation.DELETE });
    fold.fold(log.change({ sequence: 301, rowKey: 'row-8' }).entries);
    expect(count(fold, V1)).toBe(1n);
    fold.fold(log.add(erase(1)).entries.slice(fold.position));
    expect(fold.forget(userKey(1))).toEqual([]);
    expect(fold.takeCommit().puts.filter(([, , state]) => state !== undefined)).toEqual([]);
  });

  it('F1: that a build meets in the shadow empties what the build had folded', () => {
    const log = new Script()
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1 })
      .change({ sequence: 2, user: 2 })
      .add(erase(1));
    log.change({ sequence: 3 }).add(define(1, COUNTS));
    const fold = newFold();
    fold.fold(log.entries);
    fold.foldBuild(V1, log.entries);
    expect([count(fold, V1), count(fold, V1, 2)]).toEqual([1n, 1n]);
  });

  it('leaves nothing of the key in a view that is being built, whether it had read rows of it or not', () => {
    const log = new Script()
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1))
      .change({ sequence: 1 })
      .change({ sequence: 2, user: 2 });
    log.add(erase(1)).add(erase(3)).change({ sequence: 3, user: 2 }).add(define(1, COUNTS));
    // Committed in between, once the build has read rows of the key, and all at once.
    for (const cut of [3, log.entries.length]) {
      const cold = new MemoryCold();
      const fold = newFold(cold);
      fold.fold(log.entries);
      for (const entries of [log.entries.slice(0, cut), log.entries.slice(cut)]) {
        if (entries.length > 0) fold.foldBuild(V1, entries);
        cold.put(fold.takeCommit().puts);
        fold.evict();
      }
      expect([...fold.keys(V1)]).toEqual([userKey(2)]);
      expect(fold.row(V1, userKey(1))).toBeUndefined();
      expect(count(fold, V1, 2)).toBe(2n);
    }
  });

  it('F1: means views by the name that their entity has in the definitions in force, before and after a restart alike', () => {
    // Of another name, and of its own: a view's id says neither.
    const named = (plan: ViewPlan, name: string): ViewPlan =>
      create(ViewPlanSchema, { ...plan, entity: create(EntityPlanSchema, { name }) });
    const log = started(named(COUNTS, 'user'), named(SUMS, 'client'))
      .change({ sequence: 1, row: { n: 5n } })
      .add(define(2, named(COUNTS, 'client'), named(SUMS, 'user')));
    const running = newFold();
    running.fold(log.entries);
    const cold = new MemoryCold();
    const { puts, meta } = running.takeCommit();
    cold.put(puts);
    const restarted = newFold(cold, meta);
    const at = log.entries.length;
    log.add(erase(1, [], 'user'));
    for (const fold of [running, restarted]) {
      fold.fold(log.entries.slice(at));
      expect(count(fold, V1)).toBe(1n);
      expect(decodeRow(fold.row(V2, userKey(1))!.bytes).version).toBe(at);
    }
    expect(running.digest()).toEqual(restarted.digest());
  });

  it('F1: leaves the same rows, versions and digest whether the records were there or had been taken out', () => {
    const plan = view([feature('all', 'count', '', LIFETIME), feature('recent', 'sum', 'n', rolling(60, 10))]);
    const step = fc.oneof(
      {
        weight: 6,
        arbitrary: fc.record({
          user: fc.integer({ min: 1, max: 3 }),
          n: fc.bigInt(-5n, 5n),
          again: fc.constantFrom(0, 0, 0, 1, 3),
        }),
      },
      { weight: 1, arbitrary: fc.constant('erase' as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(5), (steps, every) => {
        const log = started(plan);
        let last = -1;
        steps.forEach((one, i) => {
          if (one === 'erase') {
            last = log.entries.length;
            log.add(erase(1), i);
            // Rows that were sent before are sent again by a source that started anew.
          } else log.change({ sequence: Math.max(1, i + 1 - one.again), user: one.user, row: { n: one.n } }, i);
        });
        const rows = (entries: readonly FoldEntry[], forgets: boolean): unknown[] => {
          const cold = new MemoryCold();
          const fold = newFold(cold, undefined, 0);
          for (const entry of entries) {
            fold.fold([entry]);
            if (entry.offset % (every + 1) !== 0) continue;
            cold.put(fold.takeCommit().puts);
            fold.evict();
          }
          const found = [1, 2, 3].map((user) => Buffer.from(fold.row(V1, userKey(user))?.bytes ?? []).toString('hex'));
          if (forgets) for (const user of [1, 2, 3]) fold.forget(userKey(user));
          return [...found, Buffer.from(fold.digest()).toString('hex')];
        };
        expect(rows(withoutRecords(log.entries, 1, last), true)).toEqual(rows(log.entries, false));
      }),
      { numRuns: 150 },
    );
  });
});

describe('a key in which nothing is', () => {
  it('is swept where states do not die of age too, all being gone through once, and again when a commit was restored', () => {
    const cold = new MemoryCold();
    let fold = newFold(cold);
    let meta: Uint8Array | undefined;
    const commit = (): void => {
      const taken = fold.takeCommit();
      cold.put(taken.puts);
      meta = taken.meta.slice();
      fold.evict();
    };
    // As sweep-loop.ts does; the commit is at the position.
    const sweep = (): number => {
      const from = fold.position;
      const freed = fold.sweepable().map((name) => [name, fold.sweep(name, [...cold.scan(name, undefined)])] as const);
      for (const [name] of freed) fold.swept(name, from);
      return freed.reduce((sum, [, count]) => sum + count, 0);
    };
    const log = started(COUNTS).change({ sequence: 1 }).change({ sequence: 2, user: 2 });
    fold.fold(log.entries);
    fold.takeDirty();
    commit();
    const name = fold.instanceOf(V1)!;
    expect(fold.sweepable()).toEqual([]);

    const old = { page: [...cold.scan(name, undefined)], from: fold.position };
    fold.fold(log.add(erase(1)).entries.slice(fold.position));
    // Pages from before the erase was committed do not show it, and what waits to be told is looked at another time.
    expect(fold.sweep(name, old.page)).toBe(0);
    fold.swept(name, old.from);
    commit();
    expect(sweep()).toBe(0);
    fold.takeDirty();
    fold.fold(log.change({ sequence: 3, user: 2 }).entries.slice(fold.position));
    fold.takeDirty();
    commit();
    const erased = { cold: cold.copy(), meta };
    expect(sweep()).toBe(1);
    commit();
    expect([...cold.states.get(name)!.keys()]).toEqual([userKey(2)]);
    expect(fold.sweepable()).toEqual([]);
    const digest = fold.digest();

    // The process ended before the sweep came by.
    cold.states.clear();
    cold.states.set(name, erased.cold.states.get(name)!);
    fold = newFold(cold, erased.meta);
    expect(sweep()).toBe(1);
    commit();
    expect([...cold.states.get(name)!.keys()]).toEqual([userKey(2)]);
    expect([fold.sweepable(), fold.digest(), count(fold, V1, 2)]).toEqual([[], digest, 2n]);
  });

  it('F1: can be dropped at any time between commits: it is deleted, counted, and comes again as a new key would', () => {
    const step = fc.constantFrom('event', 'erase', 'forget', 'commit', 'evict');
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const cold = new MemoryCold();
        const fold = newFold(cold, undefined, 0);
        const plain = newFold();
        const log = started(COUNTS).change({ sequence: 1, user: 2 });
        let taken = false;
        const settle = (): void => {
          if (taken) fold.evict();
          taken = false;
        };
        fold.fold(log.entries);
        plain.fold(log.entries);
        let stored = 0;
        steps.forEach((one, i) => {
          if (one === 'event' || one === 'erase') {
            const at = log.entries.length;
            if (one === 'event') log.change({ sequence: i + 2 }, i);
            else log.add(erase(1), i);
            fold.fold(log.entries.slice(at));
            plain.fold(log.entries.slice(at));
          } else if (one === 'forget') {
            const left = fold.forget(userKey(1));
            expect(left).toEqual((count(plain, V1) ?? 0n) === 0n ? [] : [V1]);
          } else if (one === 'commit') {
            settle();
            const { puts } = fold.takeCommit();
            for (const [, key, state, replaced] of puts) {
              if (key !== userKey(1)) continue;
              expect(replaced !== -1, 'whether a stored state is replaced').toBe(stored === 1);
              stored = state === undefined ? 0 : 1;
            }
            cold.put(puts);
            taken = true;
          } else settle();
          expect(count(fold, V1) ?? 0n).toEqual(count(plain, V1) ?? 0n);
        });
        settle();
        cold.put(fold.takeCommit().puts);
        fold.evict();
        const keys = [...fold.keys(V1)];
        expect(fold.stats().keys).toBe(keys.length);
      }),
      { numRuns: 300 },
    );
  });
});
