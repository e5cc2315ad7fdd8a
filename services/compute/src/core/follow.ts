/**
 * One subscription: frames of all its shards in one stream, a frame of each in turn.
 *
 * Owns the taking of turns and the waiting. Nothing is made before it is asked for: the stream's reader pulls, so a slow
 * one costs no memory and finds the newest rows when it comes (R4).
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { Frame } from './frame.ts';
import type { ShardFollower } from './shard-follower.ts';
import { Wake } from './wake.ts';

export interface SubscriptionOptions {
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly yieldNow: () => Promise<unknown>;
}

/** Frames until the signal aborts. `followers` is given what a follower calls when its cursor is checked. */
export async function* follow(
  followersOf: (onChecked: () => void) => readonly ShardFollower[],
  options: SubscriptionOptions,
): AsyncGenerator<Frame> {
  const { clock, signal, yieldNow } = options;
  const wake = new Wake();
  const wakeUp = (): void => wake.set();
  const followers = followersOf(wakeUp);
  const undo = [wake.onAbort(signal), ...followers.map((follower) => follower.shard.listen(wakeUp))];
  try {
    while (!signal.aborted) {
      let idle = true;
      for (const follower of followers) {
        const next = await nextOf(follower, clock);
        if (next === undefined) continue;
        idle = false;
        if (next === 'busy') await yieldNow();
        else yield next;
        if (signal.aborted) return;
      }
      if (idle) await waitForMore(wake, followers, clock);
    }
  } finally {
    for (const forget of undo) forget();
  }
}

/** The follower's next frame. Damage is the shard's to mend, not the caller's: it may try again. */
async function nextOf(follower: ShardFollower, clock: Clock): Promise<Frame | 'busy' | undefined> {
  try {
    return await follower.next(clock.monotonicUs());
  } catch (error) {
    if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
    follower.shard.commitWanted.set();
    throw new FreshetError('UNAVAILABLE', `shard ${follower.shard.shard} is made anew`, { cause: error });
  }
}

/** Waits for news, or for the end of the shortest coalescing. */
async function waitForMore(wake: Wake, followers: readonly ShardFollower[], clock: Clock): Promise<void> {
  let untilUs: number | undefined;
  for (const { waitsUntilUs } of followers) {
    if (waitsUntilUs !== undefined) untilUs = Math.min(untilUs ?? waitsUntilUs, waitsUntilUs);
  }
  if (untilUs === undefined) await wake.wait();
  else await wake.waitFor(Math.max(1, Math.ceil((untilUs - clock.monotonicUs()) / 1000)), clock);
}
