/**
 * Random CEL expressions, each with a JavaScript twin that says what it must evaluate to.
 *
 * Owns which expressions are drawn: typed, over given columns, of bounded depth. What operators do is
 * cel-semantics.ts.
 */
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { INT64_MAX, INT64_MIN, type Scalar } from '@freshet/values/scalar.ts';
import fc from 'fast-check';
import { compareOracle } from '../oracle/order.ts';
import {
  absorbing,
  bool,
  double,
  doubleText,
  holds,
  inRange,
  int,
  microsOf,
  type TwinExpression,
  text,
} from './cel-semantics.ts';

/** The columns that expressions may name, by type. */
export interface ExpressionColumns {
  readonly int: readonly string[];
  readonly double: readonly string[];
  readonly decimal: readonly string[];
  readonly string: readonly string[];
  readonly bool: readonly string[];
  readonly timestamp: readonly string[];
}

export interface ExpressionArbitraries {
  readonly int: fc.Arbitrary<TwinExpression>;
  readonly double: fc.Arbitrary<TwinExpression>;
  readonly string: fc.Arbitrary<TwinExpression>;
  readonly bool: fc.Arbitrary<TwinExpression>;
}

type Expression = fc.Arbitrary<TwinExpression>;

/** Arbitraries of expressions of each type over the columns. */
export function expressionsOver(columns: ExpressionColumns): ExpressionArbitraries {
  return fc.letrec<Record<keyof ExpressionArbitraries, TwinExpression>>((tie) => ({
    int: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'cel' },
      column(columns.int),
      intLiteral,
      intOperation(tie('int')),
      size(tie('string')),
      ternary(tie('bool'), tie('int')),
    ),
    double: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'cel' },
      column(columns.double),
      doubleLiteral,
      doubleOperation(tie('double')),
      map1(
        column(columns.int),
        (a) => `double(${a})`,
        (a) => Number(int(a)),
      ),
      map1(
        column(columns.decimal),
        (a) => `double(${a})`,
        (a) => Number(text(a)),
      ),
      ternary(tie('bool'), tie('double')),
    ),
    string: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'cel' },
      column(columns.string),
      stringLiteral,
      map2(
        tie('string'),
        tie('string'),
        (a, b) => `(${a} + ${b})`,
        (a, b) => text(a) + text(b),
      ),
      ternary(tie('bool'), tie('string')),
    ),
    bool: fc.oneof(
      { maxDepth: 3, depthIdentifier: 'cel' },
      column(columns.bool),
      ...comparisons(columns, tie),
      ...logic(tie('bool')),
      ...stringTests(tie('string')),
    ),
  }));
}

// Leaves. Each type's first alternative must not recurse, so that depth is bounded.

function column(names: readonly string[]): Expression {
  return fc
    .constantFrom(...names)
    .map((name) => ({ cel: name, columns: [name], evaluate: (row) => row.get(name) ?? null }));
}

function literal(cel: string, value: Scalar): TwinExpression {
  return { cel, columns: [], evaluate: () => value };
}

const intLiteral: Expression = fc
  .constantFrom(0n, 1n, 2n, 3n, 10n, -1n, -5n, INT64_MAX, INT64_MIN)
  .map((value) => literal(value < 0n ? `(${value})` : `${value}`, value));

const doubleLiteral: Expression = fc
  .constantFrom(0, 0.5, 1, -2.5, 0.1, 1e308, 1e-300)
  .map((value) => literal(value < 0 ? `(${doubleText(value)})` : doubleText(value), value));

const stringLiteral: Expression = fc
  .constantFrom('click', 'view', '', 'c', 'é', '\u{1f600}', '\u{ff5e}', 'a"b\\', 'a\nb')
  .map((value) => literal(JSON.stringify(value), value));

const instants = fc.constantFrom(
  '1970-01-01T00:00:00Z',
  '2023-11-14T22:13:20.000002Z',
  '0001-01-01T00:00:00Z',
  '2024-02-29T12:00:00.5Z',
);

// Operators.

function intOperation(operand: Expression): Expression {
  const divisors = fc.constantFrom(0n, 1n, 2n, 3n, 7n, -2n).map((value) => literal(`(${value})`, value));
  return fc.oneof(
    map2(
      operand,
      operand,
      (a, b) => `(${a} + ${b})`,
      (a, b) => inRange(int(a) + int(b)),
    ),
    map2(
      operand,
      operand,
      (a, b) => `(${a} - ${b})`,
      (a, b) => inRange(int(a) - int(b)),
    ),
    map2(
      operand,
      operand,
      (a, b) => `(${a} * ${b})`,
      (a, b) => inRange(int(a) * int(b)),
    ),
    map2(
      operand,
      divisors,
      (a, b) => `(${a} / ${b})`,
      (a, b) => inRange(int(a) / int(b)),
    ),
    map2(
      operand,
      divisors,
      (a, b) => `(${a} % ${b})`,
      (a, b) => inRange(int(a) % int(b)),
    ),
  );
}

function doubleOperation(operand: Expression): Expression {
  return fc.oneof(
    map2(
      operand,
      operand,
      (a, b) => `(${a} + ${b})`,
      (a, b) => double(a) + double(b),
    ),
    map2(
      operand,
      operand,
      (a, b) => `(${a} - ${b})`,
      (a, b) => double(a) - double(b),
    ),
    map2(
      operand,
      operand,
      (a, b) => `(${a} * ${b})`,
      (a, b) => double(a) * double(b),
    ),
    map2(
      operand,
      operand,
      (a, b) => `(${a} / ${b})`,
      (a, b) => double(a) / double(b),
    ),
  );
}

function size(operand: Expression): Expression {
  return map1(
    operand,
    (a) => `size(${a})`,
    (a) => BigInt(Array.from(text(a)).length),
  );
}

function ternary(condition: Expression, branch: Expression): Expression {
  return fc.tuple(condition, branch, branch).map(([c, a, b]) => ({
    cel: `(${c.cel} ? ${a.cel} : ${b.cel})`,
    columns: [...c.columns, ...a.columns, ...b.columns],
    evaluate: (row) => (bool(c.evaluate(row)) ? a.evaluate(row) : b.evaluate(row)),
  }));
}

function comparisons(columns: ExpressionColumns, tie: (name: 'int' | 'double' | 'string') => Expression): Expression[] {
  const symbols = ['<', '<=', '>', '>=', '==', '!='] as const;
  const compared = (operand: Expression, decide: (a: Scalar, b: Scalar) => number): Expression =>
    fc.tuple(fc.constantFrom(...symbols), operand, operand).map(([symbol, a, b]) => ({
      cel: `(${a.cel} ${symbol} ${b.cel})`,
      columns: [...a.columns, ...b.columns],
      evaluate: (row) => holds(symbol, a.evaluate(row), b.evaluate(row), decide),
    }));
  const anyColumn = Object.values(columns).flat() as string[];
  return [
    compared(tie('int'), (a, b) => compareOracle(Kind.INT64, int(a), int(b))),
    compared(tie('double'), (a, b) =>
      double(a) < double(b) ? -1 : double(a) > double(b) ? 1 : double(a) === double(b) ? 0 : NaN,
    ),
    compared(tie('string'), (a, b) => compareOracle(Kind.STRING, text(a), text(b))),
    map1(
      column(anyColumn),
      (a) => `(${a} == null)`,
      (a) => a === null,
    ),
    map1(
      column(anyColumn),
      (a) => `(${a} != null)`,
      (a) => a !== null,
    ),
    map1(
      tie('int'),
      (a) => `(${a} in [1, 2, 3])`,
      (a) => a === 1n || a === 2n || a === 3n,
    ),
    map1(
      tie('string'),
      (a) => `(${a} in ["click", "view"])`,
      (a) => a === 'click' || a === 'view',
    ),
    fc.tuple(instants, column(columns.timestamp)).map(([instant, a]) => ({
      cel: `(${a.cel} < timestamp("${instant}"))`,
      columns: a.columns,
      evaluate: (row) => int(a.evaluate(row)) < microsOf(instant),
    })),
  ];
}

/** What each negation negates. */
const NEGATED = new WeakMap<TwinExpression, TwinExpression>();

/** CEL's parser takes two negations for none: `!(!(null))` is null, where `!(null)` is an error. */
function not(a: TwinExpression): TwinExpression {
  const twice = NEGATED.get(a);
  const evaluate = twice?.evaluate ?? ((row) => !bool(a.evaluate(row)));
  const negation: TwinExpression = { cel: `!(${a.cel})`, columns: a.columns, evaluate };
  NEGATED.set(negation, a);
  return negation;
}

function logic(operand: Expression): Expression[] {
  return [
    operand.map(not),
    fc.tuple(operand, operand).map(([a, b]) => absorbing(a, b, '&&', false)),
    fc.tuple(operand, operand).map(([a, b]) => absorbing(a, b, '||', true)),
  ];
}

function stringTests(operand: Expression): Expression[] {
  return [
    map2(
      operand,
      operand,
      (a, b) => `${a}.startsWith(${b})`,
      (a, b) => text(a).startsWith(text(b)),
    ),
    map2(
      operand,
      operand,
      (a, b) => `${a}.endsWith(${b})`,
      (a, b) => text(a).endsWith(text(b)),
    ),
    map2(
      operand,
      operand,
      (a, b) => `${a}.contains(${b})`,
      (a, b) => text(a).includes(text(b)),
    ),
  ];
}

function map1(arbitrary: Expression, cel: (a: string) => string, evaluate: (a: Scalar) => Scalar): Expression {
  return arbitrary.map((a) => ({ cel: cel(a.cel), columns: a.columns, evaluate: (row) => evaluate(a.evaluate(row)) }));
}

function map2(
  left: Expression,
  right: Expression,
  cel: (a: string, b: string) => string,
  evaluate: (a: Scalar, b: Scalar) => Scalar,
): Expression {
  return fc.tuple(left, right).map(([a, b]) => ({
    cel: cel(a.cel, b.cel),
    columns: [...a.columns, ...b.columns],
    evaluate: (row) => evaluate(a.evaluate(row), b.evaluate(row)),
  }));
}
