/** Goal: a default is exactly what was written, in the feature's type, or refused. Method: examples of each pair. */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { Kind, type Value, ValueSchema, ValueTypeSchema } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { valueFromProto } from '@freshet/values/value-codec.ts';
import { describe, expect, it } from 'vitest';
import { defaultOfType } from './default-value.ts';

type KindInit = NonNullable<MessageInitShape<typeof ValueSchema>['kind']>;

function resolved(kind: Kind, written: KindInit, rest: { element?: Kind; dimension?: number } = {}): unknown {
  const value: Value | undefined = defaultOfType(
    create(ValueTypeSchema, { kind, ...rest }),
    create(ValueSchema, { kind: written }),
  );
  return value === undefined ? undefined : valueFromProto(value);
}

const list = (...elements: KindInit[]): KindInit => ({
  case: 'list',
  value: { elements: elements.map((kind) => ({ kind })) },
});
const int = (value: bigint): KindInit => ({ case: 'int64', value });
const decimal = (value: string): KindInit => ({ case: 'decimal', value });
const string = (value: string): KindInit => ({ case: 'string', value });

describe('defaultOfType', () => {
  it.each<[string, Kind, KindInit, unknown]>([
    ['an integer', Kind.INT64, int(2n ** 53n + 1n), 2n ** 53n + 1n],
    ['an integer for a decimal', Kind.DECIMAL, int(5n), '5'],
    ['an integer for a double', Kind.DOUBLE, int(5n), 5],
    ['a decimal with its digits', Kind.DECIMAL, decimal('0.10'), '0.10'],
    ['a decimal for a double', Kind.DOUBLE, decimal('0.1'), 0.1],
    ['an infinity', Kind.DOUBLE, { case: 'double', value: Number.POSITIVE_INFINITY }, Number.POSITIVE_INFINITY],
    ['an infinity for a decimal', Kind.DECIMAL, { case: 'double', value: Number.NEGATIVE_INFINITY }, '-Infinity'],
    ['a text', Kind.STRING, string('none'), 'none'],
    ['a time', Kind.TIMESTAMP, string('1970-01-01T00:00:01Z'), 1_000_000n],
    ['a decimal as text', Kind.DECIMAL, string('1e2'), '100'],
    ['a boolean', Kind.BOOL, { case: 'bool', value: false }, false],
  ])('takes %s', (_, kind, written, expected) => {
    expect(resolved(kind, written)).toStrictEqual(expected);
  });

  it.each<[string, Kind, KindInit]>([
    ['a fraction for an integer', Kind.INT64, decimal('0.5')],
    ['an integer that no double is', Kind.DOUBLE, int(2n ** 53n + 1n)],
    ['a number for a text', Kind.STRING, int(5n)],
    ['a text for a number', Kind.INT64, string('5')],
    ['an integer for a boolean', Kind.BOOL, int(1n)],
    ['a text that is no time', Kind.TIMESTAMP, string('yesterday')],
    ['an integer for a time', Kind.TIMESTAMP, int(0n)],
    ['a decimal that is none', Kind.DECIMAL, decimal('abc')],
    ['nothing', Kind.INT64, { case: undefined }],
    ['a list for a scalar', Kind.INT64, list(int(1n))],
  ])('refuses %s', (_, kind, written) => {
    expect(resolved(kind, written)).toBeUndefined();
  });

  it('takes lists element by element', () => {
    expect(resolved(Kind.LIST, list(int(1n), decimal('0.5')), { element: Kind.DOUBLE })).toEqual([1, 0.5]);
    expect(resolved(Kind.LIST, list(), { element: Kind.STRING })).toEqual([]);
    expect(resolved(Kind.LIST, list(string('a')), { element: Kind.INT64 })).toBeUndefined();
    expect(resolved(Kind.LIST, int(1n), { element: Kind.INT64 })).toBeUndefined();
  });

  it('takes vectors of the right dimension', () => {
    const written = list(int(1n), decimal('0.5'));
    expect(resolved(Kind.VECTOR, written, { dimension: 2 })).toEqual(Float32Array.of(1, 0.5));
    expect(resolved(Kind.VECTOR, written, { dimension: 3 })).toBeUndefined();
    expect(resolved(Kind.VECTOR, list(string('a')), { dimension: 1 })).toBeUndefined();
  });
});
