/**
 * Goal: a key with very many rows holds nobody up: what has to be read of it before a change can be folded is read in parts, between
 * which others have their turn (R4), and none of that shows in a value (F1). Method: one key in a store, folded on from there with
 * every read counted; then random histories with a fold that reads all in parts, against one that never does.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRow } from '../rows/row-codec.ts';
import { rowLayout, valuesAt } from '../rows/row-reader.ts';
import { type FoldEntry, ShardFold } from '../shard-fold.ts';
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

const { INSERT, UPDATE, DELETE } = Operation;
const MUTABLE = { mode: SourceMode.MUTABLE };
const MAX = view([feature('max', 'max', 'n', LIFETIME), feature('last', 'last', 's', LIFETIME)], MUTABLE);
const COUNT = view([feature('count', 'count', '', LIFETIME)], { ...MUTABLE, id: 2 });
/** About 900 leaves: more than are read at once. */
const ROWS = 40_000;
/** What is read at once, and the rest of a span, and the few leaves that a change itself touches. */
const READ_MAX = 512 + 96 + 10;

class Rows {
  readonly log = new TestLog();
  #sequence: number;

  constructor(after = 0) {
    this.#sequence = after;
  }

  define(views: readonly ReturnType<typeof view>[], generation = 1): void {
    this.#append(encodeRecord({ case: 'definitions', value: definitions(generation, views, ['n']) }));
  }

  begin(): void {
    this.#append(encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
    this.#append(encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
  }

  change(operation: Operation, row: number, n = row): void {
    const values = operation === DELETE ? {} : { row: { n: BigInt(n), s: `text ${n}` } };
    this.#append(
      change({
        user: 1,
        sequence: ++this.#sequence,
        eventTimeUs: START_US,
        rowKey: `row ${row}`,
        operation,
        ...values,
      }),
    );
  }

  #append(record: Uint8Array): void {
    this.log.append(START_US, record);
  }
}

function valuesOf(fold: ShardFold, plan = MAX): unknown[] {
  const layout = rowLayout(plan);
  const row = fold.row(viewHex(plan.viewId[0]!), userKey(1));
  return row === undefined ? [] : valuesAt(decodeRow(row.bytes), START_US, layout).map(({ value }) => value);
}

/** Folds it all, part by part; how often, and the most that was read at once. */
function foldInParts(
  fold: ShardFold,
  cold: MemoryCold,
  entries: readonly FoldEntry[],
): { parts: number; most: number } {
  const until = fold.position + entries.length;
  let parts = 0;
  let most = 0;
  while (fold.position < until) {
    const before = cold.loads;
    fold.foldSome(entries.slice(entries.length - (until - fold.position)));
    parts++;
    most = Math.max(most, cold.loads - before);
  }
  return { parts, most };
}

describe('a key with very many rows', () => {
  const rows = new Rows();
  rows.define([MAX]);
  rows.begin();
  for (let i = 0; i < ROWS; i++) rows.change(INSERT, i);
  const cold = new MemoryCold();
  const first = new ShardFold({ cold, cacheBytes: 1e9 });
  first.fold(rows.log.entries);
  const { puts, meta } = first.takeCommit();
  cold.put(puts);
  const loaded = rows.log.entries.length;
  rows.change(DELETE, ROWS - 1);
  rows.change(DELETE, ROWS - 2);
  const two = rows.log.entries.slice(loaded);

  it.each([
    ['that memory has room for', 1e9, 2],
    ['that there is memory for spans of only', 200_000, 2],
    ['that memory keeps nothing of', 0, 10],
  ])('R4: %s is read in parts, after a start', (_, cacheBytes, partsMax) => {
    const fold = new ShardFold({ cold, cacheBytes, meta, unknownMax: 100 });
    const { parts, most } = foldInParts(fold, cold, two.slice(0, 1));
    expect(parts).toBeGreaterThan(2);
    expect(parts).toBeLessThanOrEqual(partsMax + 3);
    if (cacheBytes > 0) expect(most).toBeLessThan(READ_MAX);
    expect(valuesOf(fold)).toEqual([BigInt(ROWS - 2), `text ${ROWS - 2}`]);
    const again = foldInParts(fold, cold, two.slice(1));
    if (cacheBytes > 0) {
      expect(again.parts).toBe(1);
      expect(again.most).toBeLessThan(100);
    }
    expect(valuesOf(fold)).toEqual([BigInt(ROWS - 3), `text ${ROWS - 3}`]);
  });

  it('R4: is read once for each view that it is in, also where memory keeps nothing of it', () => {
    const plans = [1, 2, 3].map((id) => view([feature('max', 'max', 'n', LIFETIME)], { ...MUTABLE, id }));
    const three = new Rows();
    three.define(plans);
    three.begin();
    for (let i = 0; i < ROWS; i++) three.change(INSERT, i);
    const stored = new MemoryCold();
    const before = new ShardFold({ cold: stored, cacheBytes: 1e9 });
    before.fold(three.log.entries);
    const commit = before.takeCommit();
    stored.put(commit.puts);
    const from = three.log.entries.length;
    three.change(DELETE, ROWS - 1);
    // With room for the spans of one of them, so that each drives the others' out; and for nothing.
    for (const cacheBytes of [100_000, 0]) {
      const fold = new ShardFold({ cold: stored, cacheBytes, meta: commit.meta, unknownMax: 100 });
      expect(foldInParts(fold, stored, three.log.entries.slice(from)).parts).toBeLessThanOrEqual(3 * 5);
      for (const plan of plans) expect(valuesOf(fold, plan)).toEqual([BigInt(ROWS - 2)]);
    }
  });

  it('R4: is not asked about by what is only put in, nor where little is not known', () => {
    const fold = new ShardFold({ cold, cacheBytes: 1e9, meta, unknownMax: 100 });
    const more = new Rows(2 * ROWS);
    for (let i = 0; i < 50; i++) more.change(INSERT, ROWS + i);
    const entries = more.log.entries.map((entry) => ({ ...entry, offset: entry.offset + loaded }));
    expect(foldInParts(fold, cold, entries).parts).toBe(1);
    expect(valuesOf(fold)).toEqual([BigInt(ROWS + 49), `text ${ROWS + 49}`]);
    const large = new ShardFold({ cold, cacheBytes: 1e9, meta });
    expect(foldInParts(large, cold, two).parts).toBe(1);
  });
});

describe('a fold that reads in parts', () => {
  const step = fc.record({
    operation: fc.constantFrom(INSERT, UPDATE, UPDATE, DELETE),
    row: fc.nat(1_200),
    many: fc.integer({ min: 1, max: 100 }),
    n: fc.nat(2_000),
    restart: fc.integer({ min: 0, max: 5 }),
  });

  it('F1: has the rows of one that does not, live and in builds', () => {
    let parts = 0;
    const check = (steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]): void => {
      const rows = new Rows();
      rows.define([COUNT]);
      rows.begin();
      const cold = new MemoryCold();
      const options = { cold, cacheBytes: 20_000, unknownMax: 2 };
      let fold = new ShardFold(options);
      const whole = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9 });
      const all = [{ operation: INSERT, row: 0, many: 800, n: 0, restart: 0 }, ...steps];
      for (const [i, { operation, row, many, n, restart }] of all.entries()) {
        for (let k = 0; k < many; k++) rows.change(operation, row + k, (n + k * 7) % 2_000);
        if (i === Math.floor(steps.length / 2)) rows.define([COUNT, MAX], 2);
        parts += foldInParts(fold, cold, rows.log.entries.slice(fold.position)).parts - 1;
        whole.fold(rows.log.entries.slice(whole.position));
        for (const each of [fold, whole]) {
          // A part of the log at a time; with restarts it is not done when it is fed again.
          for (let turns = 0; turns < (each === fold ? 3 : 1_000); turns++) {
            const [build] = each.builds();
            if (build === undefined) break;
            each.foldBuild(build.viewId, rows.log.entries.slice(build.position, build.position + 200));
            if (each === fold && each.builds()[0]?.position === build.position) parts++;
          }
        }
        if (restart > 0) continue;
        const { puts, meta } = fold.takeCommit();
        cold.put(puts);
        fold = new ShardFold({ ...options, meta });
      }
      for (let [build] = fold.builds(); build !== undefined; [build] = fold.builds()) {
        fold.foldBuild(build.viewId, rows.log.entries.slice(build.position));
      }
      for (const plan of [COUNT, MAX]) expect(valuesOf(fold, plan)).toEqual(valuesOf(whole, plan));
      expect(fold.digest()).toEqual(whole.digest());
    };
    fc.assert(fc.property(fc.array(step, { minLength: 4, maxLength: 25, size: 'max' }), check), { numRuns: 12 });
    // Else this shows nothing.
    expect(parts).toBeGreaterThan(50);
  });
});
