/**
 * Runs work that stops now and then, so that a large call does not hold up the small ones: at once when it is soon done,
 * else in turns of TURN_US with everything else that the process does.
 *
 * Owns the turns. The work says where it may stop; what it has in hand there must be its own.
 */
import type { Clock } from '@freshet/kit/clock.ts';

/** How long a call works before others have their turn, microseconds. A small call takes some 50. */
const TURN_US = 1000;

export interface Turns {
  readonly clock: Clock;
  /** Resolves after whatever else was waiting has run. */
  readonly yieldNow: () => Promise<unknown>;
  /** Aborted when nobody waits for the result any more; asked for only when the work is not done at once. */
  readonly signal: () => AbortSignal | undefined;
}

/** The work's result. Throws what the work throws, or the signal's reason. */
export function inTurns<T>(work: Generator<undefined, T>, turns: Turns): T | Promise<T> {
  const done = oneTurn(work, turns.clock);
  return done === undefined ? goOn(work, turns) : done.value;
}

async function goOn<T>(work: Generator<undefined, T>, turns: Turns): Promise<T> {
  const signal = turns.signal();
  try {
    for (;;) {
      await turns.yieldNow();
      signal?.throwIfAborted();
      const done = oneTurn(work, turns.clock);
      if (done !== undefined) return done.value;
    }
  } finally {
    // So that work that was given up gives back what it holds.
    work.return(undefined as T);
  }
}

/** Works until it is done, which it returns, or its turn is over. */
function oneTurn<T>(work: Generator<undefined, T>, clock: Clock): { readonly value: T } | undefined {
  const startUs = clock.monotonicUs();
  for (;;) {
    const part = work.next();
    if (part.done === true) return part;
    if (clock.monotonicUs() - startUs >= TURN_US) return undefined;
  }
}
