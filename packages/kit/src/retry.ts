/**
 * The one retry loop: exponential, from half of each delay to the whole at random, capped, without an end of its own (the signal ends it), reset by
 * `healthy`. Only retryable operating errors are retried; everything else is the caller's to see.
 */
import type { Clock } from './clock.ts';
import { type FreshetError, isAbort } from './errors.ts';
import { toFreshetError } from './grpc/error-mapping.ts';
import type { Logger } from './logger.ts';

export interface RetryOptions {
  /** What is being tried, for log lines: "following the registry". */
  readonly what: string;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Logger;
  readonly firstDelayMs?: number | undefined;
  readonly maxDelayMs?: number | undefined;
  /** Whether an error is worth another try; by default those that say so themselves. */
  readonly retryable?: ((error: FreshetError) => boolean) | undefined;
  /** A number in [0, 1), for jitter. */
  readonly random?: (() => number) | undefined;
}

/** Runs the operation until it returns. `healthy` tells the loop that the operation got going, so that delays start over. */
export async function retry<T>(operation: (healthy: () => void) => Promise<T>, options: RetryOptions): Promise<T> {
  const first = options.firstDelayMs ?? 50;
  const max = options.maxDelayMs ?? 5_000;
  const random = options.random ?? Math.random;
  let failures = 0;
  for (;;) {
    options.signal.throwIfAborted();
    try {
      return await operation(() => {
        failures = 0;
      });
    } catch (thrown) {
      if (options.signal.aborted) throw options.signal.reason;
      const error = toFreshetError(thrown);
      // A peer that goes away cancels our stream; that is not our caller giving up.
      const again = options.retryable?.(error) ?? (error.retryable || isAbort(error));
      if (!again) throw thrown;
      failures += 1;
      const ceiling = Math.min(max, first * 2 ** Math.min(failures - 1, 20));
      const delayMs = ceiling / 2 + (random() * ceiling) / 2;
      const level = failures <= 3 ? 'debug' : failures <= 10 ? 'info' : 'warn';
      options.log[level](`${options.what} failed; trying again`, {
        error: error.message,
        failures,
        delayMs: Math.round(delayMs),
      });
      await options.clock.sleep(delayMs, options.signal);
    }
  }
}
