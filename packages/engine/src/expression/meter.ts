/**
 * Bounds the work of one evaluation: what all calls of an expression may look at together (../limits.ts). Without it a
 * few kilobytes of CEL over a long text could hold the fold for minutes.
 *
 * An evaluation is synchronous, so one meter serves all; the library gives functions no place to keep one.
 */
import type { Scalar } from '@freshet/values/scalar.ts';
import { EVALUATION_COST_MAX } from '../limits.ts';

/** A matches() reads each character some sixteen times as long as a comparison does. */
export const MATCH_CALLS = 16;

let allowed = 0;
let left = 0;
let callsOfExpression = 0;

/** Starts an evaluation of an expression with so many calls, which may cost so much. */
export function startMeter(calls: number, costMax: number = EVALUATION_COST_MAX): void {
  allowed = costMax;
  left = costMax;
  callsOfExpression = calls;
}

/** What the evaluation that was started last has cost so far. */
export function meteredCost(): number {
  return allowed - left;
}

/** Pays for a value that every call may look at. Throws when that is more than an evaluation may cost. */
export function payFor(length: number): void {
  left -= length * callsOfExpression;
  if (left < 0) throw new Error('the expression has too much to look at');
}

/** How long a value is: characters, bytes, or items with what is in them. */
export function lengthOf(value: Scalar): number {
  if (typeof value === 'string' || value instanceof Uint8Array) return value.length;
  if (!Array.isArray(value)) return 0;
  let length = 0;
  for (const item of value as readonly Scalar[]) length += 1 + lengthOf(item);
  return length;
}
