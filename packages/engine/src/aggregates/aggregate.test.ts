/**
 * Goal: every aggregate keeps the laws that panes and rows rely on (F1), and gives the values the design states.
 * Method: for each aggregate and input kind, fast-check over events in any order and partition; then exact cases.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { arbitraryScalar, SCALAR_KINDS } from '@freshet/values/scalar.testing.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normaliseInteger } from '../numbers/integers.ts';
import { ByteReader } from '../state/byte-reader.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { zeroCells } from '../state/cells.ts';
import { type } from '../testing/plans.testing.ts';
import {
  ABSENT,
  type Accumulator,
  type Cells,
  NO_EVENT_TIME,
  OUT_OF_RANGE,
  type Raw,
  type Result,
} from './aggregate.ts';
import { aggregateByName, aggregateNames } from './table.ts';

interface Event {
  readonly value: Raw;
  readonly eventTimeUs: number;
  readonly offset: number;
}

function raw(value: Scalar): Raw {
  return typeof value === 'bigint' ? normaliseInteger(value) : value;
}

function accumulatorOf(name: string, kind: Kind, retractable = false): Accumulator | undefined {
  const aggregate = aggregateByName(name)!;
  if (typeof aggregate.resultType(type(kind)) === 'string') return undefined;
  return aggregate.accumulator(type(kind), { retractable });
}

/** Where the accumulator begins: cells beside it must stay as they are. */
const AT = 2;

function emptyOf(accumulator: Accumulator): Cells {
  return zeroCells(AT + accumulator.width + 1, accumulator.numeric);
}

function addAll(accumulator: Accumulator, cells: Cells, events: readonly Event[]): Cells {
  for (const { value, eventTimeUs, offset } of events) accumulator.add(cells, AT, value, eventTimeUs, offset);
  return cells;
}

function foldAll(accumulator: Accumulator, events: readonly Event[]): Cells {
  return addAll(accumulator, emptyOf(accumulator), events);
}

function bytesOf(accumulator: Accumulator, cells: Cells): Uint8Array | undefined {
  expect([cells[0], cells[1], cells[AT + accumulator.width]], 'cells of others').toEqual([0, 0, 0]);
  if (cells[AT] === 0) return undefined;
  const writer = new ByteWriter();
  accumulator.write(writer, cells, AT);
  return writer.take();
}

function events(kind: Kind): fc.Arbitrary<Event[]> {
  const eventTimeUs = fc.oneof(fc.integer({ min: -5, max: 5 }), fc.constant(NO_EVENT_TIME));
  const one = fc.record({ value: arbitraryScalar(kind).map(raw), eventTimeUs });
  return fc.array(one, { maxLength: 10 }).map((list) => list.map((event, offset) => ({ ...event, offset })));
}

const CASES = aggregateNames.flatMap((name) =>
  SCALAR_KINDS.flatMap((kind) =>
    [false, true].flatMap((retractable) => {
      const accumulator = accumulatorOf(name, kind, retractable);
      return accumulator === undefined ? [] : [{ name, kind, retractable, accumulator }];
    }),
  ),
);

/** Takes an event out; the accumulator is made again of what is left when it cannot tell by itself. */
function retractOne(accumulator: Accumulator, cells: Cells, event: Event, left: readonly Event[]): void {
  const before = bytesOf(accumulator, cells);
  if (accumulator.retract(cells, AT, event.value, event.eventTimeUs, event.offset)) return;
  expect(accumulator.isRefolded, 'it says that it may refuse').toBe(true);
  expect(bytesOf(accumulator, cells), 'a retraction that was refused').toEqual(before);
  for (let i = 0; i < accumulator.width; i++) cells[AT + i] = 0;
  addAll(accumulator, cells, left);
}

describe.each(CASES.filter(({ retractable }) => retractable))('$name of kind $kind, retractable', (one) => {
  const { kind, accumulator } = one;

  it('F1: what was added and retracted, in any order, leaves the bytes of what is left; of nothing: all zero', () => {
    fc.assert(
      fc.property(events(kind), fc.array(fc.nat()), fc.boolean(), (list, order, isStored) => {
        let cells = foldAll(accumulator, list);
        const left = [...list];
        for (const index of [...order, ...list.keys()]) {
          const [event] = left.splice(index % Math.max(1, left.length), 1);
          if (event === undefined) break;
          retractOne(accumulator, cells, event, left);
          const bytes = bytesOf(accumulator, cells);
          expect(bytes).toEqual(bytesOf(accumulator, foldAll(accumulator, left)));
          expect(accumulator.result(cells, AT)).toEqual(accumulator.result(foldAll(accumulator, left), AT));
          if (!isStored || bytes === undefined) continue;
          cells = emptyOf(accumulator);
          accumulator.read(new ByteReader(bytes), cells, AT);
        }
        expect(left.length > 0 || cells.every((cell) => Object.is(cell, 0))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('F1: what is not ordered is left as it was by a value that takes the place of an equal one', () => {
    if (accumulator.isOrdered) return;
    fc.assert(
      fc.property(events(kind), fc.nat(), (list, index) => {
        const old = list[index % Math.max(1, list.length)];
        if (old === undefined) return;
        const fresh = { ...old, offset: 99 };
        const others = list.filter((event) => event !== old);
        const bytes = bytesOf(accumulator, foldAll(accumulator, [...others, fresh]));
        expect(bytes).toEqual(bytesOf(accumulator, foldAll(accumulator, list)));
      }),
      { numRuns: 30 },
    );
  });
});

describe.each(CASES)('$name of kind $kind, retractable: $retractable', ({ kind, accumulator }) => {
  it('F1: has the same bytes and result in any order and any partition, and after being stored', () => {
    fc.assert(
      fc.property(events(kind), fc.nat(10), fc.infiniteStream(fc.nat()), (list, cut, random) => {
        const whole = foldAll(accumulator, list);
        const expected = bytesOf(accumulator, whole);
        const result = accumulator.result(whole, AT);
        expect(whole[AT] === 0, 'the first cell tells whether anything was added').toBe(list.length === 0);
        const shuffled = [...list].sort(() => (random.next().value! % 3) - 1);
        const again = foldAll(accumulator, shuffled);
        expect(bytesOf(accumulator, again)).toEqual(expected);
        const parts = [foldAll(accumulator, list.slice(0, cut)), foldAll(accumulator, list.slice(cut))];
        const before = parts.map((part) => bytesOf(accumulator, part));
        for (const order of [parts, [...parts].reverse()]) {
          const merged = emptyOf(accumulator);
          for (const part of order) if (part[AT] !== 0) accumulator.merge(merged, AT, part, AT);
          expect(bytesOf(accumulator, merged)).toEqual(expected);
          expect(accumulator.result(merged, AT)).toEqual(result);
        }
        // Merging left what was merged as it was: the panes live on.
        expect(parts.map((part) => bytesOf(accumulator, part))).toEqual(before);
        if (expected === undefined) return;
        const stored = emptyOf(accumulator);
        accumulator.read(new ByteReader(expected), stored, AT);
        expect(bytesOf(accumulator, stored)).toEqual(expected);
        expect(accumulator.result(stored, AT)).toEqual(result);
        // And a stored one goes on as the original would.
        const more = foldAll(accumulator, [...list, ...list]);
        const resumed = addAll(accumulator, stored, list);
        expect(bytesOf(accumulator, resumed)).toEqual(bytesOf(accumulator, more));
      }),
      { numRuns: 100 },
    );
  });
});

function resultOf(name: string, kind: Kind, values: readonly Raw[]): Result {
  const accumulator = accumulatorOf(name, kind)!;
  return accumulator.result(
    foldAll(
      accumulator,
      values.map((value, offset) => ({ value, eventTimeUs: 0, offset })),
    ),
    AT,
  );
}

describe('aggregates', () => {
  it.each(aggregateNames)('%s of nothing', (name) => {
    const kind = Kind.INT64;
    expect(resultOf(name, kind, [])).toBe(name === 'count' ? 0 : ABSENT);
  });

  it.each<[string, Kind, Raw[], Result]>([
    ['sum', Kind.INT64, [2n ** 62n, 2n ** 62n], OUT_OF_RANGE],
    ['sum', Kind.INT64, [2n ** 62n, 2n ** 62n, -1], 2n ** 63n - 1n],
    ['sum', Kind.INT64, [-(2n ** 63n), -1], OUT_OF_RANGE],
    ['sum', Kind.INT64, [-(2n ** 63n), -1, 1], -(2n ** 63n)],
    ['sum', Kind.INT64, [Number.MAX_SAFE_INTEGER, 1], 2n ** 53n],
    ['sum', Kind.INT64, [Number.MAX_SAFE_INTEGER, 1, -1], Number.MAX_SAFE_INTEGER],
    ['sum', Kind.DOUBLE, [1e308, 1e308, -1e308], 1e308],
    ['sum', Kind.DOUBLE, [1e308, 1e308], Number.POSITIVE_INFINITY],
    ['sum', Kind.DOUBLE, [-0], 0],
    ['sum', Kind.DOUBLE, [Number.NaN, 1], Number.NaN],
    ['sum', Kind.DECIMAL, ['1.5', '2.25', '-0.75'], '3.00'],
    ['sum', Kind.DECIMAL, ['0.1', '-0.1'], '0.0'],
    ['sum', Kind.DECIMAL, ['99999999999999999999', '0.01'], '99999999999999999999.01'],
    ['sum', Kind.DECIMAL, ['Infinity', '5'], 'Infinity'],
    ['sum', Kind.DECIMAL, ['Infinity', '-Infinity'], 'NaN'],
    ['mean', Kind.INT64, [1, 2], 1.5],
    ['mean', Kind.INT64, [2n ** 62n, 2n ** 62n, 2n ** 62n], 2 ** 62],
    ['mean', Kind.DOUBLE, [1e308, 1e308, -1e308], 1e308 / 3],
    ['mean', Kind.DOUBLE, [Number.MAX_VALUE, Number.MAX_VALUE], Number.MAX_VALUE],
    ['mean', Kind.DOUBLE, [Number.MAX_VALUE, Number.MAX_VALUE, Number.POSITIVE_INFINITY], Number.POSITIVE_INFINITY],
    ['mean', Kind.DOUBLE, [5e-324, 0], 0],
    ['mean', Kind.DOUBLE, [5e-324, 5e-324, 0], 5e-324],
    // The sum is 2^53 + 1, which no double is: rounded first it would be 2^53, and a third of that is another double.
    ['mean', Kind.INT64, [2 ** 53 - 1, 1, 1], Number((2n ** 53n + 1n) / 3n)],
    ['mean', Kind.DOUBLE, [2 ** 53, 1, 0], Number((2n ** 53n + 1n) / 3n)],
    ['mean', Kind.DOUBLE, [-0], 0],
    ['mean', Kind.DECIMAL, ['0.1', '0.2'], 0.15],
    ['mean', Kind.DECIMAL, ['-Infinity', '1'], Number.NEGATIVE_INFINITY],
    ['min', Kind.DOUBLE, [0, -0, Number.NaN], -0],
    ['max', Kind.DOUBLE, [-0, 0], 0],
    ['max', Kind.DOUBLE, [1, Number.NaN, Number.POSITIVE_INFINITY], Number.NaN],
    ['min', Kind.INT64, [2n ** 60n, 5, -(2n ** 60n)], -(2n ** 60n)],
    ['max', Kind.INT64, [2n ** 60n, 5, -(2n ** 60n)], 2n ** 60n],
    ['max', Kind.STRING, ['\u{1f600}', '\uffff'], '\u{1f600}'],
    ['min', Kind.DECIMAL, ['10', '9.5', 'NaN'], '9.5'],
    ['min', Kind.DECIMAL, ['1.00', '1.0'], '1.0'],
    ['max', Kind.DECIMAL, ['1.0', '1.00'], '1.00'],
    ['min', Kind.BOOL, [true, false], false],
    ['count', Kind.STRING, ['a', 'b'], 2],
  ])('%s of kind %d over %s', (name, kind, values, expected) => {
    expect(resultOf(name, kind, values)).toBe(expected);
  });

  it('last takes the newest by event time, then offset; events without a time come first', () => {
    const accumulator = accumulatorOf('last', Kind.STRING)!;
    const at = (eventTimeUs: number, offset: number, value: string): Event => ({ value, eventTimeUs, offset });
    const result = (...list: Event[]): Result => accumulator.result(foldAll(accumulator, list), AT);
    expect(result(at(5, 0, 'a'), at(4, 1, 'b'))).toBe('a');
    expect(result(at(5, 0, 'a'), at(5, 1, 'b'))).toBe('b');
    expect(result(at(-9, 0, 'a'), at(NO_EVENT_TIME, 1, 'b'))).toBe('a');
    expect(result(at(NO_EVENT_TIME, 0, 'a'), at(NO_EVENT_TIME, 1, 'b'))).toBe('b');
  });

  it('say why they cannot take an input', () => {
    expect(aggregateByName('sum')!.resultType(type(Kind.STRING))).toBe('sum takes int64, double, decimal, not string');
    expect(aggregateByName('mean')!.resultType(undefined)).toContain('mean needs an input column');
    expect(aggregateByName('max')!.resultType(type(Kind.VECTOR))).toContain('not vector');
    expect(aggregateByName('last')!.resultType(undefined)).toBe('last needs an input column');
    expect(aggregateByName('median')).toBeUndefined();
  });

  it('give the types that the definitions promise', () => {
    const kinds = (name: string, kind: Kind | undefined): unknown => {
      const result = aggregateByName(name)!.resultType(kind === undefined ? undefined : type(kind));
      return typeof result === 'string' ? result : result.kind;
    };
    expect(kinds('count', undefined)).toBe(Kind.INT64);
    expect(kinds('count', Kind.VECTOR)).toBe(Kind.INT64);
    expect(kinds('sum', Kind.DECIMAL)).toBe(Kind.DECIMAL);
    expect(kinds('mean', Kind.INT64)).toBe(Kind.DOUBLE);
    expect(kinds('min', Kind.TIMESTAMP)).toBe(Kind.TIMESTAMP);
    expect(kinds('last', Kind.LIST)).toBe(Kind.LIST);
  });
});
