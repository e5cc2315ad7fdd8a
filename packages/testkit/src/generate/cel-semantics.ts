/**
 * What CEL's operators do, for the JavaScript twins of generated expressions (expressions.ts): written by hand from the
 * specification. Operands of the wrong type, null above all, are errors; 64-bit arithmetic errs on overflow; null is
 * only equal to null; and/or absorb an error when the other side decides.
 */
import { INT64_MAX, INT64_MIN, type Scalar } from '@freshet/values/scalar.ts';
import type { RowValues } from '../oracle/history.ts';

/** An expression: its CEL text, the columns that it reads, and what it evaluates to. */
export interface TwinExpression {
  readonly cel: string;
  readonly columns: readonly string[];
  /** Throws where CEL errs at run time. */
  readonly evaluate: (row: RowValues) => Scalar;
}

/** `&&` is false and `||` is true when either side says so, even when the other side errs. */
export function absorbing(a: TwinExpression, b: TwinExpression, symbol: string, decisive: boolean): TwinExpression {
  return {
    cel: `(${a.cel} ${symbol} ${b.cel})`,
    columns: [...a.columns, ...b.columns],
    evaluate: (row) => {
      const sides = [a, b].map((side) => {
        try {
          return side.evaluate(row);
        } catch {
          return 'error';
        }
      });
      if (sides.includes(decisive)) return decisive;
      for (const side of sides) bool(side);
      return !decisive;
    },
  };
}

export function holds(symbol: string, a: Scalar, b: Scalar, decide: (a: Scalar, b: Scalar) => number): boolean {
  if (symbol === '==' || symbol === '!=') {
    const equal = a === null || b === null ? a === b : decide(a, b) === 0;
    return equal === (symbol === '==');
  }
  const order = decide(a, b);
  if (symbol === '<') return order < 0;
  if (symbol === '<=') return order <= 0;
  return symbol === '>' ? order > 0 : order >= 0;
}

// Operands of the wrong type, null above all, are errors.

export function int(value: Scalar): bigint {
  if (typeof value !== 'bigint') throw new TypeError('no such overload');
  return value;
}

export function double(value: Scalar): number {
  if (typeof value !== 'number') throw new TypeError('no such overload');
  return value;
}

export function text(value: Scalar): string {
  if (typeof value !== 'string') throw new TypeError('no such overload');
  return value;
}

export function bool(value: Scalar): boolean {
  if (typeof value !== 'boolean') throw new TypeError('no such overload');
  return value;
}

export function inRange(value: bigint): bigint {
  if (value < INT64_MIN || value > INT64_MAX) throw new RangeError('integer overflow');
  return value;
}

export function doubleText(value: number): string {
  const digits = String(value);
  return /[.e]/.test(digits) ? digits : `${digits}.0`;
}

/** Microseconds of an RFC 3339 instant in UTC. */
export function microsOf(instant: string): bigint {
  const [whole = '', fraction = ''] = instant.replace('Z', '').split('.');
  return BigInt(Date.parse(`${whole}Z`)) * 1000n + BigInt(fraction.padEnd(6, '0'));
}
