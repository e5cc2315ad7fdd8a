/**
 * Assertions for what only a programming error can break. They throw a plain Error that nobody catches: the process
 * ends, because its state can no longer be trusted. What input or the world can break is a FreshetError instead.
 */

/** Throws unless the condition holds. Name the invariant's id in the message where there is one: "F3: offset gap". */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The value, which must be there. */
export function must<T>(value: T | null | undefined, message = 'a value that must be there is missing'): T {
  if (value === null || value === undefined) throw new AssertionError(message);
  return value;
}

/** For the default branch of a switch that covers every case. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable case: ${String(value)}`);
}

/** A broken promise of our own code. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}
