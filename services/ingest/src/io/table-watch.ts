/**
 * Looks again and again, on connections of its own, whether the captured tables are still those that are streamed: a table
 * that was dropped and made anew sends nothing that would tell.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';

export interface TableWatch {
  /** Looks once. Throws SOURCE_NOT_READY when a table is another one. */
  readonly look: (signal: AbortSignal) => Promise<void>;
  /** Told once, of what a look threw; that the database does not answer is no news. */
  readonly onMoved: (error: Error) => void;
  readonly everyMs: number;
  readonly clock: Clock;
}

/** Watches until the signal or the first bad news. Never rejects. */
export async function watchTables({ look, onMoved, everyMs, clock }: TableWatch, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      await clock.sleep(everyMs, signal);
      await look(signal);
    } catch (error) {
      if (signal.aborted) return;
      if (isFreshetError(error, 'SOURCE_UNREACHABLE')) continue;
      onMoved(error instanceof Error ? error : new Error(String(error)));
      return;
    }
  }
}
