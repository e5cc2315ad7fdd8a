/**
 * Runs work that stops now and then, so that a large call does not hold up the small ones: at once when it is soon done,
 * else in turns of TURN_US with everything else that the process does.
 *
 * Owns the turns. The work says where it may stop; what it has in hand there must be its own.
 *
 * R4: what is stopped holds what it has made so far, so only UNDER_WAY_MAX go on by turns; more wait for one to end, with
 * what their first turn made.
 */
import type { Clock } from '@freshet/kit/clock.ts';

/** How long a call works before others have their turn, microseconds. A small call takes some 50. */
const TURN_US = 1000;
const UNDER_WAY_MAX = 4;

export interface TurnsOptions {
  readonly clock: Clock;
  /** Resolves after whatever else was waiting has run. */
  readonly yieldNow: () => Promise<unknown>;
}

export class Turns {
  readonly #clock: Clock;
  readonly #yieldNow: () => Promise<unknown>;
  #underWay = 0;
  /** Whoever waits for another to end, the longest first. */
  readonly #waiting: (() => void)[] = [];

  constructor({ clock, yieldNow }: TurnsOptions) {
    this.#clock = clock;
    this.#yieldNow = yieldNow;
  }

  /**
   * The work's result. Throws what the work throws, or the reason of the call's signal, which is asked for only when the
   * work is not done at once.
   */
  run<T>(work: Generator<undefined, T>, call: { readonly signal: AbortSignal } | undefined): T | Promise<T> {
    const done = this.#turn(work);
    return done === undefined ? this.#goOn(work, call?.signal) : done.value;
  }

  async #goOn<T>(work: Generator<undefined, T>, signal: AbortSignal | undefined): Promise<T> {
    // Whoever ends gives his place to the one that has waited longest.
    if (this.#underWay === UNDER_WAY_MAX) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#underWay += 1;
    try {
      for (;;) {
        signal?.throwIfAborted();
        await this.#yieldNow();
        signal?.throwIfAborted();
        const done = this.#turn(work);
        if (done !== undefined) return done.value;
      }
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#underWay -= 1;
      else next();
      // So that work that was given up gives back what it holds.
      work.return(undefined as T);
    }
  }

  /** Works until it is done, which it returns, or its turn is over. */
  #turn<T>(work: Generator<undefined, T>): { readonly value: T } | undefined {
    const startUs = this.#clock.monotonicUs();
    for (;;) {
      const part = work.next();
      if (part.done === true) return part;
      if (this.#clock.monotonicUs() - startUs >= TURN_US) return undefined;
    }
  }
}
