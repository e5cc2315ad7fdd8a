/**
 * Goal: a row breaks exactly the rules whose expression is false or fails by its values, null rates equal a model that
 * counts, and rules that cannot work are refused. Method: cases by rule; random rows against the model.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { ValueRuleSchema as RULE, type ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { COLUMNS, contract } from './contracts.testing.ts';
import { NullRateWindow } from './null-rate.ts';
import { ValueRules } from './value-rules.ts';

function compile(...rules: MessageInitShape<typeof ValueRuleSchema>[]): ValueRules {
  return ValueRules.compile(
    rules.map((rule) => create(RULE, rule)),
    contract(),
  );
}

function row(values: Record<string, Scalar>): Scalar[] {
  return COLUMNS.map(({ name }) => values[name] ?? null);
}

const expression = (name: string, value: string, onlyTell = false) =>
  ({ name, rule: { case: 'expression', value }, onlyTell }) as const;

describe('ValueRules', () => {
  it('tells what a row breaks, and takes null for kept', () => {
    const rules = compile(
      expression('positive', 'double(amount) >= 0.0'),
      expression('sku', 'sku.matches("^[A-Z]{2}-[0-9]+$")', true),
      expression('known', 'sku != null'),
    );
    expect(rules.check(row({ amount: '12.50', sku: 'AB-1' }))).toEqual([]);
    expect(rules.check(row({ amount: '-1', sku: 'x' })).map(({ rule, onlyTell }) => [rule, onlyTell])).toEqual([
      ['positive', false],
      ['sku', true],
    ]);
    expect(rules.check(row({ sku: null })).map(({ rule }) => rule)).toEqual(['known']);
  });

  it('an error by a value breaks the rule, also one of too much fuel', () => {
    const rules = compile(expression('ratio', '10 / user_id > 0'), expression('long', 'sku.matches("(a|b)+c")'));
    expect(rules.check(row({ user_id: 0n, sku: 'c' })).map(({ rule }) => rule)).toEqual(['ratio', 'long']);
    const [broken] = rules.check(row({ user_id: 1n, sku: 'a'.repeat(2 ** 21) }));
    expect(broken).toMatchObject({ rule: 'long', reason: expect.stringContaining('too much to look at') });
  });

  it.each<[string, MessageInitShape<typeof ValueRuleSchema>, string]>([
    ['an unknown column', expression('r', 'amont > 1.0'), 'amount'],
    ['no condition', expression('r', 'user_id + 1'), 'Compare it'],
    ['no expression', { name: 'r' }, 'null_rate'],
    [
      'an unknown column of a rate',
      { name: 'r', rule: { case: 'nullRate', value: { column: 'skuu', max: 0.1 } } },
      'sku',
    ],
    ['a share over one', { name: 'r', rule: { case: 'nullRate', value: { column: 'sku', max: 5 } } }, '0 to 1'],
    ['no number', { name: 'r', rule: { case: 'nullRate', value: { column: 'sku', max: Number.NaN } } }, '0 to 1'],
    [
      'a window without end',
      { name: 'r', rule: { case: 'nullRate', value: { column: 'sku', max: 0.1, rows: 4e9 } } },
      'fewer',
    ],
  ])('refuses %s', (_what, rule, remedy) => {
    let refused: unknown;
    try {
      compile(rule);
    } catch (error) {
      refused = error;
    }
    expect(refused).toBeInstanceOf(FreshetError);
    expect(refused).toMatchObject({ code: 'INVALID_DEFINITION', place: 'r', remedy: expect.stringContaining(remedy) });
  });
});

describe('NullRateWindow', () => {
  it('equals a model that keeps the rows', () => {
    const scenario = fc.record({
      rows: fc.integer({ min: 1, max: 40 }),
      max: fc.double({ min: 0, max: 1, noNaN: true }),
      nulls: fc.array(fc.boolean(), { maxLength: 200 }),
    });
    fc.assert(
      fc.property(scenario, ({ rows, max, nulls }) => {
        const window = new NullRateWindow(max, rows);
        nulls.forEach((isNull, i) => {
          const broken = window.take(isNull);
          const share = nulls.slice(Math.max(0, i + 1 - rows), i + 1).filter(Boolean).length / rows;
          expect(window.share).toBe(share);
          expect(broken).toBe(isNull && share > max);
        });
      }),
    );
  });
});
