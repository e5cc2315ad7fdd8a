/**
 * Goal: each change of a mutable source does what the design says, and what is taken back leaves no trace (F1, F2, R4).
 * Method: cases by kind of change, read from rows and from stored bytes; random ones against an insert and its delete.
 * Random histories against the oracle are in packages/testkit/src/differential.
 */

import { create } from '@bufbuild/protobuf';
import { Operation, SequenceSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeRow } from '../rows/row-codec.ts';
import { rowLayout, valuesAt } from '../rows/row-reader.ts';
import { ShardFold } from '../shard-fold.ts';
import {
  type ChangeOptions,
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

const { UPDATE, DELETE } = Operation;
const MINUTE = rolling(60, 1);
const FEATURES = [
  feature('count', 'count', '', MINUTE),
  feature('sum', 'sum', 'x', MINUTE),
  feature('money', 'sum', 'd', MINUTE),
  feature('max', 'max', 'n', MINUTE),
  feature('last', 'last', 's', MINUTE),
  feature('all', 'count', '', LIFETIME),
];

type Step = Partial<ChangeOptions> & { readonly rowKey?: string };

/** A fold of one mutable view, with its store. */
class Rig {
  readonly plan;
  cold = new MemoryCold();
  meta: Uint8Array | undefined;
  fold: ShardFold;
  readonly log = new TestLog();
  #cacheBytes: number;
  #sequence = 0;

  constructor(options: { features?: typeof FEATURES; where?: string; alike?: boolean; cacheBytes?: number } = {}) {
    const { features = FEATURES, where = '', alike = false, cacheBytes = 1e9 } = options;
    this.plan = view(features, { mode: SourceMode.MUTABLE, where });
    this.#cacheBytes = cacheBytes;
    this.fold = new ShardFold({ cold: this.cold, cacheBytes });
    this.#append(0, encodeRecord({ case: 'definitions', value: definitions(1, [this.plan], alike ? [] : ['n']) }));
    this.#append(0, encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
    this.#append(0, encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
    this.catchUp();
  }

  #append(atS: number, record: Uint8Array): void {
    this.log.append(START_US + atS * SECOND_US, record);
  }

  catchUp(): void {
    this.fold.fold(this.log.entries.slice(this.fold.position));
  }

  /** Folds one change so many seconds in, of user 1 unless told. */
  step(atS: number, step: Step): this {
    const eventTimeUs = step.eventTimeUs ?? START_US + atS * SECOND_US;
    this.#append(atS, change({ user: 1, sequence: ++this.#sequence, eventTimeUs, ...step }));
    this.catchUp();
    return this;
  }

  truncate(atS: number): this {
    const sequence = create(SequenceSchema, { major: BigInt(++this.#sequence) });
    this.#append(atS, encodeRecord({ case: 'truncate', value: { route: 1, generation: 1, lane: 2, sequence } }));
    this.catchUp();
    return this;
  }

  tick(atS: number): this {
    this.#append(atS, encodeRecord({ case: 'tick', value: {} }));
    this.catchUp();
    return this;
  }

  values(user = 1, atS = 0): unknown[] | undefined {
    const row = this.fold.row(viewHex(1), userKey(user));
    if (row === undefined) return undefined;
    const layout = rowLayout(this.plan);
    return valuesAt(decodeRow(row.bytes, layout.types), START_US + atS * SECOND_US, layout).map(({ value }) => value);
  }

  version(user = 1): number | undefined {
    return this.fold.version(viewHex(1), userKey(user));
  }

  commit(): void {
    this.fold.takeDirty();
    const { puts, meta } = this.fold.takeCommit();
    this.cold.put(puts);
    this.meta = meta;
    this.fold.evict();
  }

  restart(): void {
    this.fold = new ShardFold({ cold: this.cold, cacheBytes: this.#cacheBytes, meta: this.meta });
    this.catchUp();
  }

  sweep(): number {
    return this.fold
      .sweepable()
      .reduce((sum, name) => sum + this.fold.sweep(name, [...this.cold.scan(name, undefined)]), 0);
  }

  /** How many entries are stored. */
  get stored(): number {
    return [...this.cold.states.values()].reduce((sum, states) => sum + states.size, 0);
  }

  /** The stored state of user 1 without the version and log time of its last change. */
  panes(): string {
    this.commit();
    const [name] = this.fold.instances();
    const state = Buffer.from(this.cold.load(name!, userKey(1))!);
    let at = 1;
    for (let varints = 0; varints < 2; varints++) {
      while (state[at]! > 0x7f) at++;
      at++;
    }
    return state.toString('hex', at);
  }
}

const a = { rowKey: 'a', row: { x: 0.1, d: '1.50', n: 5n, s: 'first' } };
const b = { rowKey: 'b', row: { x: 0.2, d: '2', n: 3n, s: 'second' } };

describe('a change of a mutable source', () => {
  it('F2: an update takes out exactly what was folded, whatever it now says', () => {
    const rig = new Rig().step(0, a).step(1, b);
    expect(rig.values()).toEqual([2n, 0.30000000000000004, '3.50', 5n, 'second', 2n]);
    rig.step(2, { operation: UPDATE, rowKey: 'a', row: { x: 7, d: '1', n: 1n, s: 'third' }, eventTimeUs: START_US });
    expect(rig.values()).toEqual([2n, 7.2, '3', 3n, 'second', 2n]);
    rig.step(3, { operation: DELETE, rowKey: 'b' });
    expect(rig.values()).toEqual([1n, 7, '1', 1n, 'third', 1n]);
    rig.step(4, { operation: DELETE, rowKey: 'a' });
    expect(rig.values()).toEqual([0n, null, null, null, null, 0n]);
  });

  it('F2: an image that does not fulfil where, or is too late, still takes the place of the old one', () => {
    const rig = new Rig({ where: 'n > 2' }).step(0, a).step(0, b);
    rig.step(1, { operation: UPDATE, rowKey: 'a', row: { n: 1n } });
    expect(rig.values()![5]).toBe(1n);
    // And back again.
    rig.step(2, { operation: UPDATE, ...a });
    expect(rig.values()![5]).toBe(2n);
    const windowed = new Rig({ features: FEATURES.slice(0, 5) }).step(100, a);
    windowed.step(101, { operation: UPDATE, rowKey: 'a', row: a.row, eventTimeUs: START_US });
    expect([windowed.values(1, 101)![0], windowed.fold.stats().expiredEvents]).toEqual([0n, 1]);
  });

  it('F1: what changes nothing leaves version and row as they were', () => {
    const rig = new Rig({ where: 'n > 2', features: FEATURES.slice(0, 5) }).step(0, a);
    const version = rig.version();
    const row = rig.fold.row(viewHex(1), userKey(1))!.bytes.slice();
    rig.step(1, { operation: DELETE, rowKey: 'never there' });
    rig.step(1, { operation: UPDATE, rowKey: 'never there', row: { n: 1n } });
    rig.step(1, { operation: DELETE, rowKey: 'a', user: 2 });
    expect([rig.version(), rig.version(2)]).toEqual([version, undefined]);
    expect(rig.fold.row(viewHex(1), userKey(1))!.bytes).toEqual(row);
    // Out of reach, it is as if it was not there.
    rig.step(62, { operation: DELETE, rowKey: 'a' });
    expect(rig.version()).toBe(version);
  });

  it('F2: a row that gets another key takes its place; one that moves to another entity leaves the old one', () => {
    const rekeyed = new Rig().step(0, a).step(1, { ...b, operation: UPDATE, oldRowKey: 'a' });
    expect([rekeyed.values()![5], rekeyed.values()![3]]).toEqual([1n, 3n]);
    const rig = new Rig().step(0, a);
    rig.step(1, { ...a, user: 2, operation: UPDATE, rowKey: 'a2', oldRowKey: 'a' });
    rig.step(1, { user: 1, operation: DELETE, rowKey: 'a' });
    expect([rig.values(1)![5], rig.values(2)![5]]).toEqual([0n, 1n]);
    rig.step(2, { user: 2, operation: DELETE, rowKey: 'a2' });
    expect(rig.values(2)![5]).toBe(0n);
  });

  it('F2: an insert of a row that is there takes its place; without a key it is another one, and the oldest goes first', () => {
    expect(
      new Rig()
        .step(0, a)
        .step(1, { ...a, row: { s: 'again' } })
        .values(),
    ).toEqual([1n, null, null, null, 'again', 1n]);
    const alike = new Rig({ alike: true }).step(0, a).step(1, { ...a, row: { s: 'alike' } });
    expect(alike.values()![0]).toBe(2n);
    expect(alike.step(2, { operation: DELETE, rowKey: 'a' }).values()).toEqual([1n, null, null, null, 'alike', 1n]);
  });

  it('F2: an update that tells of a newer record decides between equal times', () => {
    const at = { eventTimeUs: START_US };
    const rig = new Rig().step(0, { ...a, ...at }).step(1, { ...b, ...at });
    expect(rig.values()![4]).toBe('second');
    rig.step(2, { ...a, ...at, operation: UPDATE });
    expect(rig.values()![4]).toBe('first');
    rig.step(3, { operation: DELETE, rowKey: 'a' });
    expect(rig.values()![4]).toBe('second');
  });

  it('F2: the newest event time goes back when its row goes, so a ttl runs from what is left', () => {
    const rig = new Rig({ features: [feature('sum', 'sum', 'n', LIFETIME, { ttlS: 10 })] }).step(0, a).step(8, b);
    expect(rig.values(1, 15)).toEqual([8n]);
    rig.step(9, { operation: DELETE, rowKey: 'b' });
    expect([rig.values(1, 9), rig.values(1, 10)]).toEqual([[5n], [null]]);
  });

  it('F2: under a contract that nobody told, an update or delete still takes out the old image', () => {
    const rig = new Rig().step(0, a).step(1, b);
    rig.step(2, { ...a, operation: UPDATE, contractVersion: 9 });
    expect(rig.values()).toEqual([1n, 0.2, '2', 3n, 'second', 1n]);
    expect(rig.fold.stats().unknownContracts).toBe(1);
    // What the next image of it says is known again.
    rig.step(3, { ...a, operation: UPDATE });
    expect(rig.values()![5]).toBe(2n);
    rig.step(4, { operation: DELETE, rowKey: 'a', contractVersion: 9 });
    rig.step(5, { operation: UPDATE, rowKey: 'b2', oldRowKey: 'b', contractVersion: 9 });
    expect(rig.values()).toEqual([0n, null, null, null, null, 0n]);
    // Of a delete nothing had to be read.
    expect(rig.fold.stats().unknownContracts).toBe(2);
  });

  it('F2: a truncation empties the view at once, in the store too, and what comes after it counts', () => {
    const rig = new Rig({ cacheBytes: 0 }).step(0, a);
    rig.commit();
    rig.truncate(1);
    expect([rig.values(), rig.fold.completeViews()]).toEqual([undefined, [viewHex(1)]]);
    rig.step(2, { operation: UPDATE, ...a }).step(3, b);
    rig.commit();
    rig.restart();
    expect(rig.values()![5]).toBe(2n);
    rig.step(4, { operation: DELETE, rowKey: 'a' });
    expect(rig.values()![5]).toBe(1n);
  });

  it('F1: a view that is built over a truncation has what came after it, and the digest of one that was not', () => {
    const rig = new Rig().step(0, a).truncate(1).step(2, b);
    const late = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9 });
    const [define, ...rest] = rig.log.entries;
    const log = new TestLog();
    for (const { logTimeUs, record } of rest) log.append(logTimeUs, record);
    log.append(START_US + 2 * SECOND_US, define!.record);
    late.fold(log.entries);
    late.foldBuild(viewHex(1), log.entries.slice(0, 2));
    late.foldBuild(viewHex(1), log.entries.slice(2));
    const values = valuesAt(decodeRow(late.row(viewHex(1), userKey(1))!.bytes), START_US, rowLayout(rig.plan));
    expect(values.map(({ value }) => value)).toEqual(rig.values());
  });
});

describe('a build over a truncation', () => {
  it('F1: numbers a fresh instance when it gets there, which the digest does not tell', () => {
    const rig = new Rig().step(0, a).truncate(1).step(2, b);
    const [, ...rest] = rig.log.entries;
    const other = view([feature('n', 'count', '', LIFETIME)], { id: 2, route: 2 });
    const records = [
      ...rest.map(({ record }) => record),
      encodeRecord({ case: 'definitions', value: definitions(1, [rig.plan], ['n']) }),
      encodeRecord({ case: 'definitions', value: definitions(2, [rig.plan, other], ['n']) }),
    ];
    const log = new TestLog();
    for (const record of records) log.append(START_US, record);
    const digests = [log.entries.length - 1, log.entries.length].map((fedAt) => {
      const fold = new ShardFold({ cold: new MemoryCold(), cacheBytes: 1e9 });
      fold.fold(log.entries.slice(0, fedAt));
      fold.foldBuild(viewHex(1), log.entries.slice(0, 4));
      fold.fold(log.entries.slice(fedAt));
      for (const { viewId, position } of fold.builds()) fold.foldBuild(viewId, log.entries.slice(position));
      // The build went on after it.
      expect(fold.completeViews()).toContain(viewHex(1));
      return { digest: fold.digest(), instances: fold.instances() };
    });
    expect(digests[0]!.digest).toEqual(digests[1]!.digest);
    // Else this shows nothing.
    expect(digests[0]!.instances).not.toEqual(digests[1]!.instances);
  });
});

describe('the state of a mutable view', () => {
  const row = fc.record({
    x: fc.oneof(fc.double(), fc.constantFrom(0.1, -0, Number.NaN, Infinity, -Infinity, 1e308)),
    d: fc.constantFrom('1', '1.0', '0.001', '-2.5', 'NaN', '99999999999999999999', '1e'.slice(0, 1)),
    n: fc.oneof(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.constant(null)),
    s: fc.constantFrom('a', 'b', null),
  });
  const rows = fc.array(fc.record({ row, atS: fc.integer({ min: 0, max: 9 }), key: fc.nat(4) }), { maxLength: 8 });

  it('F1: has the same bytes, byte for byte, after a row was inserted and deleted, or changed and changed back', () => {
    fc.assert(
      fc.property(rows, row, row, fc.boolean(), fc.boolean(), (list, extra, other, isCold, isUpdated) => {
        const rig = new Rig({ cacheBytes: isCold ? 0 : 1e9 }).step(0, { rowKey: 'first', row: { n: 1n } });
        list.forEach((one, i) => {
          rig.step(i, { rowKey: `row ${one.key}`, row: one.row, eventTimeUs: START_US + one.atS * SECOND_US });
        });
        const before = rig.panes();
        const eventTimeUs = START_US + 5 * SECOND_US;
        rig.step(20, { rowKey: 'extra', row: extra, eventTimeUs });
        if (isUpdated)
          rig.step(20, { operation: UPDATE, rowKey: 'extra', row: other, eventTimeUs: eventTimeUs + SECOND_US });
        rig.commit();
        rig.step(21, { operation: DELETE, rowKey: 'extra' });
        expect(rig.panes()).toBe(before);
      }),
      { numRuns: 150 },
    );
  });

  it.each([0, 1e9])(
    'returns to its floor: when all windows are over and it was swept, nothing is stored (cache %d)',
    (cacheBytes) => {
      const features = FEATURES.slice(0, 4);
      const rig = new Rig({ features, cacheBytes });
      for (let i = 0; i < 300; i++) rig.step(i / 100, { ...a, user: i % 10, rowKey: `row ${i}` });
      rig.commit();
      expect(rig.stored).toBe(20);
      expect(rig.sweep()).toBe(0);
      rig.tick(70);
      const digest = rig.fold.digest();
      expect(rig.sweep()).toBe(310);
      expect(rig.values(1)).toBeUndefined();
      rig.commit();
      expect([rig.stored, rig.fold.stats().keys]).toEqual([0, 0]);
      expect(rig.fold.digest()).toEqual(digest);
      // And a key that comes again is as a new one.
      rig.step(71, a);
      const fresh = new Rig({ features }).tick(70).step(71, a);
      expect(rig.panes()).toBe(fresh.panes());
    },
  );

  it('returns to its floor when all rows are deleted, with a lifetime and a ttl too', () => {
    const rig = new Rig({ features: [...FEATURES, feature('ttl', 'count', '', LIFETIME, { ttlS: 5 })] });
    for (let i = 0; i < 200; i++) rig.step(1, { ...a, rowKey: `row ${i}` });
    rig.commit();
    for (let i = 0; i < 200; i++) rig.step(2, { operation: DELETE, rowKey: `row ${i}` });
    rig.commit();
    expect([rig.stored, rig.values()![5], rig.sweep()]).toEqual([1, 0n, 1]);
    rig.commit();
    expect(rig.stored).toBe(0);
  });

  it('R4: a key with very many live rows is changed in bounded memory, and folds again what it must', () => {
    const live = 40_000;
    const rig = new Rig({ features: [feature('max', 'max', 'n', LIFETIME)], cacheBytes: 200_000 });
    for (let i = 0; i < live; i++) {
      const record = change({
        user: 1,
        sequence: 10 + i,
        eventTimeUs: START_US,
        rowKey: `row ${i}`,
        row: { n: BigInt(i) },
      });
      rig.log.append(START_US, record);
    }
    for (let at = rig.fold.position; at < rig.log.entries.length; at += 5_000) {
      rig.fold.fold(rig.log.entries.slice(at, at + 5_000));
      rig.commit();
      rig.fold.evict();
      expect(rig.fold.stats().cacheBytes).toBeLessThan(2_000_000);
    }
    const step = (sequence: number, more: Step): void => {
      rig.step(1, { ...more, sequence, eventTimeUs: START_US });
    };
    step(200_000, { operation: DELETE, rowKey: `row ${live - 1}` });
    expect(rig.values()).toEqual([BigInt(live - 2)]);
    step(200_001, { operation: UPDATE, rowKey: 'row 5', row: { n: 200_000n } });
    expect(rig.values()).toEqual([200_000n]);
    // That one needed nothing but its own leaf.
    const before = rig.cold.loads;
    step(200_002, { operation: UPDATE, rowKey: 'row 77', row: { n: 3n } });
    expect(rig.cold.loads - before).toBeLessThan(5);
  });

  it('R4: what a key gets while it waits for a commit counts towards it', () => {
    const rig = new Rig();
    for (let i = 0; i < 60; i++) rig.step(0, { rowKey: `row ${i}`, row: { s: 'x'.repeat(500) } });
    const { dirtyBytes } = rig.fold;
    const stored = rig.fold.takeCommit().puts.reduce((sum, [, , state]) => sum + (state?.length ?? 0), 0);
    expect(stored).toBeGreaterThan(30_000);
    expect(dirtyBytes).toBeGreaterThan(stored / 2);
    expect(dirtyBytes).toBeLessThan(stored * 3);
  });
});
