/**
 * Goal: CEL conditions and derived columns evaluate as the CEL specification says. Method: random typed expressions with
 * a JavaScript twin each, on random rows with nulls; the compiled expression must have the twin's type, give the same
 * value, and fail or give null exactly when the twin does (to a fold an error is a null, or false).
 */
import { compileExpression } from '@freshet/engine/expression/expression.ts';
import { Kind, type ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import type { Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import type { TwinExpression } from '../generate/cel-semantics.ts';
import { type ExpressionArbitraries, expressionsOver } from '../generate/expressions.ts';
import { typeOf } from '../generate/plan-builder.ts';
import { decimals, doubles, int64s, strings, timestamps } from '../generate/values.ts';
import { sameValue } from '../oracle/order.ts';
import { show } from './compare.ts';
import { assertFuzz, FUZZ_MS_MAX } from './fuzz-options.ts';

const RUNS = 2_000;

const COLUMNS = [
  { name: 'i', type: typeOf(Kind.INT64), values: int64s },
  { name: 'j', type: typeOf(Kind.INT64), values: int64s },
  { name: 'd', type: typeOf(Kind.DOUBLE), values: doubles },
  { name: 'm', type: typeOf(Kind.DECIMAL), values: decimals },
  { name: 's', type: typeOf(Kind.STRING), values: strings },
  { name: 'u', type: typeOf(Kind.STRING), values: strings },
  { name: 'b', type: typeOf(Kind.BOOL), values: fc.boolean() },
  { name: 't', type: typeOf(Kind.TIMESTAMP), values: timestamps },
] as const;

const KINDS = { int: Kind.INT64, double: Kind.DOUBLE, string: Kind.STRING, bool: Kind.BOOL } as const;

const expressions = expressionsOver({
  int: ['i', 'j'],
  double: ['d'],
  decimal: ['m'],
  string: ['s', 'u'],
  bool: ['b'],
  timestamp: ['t'],
});

interface Case {
  readonly type: ValueType;
  readonly twin: TwinExpression;
  readonly rows: readonly (readonly Scalar[])[];
}

const row = fc.tuple(...COLUMNS.map(({ values }) => fc.option<Scalar>(values, { freq: 6, nil: null })));

const cases: fc.Arbitrary<Case> = fc.oneof(
  ...(Object.keys(KINDS) as (keyof ExpressionArbitraries)[]).map((name) =>
    fc.record({
      type: fc.constant(typeOf(KINDS[name])),
      twin: expressions[name],
      rows: fc.array(row, { minLength: 1, maxLength: 5 }),
    }),
  ),
);

function orNull(evaluate: () => Scalar): Scalar {
  try {
    return evaluate();
  } catch {
    return null;
  }
}

// Not async in itself: the same runner serves properties that are.
async function check({ type, twin, rows }: Case): Promise<void> {
  const columns = COLUMNS.map(({ name, type: columnType }) => ({ name, type: columnType, nullable: true }));
  const compiled = compileExpression(twin.cel, columns);
  if (compiled.type.kind !== type.kind)
    throw new Error(`${twin.cel} has kind ${compiled.type.kind} instead of ${type.kind}`);
  for (const values of rows) {
    const byName = new Map(COLUMNS.map(({ name }, i) => [name, values[i] ?? null]));
    const expected = orNull(() => twin.evaluate(byName));
    const actual = orNull(() => compiled.evaluate(values));
    if (sameValue(type, expected, actual)) continue;
    throw new Error(
      `${twin.cel} on ${show(Object.fromEntries(byName))}\n  expected ${show(expected)}\n  actual   ${show(actual)}`,
    );
  }
  await Promise.resolve();
}

describe('CEL expressions', () => {
  it('evaluate as their JavaScript twins', { timeout: FUZZ_MS_MAX }, async () => {
    await assertFuzz(RUNS, cases, check);
  });
});
