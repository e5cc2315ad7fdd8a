/**
 * One subscription: frames of all its shards in one stream, a frame of each in turn.
 *
 * Owns the taking of turns and the waiting. Does not own what becomes of a shard that stops (followed-shard.ts). Nothing
 * is made before it is asked for: the stream's reader pulls, so a slow one costs no memory and finds the newest rows
 * when it comes (R4).
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FollowedShard } from './followed-shard.ts';
import type { Cursor, Frame } from './frame.ts';
import type { FollowOptions } from './shard-follower.ts';
import type { ShardSource } from './shard-source.ts';
import { Wake } from './wake.ts';

export interface SubscriptionOptions extends FollowOptions {
  readonly clock: Clock;
  readonly yieldNow: () => Promise<unknown>;
}

/** Frames of the cursors' shards until the signal aborts. */
export async function* follow(
  source: ShardSource,
  cursors: readonly Cursor[],
  options: SubscriptionOptions,
): AsyncGenerator<Frame> {
  const { clock, signal, yieldNow } = options;
  const wake = new Wake();
  const onNews = (): void => wake.set();
  const shards = cursors.map((cursor) => new FollowedShard(source, cursor, options, onNews));
  const undo = [wake.onAbort(signal), source.listen(onNews)];
  let sequence = 0n;
  try {
    while (!signal.aborted) {
      let idle = true;
      for (const shard of shards) {
        const next = await shard.next(clock.monotonicUs());
        if (next === undefined) continue;
        idle = false;
        if (next === 'busy') await yieldNow();
        else {
          next.sequence = sequence++;
          yield next;
        }
        if (signal.aborted) return;
      }
      if (idle) await waitForMore(wake, shards, clock);
    }
  } finally {
    for (const forget of undo) forget();
    for (const shard of shards) shard.close();
  }
}

/** Waits for news, or for the end of the shortest wait of a shard. */
async function waitForMore(wake: Wake, shards: readonly FollowedShard[], clock: Clock): Promise<void> {
  let untilUs: number | undefined;
  for (const { waitsUntilUs } of shards) {
    if (waitsUntilUs !== undefined) untilUs = Math.min(untilUs ?? waitsUntilUs, waitsUntilUs);
  }
  if (untilUs === undefined) await wake.wait();
  else await wake.waitFor(Math.max(1, Math.ceil((untilUs - clock.monotonicUs()) / 1000)), clock);
}
