/**
 * Runs work that stops now and then, so that a large call does not hold up the small ones: at once when it is soon done,
 * else in turns of TURN_US with everything else that the process does.
 *
 * Owns the turns. The work says where it may stop; what it has in hand there must be its own.
 *
 * R4: what is stopped holds what it has made so far, so only UNDER_WAY_MAX go on by turns; WAITING_MAX more wait for one to
 * end, with their requests and what their first turn made. Beyond that a call is refused: its caller may ask another node.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** How long a call works before others have their turn, microseconds. A small call takes some 50. */
const TURN_US = 1000;
/**
 * How long while there is room for no other large call: a small one is done by then, and a large one, which is refused at the end of
 * its first turn, has not cost those that are under way as much as a turn of theirs.
 */
const CROWDED_TURN_US = 200;
export const UNDER_WAY_MAX = 4;
/** A request has a mebibyte at most, and a turn reads about as much: all together hold some 128 MiB. */
export const WAITING_MAX = 64;

export interface TurnsOptions {
  readonly clock: Clock;
  /** Resolves after whatever else was waiting has run. */
  readonly yieldNow: () => Promise<unknown>;
}

export class Turns {
  readonly #clock: Clock;
  readonly #yieldNow: () => Promise<unknown>;
  #underWay = 0;
  /** Whoever waits for another to end, the longest first; at most WAITING_MAX. */
  readonly #waiting = new Set<() => void>();

  constructor({ clock, yieldNow }: TurnsOptions) {
    this.#clock = clock;
    this.#yieldNow = yieldNow;
  }

  /**
   * The work's result. Throws what the work throws, or, only when the work is not done at once: the reason of the call's
   * signal; UNAVAILABLE when too many wait already.
   */
  run<T>(work: Generator<undefined, T>, call: { readonly signal: AbortSignal } | undefined): T | Promise<T> {
    const isCrowded = this.#waiting.size >= WAITING_MAX;
    const done = this.#turn(work, isCrowded ? CROWDED_TURN_US : TURN_US);
    return done === undefined ? this.#goOn(work, call?.signal) : done.value;
  }

  async #goOn<T>(work: Generator<undefined, T>, signal: AbortSignal | undefined): Promise<T> {
    try {
      const entered = this.#enter(signal);
      if (entered !== undefined) await entered;
      try {
        for (;;) {
          signal?.throwIfAborted();
          await this.#yieldNow();
          signal?.throwIfAborted();
          const done = this.#turn(work);
          if (done !== undefined) return done.value;
        }
      } finally {
        this.#leave();
      }
    } finally {
      // So that work that was given up gives back what it holds.
      work.return(undefined as T);
    }
  }

  /** Takes a place among those under way; when there is none, what is returned waits for one. */
  #enter(signal: AbortSignal | undefined): Promise<void> | undefined {
    if (this.#underWay < UNDER_WAY_MAX) {
      this.#underWay += 1;
      return undefined;
    }
    if (this.#waiting.size >= WAITING_MAX) throw tooMany();
    signal?.throwIfAborted();
    return new Promise<void>((resolve, reject) => {
      const enter = (): void => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = (): void => {
        this.#waiting.delete(enter);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', giveUp, { once: true });
      this.#waiting.add(enter);
    });
  }

  /** Gives the place to the one that has waited longest. */
  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#underWay -= 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }

  /** Works until it is done, which it returns, or its turn is over. */
  #turn<T>(work: Generator<undefined, T>, turnUs = TURN_US): { readonly value: T } | undefined {
    const startUs = this.#clock.monotonicUs();
    for (;;) {
      const part = work.next();
      if (part.done === true) return part;
      if (this.#clock.monotonicUs() - startUs >= turnUs) return undefined;
    }
  }
}

function tooMany(): FreshetError {
  return new FreshetError('UNAVAILABLE', `this node has ${WAITING_MAX} large calls waiting already`, {
    remedy: 'ask another node or call again later; calls for fewer entities or features at once are answered at once',
  });
}
