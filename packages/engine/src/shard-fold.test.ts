/**
 * Goal: each kind of record does what the design says, and nothing else (F1, F3). Method: cases by kind of record.
 * Random histories are in shard-fold.fuzz.test.ts.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { decodeRow } from './rows/row-codec.ts';
import { valuesAt } from './rows/row-reader.ts';
import { type FoldEntry, ShardFold } from './shard-fold.ts';
import {
  change,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  rolling,
  START_US,
  type,
  userKey,
  view,
  viewHex,
} from './testing/plans.testing.ts';
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
} from './testing/script.testing.ts';

/** The first feature's present value. */
function value(fold: ShardFold, viewId: string, user = 1): unknown {
  const row = fold.row(viewId, userKey(user));
  return row === undefined ? undefined : valuesAt(decodeRow(row.bytes), fold.logTimeUs)[0]![0]!.value;
}

describe('changes', () => {
  it('are folded into every view of their route, with the offset as version', () => {
    const fold = newFold();
    const log = started(COUNTS, SUMS)
      .change({ sequence: 1, row: { n: 5n } })
      .change({ sequence: 2, row: { n: 6n } });
    fold.fold(log.entries);
    expect([value(fold, V1), value(fold, V2)]).toEqual([2n, 11n]);
    expect([fold.version(V1, userKey(1)), fold.row(V1, userKey(1))?.version]).toEqual([4, 4]);
    expect(fold.row(V1, userKey(9))).toBeUndefined();
    expect(fold.version(V1, userKey(9))).toBeUndefined();
    expect(fold.row(viewHex(7), userKey(1))).toBeUndefined();
    expect(fold.takeDirty()).toEqual(new Map([V1, V2].map((id) => [id, new Set([userKey(1)])])));
    expect(fold.takeDirty()).toEqual(new Map());
    expect(fold).toMatchObject({ position: 5, logTimeUs: START_US, recordCrc: 28, generation: 1 });
    expect(fold.completeViews()).toEqual([V1, V2]);
  });

  it('F3: that cannot be read end the fold: nothing is folded or kept after them', () => {
    const first = view([feature('all', 'count', '', LIFETIME)], { id: 1 });
    const texts = view([feature('last', 'last', 's', LIFETIME)], { id: 2 });
    const log = started(first, texts)
      .change({ sequence: 1, row: { s: 'AAAA' } })
      .change({ sequence: 2, row: { s: 'ZZZZ' } });
    const entries = [...log.entries];
    const last = entries.length - 1;
    const record = Uint8Array.from(entries[last]!.record);
    // The text's length says that it is longer than its record.
    record[Buffer.from(record).indexOf('ZZZZ') - 1] = 0x7f;
    entries[last] = { ...entries[last]!, record };
    const fold = newFold();
    expect(() => fold.fold(entries)).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
    expect(() => fold.fold(entries.slice(last))).toThrow(expect.objectContaining({ code: 'DATA_DAMAGED' }));
    expect(fold.position).toBe(last);
    expect(() => fold.takeCommit()).toThrow('F3');
  });

  it('F3: that were delivered before are skipped, lane by lane', () => {
    const fold = newFold();
    const log = started(COUNTS).change({ sequence: 5 }).change({ sequence: 5 }).change({ sequence: 4 });
    fold.fold(log.change({ sequence: 1, lane: 1 }).change({ sequence: 6 }).entries);
    expect(value(fold, V1)).toBe(3n);
    expect(fold.version(V1, userKey(1))).toBe(7);
  });

  it('F3: sequences are ordered by major, minor and part, beyond the safe integers too', () => {
    const fold = newFold();
    const log = started(COUNTS);
    const sequence = (major: bigint, minor: bigint, part: number): void => {
      log.add(
        encodeRecord({
          case: 'change',
          value: {
            route: 1,
            generation: 1,
            lane: 2,
            sequence: { major, minor, part },
            operation: Operation.INSERT,
            contractVersion: 1,
            entityKey: new Uint8Array([1, 128, 0, 0, 0, 0, 0, 0, 1]),
          },
        }),
      );
    };
    const newer: [bigint, bigint, number][] = [
      [2n ** 53n - 1n, 9n, 9],
      [2n ** 53n + 1n, 0n, 0],
      [2n ** 53n + 1n, 0n, 1],
      [2n ** 53n + 1n, 1n, 0],
      [2n ** 64n - 1n, 0n, 0],
    ];
    for (const one of newer) {
      sequence(...one);
      sequence(...one);
    }
    for (const one of newer) sequence(...one);
    fold.fold(log.entries);
    expect(value(fold, V1)).toBe(5n);
  });

  it('of a generation that is not the newest begun, or of a route that has not begun, are ignored', () => {
    const fold = newFold();
    const log = new Script().add(define(1, COUNTS)).change({ sequence: 1 }).add(begin(1, 2));
    log
      .change({ sequence: 1, generation: 1 })
      .change({ sequence: 2, generation: 3 })
      .change({ sequence: 1, generation: 2 });
    fold.fold(
      log.add(begin(1, 1)).add(snapshotEnd(1, 1)).add(snapshotEnd(1, 2)).change({ sequence: 2, generation: 2 }).entries,
    );
    expect(value(fold, V1)).toBe(2n);
  });

  it('are inserts and reads: updates, deletes and truncations of an append source undo nothing, but move marks', () => {
    const fold = newFold();
    const log = started(COUNTS).change({ sequence: 1, operation: Operation.READ, lane: 1 });
    log.change({ sequence: 2, operation: Operation.UPDATE }).change({ sequence: 2 });
    log.change({ sequence: 3, operation: Operation.DELETE });
    log.add(encodeRecord({ case: 'truncate', value: { route: 1, generation: 1, lane: 2, sequence: { major: 9n } } }));
    fold.fold(log.change({ sequence: 8 }).change({ sequence: 10 }).entries);
    expect(value(fold, V1)).toBe(2n);
  });

  it('that have expired are counted and change no version', () => {
    const fold = newFold();
    const recent = view([feature('recent', 'count', '', rolling(60, 10))]);
    const log = started(recent).change({ sequence: 1 }, 100);
    // Its pane left at 70; without an event time nothing but a lifetime window is reached.
    log.add(change({ user: 1, sequence: 2, eventTimeUs: START_US }), 100);
    log.add(change({ user: 1, sequence: 3, eventTimeUs: undefined }), 100);
    log.add(change({ user: 2, sequence: 4, eventTimeUs: START_US }), 100);
    fold.fold(log.entries);
    expect(fold.version(V1, userKey(1))).toBe(3);
    expect(fold.row(V1, userKey(2))).toBeUndefined();
    expect(fold.stats()).toMatchObject({ keys: 1, expiredEvents: 3, expressionErrors: 0 });
  });

  it('pass where and derived columns; an error is false, or null, and is counted', () => {
    const plan = view([feature('sum', 'sum', 'twice', LIFETIME, { inputType: type(Kind.INT64) })], {
      where: 'n > 10',
      derived: [{ name: 'twice', expression: 'n * 2', type: type(Kind.INT64) }],
    });
    const fold = newFold();
    const log = started(plan)
      .change({ sequence: 1, row: { n: 5n } })
      .change({ sequence: 2, row: { n: 11n } });
    log.change({ sequence: 3, row: { n: null } }).change({ sequence: 4, row: { n: 2n ** 62n } });
    fold.fold(log.entries);
    // The last one passes, but twice it is beyond an int: null, which sum skips.
    expect(value(fold, V1)).toBe(22n);
    expect(fold.version(V1, userKey(1))).toBe(6);
    expect(fold.stats().expressionErrors).toBe(2);
  });

  it('may be filtered by a derived column', () => {
    const plan = view([feature('count', 'count', '', LIFETIME)], {
      where: 'twice > 10',
      derived: [{ name: 'twice', expression: 'n * 2', type: type(Kind.INT64) }],
    });
    const fold = newFold();
    fold.fold(
      started(plan)
        .change({ sequence: 1, row: { n: 5n } })
        .change({ sequence: 2, row: { n: 6n } }).entries,
    );
    expect(value(fold, V1)).toBe(1n);
  });

  it('of a contract version that no definitions brought are passed over, and counted', () => {
    const fold = newFold();
    const log = started(SUMS).change({ sequence: 1, row: { n: 5n }, contractVersion: 3 });
    fold.fold(log.change({ sequence: 2, row: { n: 6n }, contractVersion: 1 }).entries);
    expect(value(fold, V2)).toBe(6n);
    expect(fold.stats().unknownContracts).toBe(1);
  });

  it('F3: a gap or a step back in the log is a programming error', () => {
    const log = started(COUNTS);
    expect(() => newFold().fold([log.entries[1]!])).toThrow('F3');
    const [first, second] = log.entries as [FoldEntry, FoldEntry];
    expect(() => newFold().fold([first, { ...second, logTimeUs: START_US - 1 }])).toThrow('F3');
  });
});

describe('definitions', () => {
  it('of a generation that is not higher are ignored', () => {
    const fold = newFold();
    fold.fold(new Script().add(define(2, COUNTS)).add(define(2, SUMS)).add(define(1, SUMS)).entries);
    expect(fold.incompleteViews()).toEqual([V1]);
    expect(fold.definitions?.views.map(({ name }) => name)).toEqual(['view_1']);
  });

  it('that name a view twice under different names make one view', () => {
    const fold = newFold();
    fold.fold(started(COUNTS, { ...COUNTS, name: 'other' }).change({ sequence: 1 }).entries);
    expect([fold.completeViews(), value(fold, V1)]).toEqual([[V1], 1n]);
  });

  it('drop a view at once, and bring it back by a build that sees nothing of its former life', () => {
    const cold = new MemoryCold();
    const fold = newFold(cold);
    const log = started(COUNTS, SUMS).change({ sequence: 1 });
    fold.fold(log.entries);
    cold.put(fold.takeCommit().puts);
    fold.evict();
    const before = fold.instanceOf(V1);
    fold.fold(log.add(define(2, SUMS)).change({ sequence: 2 }).entries.slice(4));
    expect(fold.row(V1, userKey(1))).toBeUndefined();
    expect(fold.instances()).not.toContain(before);
    fold.fold(log.add(define(3, COUNTS, SUMS)).entries.slice(6));
    expect(fold.incompleteViews()).toEqual([V1]);
    expect(fold.builds()).toEqual([{ viewId: V1, position: 1 }]);
    expect(fold.row(V1, userKey(1))).toBeUndefined();
    fold.foldBuild(V1, log.entries.slice(1));
    expect([fold.builds(), fold.completeViews(), value(fold, V1)]).toEqual([[], [V1, V2], 2n]);
    expect(fold.completeAt(V1)).toBe(7);
    expect(fold.instanceOf(V1)).not.toBe(before);
    // It joins the live fold.
    fold.fold(log.change({ sequence: 3 }).entries.slice(7));
    expect(value(fold, V1)).toBe(3n);
  });

  it('of a later engine are refused with what to do', () => {
    const log = new Script().add(define(1, { ...COUNTS, engineVersion: 99 }));
    expect(() => newFold().fold(log.entries)).toThrow('needs engine version 99');
  });
});

describe('builds', () => {
  function builtLog(): Script {
    const log = new Script().add(begin(1, 1)).add(snapshotEnd(1, 1));
    for (let i = 1; i <= 6; i++) log.change({ sequence: i, user: i % 2, row: { n: BigInt(i) } }, i);
    return log.change({ sequence: 6, user: 1 }, 7).add(define(1, COUNTS), 8);
  }

  it('F1: end with the very state of a view that was there from the start', () => {
    const log = builtLog();
    const built = newFold();
    built.fold(log.entries);
    // In pieces, with entries beyond the position, which are left alone.
    const more = log.change({ sequence: 7, user: 1 }, 9).entries;
    built.foldBuild(V1, more.slice(0, 3));
    expect(built.builds()).toEqual([{ viewId: V1, position: 3 }]);
    expect(built.takeDirty()).toEqual(new Map());
    built.foldBuild(V1, more.slice(3));
    expect(built.completeViews()).toEqual([V1]);
    expect(built.takeDirty()).toEqual(new Map());
    built.fold(more.slice(10));
    const live = newFold();
    live.fold(
      [define(1, COUNTS), ...more.map(({ record }) => record)].map((record, offset) => entry(more, record, offset)),
    );
    for (const user of [0, 1]) {
      const [a, b] = [built.row(V1, userKey(user))!, live.row(V1, userKey(user))!];
      expect(a.version + 1).toBe(b.version);
      expect(decodeRow(a.bytes).timelines).toEqual(decodeRow(b.bytes).timelines);
    }
    expect(built.takeDirty()).toEqual(new Map([[V1, new Set([userKey(1)])]]));
  });

  function entry(log: readonly FoldEntry[], record: Uint8Array, offset: number): FoldEntry {
    return { offset, record, crc: 0, logTimeUs: offset === 0 ? START_US : log[offset - 1]!.logTimeUs };
  }

  it('survive a restart, and end by an empty feed when they are at the position', () => {
    const cold = new MemoryCold();
    const log = builtLog();
    const fold = newFold(cold);
    fold.fold(log.entries);
    fold.foldBuild(V1, log.entries.slice(0, 4));
    const commit = fold.takeCommit();
    expect(commit.changed).toEqual(new Map());
    cold.put(commit.puts);
    const again = newFold(cold, commit.meta);
    expect(again.builds()).toEqual([{ viewId: V1, position: 4 }]);
    again.foldBuild(V1, log.entries.slice(4));
    const whole = newFold();
    whole.fold(log.entries);
    whole.foldBuild(V1, log.entries);
    expect(again.digest()).toEqual(whole.digest());
    // Rows that the build changed are not in the journal: a follower takes the view by a pass.
    expect(again.takeCommit().changed).toEqual(new Map());
    whole.foldBuild(V1, []);
    whole.foldBuild(viewHex(9), []);
  });
});

describe('a build that meets a record which cannot be read', () => {
  it('F3: stands there, over a restart too, and begins anew with its route; the live fold goes on', () => {
    const cold = new MemoryCold();
    const fold = newFold(cold);
    const log = new Script().add(begin(1, 1)).change({ sequence: 1 }).add(define(1, COUNTS));
    const { entries } = log.change({ sequence: 2, user: 2 });
    fold.fold(entries);
    const bad = { ...entries[1]!, record: entries[1]!.record.slice(0, -3) };
    fold.foldBuild(V1, [entries[0]!, bad]);
    expect(fold.builds()).toEqual([{ viewId: V1, position: 1, broken: expect.stringContaining('record 1') }]);
    // Some of it may be folded, and its mark has moved: reading it again would pass it over.
    fold.foldBuild(V1, entries.slice(1));
    const { puts, meta } = fold.takeCommit();
    cold.put(puts);
    const again = newFold(cold, meta);
    again.foldBuild(V1, entries.slice(1));
    expect([again.builds()[0]?.position, again.builds()[0]?.broken]).toEqual([1, fold.builds()[0]?.broken]);
    again.fold(log.add(begin(1, 2)).change({ sequence: 1, generation: 2 }).add(snapshotEnd(1, 2)).entries.slice(4));
    expect([again.builds(), again.completeViews(), value(again, V1)]).toEqual([[], [V1], 1n]);
  });
});

describe('a build whose store fails', () => {
  it('F3: does not take that for a bad record: the fold is over, and one made again from the commit builds on', () => {
    const cold = new MemoryCold();
    const fold = newFold(cold);
    const log = new Script().add(begin(1, 1)).add(snapshotEnd(1, 1)).change({ sequence: 1 }).add(define(1, COUNTS));
    const { entries } = log.change({ sequence: 2 }).change({ sequence: 3 });
    fold.fold(entries);
    fold.foldBuild(V1, entries.slice(0, 3));
    const { puts, meta } = fold.takeCommit();
    cold.put(puts);
    for (const code of ['TOO_MANY_OPEN_FILES', 'DATA_DAMAGED'] as const) {
      const failing = cold.copy();
      failing.load = () => {
        throw new FreshetError(code, 'the store cannot be read');
      };
      const again = newFold(failing, meta);
      expect(() => again.foldBuild(V1, entries.slice(3))).toThrow('the store cannot be read');
      expect(again.builds()).toEqual([{ viewId: V1, position: 4, broken: undefined }]);
      expect(again.broken).toMatchObject({ code });
      expect(() => again.foldBuild(V1, entries.slice(4))).toThrow('the store cannot be read');
    }
    const mended = newFold(cold, meta);
    mended.foldBuild(V1, entries.slice(3));
    expect([mended.builds(), value(mended, V1)]).toEqual([[], 3n]);
  });
});

describe('a new generation of a route', () => {
  it('R3: leaves its views as they were until its snapshot has ended, then changes them in one step', () => {
    const cold = new MemoryCold();
    const fold = newFold(cold);
    const log = started(COUNTS).change({ sequence: 7 }).change({ sequence: 8, user: 2 });
    fold.fold(log.entries);
    cold.put(fold.takeCommit().puts);
    fold.evict();
    const before = fold.instanceOf(V1);
    const row = fold.row(V1, userKey(1))!.bytes.slice();
    const begun = log.add(begin(1, 2)).change({ sequence: 1, generation: 2, lane: 1 }).entries;
    fold.fold(begun.slice(5));
    expect([fold.completeViews(), fold.incompleteViews(), fold.builds()]).toEqual([[V1], [], []]);
    expect([fold.instanceOf(V1), fold.generationOf(V1)]).toEqual([before, 1]);
    expect(fold.standing(V1)).toEqual({ position: 5, logTimeUs: begun[5]!.logTimeUs });
    expect(fold.successors()).toEqual([{ viewId: V1, generation: 2 }]);
    expect(fold.row(V1, userKey(1))!.bytes).toEqual(row);
    expect(fold.takeDirty().size).toBe(1);
    fold.fold(log.change({ sequence: 2, generation: 2, lane: 1 }).entries.slice(7));
    expect([fold.takeDirty(), fold.takeCommit().changed]).toEqual([new Map(), new Map()]);
    fold.fold(log.add(snapshotEnd(1, 2)).change({ sequence: 9, generation: 2 }).entries.slice(8));
    expect([fold.completeViews(), fold.completeAt(V1)]).toEqual([[V1], 9]);
    expect([fold.generationOf(V1), fold.standing(V1), fold.successors()]).toEqual([2, undefined, []]);
    expect([value(fold, V1), fold.row(V1, userKey(2)), [...fold.keys(V1)]]).toEqual([3n, undefined, [userKey(1)]]);
    expect(fold.takeDirty()).toEqual(new Map([[V1, new Set([userKey(1)])]]));
    expect(fold.instances()).not.toContain(before);
  });

  it('F1: is half way the same after a restart, as are both its instances', () => {
    const cold = new MemoryCold();
    const fold = newFold(cold);
    const log = started(COUNTS).change({ sequence: 7 }).add(begin(1, 2));
    fold.fold(log.change({ sequence: 1, generation: 2, user: 2 }).entries);
    const { puts, meta } = fold.takeCommit();
    cold.put(puts);
    expect(new Set(puts.map(([instance]) => instance))).toEqual(new Set(fold.instances()));
    const again = newFold(cold, meta);
    const rest = log.change({ sequence: 2, generation: 2, user: 2 }).add(snapshotEnd(1, 2)).entries;
    for (const each of [fold, again]) {
      expect([each.standing(V1)?.position, each.generationOf(V1), value(each, V1)]).toEqual([4, 1, 1n]);
      each.fold(rest.slice(6));
      expect([each.generationOf(V1), value(each, V1, 2), each.row(V1, userKey(1))]).toEqual([2, 2n, undefined]);
    }
    expect(again.digest()).toEqual(fold.digest());
  });

  it('that another one follows before its snapshot has ended is forgotten; what is shown stays', () => {
    const fold = newFold();
    const log = started(COUNTS)
      .change({ sequence: 7 })
      .add(begin(1, 2))
      .change({ sequence: 1, generation: 2, user: 2 });
    fold.fold(log.add(begin(1, 3)).change({ sequence: 1, generation: 3 }).add(snapshotEnd(1, 2)).entries);
    expect([fold.standing(V1)?.position, value(fold, V1), fold.instances()]).toEqual([
      4,
      1n,
      [fold.instanceOf(V1), expect.anything()],
    ]);
    fold.fold(log.change({ sequence: 2, generation: 3 }).add(snapshotEnd(1, 3)).entries.slice(9));
    expect([fold.generationOf(V1), value(fold, V1), fold.row(V1, userKey(2))]).toEqual([3, 2n, undefined]);
    expect(fold.instances()).toEqual([fold.instanceOf(V1)]);
  });

  it('goes with its view when definitions drop that, both what is shown and what is to come', () => {
    const fold = newFold();
    const log = started(COUNTS, SUMS).change({ sequence: 7 }).add(begin(1, 2));
    fold.fold(log.change({ sequence: 1, generation: 2 }).add(define(2, SUMS)).entries);
    expect(fold.instances().every((instance) => instance.startsWith(V2))).toBe(true);
    fold.fold(
      log
        .add(define(3, COUNTS, SUMS))
        .add(snapshotEnd(1, 2))
        .entries.slice(7),
    );
    expect(fold.completeViews()).toEqual([V2]);
    fold.foldBuild(V1, log.entries.slice(4));
    expect([fold.completeViews(), value(fold, V1), fold.generationOf(V1)]).toEqual([[V1, V2], 1n, 2]);
  });

  it('takes the place of a build of the old one', () => {
    const fold = newFold();
    const log = new Script().add(begin(1, 1)).change({ sequence: 1 }).add(define(1, COUNTS)).add(begin(1, 2));
    fold.fold(log.change({ sequence: 1, generation: 2 }).add(snapshotEnd(1, 2)).entries);
    expect([fold.builds(), fold.completeViews(), value(fold, V1)]).toEqual([[], [V1], 1n]);
  });

  it('that a new view meets in the middle of its snapshot keeps the view incomplete until its end', () => {
    const fold = newFold();
    const log = new Script()
      .add(begin(1, 1))
      .add(begin(1, 2))
      .change({ sequence: 1, generation: 2 })
      .add(define(1, COUNTS));
    fold.fold(log.entries);
    fold.foldBuild(V1, log.entries.slice(1));
    expect([fold.builds(), fold.completeViews()]).toEqual([[], []]);
    fold.fold(log.add(snapshotEnd(1, 2)).entries.slice(4));
    expect([fold.completeViews(), value(fold, V1)]).toEqual([[V1], 1n]);
  });
});

describe('a fold that begins where the log does', () => {
  const from = (log: Script, origin: number): FoldEntry[] =>
    log.entries.map((entry) => ({ ...entry, offset: entry.offset + origin }));

  it('R3: has no view whole before its route begins anew, whatever rows of the route come', () => {
    const cold = new MemoryCold();
    const fold = new ShardFold({ cold, cacheBytes: 1, origin: 100 });
    const log = new Script().change({ sequence: 5, generation: 3 }).add(define(1, COUNTS));
    fold.fold(from(log.change({ sequence: 6, generation: 3 }), 100));
    expect([fold.position, fold.origin, fold.routeGeneration(1)]).toEqual([103, 100, 0]);
    expect([fold.completeViews(), fold.builds(), fold.incompleteViews()]).toEqual([[], [], [V1]]);
    const { meta } = fold.takeCommit();
    const again = new ShardFold({ cold, cacheBytes: 1, meta });
    expect([again.position, again.origin]).toEqual([103, 100]);
    log.add(begin(1, 4)).change({ sequence: 1, generation: 4 }).change({ sequence: 7, generation: 3 });
    again.fold(from(log, 100).slice(3));
    expect([again.completeViews(), again.routeGeneration(1)]).toEqual([[], 4]);
    again.fold(from(log.add(snapshotEnd(1, 4)), 100).slice(6));
    expect([again.completeViews(), value(again, V1), again.completeAt(V1)]).toEqual([[V1], 1n, 107]);
  });

  it('shows a route that begins for the first time once its snapshot has ended', () => {
    const fold = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1, origin: 100 });
    const log = new Script().add(define(1, COUNTS)).add(begin(1, 1)).add(snapshotEnd(1, 1)).change({ sequence: 1 });
    fold.fold(from(log, 100));
    expect([fold.completeViews(), value(fold, V1)]).toEqual([[V1], 1n]);
  });
});

describe('stored states', () => {
  it('tells rows from stored states as it does from memory', () => {
    const fold = newFold();
    fold.fold(started(COUNTS).change({ sequence: 1 }).entries);
    const [, key, state] = fold.takeCommit().puts[0]!;
    expect(fold.rowFromState(V1, key, state!)).toEqual(fold.row(V1, key));
    expect(fold.rowFromState(V2, key, state!)).toBeUndefined();
  });
});
