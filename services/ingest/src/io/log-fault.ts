/** Notices a log that halted, whoever's write it was that failed: an idle source would never ask. */
import type { Clock } from '@freshet/kit/clock.ts';
import type { FreshetError } from '@freshet/kit/errors.ts';

const LOOK_MS = 500;

/** Rejects with the log's fault once it has one; stays pending after the signal. */
export async function logFault(
  log: { readonly fault: FreshetError | undefined },
  clock: Clock,
  signal: AbortSignal,
): Promise<never> {
  while (!signal.aborted) {
    if (log.fault !== undefined) throw log.fault;
    await clock.sleep(LOOK_MS, signal).catch(() => undefined);
  }
  return new Promise<never>(() => {});
}
