/**
 * Goal: no value, row or evaluation is without bound, and what is too long is an error that is counted. Method: values on
 * both sides of each limit; the bound of rows against rows that are as long as can be.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { DECIMAL_SCALE_MAX } from '@freshet/values/decimal.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compileExpression } from './expression/expression.ts';
import {
  EVALUATION_COST_MAX,
  isLongerThan,
  MADE_ITEMS_MAX,
  MADE_LENGTH_MAX,
  ROW_BYTES_MAX,
  rowBytesMax,
  VALUE_BYTES_MAX,
  valueBytesMax,
} from './limits.ts';
import { decodeRow } from './rows/row-codec.ts';
import { ShardFold } from './shard-fold.ts';
import {
  change,
  definitions,
  encodeRecord,
  feature,
  LIFETIME,
  rolling,
  SECOND_US,
  START_US,
  TestLog,
  tumbling,
  type,
  userKey,
  view,
  viewHex,
} from './testing/plans.testing.ts';

const V1 = viewHex(1);

function foldOf(plan: ReturnType<typeof view>): { fold: ShardFold; log: TestLog } {
  const fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: 1e9 });
  const log = new TestLog();
  log.append(START_US, encodeRecord({ case: 'definitions', value: definitions(1, [plan]) }));
  log.append(START_US, encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } }));
  log.append(START_US, encodeRecord({ case: 'snapshotEnd', value: { route: 1, generation: 1 } }));
  return { fold, log };
}

describe('what an expression makes', () => {
  const columns = [
    { name: 's', type: type(Kind.STRING), nullable: true },
    { name: 'b', type: type(Kind.BYTES), nullable: true },
    { name: 'l', type: type(Kind.LIST, Kind.STRING), nullable: true },
  ];
  const half = 'x'.repeat(MADE_LENGTH_MAX / 2);

  it('is a text, bytes or a list up to the limit, and an error beyond it', () => {
    const text = compileExpression('s + s', columns);
    expect(text.evaluate([half, null, null])).toHaveLength(MADE_LENGTH_MAX);
    expect(() => text.evaluate([`${half}x`, null, null])).toThrow('longer than');
    const bytes = compileExpression('b + b', columns);
    expect(bytes.evaluate([null, new Uint8Array(MADE_LENGTH_MAX / 2), null])).toHaveLength(MADE_LENGTH_MAX);
    expect(() => bytes.evaluate([null, new Uint8Array(MADE_LENGTH_MAX), null])).toThrow('longer than');
    const list = compileExpression('l + l', columns);
    const items = new Array<string>(MADE_ITEMS_MAX / 2).fill('i');
    expect(list.evaluate([null, null, items])).toHaveLength(MADE_ITEMS_MAX);
    expect(() => list.evaluate([null, null, [...items, 'i']])).toThrow('longer than');
  });

  it('costs no more than the limit, whatever it looks at', () => {
    const terms = Array.from({ length: 100 }, (_, i) => `s.contains("${i}")`);
    const search = compileExpression(terms.join(' || '), columns);
    const calls = 2 * terms.length - 1;
    const most = Math.floor(EVALUATION_COST_MAX / calls);
    expect(search.evaluate(['x'.repeat(most), null, null])).toBe(false);
    expect(() => search.evaluate(['x'.repeat(most + 1), null, null])).toThrow('too much to look at');
    // One evaluation does not pay for another.
    expect(search.evaluate(['x'.repeat(most), null, null])).toBe(false);
  });

  it('a chain of derived columns that doubles ends in null, counted once a row', () => {
    const derived = Array.from({ length: 40 }, (_, i) => {
      const before = i === 0 ? 's' : `t${i - 1}`;
      return { name: `t${i}`, expression: `${before} + ${before}`, type: type(Kind.STRING) };
    });
    const count = feature('made', 'count', 't39', LIFETIME, { inputType: type(Kind.STRING) });
    const { fold, log } = foldOf(view([feature('rows', 'count', '', LIFETIME), count], { derived }));
    log.append(START_US, change({ user: 1, sequence: 1, row: { s: 'x' } }));
    fold.fold(log.entries);
    const [timeline] = decodeRow(fold.row(V1, userKey(1))!.bytes).timelines;
    expect(timeline!.columns.map(({ values }) => values)).toEqual([[1], [0]]);
    expect(fold.stats().expressionErrors).toBe(1);
  });
});

describe('what an aggregate takes', () => {
  it('is measured in the bytes that it takes in a row', () => {
    expect(isLongerThan('é'.repeat(10), 20)).toBe(false);
    expect(isLongerThan('é'.repeat(10), 19)).toBe(true);
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.nat(40), (text, most) => {
        expect(isLongerThan(text, most)).toBe(Buffer.byteLength(text) > most);
      }),
    );
    expect(isLongerThan(new Uint8Array(5), 4)).toBe(true);
    expect(isLongerThan(new Float32Array(5), 20)).toBe(false);
    expect(isLongerThan(['abc', null, 5], 100)).toBe(false);
    expect(isLongerThan(new Array<string>(50).fill(''), 100)).toBe(true);
    expect(isLongerThan(5, 0)).toBe(false);
  });

  it('too long a value is null to every aggregate, and counted; `where` still sees it', () => {
    const plan = view(
      [
        feature('rows', 'count', '', LIFETIME),
        feature('values', 'count', 's', LIFETIME),
        feature('last', 'last', 's', LIFETIME),
      ],
      { where: 's.size() > 1' },
    );
    const most = valueBytesMax(plan.features);
    expect(most).toBe(VALUE_BYTES_MAX);
    const { fold, log } = foldOf(plan);
    const long = 'x'.repeat(most);
    log.append(START_US, change({ user: 1, sequence: 1, row: { s: long } }));
    log.append(START_US, change({ user: 1, sequence: 2, row: { s: `${long}y` } }));
    fold.fold(log.entries);
    const [timeline] = decodeRow(fold.row(V1, userKey(1))!.bytes).timelines;
    expect(timeline!.columns.map(({ values }) => values)).toEqual([[2], [1], [long]]);
    expect(fold.stats().expressionErrors).toBe(1);
  });
});

describe('a row', () => {
  it.each([
    ['rolling', rolling(600, 10)],
    ['tumbling', tumbling(10, true)],
    ['lifetime', LIFETIME],
  ])('of values as long as can be is within its bound (%s)', (_, window) => {
    const plan = view([
      feature('least', 'min', 's', window),
      feature('newest', 'last', 's', window),
      feature('total', 'sum', 'd', window),
      feature('rows', 'count', '', window, { ttlS: 900 }),
    ]);
    const leadS = 30;
    const most = valueBytesMax(plan.features);
    const bound = rowBytesMax(plan.features, leadS * SECOND_US);
    const { fold, log } = foldOf(plan);
    // Texts that ascend, so that every step has another least and newest one; every other pane is empty.
    for (let s = 0; s <= 600 + leadS; s += 20) {
      const text = String(s).padStart(4, '0').padEnd(most, 'x');
      const d = s % 40 === 0 ? '9'.repeat(most) : `0.${'9'.repeat(Math.min(most - 2, DECIMAL_SCALE_MAX))}`;
      const eventTimeUs = START_US + s * SECOND_US;
      const logTimeUs = Math.max(START_US, eventTimeUs - leadS * SECOND_US);
      log.append(logTimeUs, change({ user: 1, sequence: s + 1, eventTimeUs, row: { s: text, d } }));
    }
    fold.fold(log.entries);
    expect(fold.stats().expressionErrors).toBe(0);
    const { length } = fold.row(V1, userKey(1))!.bytes;
    expect(length).toBeGreaterThan(most);
    expect(length).toBeLessThanOrEqual(bound);
    // Without a lead no view of four such features is refused.
    expect(rowBytesMax(plan.features, 0)).toBeLessThan(ROW_BYTES_MAX);
  });

  it('of very many values has a bound over the limit, for a plan to refuse', () => {
    const many = Array.from({ length: 200 }, (_, i) => feature(`f${i}`, 'count', '', rolling(3600, 10)));
    expect(rowBytesMax(many, 5 * SECOND_US)).toBeGreaterThan(ROW_BYTES_MAX);
    expect(rowBytesMax(many.slice(0, 100), 5 * SECOND_US)).toBeLessThan(ROW_BYTES_MAX);
  });
});
