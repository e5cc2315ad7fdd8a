/**
 * Goal: contributions of any number of rows are found again, however they lie in leaves, and in bounded work (F1, R4).
 * Method: random puts, take-outs, purges, commits, evictions and restarts against a plain list; then the shapes by hand:
 * a leaf is cut, put together again, and a key with one row has one entry. Rows share few hashes and few keys, so that
 * leaves are cut between rows that are alike too.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ABSENT, NO_EVENT_TIME, type Result } from '../aggregates/aggregate.ts';
import { type CacheUse, noUse } from '../fold/state-cache.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { zeroCells } from '../state/cells.ts';
import { isHeld } from '../state/reach.ts';
import { runnableView } from '../state/view-plan.ts';
import { feature, LIFETIME, MemoryCold, rolling, SECOND_US, START_US, view } from '../testing/plans.testing.ts';
import type { RowKey } from './contribution.ts';
import { endOf, readEventTime, readOffset } from './contribution.ts';
import { ContributionTree, type Image, LEAF_MAX } from './contribution-tree.ts';
import { NodeCache } from './node-cache.ts';
import { decodeNode } from './node-codec.ts';
import { rowHash } from './row-hash.ts';

const TEN = rolling(10, 1);
const WINDOWED = runnableView(
  view(
    [
      feature('sum', 'sum', 'n', TEN),
      feature('all', 'max', 'n', rolling(20, 20)),
      feature('max', 'max', 'n', TEN),
      feature('min', 'min', 's', TEN),
      feature('last', 'last', 's', TEN),
    ],
    { mode: SourceMode.MUTABLE },
  ),
);
const LIVING = runnableView(
  view(
    [feature('s', 'sum', 'n', LIFETIME), feature('l', 'last', 's', LIFETIME), feature('c', 'count', 'x', LIFETIME)],
    {
      mode: SourceMode.MUTABLE,
    },
  ),
);
const NAME = 'contributions';
const KEY = 'the key';

function rowKey(name: string, hash?: number): RowKey {
  const bytes = new TextEncoder().encode(`..${name}`);
  return { bytes, start: 2, end: bytes.length, hash: hash ?? rowHash(bytes, 2, bytes.length) };
}

/** A tree with its cold store; commits and restarts as a fold would. */
class Rig {
  cold = new MemoryCold();
  readonly #view: typeof LIVING;
  #nodes!: NodeCache;
  readonly #partialBytes: number;
  #use!: CacheUse;
  tree!: ContributionTree;
  readonly #writer = new ByteWriter();

  constructor(plan: typeof LIVING, partialBytes = 1e9) {
    this.#view = plan;
    this.#partialBytes = partialBytes;
    this.restart(false);
  }

  get bytes(): number {
    return this.#use.bytes;
  }

  restart(isPartial = true): void {
    this.#use = noUse(4 * this.#partialBytes);
    this.#nodes = new NodeCache(NAME, this.cold, this.#use, isPartial);
    this.tree = new ContributionTree(this.#view, this.#nodes);
  }

  commit(limitBytes: number): void {
    this.#nodes.take(this.#writer, (key, bytes, replaced) => {
      const before = this.cold.states.get(NAME)?.get(key);
      expect(replaced === -1).toBe(before === undefined);
      this.cold.put([[NAME, key, bytes, replaced]]);
    });
    this.#nodes.settle();
    this.#nodes.evict(limitBytes);
  }

  /** As when memory is short for long. */
  forgetPartials(): void {
    for (let i = 0; i < 20; i++) this.#use.partials.evict(0);
    expect(this.#use.partials.bytes).toBe(0);
  }

  put(row: RowKey, eventTimeUs: number, offset: number, logTimeUs = START_US, n: number | null = offset): void {
    const image: Image = { row: [n, null, null, n === null ? null : `text ${n}`, null], eventTimeUs, offset };
    this.tree.put(KEY, row, image, logTimeUs);
  }

  /** The offset of the image that was taken out. */
  takeOut(row: RowKey, offset: number, logTimeUs = START_US): number | undefined {
    const into: Image = { row: [null, null, null, null, null], eventTimeUs: 0, offset: 0 };
    if (!this.tree.takeOut(KEY, row, offset, logTimeUs, into)) return undefined;
    expect(into.row[0]).toBe(into.offset);
    return into.offset;
  }

  /** The offsets of all that count. */
  all(logTimeUs = START_US): number[] {
    const offsets: number[] = [];
    for (const [, { leaf }] of this.#nodes.all()) {
      for (let at = 0; at < leaf.length; at = endOf(leaf.bytes, at)) {
        if (isHeld(this.#view.reach, readEventTime(leaf.bytes, at), logTimeUs)) {
          offsets.push(readOffset(leaf.bytes, at));
        }
      }
    }
    return offsets.sort((a, b) => a - b);
  }

  /** What a feature is of the contributions in a pane of its window. */
  refold(name: string, pane: number, logTimeUs: number): Result {
    const feature = this.#view.plan.features.findIndex((one) => one.name === name);
    const group = this.#view.groups.findIndex(({ features }) => features.some((one) => one.feature === feature));
    const fold = this.#view.groups[group]!.features.find((one) => one.feature === feature)!;
    const { width, numeric } = fold.accumulator;
    const cells = zeroCells(width, numeric);
    this.tree.refold(KEY, [{ group, pane, fold, at: 0 }], cells, logTimeUs);
    return fold.accumulator.result(cells, 0);
  }

  /** By key in the store, how many contributions are there; 0: a directory. */
  stored(): number[] {
    return [...this.cold.scan(NAME, undefined)].map(([, bytes]) => decodeNode(bytes).leaf.count);
  }
}

/** Compares every accumulator that may have to be folded again, of every pane in reach, with what the list says. */
function expectRefolds(rig: Rig, held: readonly Held[], nowUs: number): void {
  const paneOf = ({ eventTimeUs }: Held): number => Math.floor(eventTimeUs / SECOND_US);
  const text = (one: Held | undefined): Result => (one === undefined ? ABSENT : `text ${one.offset}`);
  const isLater = (a: Held, b: Held): number => a.eventTimeUs - b.eventTimeUs || a.offset - b.offset;
  const byPane = Map.groupBy(held, paneOf);
  const now = Math.floor(nowUs / SECOND_US);
  for (let pane = now - 10; pane <= now; pane++) {
    const inPane = byPane.get(pane) ?? [];
    const offsets = inPane.map(({ offset }) => offset);
    expect(rig.refold('max', pane, nowUs)).toBe(offsets.length === 0 ? ABSENT : Math.max(...offsets));
    expect(rig.refold('min', pane, nowUs)).toBe(
      offsets.length === 0 ? ABSENT : offsets.map((n) => `text ${n}`).sort()[0],
    );
    expect(rig.refold('last', pane, nowUs)).toBe(text(inPane.toSorted(isLater).at(-1)));
  }
  const widePaneOf = (timeUs: number): number => Math.floor(timeUs / (20 * SECOND_US));
  const wide = widePaneOf(nowUs);
  const offsets = held.filter(({ eventTimeUs }) => widePaneOf(eventTimeUs) === wide).map(({ offset }) => offset);
  expect(rig.refold('all', wide, nowUs)).toBe(offsets.length === 0 ? ABSENT : Math.max(...offsets));
}

interface Held {
  readonly name: string;
  readonly offset: number;
  readonly eventTimeUs: number;
}

describe('contributions', () => {
  it('F1: are found as in a plain list, across splits, merges, commits, evictions, purges and restarts', () => {
    const steps = fc.array(
      fc.oneof(
        {
          weight: 6,
          arbitrary: fc.record({ put: fc.integer({ min: 1, max: 90 }), rows: fc.integer({ min: 1, max: 120 }) }),
        },
        { weight: 6, arbitrary: fc.record({ take: fc.integer({ min: 1, max: 90 }), first: fc.nat(119) }) },
        { weight: 2, arbitrary: fc.record({ commit: fc.constantFrom(0, 3_000, 1e9) }) },
        { weight: 1, arbitrary: fc.record({ wait: fc.nat(6) }) },
        { weight: 1, arbitrary: fc.constant('purge' as const) },
        { weight: 1, arbitrary: fc.constant('restart' as const) },
      ),
      { maxLength: 30, size: 'max' },
    );
    const check = (list: typeof steps extends fc.Arbitrary<infer T> ? T : never, hashes: number): void => {
      const rig = new Rig(WINDOWED);
      const keyOf = (name: string): RowKey => rowKey(name, hashes === 0 ? undefined : name.length % hashes);
      let held: Held[] = [];
      let offset = 10;
      let nowUs = START_US;
      // The wider window is one pane before the one that time is in.
      const isHeld = ({ eventTimeUs }: Held): boolean =>
        Math.floor(eventTimeUs / (20 * SECOND_US)) >= Math.floor(nowUs / (20 * SECOND_US)) - 1;
      for (const step of list) {
        if (step === 'restart') {
          rig.commit(0);
          rig.restart();
        } else if (step === 'purge') {
          rig.commit(1e9);
          for (const [key] of rig.cold.scan(NAME, undefined)) {
            const bound = key.length === KEY.length + 2 ? undefined : boundOf(key);
            rig.tree.purge(KEY, bound, offset, nowUs);
          }
        } else if ('commit' in step) rig.commit(step.commit);
        else if ('wait' in step) nowUs += step.wait * SECOND_US;
        else if ('put' in step) {
          for (let i = 0; i < step.put; i++) {
            const one = {
              name: `${'row'.padEnd((i % 5) + 3, '.')}${i % step.rows}`,
              offset: offset++,
              eventTimeUs: nowUs - ((i * 37) % 97),
            };
            held.push(one);
            rig.put(keyOf(one.name), one.eventTimeUs, one.offset, nowUs);
          }
        } else {
          for (let i = step.first; i < step.first + step.take; i++) {
            const name = `${'row'.padEnd((i % 5) + 3, '.')}${i % 120}`;
            const expected = held.find((one) => one.name === name && isHeld(one));
            expect(rig.takeOut(keyOf(name), offset++, nowUs)).toBe(expected?.offset);
            held = held.filter((one) => one !== expected);
          }
        }
        expect(rig.all(nowUs)).toEqual(held.filter(isHeld).map((one) => one.offset));
        const times = held.filter(isHeld).map(({ eventTimeUs }) => eventTimeUs);
        expect(rig.tree.newest(KEY, nowUs)).toBe(Math.max(NO_EVENT_TIME, ...times));
        expectRefolds(rig, held.filter(isHeld), nowUs);
      }
      // Taken out to the last, nothing stays; what expired goes with a purge.
      nowUs += 100 * SECOND_US;
      rig.commit(0);
      for (let round = 0; round < 40 && rig.stored().length > 0; round++) {
        rig.commit(0);
        for (const [key] of rig.cold.scan(NAME, undefined)) {
          rig.tree.purge(KEY, key.length === KEY.length + 2 ? undefined : boundOf(key), offset, nowUs);
        }
        rig.commit(0);
      }
      expect(rig.stored()).toEqual([]);
      expect(rig.bytes).toBe(0);
    };
    fc.assert(fc.property(steps, fc.constantFrom(0, 0, 2, 1), check), { numRuns: 60 });
  });

  it('R4: tell the newest event time without going through all again, however many there are', () => {
    const rig = new Rig(LIVING);
    for (let i = 0; i < 1_000; i++) rig.put(rowKey(`row ${i}`), START_US + i, i);
    rig.commit(0);
    rig.commit(0);
    let loads = 0;
    const load = rig.cold.load.bind(rig.cold);
    rig.cold.load = (instance, key) => {
      loads++;
      return load(instance, key);
    };
    expect(rig.tree.newest(KEY, START_US)).toBe(START_US + 999);
    expect(loads).toBeGreaterThan(15);
    for (let i = 999; i > 900; i--) {
      loads = 0;
      expect(rig.takeOut(rowKey(`row ${i}`), 2_000 - i)).toBe(i);
      expect(rig.tree.newest(KEY, START_US)).toBe(START_US + i - 1);
      // The leaf that the row was in, and one that it is put together with.
      expect(loads).toBeLessThan(3);
    }
  });

  it.each([
    [1e9, Number.POSITIVE_INFINITY],
    [1e9, 70],
    [8_000, 500],
  ])(
    'F1: are folded again as a plain list would be, whatever changed (%d bytes of partials, let go every %d)',
    (partialBytes, every) => {
      const rig = new Rig(LIVING, partialBytes);
      let seed = 5;
      const random = (below: number): number => {
        seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
        return Math.floor((seed / 2 ** 32) * below);
      };
      // By event time, of which no two have the same.
      const held: Held[] = [];
      let offset = 10;
      const put = (): void => {
        const one = { name: `row ${offset}`, offset: offset++, eventTimeUs: START_US + random(2 ** 32) };
        const at = held.findIndex(({ eventTimeUs }) => eventTimeUs > one.eventTimeUs);
        held.splice(at < 0 ? held.length : at, 0, one);
        rig.put(rowKey(one.name), one.eventTimeUs, one.offset);
      };
      // Mostly the newest, so that one leaf after the other is asked for what it has.
      const take = (): void => {
        const [one] = held.splice(random(4) === 0 ? random(held.length) : held.length - 1, 1);
        if (one !== undefined) expect(rig.takeOut(rowKey(one.name), offset++)).toBe(one.offset);
      };
      const check = (): void => {
        const newest = held.at(-1);
        expect(rig.refold('l', 0, START_US)).toBe(newest === undefined ? ABSENT : `text ${newest.offset}`);
        expect(rig.tree.newest(KEY, START_US)).toBe(newest?.eventTimeUs ?? NO_EVENT_TIME);
      };
      // Up to about 130 leaves, which are more than two spans, up and down some more, and down to nothing.
      for (const [until, puts] of [
        [6_000, 1],
        [4_000, 0.3],
        [6_000, 0.7],
        [0, 0.1],
      ] as const) {
        while (held.length !== until) {
          if (random(100) < puts * 100) put();
          else take();
          // Where little is kept, each look reads many leaves.
          if (offset % (partialBytes < 1e6 ? 25 : 5) === 0 || (partialBytes === 1e9 && held.length > 3_000)) check();
          if (offset % every === 0) rig.forgetPartials();
          if (offset % 2_000 === 0) rig.commit(offset % 4_000 === 0 ? 0 : 1e9);
        }
        rig.commit(0);
        if (until === 4_000) rig.restart();
      }
      expect(held).toEqual([]);
      expect([rig.stored(), rig.bytes]).toEqual([[], 0]);
    },
  );

  it('R4: are folded again without going through all, however many there are, and what that takes is counted', () => {
    const rig = new Rig(LIVING);
    const rows = 20_000;
    for (let i = 0; i < rows; i++) rig.put(rowKey(`row ${i}`), START_US, i);
    rig.commit(0);
    rig.commit(0);
    expect(rig.bytes).toBe(0);
    expect(rig.refold('l', 0, START_US)).toBe(`text ${rows - 1}`);
    const { bytes } = rig;
    // Beside the directory, what is known of each leaf, but none of them.
    expect(bytes).toBeGreaterThan((rows / LEAF_MAX) * 100);
    expect(bytes).toBeLessThan(rows * 10);
    for (let i = rows - 1; i > rows - 100; i--) {
      expect(rig.takeOut(rowKey(`row ${i}`), 2 * rows - i)).toBe(i);
      const before = rig.cold.loads;
      expect(rig.refold('l', 0, START_US)).toBe(`text ${i - 1}`);
      // The leaf that the row was in is held; one that it was put together with is too.
      expect(rig.cold.loads - before).toBe(0);
    }
    // It goes with the directory.
    rig.commit(0);
    rig.commit(0);
    expect(rig.bytes).toBe(0);
    expect(rig.refold('l', 0, START_US)).toBe(`text ${rows - 100}`);
  });

  it('are looked for once by a change of a key that has none, and found once there are', () => {
    const rig = new Rig(LIVING);
    rig.restart();
    for (let i = 0; i < 3; i++) {
      expect(rig.tree.prepare(KEY, START_US)).toBe(true);
      expect(rig.takeOut(rowKey('a'), i)).toBeUndefined();
    }
    expect(rig.cold.loads).toBe(1);
    rig.put(rowKey('a'), START_US, 7);
    expect(rig.takeOut(rowKey('a'), 8)).toBe(7);
    // Also when the store heard of it and it went from memory.
    rig.commit(0);
    rig.put(rowKey('a'), START_US, 9);
    rig.commit(0);
    rig.commit(0);
    expect(rig.bytes).toBe(0);
    expect(rig.takeOut(rowKey('a'), 10)).toBe(9);
  });

  it('are one entry a key while it has few rows, and cut in two beyond the limit', () => {
    const rig = new Rig(LIVING);
    for (let i = 0; i < LEAF_MAX; i++) rig.put(rowKey(`row ${i}`), START_US, i);
    rig.commit(1e9);
    expect(rig.stored()).toEqual([LEAF_MAX]);
    rig.put(rowKey('one more'), START_US, LEAF_MAX);
    rig.commit(1e9);
    expect(rig.stored()).toEqual([0, 32, 33]);
    // Emptied, they go together again; the directory goes.
    for (let i = 0; i < 40; i++) rig.takeOut(rowKey(`row ${i}`), 100 + i);
    rig.commit(1e9);
    expect(rig.stored()).toEqual([25]);
    expect(rig.all()).toHaveLength(25);
  });

  it('keep inputs with their types, nulls too', () => {
    const rig = new Rig(LIVING);
    rig.put(rowKey('a'), START_US, 1, START_US, null);
    rig.put(rowKey('b'), START_US, 2, START_US, 7);
    rig.commit(0);
    const into: Image = { row: [5, 5, 5, 'x', 5], eventTimeUs: 0, offset: 0 };
    expect(rig.tree.takeOut(KEY, rowKey('a'), 3, START_US, into)).toBe(true);
    expect([into.row[0], into.row[1], into.row[3], into.eventTimeUs, into.offset]).toEqual([
      null,
      null,
      null,
      START_US,
      1,
    ]);
    expect(rig.tree.takeOut(KEY, rowKey('b'), 4, START_US, into)).toBe(true);
    expect([into.row[0], into.row[1], into.row[3]]).toEqual([7, null, 'text 7']);
  });

  it('R4: of a key with 100,000 rows one is changed by touching one leaf, also when it is cold', () => {
    const rig = new Rig(LIVING);
    const rows = 100_000;
    for (let i = 0; i < rows; i++) {
      rig.put(rowKey(`row ${i}`), START_US + i, i);
      if (i % 20_000 === 0) rig.commit(0);
    }
    rig.commit(0);
    // What was used since the last commit has a second chance.
    rig.commit(0);
    expect(rig.bytes).toBe(0);
    const leaves = rig.stored().length - 1;
    expect(leaves).toBeLessThan(rows / 25);
    expect(leaves).toBeGreaterThan(rows / LEAF_MAX);
    const before = rig.cold.loads;
    for (let i = 0; i < 100; i++) {
      expect(rig.takeOut(rowKey(`row ${i * 997}`), rows + i)).toBe(i * 997);
      rig.put(rowKey(`row ${i * 997}`), START_US, rows + i);
    }
    // The directory, and of each change one leaf; now and then its neighbour, when it is sparse.
    expect(rig.cold.loads - before).toBeLessThanOrEqual(110);
    expect(rig.all()).toHaveLength(rows);
    expect(rig.tree.newest(KEY, START_US)).toBe(START_US + rows - 1);
    // A pass over all of them keeps nothing that was not there.
    expect(rig.bytes).toBeLessThan(1_000_000);
  });
});

function boundOf(key: string): { hash: number; offset: number } {
  const bytes = Buffer.from(key.slice(KEY.length + 2), 'latin1');
  return { hash: bytes.readUInt32BE(0), offset: bytes.readUIntBE(5, 6) };
}
