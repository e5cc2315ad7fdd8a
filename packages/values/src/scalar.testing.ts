/** Generators of values for property tests. Owns which corners are worth meeting often. */

import { create } from '@bufbuild/protobuf';
import { Kind, type ValueType, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { INT64_MAX, INT64_MIN, type Scalar } from './scalar.ts';

/** The kinds of which lists are made. */
export const SCALAR_KINDS = [
  Kind.INT64,
  Kind.DOUBLE,
  Kind.DECIMAL,
  Kind.STRING,
  Kind.BOOL,
  Kind.BYTES,
  Kind.TIMESTAMP,
] as const;

/** The kinds that keys are made of. */
export const KEY_KINDS = SCALAR_KINDS.filter((kind) => kind !== Kind.DOUBLE);

const int64 = fc.oneof(
  fc.bigInt({ min: INT64_MIN, max: INT64_MAX }),
  fc.bigInt({ min: -300n, max: 300n }),
  fc.constantFrom(INT64_MIN, INT64_MAX, 0n, -1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 53n) - 1n, 2n ** 32n, -(2n ** 32n)),
);

const decimal = fc
  .tuple(fc.oneof(fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }), fc.bigInt({ min: -200n, max: 200n })), fc.nat(20))
  .map(([unscaled, scale]) => {
    const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0');
    const sign = unscaled < 0n ? '-' : '';
    return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`;
  });

/** Values of a scalar kind, never null. */
export function arbitraryScalar(kind: Kind): fc.Arbitrary<Scalar> {
  switch (kind) {
    case Kind.INT64:
    case Kind.TIMESTAMP:
      return int64;
    case Kind.DOUBLE:
      return fc.oneof(fc.double(), fc.constantFrom(-0, 0, Number.NaN, Number.MAX_VALUE, 5e-324));
    case Kind.DECIMAL:
      return fc.oneof({ weight: 9, arbitrary: decimal }, fc.constantFrom('NaN', 'Infinity', '-Infinity', '0', '0.0'));
    case Kind.STRING:
      return fc.oneof(
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.string({ unit: fc.constantFrom('\0', '\u0001', 'a', 'ÿ') }),
      );
    case Kind.BOOL:
      return fc.boolean();
    case Kind.BYTES:
      return fc.oneof(
        fc.uint8Array({ maxLength: 20 }),
        fc.array(fc.constantFrom(0, 1, 0xff), { maxLength: 6 }).map((bytes) => Uint8Array.from(bytes)),
      );
    default:
      throw new Error(`not a scalar kind: ${kind}`);
  }
}

/** Types of every kind with values of them, nulls included. */
export const arbitraryTyped: fc.Arbitrary<{ type: ValueType; value: Scalar }> = fc.oneof(
  ...SCALAR_KINDS.map((kind) =>
    fc.option(arbitraryScalar(kind)).map((value) => ({ type: create(ValueTypeSchema, { kind }), value })),
  ),
  fc
    .constantFrom(...SCALAR_KINDS)
    .chain((element) =>
      fc
        .array(fc.option(arbitraryScalar(element)), { maxLength: 5 })
        .map((value) => ({ type: create(ValueTypeSchema, { kind: Kind.LIST, element }), value })),
    ),
  fc.float32Array({ maxLength: 6 }).map((value) => ({
    type: create(ValueTypeSchema, { kind: Kind.VECTOR, dimension: value.length }),
    value,
  })),
);
