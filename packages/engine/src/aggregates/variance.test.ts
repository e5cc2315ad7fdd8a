/**
 * Goal: variances and deviations are the exact ratio rounded once, and a value that is taken out was never there (F1).
 * Method: fast-check over values of every size and form, against fractions of bigints that are compared with the
 * neighbours of the answer, never rounded by the code under test; then the cases that other stores get wrong.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { normaliseInteger } from '../numbers/integers.ts';
import { ByteReader } from '../state/byte-reader.ts';
import { ByteWriter } from '../state/byte-writer.ts';
import { zeroCells } from '../state/cells.ts';
import { type } from '../testing/plans.testing.ts';
import { ABSENT, type Accumulator, type Cells, type Raw, type Result } from './aggregate.ts';
import { aggregateByName } from './table.ts';

const NAMES = ['variance', 'variance_pop', 'stddev', 'stddev_pop'] as const;
type Name = (typeof NAMES)[number];

const AT = 1;

function accumulatorOf(name: Name, kind: Kind): Accumulator {
  return aggregateByName(name)!.accumulator(type(kind)) as Accumulator;
}

function cellsOf(accumulator: Accumulator, values: readonly Raw[]): Cells {
  const cells = zeroCells(AT + accumulator.width + 1, accumulator.numeric);
  values.forEach((value, offset) => {
    accumulator.add(cells, AT, value, 0, offset);
  });
  return cells;
}

function bytesOf(accumulator: Accumulator, cells: Cells): Uint8Array {
  const writer = new ByteWriter();
  accumulator.write(writer, cells, AT);
  return writer.take();
}

function resultOf(name: Name, kind: Kind, values: readonly Raw[]): Result {
  const accumulator = accumulatorOf(name, kind);
  return accumulator.result(cellsOf(accumulator, values), AT);
}

const int64 = fc.oneof(
  fc.integer({ min: -1000, max: 1000 }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map(normaliseInteger),
  fc.constantFrom<Raw>(94_906_265, 94_906_266, -94_906_267, Number.MAX_SAFE_INTEGER, 2n ** 62n),
);
const double = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: -100_000, max: 100_000 }).map((cents) => cents / 100) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 1000 }).map((small) => 1e9 + small / 1024) },
  { weight: 1, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      0,
      -0,
      2 ** 480,
      2 ** 481,
      2 ** -480,
      2 ** -481,
      1e-200,
      1e200,
      5e-324,
      1.7e308,
      2 ** 400,
    ),
  },
);
const decimal = fc.oneof(
  fc.integer({ min: -100_000, max: 100_000 }).map((cents) => (cents / 100).toFixed(2)),
  fc.constantFrom('0', '0.00', '1', '1.0', '1.000', '-0.005', '12345678901234567890.123456789', '1e3', '-90000000'),
  fc
    .tuple(fc.bigInt({ min: 0n, max: 10n ** 30n }), fc.nat(12))
    .map(([whole, scale]) => `${whole}.${'7'.repeat(scale + 1)}`),
);
/** Doubles a few last bits apart, of any size: their variance is in the bits that a product of doubles does not have. */
const neighbours = fc
  .tuple(
    fc.bigInt({ min: 2n ** 52n, max: 2n ** 53n - 9n }),
    fc.constantFrom(-552, -530, -500, -100, -52, 0, 400, 430),
    fc.array(fc.bigInt({ min: 0n, max: 8n }), { minLength: 2, maxLength: 8 }),
  )
  .map(([base, exponent, steps]) => steps.map((step): Raw => Number(base + step) * 2 ** exponent));
const FINITE = new Map<Kind, fc.Arbitrary<Raw>>([
  [Kind.INT64, int64],
  [Kind.DOUBLE, double],
  [Kind.DECIMAL, decimal.filter((text) => !text.includes('e'))],
]);
const NOT_FINITE = new Map<Kind, readonly Raw[]>([
  [Kind.INT64, [1]],
  [Kind.DOUBLE, [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]],
  [Kind.DECIMAL, ['NaN', 'Infinity', '-Infinity']],
]);

/** A number as a fraction of bigints; a double by scaling it up, which is exact. */
function fraction(value: Raw): readonly [bigint, bigint] {
  if (typeof value === 'string') {
    const digits = value.split('.')[1] ?? '';
    return [BigInt(value.replace('.', '')), 10n ** BigInt(digits.length)];
  }
  if (typeof value === 'bigint') return [value, 1n];
  let scaled = value as number;
  let shift = 0n;
  while (!Number.isInteger(scaled)) {
    scaled *= 2;
    shift += 1n;
  }
  return [BigInt(scaled), 1n << shift];
}

/** By the definition: the sum of squared distances from the mean, divided. No power sums. */
function exactVariance(values: readonly Raw[], less: bigint): readonly [bigint, bigint] {
  const fractions = values.map(fraction);
  // All denominators are powers of one base, so their product is a multiple of each.
  const unit = fractions.reduce((product, [, denominator]) => product * denominator, 1n);
  const scaled = fractions.map(([numerator, denominator]) => numerator * (unit / denominator));
  const n = BigInt(values.length);
  const total = scaled.reduce((a, b) => a + b, 0n);
  const distances = scaled.reduce((sum, value) => sum + (n * value - total) ** 2n, 0n);
  return [distances, n * n * (n - less) * unit * unit];
}

/** The doubles beside a positive one. */
function neighbour(value: number, by: 1n | -1n): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  view.setBigUint64(0, view.getBigUint64(0) + by);
  return view.getFloat64(0);
}

/** Whether the exact fraction lies no further from the double than half way to its neighbours; squared for a root. */
function isNearest(answer: number, [numerator, denominator]: readonly [bigint, bigint], isRoot: boolean): boolean {
  if (Number.isNaN(answer)) return false;
  const power = isRoot ? 2n : 1n;
  const halfWay = (a: number, b: number): readonly [bigint, bigint] => {
    const [p, q] = fraction(a);
    const [r, s] = fraction(b);
    return [p * s + r * q, 2n * q * s];
  };
  const sign = ([p, q]: readonly [bigint, bigint]): bigint => numerator * q ** power - p ** power * denominator;
  const greatest: readonly [bigint, bigint] = [2n ** 1024n - 2n ** 970n, 1n];
  if (answer === Number.POSITIVE_INFINITY) return sign(greatest) >= 0n;
  const below = answer === 0 ? undefined : sign(halfWay(answer, neighbour(answer, -1n)));
  const above = sign(answer === Number.MAX_VALUE ? greatest : halfWay(answer, neighbour(answer, 1n)));
  const isEven = new DataView(Float64Array.of(answer).buffer).getBigUint64(0, true) % 2n === 0n;
  return isEven ? (below ?? 0n) >= 0n && above <= 0n : (below ?? 1n) > 0n && above < 0n;
}

describe.each(NAMES.flatMap((name) => [...FINITE].map(([kind, value]) => ({ name, kind, value }))))(
  '$name of kind $kind',
  ({ name, kind, value }) => {
    const accumulator = accumulatorOf(name, kind);
    const less = name.endsWith('_pop') ? 0n : 1n;

    it('F2: is the exact ratio rounded once, whatever the values', () => {
      const lists = fc.array(value, { minLength: 2, maxLength: 8 });
      fc.assert(
        fc.property(kind === Kind.DOUBLE ? fc.oneof(lists, neighbours) : lists, (values) => {
          const answer = accumulator.result(cellsOf(accumulator, values), AT) as number;
          expect(isNearest(answer, exactVariance(values, less), name.startsWith('stddev'))).toBe(true);
        }),
        { numRuns: 400 },
      );
    });

    it('F1: a value that is taken out again was never there, to the byte', () => {
      const any = fc.oneof(
        { weight: 5, arbitrary: value },
        { weight: 1, arbitrary: fc.constantFrom(...NOT_FINITE.get(kind)!) },
      );
      fc.assert(
        fc.property(
          fc.array(any, { maxLength: 6 }),
          fc.array(any, { maxLength: 6 }),
          fc.boolean(),
          (stay, go, store) => {
            const never = cellsOf(accumulator, stay);
            let cells = cellsOf(accumulator, [...go.slice(0, 3), ...stay, ...go.slice(3)]);
            if (store && stay.length + go.length > 0) {
              const stored = zeroCells(AT + accumulator.width + 1, accumulator.numeric);
              accumulator.read(new ByteReader(bytesOf(accumulator, cells)), stored, AT);
              cells = stored;
            }
            for (const gone of [...go].reverse()) expect(accumulator.retract(cells, AT, gone, 0, 0)).toBe(true);
            if (stay.length === 0) expect(cells, 'nothing is all zero').toEqual(never);
            else expect(bytesOf(accumulator, cells)).toEqual(bytesOf(accumulator, never));
            expect(accumulator.result(cells, AT)).toBe(accumulator.result(never, AT));
          },
        ),
        { numRuns: 300 },
      );
    });
  },
);

describe('variances', () => {
  it.each<[Name, Kind, Raw[], Result]>([
    ['variance', Kind.INT64, [2, 4, 4, 4, 5, 5, 7, 9], 32 / 7],
    ['variance_pop', Kind.INT64, [2, 4, 4, 4, 5, 5, 7, 9], 4],
    ['stddev', Kind.INT64, [2, 4, 4, 4, 5, 5, 7, 9], Math.sqrt(32 / 7)],
    ['stddev_pop', Kind.INT64, [2, 4, 4, 4, 5, 5, 7, 9], 2],
    ['variance', Kind.INT64, [7], ABSENT],
    ['stddev', Kind.DOUBLE, [Number.NaN], ABSENT],
    ['variance_pop', Kind.INT64, [7], 0],
    ['stddev_pop', Kind.DOUBLE, [Number.NaN], Number.NaN],
    ['variance', Kind.DOUBLE, [1, Number.POSITIVE_INFINITY], Number.NaN],
    ['variance', Kind.DECIMAL, ['1', '-Infinity'], Number.NaN],
    // Where x² and the square of the sum agree to the last bit of a double, textbook formulas give 0 or less.
    ['variance', Kind.DOUBLE, [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], 30],
    ['variance', Kind.DOUBLE, [1e16, 1e16 + 2, 1e16 + 4], 4],
    ['variance', Kind.INT64, [2n ** 62n, 2n ** 62n + 2n], 2],
    ['variance', Kind.DOUBLE, [0.1, 0.1, 0.1], 0],
    ['variance', Kind.DECIMAL, ['0.1', '0.2', '0.30'], 0.01],
    // Its variance is beyond the doubles, the deviation is not.
    ['variance', Kind.DOUBLE, [1e300, -1e300], Number.POSITIVE_INFINITY],
    ['stddev_pop', Kind.DOUBLE, [1e300, -1e300], 1e300],
    ['stddev_pop', Kind.DOUBLE, [5e-324, -5e-324], 5e-324],
    ['variance_pop', Kind.DOUBLE, [5e-324, -5e-324], 0],
  ])('%s of kind %d over %s', (name, kind, values, expected) => {
    expect(resultOf(name, kind, values)).toBe(expected);
  });

  it('say why they cannot take an input', () => {
    expect(aggregateByName('variance')!.resultType(type(Kind.STRING))).toBe(
      'variance takes int64, double, decimal, not string',
    );
    expect(aggregateByName('stddev_pop')!.resultType(undefined)).toContain('stddev_pop needs an input column');
    expect(aggregateByName('stddev')!.resultType(type(Kind.DECIMAL))).toMatchObject({ kind: Kind.DOUBLE });
  });
});
