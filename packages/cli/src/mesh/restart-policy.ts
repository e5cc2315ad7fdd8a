/**
 * When a process that ended is started again, and when not any more. Pure: it is told the time.
 *
 *     ended with 78 (EX_CONFIG) and  → final: the same configuration will fail the same way
 *       never came up
 *     ended by our own kill          → again at once; it says nothing about the process
 *     ended after a stable run       → again, delays start over
 *     ended otherwise                → again after an exponential, jittered delay; after `failuresMax` such ends
 *                                      within `windowMs` it is given up
 *
 * Giving up is final for a process that never came up: whoever starts the mesh is told. One that did come up worked
 * with what it was given; it is tried again every `givenUpDelayMs`, until a run is stable, because what keeps it from
 * working (a full disk, a database that is away) may pass, and the others do without it meanwhile.
 */

export interface RestartLimits {
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** A run this long was a good one. */
  readonly stableMs: number;
  /** More failures than this within the window, and it is no use. */
  readonly failuresMax: number;
  readonly windowMs: number;
  /** How long a process that was given up waits for its next try. */
  readonly givenUpDelayMs: number;
}

/** Ten delays of 0.1 s doubling to 10 s take about half a minute: enough for a database to restart. */
export const RESTART_LIMITS: RestartLimits = {
  firstDelayMs: 100,
  maxDelayMs: 10_000,
  stableMs: 10_000,
  failuresMax: 10,
  windowMs: 120_000,
  givenUpDelayMs: 30_000,
};

export const EXIT_CONFIG = 78;

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** We ended it ourselves, to see it come back. */
  readonly deliberate: boolean;
  /** It was healthy once, in this run or an earlier one of the same mesh. */
  readonly cameUp: boolean;
  /** How long it ran. */
  readonly ranMs: number;
  readonly nowMs: number;
}

export type RestartDecision =
  | { readonly kind: 'restart'; readonly delayMs: number }
  /** Given up, for now: to be told (when it is `news`) and tried again later. */
  | { readonly kind: 'retry-later'; readonly delayMs: number; readonly failures: number; readonly news: boolean }
  /** Given up for good. */
  | { readonly kind: 'give-up'; readonly reason: 'config' | 'failures'; readonly failures: number };

export class RestartPolicy {
  readonly #limits: RestartLimits;
  readonly #random: () => number;
  /** When the failures within the window were; at most failuresMax + 1. */
  #failuresMs: number[] = [];
  #consecutive = 0;
  #givenUp = false;

  /** `random` gives a number in [0, 1), for jitter. */
  constructor(limits: RestartLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  onEnd(end: ProcessEnd): RestartDecision {
    const { firstDelayMs, maxDelayMs, stableMs, failuresMax, windowMs, givenUpDelayMs } = this.#limits;
    if (end.code === EXIT_CONFIG && !end.cameUp) return { kind: 'give-up', reason: 'config', failures: 1 };
    if (end.deliberate) return { kind: 'restart', delayMs: 0 };
    if (end.ranMs >= stableMs) {
      this.#consecutive = 0;
      if (this.#givenUp) this.#failuresMs = [];
      this.#givenUp = false;
    }
    this.#consecutive += 1;
    this.#failuresMs = [...this.#failuresMs.filter((at) => at > end.nowMs - windowMs), end.nowMs].slice(
      -failuresMax - 1,
    );
    const failures = this.#failuresMs.length;
    if (this.#givenUp || failures > failuresMax) {
      if (!end.cameUp) return { kind: 'give-up', reason: 'failures', failures };
      const news = !this.#givenUp;
      this.#givenUp = true;
      return { kind: 'retry-later', delayMs: givenUpDelayMs, failures, news };
    }
    const ceiling = Math.min(maxDelayMs, firstDelayMs * 2 ** (this.#consecutive - 1));
    return { kind: 'restart', delayMs: ceiling / 2 + (this.#random() * ceiling) / 2 };
  }
}
