/**
 * When a process that ended is started again, and when not any more. Pure: it is told the time.
 *
 *     ended by our own kill          → again at once; it says nothing about the process
 *     ended with 78 (EX_CONFIG)      → give up: the same configuration will fail the same way
 *     ended after a stable run       → again, delays start over
 *     ended otherwise                → again after an exponential, jittered delay; after `failuresMax` such ends
 *                                      within `windowMs`, give up
 */

export interface RestartLimits {
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** A run this long was a good one. */
  readonly stableMs: number;
  /** More failures than this within the window, and it is no use. */
  readonly failuresMax: number;
  readonly windowMs: number;
}

/** Ten delays of 0.1 s doubling to 10 s take about half a minute: enough for a database to restart. */
export const RESTART_LIMITS: RestartLimits = {
  firstDelayMs: 100,
  maxDelayMs: 10_000,
  stableMs: 10_000,
  failuresMax: 10,
  windowMs: 120_000,
};

export const EXIT_CONFIG = 78;

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: string | null;
  /** We ended it ourselves, to see it come back. */
  readonly deliberate: boolean;
  /** How long it ran. */
  readonly ranMs: number;
  readonly nowMs: number;
}

export type RestartDecision =
  | { readonly kind: 'restart'; readonly delayMs: number }
  | { readonly kind: 'give-up'; readonly reason: 'config' | 'failures'; readonly failures: number };

export class RestartPolicy {
  readonly #limits: RestartLimits;
  readonly #random: () => number;
  /** When the failures within the window were; at most failuresMax + 1. */
  #failuresMs: number[] = [];
  #consecutive = 0;

  /** `random` gives a number in [0, 1), for jitter. */
  constructor(limits: RestartLimits, random: () => number) {
    this.#limits = limits;
    this.#random = random;
  }

  onEnd(end: ProcessEnd): RestartDecision {
    const { firstDelayMs, maxDelayMs, stableMs, failuresMax, windowMs } = this.#limits;
    if (end.code === EXIT_CONFIG) return { kind: 'give-up', reason: 'config', failures: 1 };
    if (end.deliberate) return { kind: 'restart', delayMs: 0 };
    if (end.ranMs >= stableMs) this.#consecutive = 0;
    this.#consecutive += 1;
    this.#failuresMs = [...this.#failuresMs.filter((at) => at > end.nowMs - windowMs), end.nowMs];
    if (this.#failuresMs.length > failuresMax) {
      return { kind: 'give-up', reason: 'failures', failures: this.#failuresMs.length };
    }
    const ceiling = Math.min(maxDelayMs, firstDelayMs * 2 ** (this.#consecutive - 1));
    return { kind: 'restart', delayMs: ceiling / 2 + (this.#random() * ceiling) / 2 };
  }
}
