/**
 * Waits for those who fold the log, between two slices of rows that can wait.
 *
 * Owns the wait and its bound: a reader that takes nothing for WAIT_MS_MAX is waited for no more (core/log-readers.ts),
 * and nobody is for longer than WAIT_MS_MAX_ALL.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { endsOf } from '../core/log-loss.ts';
import type { LogReaders } from '../core/log-readers.ts';

const LOOK_MS = 2;
const WAIT_MS_MAX = 2_000;
/** For readers that move, but have very much to take: what waits is slow then, and not at a stand. */
const WAIT_MS_MAX_ALL = 10_000;

export interface ReaderPaceOptions {
  readonly readers: LogReaders;
  readonly log: Pick<LogReader, 'describe'>;
  readonly clock: Clock;
}

/**
 * Resolves when every reader that follows the log has taken what is in it now, or has taken nothing for long. What comes meanwhile
 * is not waited for: live rows may come as fast as they are taken. Throws the signal's reason.
 */
export async function readersCaughtUp({ readers, log, clock }: ReaderPaceOptions, signal: AbortSignal): Promise<void> {
  const taken = new Map<object, number>();
  const sinceUs = clock.monotonicUs();
  let movedUs = sinceUs;
  const ends = endsOf((await log.describe()).partitions);
  for (;;) {
    const behind = readers.behind(ends);
    if (behind.length === 0) return;
    const nowUs = clock.monotonicUs();
    if (behind.some((read) => taken.get(read) !== read.taken)) movedUs = nowUs;
    for (const read of behind) taken.set(read, read.taken);
    if (nowUs - movedUs >= WAIT_MS_MAX * 1_000) {
      for (const read of behind) read.follows = false;
      return;
    }
    if (nowUs - sinceUs >= WAIT_MS_MAX_ALL * 1_000) return;
    await clock.sleep(LOOK_MS, signal);
  }
}
