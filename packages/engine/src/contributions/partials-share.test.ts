/**
 * Goal: what is known of contributions stays within its share of the budget whatever is asked (R4), what was asked last stays
 * longest, and none of it ever shows in a value (F1). Method: keys of thousands of rows in trees that share one budget, counting
 * the leaves that a question reads; then whole folds that differ in their budgets alone.
 */
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Result } from '../aggregates/aggregate.ts';
import { noUse } from '../fold/state-cache.ts';
import { ShardFold } from '../shard-fold.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { zeroCells } from '../state/cells.ts';
import { type RunnableView, runnableView } from '../state/view-plan.ts';
import {
  change,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  MemoryCold,
  rolling,
  SECOND_US,
  START_US,
  TestLog,
  userKey,
  view,
  viewHex,
} from '../testing/plans.testing.ts';
import type { RowKey } from './contribution.ts';
import { ContributionTree } from './contribution-tree.ts';
import { NodeCache } from './node-cache.ts';
import { SPAN } from './partials.ts';
import { rowHash } from './row-hash.ts';

const VIEW: RunnableView = runnableView(view([feature('last', 'last', 's', LIFETIME)], { mode: SourceMode.MUTABLE }));
const PANED: RunnableView = runnableView(
  view([feature('max', 'max', 'n', rolling(10, 1))], { mode: SourceMode.MUTABLE }),
);
const PANE = Math.floor(START_US / SECOND_US);
const PANES = 8;
/** About 220 leaves: four spans. */
const ROWS = 10_000;

/** Keys of ROWS rows each, of which only the directories are in memory when they are asked. */
class Keys {
  readonly cold = new MemoryCold();
  readonly #use;
  readonly #view: RunnableView;
  readonly #tree: ContributionTree;
  #offset = 0;

  constructor(keys: readonly string[], partialBytes: number, of = VIEW) {
    this.#view = of;
    this.#use = noUse(4 * partialBytes);
    const nodes = new NodeCache('contributions', this.cold, this.#use, false);
    this.#tree = new ContributionTree(of, nodes);
    for (const key of keys) for (let i = 0; i < ROWS; i++) this.put(key);
    const writer = new ByteWriter();
    nodes.take(writer, (at, bytes, replaced) => this.cold.put([['contributions', at, bytes, replaced]]));
    nodes.settle();
    nodes.evict(0);
  }

  get partialBytes(): number {
    return this.#use.partials.bytes;
  }

  evict(limitBytes: number): void {
    this.#use.partials.evict(limitBytes);
  }

  put(key: string): void {
    const offset = this.#offset++;
    const eventTimeUs = START_US + offset + (this.#view === PANED ? (offset % PANES) * SECOND_US : 0);
    const image = { row: [offset, null, null, `text ${offset}`, null], eventTimeUs, offset };
    this.#tree.put(key, rowKey(offset), image, START_US);
  }

  /** Says what a key's only feature is in a pane, and how many leaves were read for it. */
  ask(key: string, pane = 0): { text: Result; loads: number } {
    const group = 0;
    const fold = this.#view.groups[group]!.features[0]!;
    const { accumulator } = fold;
    const cells = zeroCells(accumulator.width, accumulator.numeric);
    const before = this.cold.loads;
    this.#tree.refold(key, [{ group, pane, fold, at: 0 }], cells, START_US + (PANES + 1) * SECOND_US);
    return { text: accumulator.result(cells, 0), loads: this.cold.loads - before };
  }
}

function rowKey(row: number): RowKey {
  const bytes = Buffer.from(`row ${row}`);
  return { bytes, start: 0, end: bytes.length, hash: rowHash(bytes, 0, bytes.length) };
}

describe('partials of many keys', () => {
  const names = ['a', 'b', 'c', 'd'];

  it('R4: let go what was asked longest ago, single leaves first', () => {
    const whole = new Keys(['a'], 1e9);
    whole.ask('a');
    const each = whole.partialBytes;
    const keys = new Keys(names, 2.5 * each);
    for (const key of names) expect(keys.ask(key).loads).toBeGreaterThan(ROWS / 64);
    expect(keys.partialBytes).toBeGreaterThan(2 * each);
    expect(keys.partialBytes).toBeLessThanOrEqual(2.5 * each);
    // Nothing is read again where nothing changed, whether leaves are known or spans.
    for (const key of names) expect(keys.ask(key).loads).toBe(0);
    // What was asked last still knows its leaves.
    for (const key of names) keys.put(key);
    const [a, b, c, d] = names
      .toReversed()
      .map((key) => keys.ask(key))
      .toReversed();
    expect([a!.text, b!.text, c!.text, d!.text]).toEqual([0, 1, 2, 3].map((i) => `text ${names.length * ROWS + i}`));
    expect([c!.loads, d!.loads]).toEqual([0, 0]);
    // The others read the leaves of one span: all but the one that is in memory.
    for (const { loads } of [a!, b!]) {
      expect(loads).toBeGreaterThan(0);
      expect(loads).toBeLessThan(2 * SPAN);
    }
  });

  it('R4: of one key that is beyond the share, keep what spans make, and of a change read one span', () => {
    const keys = new Keys(['a'], 8_000);
    const all = keys.ask('a').loads;
    expect(all).toBeGreaterThan(3 * SPAN);
    expect(keys.partialBytes).toBeLessThanOrEqual(8_000);
    for (let i = 0; i < 50; i++) {
      keys.put('a');
      const { text, loads } = keys.ask('a');
      expect(text).toBe(`text ${ROWS + i}`);
      expect(loads).toBeLessThan(2 * SPAN);
      expect(keys.partialBytes).toBeLessThanOrEqual(8_000);
    }
  });

  it('R4: of one key that is beyond the share, keep what spans make of every pane', () => {
    const keys = new Keys(['a'], 14_000, PANED);
    for (let i = 0; i < PANES; i++) {
      const { text, loads } = keys.ask('a', PANE + i);
      expect(text).toBe(ROWS - PANES + i);
      if (i > 0) expect(loads).toBe(0);
    }
    expect(keys.partialBytes).toBeLessThanOrEqual(14_000);
    for (let i = 0; i < 50; i++) {
      keys.put('a');
      const { text, loads } = keys.ask('a', PANE + (i % PANES));
      expect(text).toBe(ROWS + i);
      expect(loads).toBeLessThan(2 * SPAN);
      expect(keys.partialBytes).toBeLessThanOrEqual(14_000);
    }
  });

  it('R4: keep nothing where there is room for nothing', () => {
    const keys = new Keys(['a'], 0);
    expect([keys.ask('a').text, keys.partialBytes]).toEqual([`text ${ROWS - 1}`, 0]);
  });

  it('R4: go when all is beyond the budget and nobody asked for long', () => {
    const keys = new Keys(['a', 'b'], 1e9);
    for (const key of ['a', 'b']) keys.ask(key);
    const both = keys.partialBytes;
    for (let i = 0; i < 30; i++) {
      keys.evict(0);
      keys.ask('b');
    }
    expect(keys.partialBytes).toBeLessThan(both * 0.6);
    expect(keys.ask('b').loads).toBe(0);
    // Within the budget they stay.
    for (let i = 0; i < 30; i++) keys.evict(1e9);
    expect(keys.ask('b').loads).toBe(0);
  });
});

describe('a fold', () => {
  const plan = view(
    [
      feature('max', 'max', 'n', LIFETIME),
      feature('min', 'min', 'n', rolling(20, 2)),
      feature('last', 'last', 's', rolling(20, 2)),
      feature('longest', 'max', 's', rolling(20, 2)),
    ],
    { mode: SourceMode.MUTABLE },
  );
  const step = fc.record({
    kind: fc.constantFrom('put', 'put', 'put', 'delete', 'commit', 'evict'),
    row: fc.nat(1_500),
    many: fc.integer({ min: 1, max: 120 }),
    n: fc.nat(50),
    user: fc.constantFrom(1, 1, 2),
    waitS: fc.constantFrom(0, 0, 0, 1),
  });

  /** Enough rows of one key for several leaves. */
  const GROW = Array.from({ length: 12 }, (_, i) => {
    return { kind: 'put' as const, row: i * 120, many: 120, n: i, user: 1 as const, waitS: 0 as const };
  });

  it('F1: has the same rows, byte for byte, whatever is let go of partials and when', () => {
    let learnt = 0;
    const check = (steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]): void => {
      const colds = [new MemoryCold(), new MemoryCold(), new MemoryCold()];
      // One has all that it learns, one keeps a part of it, one nothing.
      const folds = [1e9, 12_000, 0].map((cacheBytes, i) => new ShardFold({ cold: colds[i]!, cacheBytes }));
      const log = new TestLog();
      log.append(START_US, encodeRecord({ case: 'definitions', value: definitions(1, [plan], ['n']) }));
      log.append(START_US, encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
      log.append(START_US, encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
      let sequence = 0;
      let nowUs = START_US;
      const add = (one: (typeof steps)[number], row: number): void => {
        const isGone = one.kind === 'delete';
        const options = { user: one.user, rowKey: `row ${row}`, eventTimeUs: nowUs - (row % 30) * SECOND_US };
        const values = { n: BigInt((row * 7 + one.n) % 1_000), s: `text ${(row * 13 + one.n) % 500}` };
        const operation = isGone ? Operation.DELETE : Operation.UPDATE;
        log.append(nowUs, change({ ...options, sequence: ++sequence, operation, ...(isGone ? {} : { row: values }) }));
      };
      for (const one of [...GROW, ...steps]) {
        nowUs += one.waitS * SECOND_US;
        if (one.kind === 'put' || one.kind === 'delete') for (let i = 0; i < one.many; i++) add(one, one.row + i);
        for (const [i, fold] of folds.entries()) {
          fold.fold(log.entries.slice(fold.position));
          if (one.kind !== 'commit' && one.kind !== 'evict') continue;
          colds[i]!.put(fold.takeCommit().puts);
          // Only one of them is told to let go, again and again.
          for (let e = 0; e < (one.kind === 'evict' && i === 1 ? 20 : 1); e++) fold.evict();
        }
        for (const user of [1, 2]) {
          const [first, ...others] = folds.map((fold) => fold.row(viewHex(1), userKey(user)));
          for (const other of others) expect(other).toEqual(first);
        }
        learnt = Math.max(learnt, folds[0]!.stats().partialBytes - folds[2]!.stats().partialBytes);
      }
      const [digest, ...digests] = folds.map((fold) => fold.digest());
      for (const other of digests) expect(other).toEqual(digest);
    };
    fc.assert(fc.property(fc.array(step, { maxLength: 40, size: 'max' }), check), { numRuns: 20 });
    // Else this shows nothing.
    expect(learnt).toBeGreaterThan(5_000);
  });
});
