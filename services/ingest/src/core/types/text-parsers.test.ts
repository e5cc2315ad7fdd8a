/**
 * Goal: text that Postgres writes becomes the value it means, to the last digit; other text is refused.
 * Method: examples at the edges, and round trips of random values (fast-check) through Postgres' own ways of writing.
 * The same against a real server is io/types.pg.test.ts.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { printTimestamp } from '@freshet/values/text.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseArrayText } from './array-text.ts';
import { LineSplitter, parseCopyLine } from './copy-text.ts';
import { parserOf } from './text-parsers.ts';
import { parseTimestampText } from './timestamp-text.ts';
import { ValueRefused } from './value-refused.ts';

function parse(kind: Kind, text: string): unknown {
  return parserOf({ kind, element: Kind.UNSPECIFIED, dimension: 0 }, 0)(text);
}

describe('timestamps', () => {
  it('agree with the calendar of JavaScript over its whole range', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -62_135_596_800_000_000n, max: 253_402_300_799_999_999n }), (us) => {
        const text = printTimestamp(us).replace('T', ' ').replace('Z', '+00');
        expect(parseTimestampText(text)).toBe(us);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['2000-01-01 00:00:00+00', 946_684_800_000_000n],
    ['2000-01-01 05:30:00+05:30', 946_684_800_000_000n],
    ['1999-12-31 19:00:00.5-05', 946_684_800_500_000n],
    ['2000-01-01', 946_684_800_000_000n],
    ['0001-12-31 BC', -62_135_683_200_000_000n],
    ['10000-01-01 00:00:00', 253_402_300_800_000_000n],
    ['1892-01-01 00:00:00+00:01:15', -2_461_449_675_000_000n],
  ])('%s', (text, us) => {
    expect(parseTimestampText(text)).toBe(us);
  });

  it.each(['infinity', '-infinity', '', 'now', '2000-01-01T00:00:00Z', '294276-12-31 23:59:59'])(
    'refuses %s',
    (text) => {
      expect(() => parseTimestampText(text)).toThrow(ValueRefused);
    },
  );
});

describe('numbers', () => {
  it('keeps every int64 and every double', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (n) => {
        expect(parse(Kind.INT64, n.toString())).toBe(n);
      }),
    );
    fc.assert(
      fc.property(fc.double(), (n) => {
        expect(parse(Kind.DOUBLE, Object.is(n, -0) ? '-0' : String(n))).toBe(n);
      }),
    );
  });

  it('keeps every digit and the scale of numerics', () => {
    fc.assert(
      fc.property(fc.bigInt(), fc.nat({ max: 30 }), (unscaled, scale) => {
        const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0');
        const text = `${unscaled < 0n ? '-' : ''}${scale === 0 ? digits : `${digits.slice(0, -scale)}.${digits.slice(-scale)}`}`;
        expect(parse(Kind.DECIMAL, text)).toBe(text);
      }),
    );
    expect(parse(Kind.DECIMAL, '-0.00')).toBe('0.00');
    expect(parse(Kind.DECIMAL, '1e3')).toBe('1000');
  });

  it('refuses what is no number', () => {
    for (const text of ['', ' ', 'x', '1.5', '9223372036854775808', '-9223372036854775809', '0x10']) {
      expect(() => parse(Kind.INT64, text), text).toThrow(ValueRefused);
    }
    for (const text of ['', 'x', 'nan']) expect(() => parse(Kind.DOUBLE, text), text).toThrow(ValueRefused);
    for (const text of ['', 'x', '1,5']) expect(() => parse(Kind.DECIMAL, text), text).toThrow(ValueRefused);
  });
});

describe('other scalars', () => {
  it('reads bytes in hex and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(parse(Kind.BYTES, `\\x${Buffer.from(bytes).toString('hex')}`)).toEqual(bytes);
      }),
    );
    for (const text of ['', '\\x0', '\\xzz', '\\000', 'ff'])
      expect(() => parse(Kind.BYTES, text), text).toThrow(ValueRefused);
  });

  it('reads booleans and vectors', () => {
    expect(parse(Kind.BOOL, 't')).toBe(true);
    expect(() => parse(Kind.BOOL, 'true')).toThrow(ValueRefused);
    const vector = parserOf({ kind: Kind.VECTOR, element: Kind.UNSPECIFIED, dimension: 3 }, 0);
    expect(vector('[1,0.5,-2]')).toEqual(Float32Array.of(1, 0.5, -2));
    expect(() => vector('[1,2]')).toThrow(ValueRefused);
  });
});

describe('arrays', () => {
  it('reads back what Postgres writes, whatever is in the elements', () => {
    const element = fc.option(fc.string({ unit: 'grapheme' }), { nil: null });
    fc.assert(
      fc.property(fc.array(element), (elements) => {
        const written = elements.map((e) =>
          e === null ? 'NULL' : /^[a-z0-9]+$/.test(e) && e !== 'null' ? e : `"${e.replace(/["\\]/g, '\\$&')}"`,
        );
        expect(parseArrayText(`{${written.join(',')}}`)).toEqual(elements);
      }),
    );
  });

  it('refuses nesting and what is no array', () => {
    for (const text of ['{{1},{2}}', '', '1', '{', '{1', '{1,}', '{"a}', '{1}x'])
      expect(() => parseArrayText(text), text).toThrow(ValueRefused);
  });
});

describe('COPY lines', () => {
  const escaped = (field: string | null): string =>
    field === null
      ? '\\N'
      : field.replace(
          /[\\\b\f\n\r\t\v]/g,
          (c) => `\\${{ '\b': 'b', '\f': 'f', '\n': 'n', '\r': 'r', '\t': 't', '\v': 'v' }[c] ?? c}`,
        );

  it('come back whole, however the bytes are cut', () => {
    const field = fc.option(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom('\\N', '\\', '\t', '\n', '')), {
      nil: null,
    });
    fc.assert(
      fc.property(
        fc.array(fc.array(field, { minLength: 1, maxLength: 4 }), { maxLength: 6 }),
        fc.array(fc.nat({ max: 20 })),
        (rows, cuts) => {
          const bytes = Buffer.from(rows.map((row) => `${row.map(escaped).join('\t')}\n`).join(''));
          const splitter = new LineSplitter();
          const back: (string | null)[][] = [];
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            for (const line of splitter.push(bytes.subarray(at, at + cut))) back.push(parseCopyLine(line));
            at = Math.min(bytes.length, at + cut);
          }
          expect(back).toEqual(rows);
          expect(splitter.unfinishedBytes).toBe(0);
        },
      ),
    );
  });
});
