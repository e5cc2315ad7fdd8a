/**
 * Finds a subscriber's cursor in the log that a shard folds.
 *
 * Owns that answer. Does not own what is sent then (shard-follower.ts).
 *
 * Invariant R3: rows of one history are never mixed with those of another, which a log has that lost records and went on. A
 * history is known by the record before a position; so the record is looked at before the cursor, and also where the rows end
 * that the subscriber has beyond it: the fork may lie between. R2: who has to begin anew is given nothing that is older than what both
 * histories have.
 */
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Cursor } from './frame.ts';
import type { Shard } from './shard.ts';
import type { Head } from './tail.ts';

/** How often it is asked where the log ends, while a shard has not folded what the subscriber has, microseconds. */
const ASK_US = 1_000_000;

/** Where the cursor is; or that the log has it no more; or that it is of another log or history. */
export type CursorFound = Head | 'trimmed' | 'of another history';

/** Resolves once the shard has folded all that the subscriber has, or the log is known to end before. Throws what the shard fails of. */
export async function findCursor(shard: Shard, cursor: Cursor, signal: AbortSignal): Promise<CursorFound> {
  while (shard.logId === '') await progress(shard, signal);
  if (cursor.position === 0 || cursor.logId !== shard.logId) return 'of another history';
  // A shard that was restarted folds what the subscriber has already: it has nothing newer to tell until then.
  if (!(await isFolded(shard, reachOf(cursor), signal))) return 'of another history';
  const { position, recordCrc, ahead } = cursor;
  const head = await shard.headAt(position, signal);
  if (head !== undefined && head.recordCrc !== recordCrc) return 'of another history';
  if (ahead !== undefined) {
    const last = await shard.headAt(ahead.position, signal);
    // Of what the log has no more nothing can be told, if that is so at both places.
    const isKnown = head !== undefined || last !== undefined;
    if (isKnown && last?.recordCrc !== ahead.recordCrc) return 'of another history';
  }
  return head ?? 'trimmed';
}

/** Up to where the subscriber has rows. */
export function reachOf({ position, ahead }: Cursor): number {
  return Math.max(position, ahead?.position ?? 0);
}

/** Waits until the shard has folded so far. False: the log ends before, and the shard is at its end: the rest is of another history. */
async function isFolded(shard: Shard, reach: number, signal: AbortSignal): Promise<boolean> {
  const { clock } = shard.options;
  let askedUs = Number.NEGATIVE_INFINITY;
  while (shard.position < reach) {
    const nowUs = clock.monotonicUs();
    // R4: all followers of a shard that folds again wait here at once. A log that goes so far, or did, need not be asked: that
    // it was cut since the shard finds out itself, and ends, or knows of the new end.
    if (shard.logEnd >= reach || nowUs - askedUs < ASK_US) {
      await progress(shard, signal);
      continue;
    }
    askedUs = nowUs;
    const end = await logEnd(shard, signal);
    // R2: not before the shard is there: the histories have much in common, and what it offers sooner is older than what is served.
    if (end !== undefined && end < reach && shard.position >= end) return false;
  }
  return true;
}

/** Where the shard's log ends now; undefined: it does not say, or is another log. */
async function logEnd(shard: Shard, signal: AbortSignal): Promise<number | undefined> {
  try {
    const { logId, partitions } = await shard.options.log.describe(signal);
    return logId === shard.logId ? partitions[shard.shard]?.end : undefined;
  } catch (error) {
    signal.throwIfAborted();
    if (!isFreshetError(error)) throw error;
    // It is away, which the shard tells; and then it is waited for.
    return undefined;
  }
}

/** Resolves when the shard has something new. Throws when the signal aborts or the shard stops. */
async function progress(shard: Shard, signal: AbortSignal): Promise<void> {
  // One that has stopped says nothing any more.
  if (shard.failure !== undefined) throw shard.failure;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      forget();
      signal.removeEventListener('abort', done);
      resolve();
    };
    const forget = shard.listen(done);
    signal.addEventListener('abort', done, { once: true });
    if (signal.aborted) done();
  });
  signal.throwIfAborted();
  if (shard.failure !== undefined) throw shard.failure;
}
