/**
 * Goal: what is printed can be typed again. Method: the round trip as a property, and the forms that people type.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arbitraryScalar, SCALAR_KINDS } from './scalar.testing.ts';
import { parseText, parseTimestamp, printText, printTimestamp } from './text.ts';
import { kindByName, kindName, kindNames, sameType, typeName } from './type-name.ts';

describe('text of values', () => {
  it.each(SCALAR_KINDS.map((kind) => [kindName(kind), kind] as const))('prints and parses %s', (_, kind) => {
    fc.assert(
      fc.property(arbitraryScalar(kind), (value) => {
        expect(parseText(kind, printText(kind, value))).toStrictEqual(value);
      }),
    );
  });

  it.each<[string, bigint]>([
    ['1970-01-01', 0n],
    ['1970-01-01T00:00:01Z', 1_000_000n],
    ['1969-12-31 23:59:59.999999', -1n],
    ['2026-11-22T10:00:00.123456+02:00', 1_795_334_400_123_456n],
    ['2026-11-22T08:00:00.123456Z', 1_795_334_400_123_456n],
    ['1970-01-01T00:00:00-01', 3_600_000_000n],
    ['42us', 42n],
  ])('reads the time %s', (text, us) => {
    expect(parseTimestamp(text)).toBe(us);
  });

  it.each([
    '',
    '2026',
    '2026-02-30',
    '2026-13-01',
    '2026-01-01T24:00',
    '2026-01-01T10',
    '1767225600',
    '2026-01-01T10:00+25',
  ])('refuses the time %j', (text) => {
    expect(parseTimestamp(text)).toBeUndefined();
  });

  it('refuses what is not of the kind', () => {
    expect(parseText(Kind.INT64, '1.5')).toBeUndefined();
    expect(parseText(Kind.INT64, '9223372036854775808')).toBeUndefined();
    expect(parseText(Kind.DOUBLE, '0x1')).toBeUndefined();
    expect(parseText(Kind.BOOL, 'yes')).toBeUndefined();
    expect(parseText(Kind.BYTES, 'abc')).toBeUndefined();
    expect(parseText(Kind.LIST, '[]')).toBeUndefined();
  });

  it('prints nulls, lists and vectors', () => {
    expect(printText(Kind.INT64, null)).toBe('null');
    expect(printText(Kind.LIST, [1n, null], Kind.INT64)).toBe('[1, null]');
    expect(printText(Kind.LIST, [0n], Kind.TIMESTAMP)).toBe('[1970-01-01T00:00:00.000000Z]');
    expect(printText(Kind.VECTOR, Float32Array.of(1, 0.5))).toBe('[1, 0.5]');
    expect(printTimestamp(-1n)).toBe('1969-12-31T23:59:59.999999Z');
  });
});

describe('names of types', () => {
  it('names every kind both ways', () => {
    for (const name of kindNames) expect(kindName(kindByName(name)!)).toBe(name);
    expect(kindByName('int')).toBeUndefined();
    expect(kindName(99 as Kind)).toBe('kind 99');
  });

  it('tells types apart', () => {
    const list = (element: Kind) => ({ kind: Kind.LIST, element, dimension: 0 });
    expect(typeName(list(Kind.STRING))).toBe('list<string>');
    expect(typeName({ kind: Kind.VECTOR, element: 0, dimension: 3 })).toBe('vector<3>');
    expect(sameType(list(Kind.STRING), list(Kind.STRING))).toBe(true);
    expect(sameType(list(Kind.STRING), list(Kind.INT64))).toBe(false);
  });
});
