/**
 * Log time: the wall clock, kept honest by the monotonic one.
 *
 *     ceiling(n+1) = ceiling(n) + monotonic progress, moved toward the wall clock by at most a tenth of that progress
 *     log time     = max(last log time, min(wall clock, ceiling))
 *
 * So log time never decreases, also over restarts; a wall clock that is set back holds it until the wall clock has
 * caught up; a wall clock that leaps ahead pulls it at no more than 1.1 times the real pace. A leap beyond a limit
 * would falsify windows for longer than that can hide: the log then refuses appends (CLOCK_JUMP) until it is opened
 * anew, which takes the wall clock at its word.
 *
 * Pure but for the Clock that it is given. Does not own the comparison with other machines' clocks: checkClock() is the
 * arithmetic, the caller has the two times.
 * Invariants: log time never decreases; no forward step that the monotonic clock does not back.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';

/** Default of LogTimeOptions.stepUsMax. */
export const CLOCK_STEP_US_MAX = 5_000_000;
/** A difference between the clocks that is reported; below it corrections of the wall clock are everyday. */
const ALARM_US = 500_000;
/** The largest single correction, whatever the time since the last stamp. */
const CORRECTION_US_MAX = 50_000;

/** What somebody should know about the clock. */
export interface ClockAlarm {
  readonly direction: 'forward' | 'backward';
  /** By how much the wall clock moved against the monotonic one, or log time is ahead of it, in microseconds. */
  readonly byUs: number;
}

export interface LogTimeOptions {
  readonly clock: Clock;
  /** The newest log time in the log; -Infinity for an empty one. */
  readonly lastUs: number;
  /** The largest forward step of the wall clock that does not halt, in microseconds. */
  readonly stepUsMax?: number | undefined;
  readonly onAlarm?: ((alarm: ClockAlarm) => void) | undefined;
}

export class LogTime {
  readonly #clock: Clock;
  readonly #stepUsMax: number;
  readonly #onAlarm: (alarm: ClockAlarm) => void;
  #lastUs: number;
  #ceilingUs: number;
  #monotonicUs: number;
  #alarmed = false;
  #fault: FreshetError | undefined;

  constructor(options: LogTimeOptions) {
    this.#clock = options.clock;
    this.#stepUsMax = options.stepUsMax ?? CLOCK_STEP_US_MAX;
    this.#onAlarm = options.onAlarm ?? (() => {});
    this.#lastUs = options.lastUs;
    this.#ceilingUs = options.clock.nowUs();
    this.#monotonicUs = options.clock.monotonicUs();
  }

  /** The log time of what is appended now. Throws CLOCK_JUMP when the wall clock leapt ahead, and ever after. */
  stamp(): number {
    if (this.#fault !== undefined) throw this.#fault;
    const monotonicUs = this.#clock.monotonicUs();
    const wallUs = this.#clock.nowUs();
    const elapsedUs = Math.max(0, monotonicUs - this.#monotonicUs);
    this.#monotonicUs = monotonicUs;
    this.#ceilingUs += elapsedUs;
    const leadUs = wallUs - this.#ceilingUs;
    if (leadUs > this.#stepUsMax) {
      this.#fault = jump(leadUs);
      throw this.#fault;
    }
    const correctionUs = Math.min(elapsedUs / 10, CORRECTION_US_MAX);
    this.#ceilingUs += Math.max(-correctionUs, Math.min(correctionUs, leadUs));
    this.#lastUs = Math.max(this.#lastUs, Math.floor(Math.min(wallUs, this.#ceilingUs)));
    this.#watch(leadUs, this.#lastUs - wallUs);
    return this.#lastUs;
  }

  /** Reports a difference once, and again only after it had gone. */
  #watch(leadUs: number, aheadUs: number): void {
    const byUs = Math.max(leadUs, aheadUs);
    if (byUs < ALARM_US / 2) this.#alarmed = false;
    if (byUs < ALARM_US || this.#alarmed) return;
    this.#alarmed = true;
    this.#onAlarm({ direction: leadUs >= aheadUs ? 'forward' : 'backward', byUs });
  }
}

function jump(byUs: number): FreshetError {
  return new FreshetError('CLOCK_JUMP', `the clock leapt ${seconds(byUs)} s ahead of the time that passed`, {
    remedy:
      'check the machine’s clock (chronyc tracking, timedatectl), then restart; the log goes on from the clock as it then is',
  });
}

export interface ClockComparison {
  /** This machine's clock, microseconds since the Unix epoch, read between asking and hearing. */
  readonly localUs: number;
  /** The other clock, microseconds since the Unix epoch. */
  readonly databaseUs: number;
  /** How long asking took, in microseconds: the comparison is no more exact than that. */
  readonly roundTripUs: number;
  /** The largest difference that is accepted, in microseconds. */
  readonly toleranceUs?: number | undefined;
}

/** Compares this machine's clock with the database's. Throws CLOCK_JUMP when they are too far apart. */
export function checkClock(comparison: ClockComparison): void {
  const differenceUs = comparison.localUs - comparison.databaseUs;
  const excessUs = Math.abs(differenceUs) - comparison.roundTripUs;
  if (excessUs <= (comparison.toleranceUs ?? CLOCK_STEP_US_MAX)) return;
  const side = differenceUs > 0 ? 'ahead of' : 'behind';
  throw new FreshetError(
    'CLOCK_JUMP',
    `this machine's clock is ${seconds(Math.abs(differenceUs))} s ${side} the database's`,
    {
      remedy:
        'set both machines by NTP (chronyc tracking, timedatectl); log time and event times must come from clocks that agree',
    },
  );
}

function seconds(us: number): string {
  return (us / 1e6).toFixed(3);
}
