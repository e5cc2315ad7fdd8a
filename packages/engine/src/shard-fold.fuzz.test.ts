/**
 * Goal: the fold is a function of the log's prefix (F1, F3), whatever the batches, commits, evictions, crashes and
 * builds. Method: random histories folded in one go and in random pieces, with a small cache and restarts from the
 * last commit, which must give the same rows, versions and digest.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createStateDigest } from './fold/state-digest.ts';
import type { FoldEntry, ShardFold } from './shard-fold.ts';
import {
  change,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  rolling,
  SECOND_US,
  START_US,
  tumbling,
  view,
} from './testing/plans.testing.ts';
import { begin, COUNTS, define, newFold, Script, SUMS, snapshotEnd } from './testing/script.testing.ts';

const MIXED = view(
  [
    feature('count', 'count', '', rolling(60, 10)),
    feature('first', 'min', 'x', tumbling(30, true)),
    feature('last', 'last', 's', LIFETIME),
    feature('mean', 'mean', 'x', rolling(20, 5), { ttlS: 40 }),
    feature('sum', 'sum', 'd', rolling(60, 10)),
  ],
  { id: 3, where: 'n == null || n > 1' },
);

const step = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('change' as const),
      user: fc.integer({ min: 1, max: 5 }),
      sequence: fc.integer({ min: 1, max: 40 }),
      route: fc.constantFrom(1, 1, 1, 2),
      generation: fc.constantFrom(1, 1, 1, 2),
      lagS: fc.option(fc.integer({ min: -100, max: 5 })),
      row: fc.record({
        n: fc.option(fc.bigInt({ min: 0n, max: 5n })),
        x: fc.option(fc.oneof(fc.double(), fc.constantFrom(0.1, 0.2))),
        d: fc.option(fc.constantFrom('1.5', '-2.25', 'NaN')),
        s: fc.option(fc.string({ maxLength: 3 })),
      }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('begin' as const),
      route: fc.constantFrom(1, 2),
      generation: fc.constantFrom(1, 2, 3),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      route: fc.constantFrom(1, 2),
      generation: fc.constantFrom(1, 2, 3),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('define' as const), views: fc.subarray([COUNTS, SUMS, MIXED]) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('tick' as const) }) },
);

const history = fc
  .array(fc.tuple(step, fc.integer({ min: 0, max: 20 })), { minLength: 1, maxLength: 50 })
  .map((steps) => {
    const log = new Script()
      .add(define(1, COUNTS, MIXED))
      .add(begin(1, 1))
      .add(snapshotEnd(1, 1));
    let atS = 0;
    let generation = 1;
    for (const [one, gapS] of steps) {
      atS += gapS;
      if (one.kind === 'change') {
        const eventTimeUs = one.lagS === null ? undefined : START_US + (atS + one.lagS) * SECOND_US;
        log.add(change({ ...one, eventTimeUs }), atS);
      } else if (one.kind === 'begin') log.add(begin(one.route, one.generation), atS);
      else if (one.kind === 'end') log.add(snapshotEnd(one.route, one.generation), atS);
      else if (one.kind === 'define') log.add(define(++generation, ...one.views), atS);
      else log.add(encodeRecord({ case: 'tick', value: {} }), atS);
    }
    return log.entries;
  });

/** Ends every build that there is. */
function finishBuilds(fold: ShardFold, log: readonly FoldEntry[]): void {
  for (const { viewId, position } of fold.builds()) fold.foldBuild(viewId, log.slice(position));
}

/** Folds all and finishes every build as soon as it is there. */
function foldWhole(log: readonly FoldEntry[]): ShardFold {
  const fold = newFold();
  for (const entry of log) {
    fold.fold([entry]);
    finishBuilds(fold, log);
  }
  return fold;
}

function rowsOf(fold: ShardFold, views: readonly string[]): unknown {
  return views.map((viewId) => [viewId, [...fold.keys(viewId)].map((key) => [key, fold.row(viewId, key)])]);
}

/** The views that are complete and move. Whether one stands still depends on whether it was built before. */
function moving(fold: ShardFold): string[] {
  return fold.completeViews().filter((viewId) => fold.standing(viewId) === undefined);
}

function standing(fold: ShardFold): string[] {
  return fold.completeViews().filter((viewId) => fold.standing(viewId) !== undefined);
}

describe('the fold', () => {
  it('F1 F3: any cut into batches, commits, crashes and builds gives the same rows, versions and digest', () => {
    const cuts = fc.array(
      fc.record({
        batch: fc.integer({ min: 1, max: 9 }),
        build: fc.integer({ min: 0, max: 6 }),
        after: fc.constantFrom('nothing', 'commit', 'commit and evict', 'crash'),
      }),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(history, cuts, (log, plan) => {
        const whole = foldWhole(log);
        let cold = new MemoryCold();
        let meta: Uint8Array | undefined;
        let fold = newFold(cold, undefined, 1);
        for (let i = 0, crashes = 0; fold.position < log.length; i++) {
          const { batch, build, after } = plan[i % plan.length]!;
          fold.fold(log.slice(fold.position, fold.position + batch));
          for (const { viewId, position } of fold.builds()) {
            fold.foldBuild(viewId, log.slice(position, position + build));
          }
          if (after === 'crash' && crashes < 5) {
            crashes++;
            cold = cold.copy();
            fold = newFold(cold, meta, 1);
          } else if (after !== 'nothing') {
            const commit = fold.takeCommit();
            cold.put(commit.puts);
            meta = commit.meta;
            if (after === 'commit and evict') fold.evict();
          }
        }
        finishBuilds(fold, log);
        expect(moving(fold)).toEqual(moving(whole));
        expect(rowsOf(fold, moving(fold))).toEqual(rowsOf(whole, moving(whole)));
        expect(rowsOf(fold, standing(fold))).toEqual(rowsOf(whole, standing(fold)));
        expect(Buffer.from(fold.digest()).toString('hex')).toBe(Buffer.from(whole.digest()).toString('hex'));
        // The digest of what a commit stored is the same again.
        const commit = fold.takeCommit();
        cold.put(commit.puts);
        const digest = createStateDigest(commit.meta);
        for (const instance of [...cold.states.keys()].sort()) {
          for (const [key, state] of cold.scan(instance, undefined)) digest.add(instance, key, state);
        }
        expect(digest.finish()).toEqual(whole.digest());
      }),
      { numRuns: 200 },
    );
  });

  it('F1: takeCommit tells every row that changed since the last commit', () => {
    fc.assert(
      fc.property(history, fc.integer({ min: 1, max: 7 }), (log, batch) => {
        const fold = newFold();
        let emitted = new Map<string, Set<string>>();
        for (let i = 0; fold.position < log.length; i++) {
          fold.fold(log.slice(fold.position, fold.position + batch));
          for (const [viewId, keys] of fold.takeDirty()) {
            emitted.set(viewId, new Set([...(emitted.get(viewId) ?? []), ...keys]));
          }
          if (i % 3 !== 2) continue;
          const { changed } = fold.takeCommit();
          fold.evict();
          for (const [viewId, keys] of changed) {
            for (const key of keys) expect(emitted.get(viewId)).toContain(key);
          }
          // And the other way round, but for views that have gone or started again since.
          for (const [viewId, keys] of emitted) {
            for (const key of keys) {
              const version = fold.version(viewId, key);
              if (version !== undefined && version >= (fold.completeAt(viewId) ?? Number.POSITIVE_INFINITY)) {
                expect(changed.get(viewId)).toContain(key);
              }
            }
          }
          emitted = new Map();
        }
      }),
      { numRuns: 200 },
    );
  });
});
