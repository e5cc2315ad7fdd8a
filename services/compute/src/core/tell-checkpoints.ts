/**
 * Tells the log's keeper from where on this node may have to read again: after each checkpoint, and every minute.
 *
 * Owns what is told: of each shard that is meant to run here the oldest verified checkpoint of the log that is kept, so
 * that each of them stays of use; 0, which keeps the whole partition, without one. L2: nothing is told of a log before a
 * shard of this node was seen to fold it.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { neededFrom } from './checkpoint.ts';
import type { NodeUpkeep } from './node-upkeep.ts';
import type { ShardSource } from './shard-source.ts';
import type { Wake } from './wake.ts';

/** The records of a partition from a position on. */
export interface NeededFrom {
  readonly shard: number;
  readonly position: number;
}

/** Who keeps the log. */
export interface LogKeeper {
  /** One attempt: throws UNAVAILABLE and its like; UNIMPLEMENTED when it trims nothing. */
  noteCheckpoints(node: string, logId: string, needed: readonly NeededFrom[], signal: AbortSignal): Promise<void>;
}

const EVERY_MS = 60_000;
const RETRY_MS = 5_000;
/** Between looks whether a shard knows its log by now: the log is not kept for a node that it has not heard of. */
const LOOK_MS = 100;

/** Runs until the signal aborts. Never throws: who cannot be told keeps the log, and is told again. */
export async function tellCheckpoints(
  host: NodeUpkeep & ShardSource,
  options: {
    readonly source: LogKeeper;
    readonly node: string;
    readonly taken: Wake;
    readonly clock: Clock;
    readonly signal: AbortSignal;
    readonly log: Logger;
  },
): Promise<void> {
  const { source, node, taken, clock, signal, log } = options;
  const forget = taken.onAbort(signal);
  try {
    while (!signal.aborted) {
      let waitMs = EVERY_MS;
      const logId = host.shards.find((shard) => shard.logId !== '')?.logId;
      try {
        if (logId === undefined) waitMs = LOOK_MS;
        else await source.noteCheckpoints(node, logId, neededBy(host, logId), signal);
      } catch (error) {
        if (signal.aborted) return;
        if (!isFreshetError(error) && !isAbort(error)) throw error;
        waitMs = RETRY_MS;
        log.debug('the log was not told of checkpoints', { error: error instanceof Error ? error.message : '' });
      }
      await taken.waitFor(waitMs, clock);
    }
  } finally {
    forget();
  }
}

/** A checkpoint that is further than its shard does not count: it may be of a history that the log no longer has. */
function neededBy(host: NodeUpkeep & ShardSource, logId: string): NeededFrom[] {
  return host.numbers.map((shard) => {
    const reached = host.shard(shard)?.position ?? Infinity;
    const some = host.checkpoints(shard).filter(({ position }) => position <= reached);
    return { shard, position: neededFrom(some, logId) };
  });
}
