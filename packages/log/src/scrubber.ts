/**
 * Reads the whole log once a day and judges it, so that damage is found while a copy of the file may still exist, and
 * not by the reader who needs it.
 *
 * Owns the pace: a bounded share of the disk, by the clock. What is found, a segment that the disk does not give among it,
 * is the log's to tell (SegmentLog.damage). A pass that something else ends (no file handle is free) is told and begun
 * again at the next time.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { type FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { type Logger, silentLogger } from '@freshet/kit/logger.ts';
import type { SegmentLog } from './segment-log.ts';

const EVERY_MS = 24 * 3_600_000;
const BYTES_PER_SECOND = 16 * 1024 * 1024;
/** Shorter waits are gathered: timers are no finer than a millisecond. */
const PAUSE_MS_MIN = 10;

export interface LogScrubberOptions {
  readonly log: Pick<SegmentLog, 'scrub' | 'damage'>;
  readonly clock: Clock;
  readonly logger?: Logger | undefined;
  /** What a pass reads in a second at most. Default 16 MiB. */
  readonly bytesPerSecond?: number | undefined;
  /** The time from the end of a pass to the beginning of the next, in milliseconds. Default a day. */
  readonly everyMs?: number | undefined;
}

export interface ScrubState {
  /** When the last whole pass ended, microseconds since the Unix epoch; undefined before the first. */
  readonly endedUs: number | undefined;
  /** What the last whole pass read, in bytes. */
  readonly bytes: number;
  /** Why the last pass did not come to its end. */
  readonly fault: FreshetError | undefined;
}

export interface LogScrubber {
  /** A pass at once, then one each interval, until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
  readonly state: ScrubState;
}

export function createLogScrubber(options: LogScrubberOptions): LogScrubber {
  return new LogScrubberImpl(options);
}

class LogScrubberImpl implements LogScrubber {
  readonly #options: LogScrubberOptions;
  readonly #logger: Logger;
  state: ScrubState = { endedUs: undefined, bytes: 0, fault: undefined };

  constructor(options: LogScrubberOptions) {
    this.#options = options;
    this.#logger = options.logger ?? silentLogger;
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, everyMs = EVERY_MS } = this.#options;
    while (!signal.aborted) {
      try {
        await this.#pass(signal);
        await clock.sleep(everyMs, signal);
      } catch (error) {
        if (!signal.aborted && !isAbort(error)) throw error;
      }
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { log, clock, bytesPerSecond = BYTES_PER_SECOND } = this.#options;
    let owedMs = 0;
    const pause = async (bytes: number): Promise<void> => {
      signal.throwIfAborted();
      owedMs += (bytes / bytesPerSecond) * 1_000;
      if (owedMs < PAUSE_MS_MIN) return;
      const ms = owedMs;
      owedMs = 0;
      await clock.sleep(ms, signal);
    };
    try {
      const bytes = await log.scrub(pause);
      this.state = { endedUs: clock.nowUs(), bytes, fault: undefined };
      this.#logger.debug('the log was scrubbed', { bytes, damaged: log.damage.length });
    } catch (error) {
      const fault = isFreshetError(error) ? error : diskError(error, 'the log');
      if (signal.aborted || fault === undefined) throw error;
      this.state = { ...this.state, fault };
      this.#logger.warn('the log could not be scrubbed whole', { error: fault });
    }
  }
}
