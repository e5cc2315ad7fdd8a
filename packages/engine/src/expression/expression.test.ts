/**
 * Goal: what the checker lets through does not fail by type, errors name their place and remedy, and the functions are
 * pure and exact where the CEL library's own are not. Method: cases by rule. (Random expressions are compared with
 * hand-written twins in packages/testkit.)
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import { describe, expect, it } from 'vitest';
import { type } from '../testing/plans.testing.ts';
import { compileExpression, type ExpressionColumn } from './expression.ts';

const VALUES: Readonly<Record<string, { kind: Kind; element?: Kind; value: Scalar }>> = {
  event_type: { kind: Kind.STRING, value: 'click' },
  amount: { kind: Kind.DOUBLE, value: 2.5 },
  n: { kind: Kind.INT64, value: 2n ** 60n + 1n },
  price: { kind: Kind.DECIMAL, value: '12.50' },
  ok: { kind: Kind.BOOL, value: true },
  raw: { kind: Kind.BYTES, value: new Uint8Array([1, 2]) },
  at: { kind: Kind.TIMESTAMP, value: 1_700_000_000_123_456n },
  tags: { kind: Kind.LIST, element: Kind.STRING, value: ['a', null] },
  ids: { kind: Kind.LIST, element: Kind.INT64, value: [1n, 2n] },
  vec: { kind: Kind.VECTOR, value: new Float32Array([1, 2]) },
  none: { kind: Kind.INT64, value: null },
  // Names that CEL knows as types or functions.
  timestamp: { kind: Kind.STRING, value: 'column' },
  size: { kind: Kind.INT64, value: 7n },
};

const COLUMNS: ExpressionColumn[] = Object.entries(VALUES).map(([name, { kind, element }]) => ({
  name,
  type: type(kind, element),
  nullable: true,
}));
const ROW = Object.values(VALUES).map(({ value }) => value);

function evaluate(source: string, row: readonly Scalar[] = ROW): Scalar {
  return compileExpression(source, COLUMNS).evaluate(row);
}

function refusal(source: string): FreshetError {
  try {
    compileExpression(source, COLUMNS);
  } catch (error) {
    if (error instanceof FreshetError && error.code === 'INVALID_DEFINITION') return error;
    throw error;
  }
  throw new Error(`not refused: ${source}`);
}

describe('expressions', () => {
  it.each<[string, Scalar]>([
    ['event_type == "click"', true],
    ['event_type != "click" || amount > 2.0', true],
    ['amount > 2', true],
    ['n + 1', 2n ** 60n + 2n],
    ['-n', -(2n ** 60n) - 1n],
    ['n % 10', (2n ** 60n + 1n) % 10n],
    ['7 / 2', 3n],
    ['amount * 2.0', 5],
    ['double(price) * 2.0', 25],
    ['string(price)', '12.50'],
    ['price != null', true],
    ['vec == null', false],
    ['none == null', true],
    ['none == null || none > 5', true],
    ['none != null && none > 5', false],
    ['none == 5', false],
    ['ok ? amount : 0.0', 2.5],
    ['ok ? null : n', null],
    ['event_type in ["click", "view"]', true],
    ['"a" in tags', true],
    ['3 in ids', false],
    ['ids[1]', 2n],
    ['ids + [3]', [1n, 2n, 3n]],
    ['tags', ['a', null]],
    ['size(tags) + event_type.size()', 7n],
    ['size', 7n],
    ['timestamp == "column"', true],
    ['event_type.startsWith("cl") && event_type.endsWith("ck") && event_type.contains("lic")', true],
    ['event_type.matches("^c.*k$")', true],
    ['event_type + "s"', 'clicks'],
    ['int("-42")', -42n],
    ['int(2.9)', 2n],
    ['double("1e3")', 1000],
    ['raw', new Uint8Array([1, 2])],
    ['at', 1_700_000_000_123_456n],
    ['at + duration("1.5s")', 1_700_000_001_623_456n],
    ['int(at - timestamp("2023-11-14T22:13:19Z"))', 1n],
    ['at.getFullYear() * 10000 + (at.getMonth() + 1) * 100 + at.getDate()', 20_231_114n],
    ['at.getHours() * 100 + at.getMinutes()', 2213n],
    ['at.getHours("+02:00") * 100 + at.getMinutes("+02:30")', 43n],
    ['at.getHours("-01:00")', 21n],
    ['at.getDayOfWeek()', 2n],
    ['at.getDayOfYear()', 317n],
    ['at.getMilliseconds()', 123n],
    ['timestamp(1) == timestamp("1970-01-01T00:00:01Z")', true],
    ['timestamp("2024-02-29T23:59:59.123456789+01:00")', 1_709_247_599_123_456n],
    ['timestamp("0001-01-01T00:00:00Z")', -62_135_596_800_000_000n],
    ['"\\U0001F600" > "\\uFFFF"', true],
  ])('%s', (source, expected) => {
    expect(evaluate(source)).toEqual(expected);
  });

  it.each([
    'none > 5',
    'none + 1 == 2',
    '!ok || none > 5 ? false : none > 1',
    'int("")',
    'int(" 1 ")',
    'int("0x10")',
    'double("")',
    '1 / (n - n)',
    'n * n',
    'ids[5] == 1',
    'timestamp("2023-02-30T00:00:00Z")',
    'at.getHours("Europe/Berlin")',
    'int("9223372036854775808")',
  ])('%s fails at run time', (source) => {
    const expression = compileExpression(source, COLUMNS);
    expect(() => expression.evaluate(ROW)).toThrow();
    // And the next row is not harmed by it.
    expect(evaluate('event_type == "click"')).toBe(true);
  });

  it('takes integers as numbers too, which is how the fold holds them', () => {
    const row = [...ROW];
    row[COLUMNS.findIndex(({ name }) => name === 'n')] = 5;
    expect(evaluate('n + 1', row)).toBe(6n);
  });

  it('tells its type and the columns that it uses', () => {
    const expression = compileExpression('amount > 1.0 && event_type == "x"', COLUMNS);
    expect(expression.type.kind).toBe(Kind.BOOL);
    expect(expression.uses).toEqual([0, 1]);
    expect(compileExpression('ids + ids', COLUMNS).type).toMatchObject({ kind: Kind.LIST, element: Kind.INT64 });
  });

  it.each<[string, string, string, string]>([
    ['event_typ == "click"', '1:1', 'there is no column event_typ', 'Did you mean event_type?'],
    ['ok &&\n  amout > 1.0', '2:3', 'there is no column amout', 'Did you mean amount?'],
    ['event_type == 5', '1:12', '== compares values of one type, not string and int', ''],
    ['event_type > 5', '1:12', '> orders values of one type', ''],
    ['n + amount', '1:3', 'not int and double', 'double()'],
    ['price > 10.0', '1:7', '> cannot be used with a decimal', 'double(column)'],
    ['price + price', '1:7', '+ cannot be used with a decimal', 'double(column)'],
    ['ok && n', '1:1', '&& needs bool, not bool and int', ''],
    ['!n', '1:1', '! needs bool', ''],
    ['n ? 1 : 2', '1:1', '?: needs bool before the ?', ''],
    ['ok ? 1 : "a"', '1:1', 'one type on both sides', ''],
    ['startWith(event_type)', '1:1', 'there is no function startWith', 'Did you mean startsWith?'],
    ['event_type.startsWith(5)', '1:11', 'startsWith() takes string.(string)', ''],
    ['size(n)', '1:1', 'size() takes', ''],
    ['n in ids && n in n', '1:15', 'in needs a list on its right', ''],
    ['has(n)', '1:1', 'has() is for fields', 'column != null'],
    ['n.exists(x, x > 1)', '1:2', 'macros', ''],
    ['n.field', '1:2', 'columns have no fields', ''],
    ['5u == 5u', '1:1', 'unsigned integers', 'Leave the suffix'],
    ['n == 9223372036854775808', '1:6', 'does not fit in 64 bits', ''],
    ['{"a": 1}', '1:1', 'maps and messages', ''],
    ['[1, "a"]', '1:1', 'a list cannot hold both int and string', ''],
    ['event_type.matches(event_type)', '1:11', 'must be written out', ''],
    ['event_type.matches("(")', '1:11', 'the pattern cannot be read', 'RE2'],
    ['at - at', '1:4', 'the result is a duration', 'int(duration)'],
    ['null', '1:1', 'the result is a null', ''],
    ['event_type = "click"', '1:12', 'cannot be read', ''],
    ['', '1:1', 'cannot be read', ''],
  ])('%s is refused', (source, place, message, remedy) => {
    const error = refusal(source);
    expect(error.place).toBe(place);
    expect(error.message).toContain(message);
    expect(error.remedy).toContain(remedy);
  });

  it('refuses what would end the process', () => {
    for (const source of [
      `${'('.repeat(2000)}1${')'.repeat(2000)}`,
      `n${' + n'.repeat(800)}`,
      `${'ok ? 1 : '.repeat(400)}2`,
      `n${' + n'.repeat(251)} == 0`,
    ]) {
      expect(refusal(source).message).toContain('nested too deeply');
    }
    expect(evaluate(`size${' + size'.repeat(200)}`)).toBe(1407n);
    expect(evaluate(`ok${' && ok'.repeat(500)}`)).toBe(true);
    expect(refusal(`"${'x'.repeat(5000)}"`).message).toContain('4096 characters');
  });
});
