/**
 * Writes log time into partitions where nothing else does, so that replicas can say how complete they are.
 *
 * Every partition that had no record for a second gets a `tick`. Works on any log. Owns one loop; a failed tick is
 * reported once and tried again a second later: whoever appends records meets the same error and decides.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { isAbort } from '@freshet/kit/errors.ts';
import type { Log } from './log.ts';
import { encodeTick } from './record-writer.ts';

/** How long a partition is quiet before it gets a tick. */
const QUIET_MS = 1_000;
/** How often partitions are looked at: a tick comes at most this much late. */
const LOOK_MS = 100;

export interface TickerOptions {
  readonly log: Log;
  readonly clock: Clock;
  /** How long a partition is quiet before it gets a tick, in milliseconds. Default 1,000. */
  readonly quietMs?: number | undefined;
  /**
   * Whether the clock is known to be right; no tick is written before. A log that was opened takes the wall clock at its
   * word, and log time never goes back: one tick of a clock that is a year ahead would hold it there for a year.
   */
  readonly isClockRight?: (() => boolean) | undefined;
  /** Told of the first of a row of failures. */
  readonly onError?: ((error: unknown) => void) | undefined;
}

export interface Ticker {
  /** Resolves when no tick is under way any more. */
  stop(): Promise<void>;
}

export function startTicker(options: TickerOptions): Ticker {
  const controller = new AbortController();
  const running = new TickLoop(options).run(controller.signal);
  return {
    stop: () => {
      controller.abort();
      return running;
    },
  };
}

class TickLoop {
  readonly #options: TickerOptions;
  readonly #quietUs: number;
  // Per partition: the end last seen, and since when it stands there by the monotonic clock.
  readonly #seen: { end: number; sinceUs: number }[] = [];
  readonly #tick = encodeTick();
  #failing = false;

  constructor(options: TickerOptions) {
    this.#options = options;
    this.#quietUs = (options.quietMs ?? QUIET_MS) * 1000;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#look();
        this.#failing = false;
      } catch (error) {
        if (!this.#failing) this.#options.onError?.(error);
        this.#failing = true;
      }
      try {
        await this.#options.clock.sleep(this.#failing ? QUIET_MS : LOOK_MS, signal);
      } catch (error) {
        if (!signal.aborted && !isAbort(error)) throw error;
        return;
      }
    }
  }

  /** Appends a tick to every partition that was quiet for long enough; all share one fsync. */
  async #look(): Promise<void> {
    const { log, clock, isClockRight } = this.#options;
    if (isClockRight?.() === false) return;
    const { partitions } = await log.describe();
    const nowUs = clock.monotonicUs();
    const ticks: Promise<void>[] = [];
    for (const [partition, { end }] of partitions.entries()) {
      const seen = this.#seen[partition];
      if (seen === undefined || seen.end !== end) this.#seen[partition] = { end, sinceUs: nowUs };
      else if (nowUs - seen.sinceUs >= this.#quietUs) ticks.push(this.#append(partition, nowUs));
    }
    const failed = (await Promise.allSettled(ticks)).find((result) => result.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  async #append(partition: number, nowUs: number): Promise<void> {
    const { firstOffset } = await this.#options.log.append(partition, [this.#tick]);
    // Its own tick ends the quiet, but is not news.
    this.#seen[partition] = { end: firstOffset + 1, sinceUs: nowUs };
  }
}
