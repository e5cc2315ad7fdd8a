/**
 * Random values of every type, with the ones that break things more often than chance would have it, and their form in
 * the contract. Owns its own conversion to freshet.type.v1.Value, so that the one of packages/values is tested too.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Kind, type Value, ValueSchema, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { decimalText } from '../oracle/exact.ts';

/** 0001-01-01 and 9999-12-31 in microseconds: what CEL can hold as a timestamp. */
const TIMESTAMP_MIN = -62_135_596_800_000_000n;
const TIMESTAMP_MAX = 253_402_214_400_000_000n;

export const int64s: fc.Arbitrary<bigint> = fc.oneof(
  { weight: 6, arbitrary: fc.bigInt({ min: -5n, max: 20n }) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      INT64_MIN,
      INT64_MAX,
      INT64_MAX - 1n,
      2n ** 53n,
      2n ** 53n + 1n,
      -(2n ** 53n) - 1n,
      2n ** 62n,
    ),
  },
  { weight: 1, arbitrary: fc.bigInt({ min: INT64_MIN, max: INT64_MAX }) },
);

export const doubles: fc.Arbitrary<number> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(0, 1, -1, 0.1, 0.2, 0.3, 10, 2.5) },
  { weight: 2, arbitrary: fc.constantFrom(-0, -0, 0, NaN, Infinity, -Infinity) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      Number.MAX_VALUE,
      -Number.MAX_VALUE,
      Number.MIN_VALUE,
      1e308,
      -1e308,
      2 ** 53,
      2 ** -1022,
      1e-300,
    ),
  },
  { weight: 2, arbitrary: fc.double() },
);

export const decimals: fc.Arbitrary<string> = fc.oneof(
  // The same numbers at several scales: which text an extreme keeps must not depend on the order of events.
  { weight: 5, arbitrary: fc.constantFrom('0', '0.00', '1', '1.0', '1.00', '-1', '0.1', '12.34', '-0.005') },
  { weight: 1, arbitrary: fc.constantFrom('NaN', 'Infinity', '-Infinity') },
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.bigInt({ min: -(10n ** 30n), max: 10n ** 30n }), fc.nat(12))
      .map(([numerator, scale]) => decimalText({ sum: { numerator, denominator: 1n }, scale })),
  },
);

/** Contains neighbours whose order differs between UTF-16 units and code points. */
export const strings: fc.Arbitrary<string> = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom('click', 'view', 'cl', '', 'a', 'b') },
  { weight: 2, arbitrary: fc.constantFrom('\u{ff5e}', '\u{1f600}', '\0', 'a\0', 'a\0b', 'é', 'e\u0301', '\u{10ffff}') },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 6 }) },
);

export const byteStrings: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.constantFrom(
    new Uint8Array(),
    Uint8Array.of(0),
    Uint8Array.of(0, 0),
    Uint8Array.of(255),
    Uint8Array.of(0, 255),
    Uint8Array.of(1),
  ),
  fc.uint8Array({ maxLength: 5 }),
);

export const timestamps: fc.Arbitrary<bigint> = fc.oneof(
  { weight: 3, arbitrary: fc.bigInt({ min: 1_700_000_000_000_000n, max: 1_700_000_000_000_005n }) },
  { weight: 1, arbitrary: fc.constantFrom(0n, -1n, 1n, -1_000_001n, TIMESTAMP_MIN, TIMESTAMP_MAX) },
  { weight: 1, arbitrary: fc.bigInt({ min: TIMESTAMP_MIN, max: TIMESTAMP_MAX }) },
);

export const int64Lists: fc.Arbitrary<readonly Scalar[]> = fc.array(fc.option(int64s, { freq: 4, nil: null }), {
  maxLength: 3,
});

export const vectors: fc.Arbitrary<Float32Array> = fc
  .array(fc.float(), { minLength: 3, maxLength: 3 })
  .map((components) => Float32Array.from(components));

/** The value's form in the contract. */
export function protoValue(type: ValueType, value: Scalar): Value {
  return create(ValueSchema, valueInit(type.kind, type.element, value));
}

function valueInit(kind: Kind, element: Kind, value: Scalar): MessageInitShape<typeof ValueSchema> {
  if (value === null) return {};
  switch (kind) {
    case Kind.INT64:
      return { kind: { case: 'int64', value: value as bigint } };
    case Kind.DOUBLE:
      return { kind: { case: 'double', value: value as number } };
    case Kind.DECIMAL:
      return { kind: { case: 'decimal', value: value as string } };
    case Kind.STRING:
      return { kind: { case: 'string', value: value as string } };
    case Kind.BOOL:
      return { kind: { case: 'bool', value: value as boolean } };
    case Kind.BYTES:
      return { kind: { case: 'bytes', value: value as Uint8Array<ArrayBuffer> } };
    case Kind.TIMESTAMP:
      return { kind: { case: 'timestamp', value: value as bigint } };
    case Kind.LIST: {
      const elements = (value as readonly Scalar[]).map((item) => valueInit(element, Kind.UNSPECIFIED, item));
      return { kind: { case: 'list', value: { elements } } };
    }
    case Kind.VECTOR:
      return { kind: { case: 'vector', value: { components: [...(value as Float32Array)] } } };
    default:
      throw new Error(`no value of kind ${kind}`);
  }
}
