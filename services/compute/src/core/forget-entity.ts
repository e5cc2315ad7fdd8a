/**
 * What a node does about an entity that was erased, beyond folding the Erase record: nothing of it stays in the shard's
 * files (docs/rfd/0003-erase.md).
 *
 *     the log has the record ▶ folded, here and by builds ▶ key's empty states and the journal go ▶ checkpoint, older ones go ▶ store rewritten
 *
 * Owns that order: a checkpoint only after the key's states are gone from what is committed; the rewriting last, in
 * between two lives of the shard, because what a scan holds cannot be rewritten. Each step can be done again, so whoever
 * asks asks again after a crash. Does not own the steps.
 */
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { LogReader } from '@freshet/log/log.ts';
import type { CheckpointInfo, ShardCheckpoints } from './checkpoint.ts';
import { requireErase } from './require-erase.ts';
import type { Shard } from './shard.ts';

export interface ForgetRequest {
  /** Hex. */
  readonly logId: string;
  readonly shard: number;
  /** The offset of the Erase record. */
  readonly offset: number;
  /** The entity's key string. */
  readonly key: string;
  /** Also remove what was set aside. */
  readonly setAside: boolean;
}

export interface Forgotten {
  readonly position: number;
  /** Hex ids of the views in which the key has rows of what came after the erase. */
  readonly laterViews: readonly string[];
  /** The position of the checkpoint that was taken. */
  readonly checkpoint: number;
  readonly checkpointsRemoved: number;
  /** Paths of what lay set aside. */
  readonly setAside: readonly string[];
  readonly setAsideRemoved: boolean;
}

/** What it needs of the node, for one shard. */
export interface ForgetPlace {
  readonly clock: Clock;
  readonly log: LogReader;
  /** The life that runs. Throws UNAVAILABLE when none does. */
  shard(): Shard;
  readonly checkpoints: ShardCheckpoints;
  takeCheckpoint(): Promise<CheckpointInfo>;
  /** Ends the life, rewrites the store so that nothing else than what counts is left of the states, and begins another. */
  rewrite(states: readonly (readonly [instance: string, key: string])[]): Promise<void>;
  asides(): Promise<readonly string[]>;
  removeAside(path: string): Promise<void>;
}

const POLL_MS = 50;

/** Does it; rejects with the signal's reason when that comes first. Throws INVALID_REQUEST when there is no such erase. */
export async function forgetEntity(
  place: ForgetPlace,
  { logId, offset, key, setAside }: ForgetRequest,
  signal: AbortSignal,
): Promise<Forgotten> {
  const shard = place.shard();
  while (shard.logId === '' || shard.position <= offset || isBuildingBelow(shard, offset)) {
    if (shard.logId !== '' && shard.logId !== logId) {
      throw new FreshetError('WRONG_LOG', `shard ${shard.shard} is of log ${shard.logId}, the erase of ${logId}`, {
        remedy: 'ask the node that folds the log in which the entity was erased',
      });
    }
    if (shard.failure !== undefined) throw shard.failure;
    await place.clock.sleep(POLL_MS, signal);
  }
  await requireErase(place.log, { shard: shard.shard, offset, key }, signal);
  const laterViews = await shard.forget(key, offset, signal);
  const { position } = shard;
  const info = await place.takeCheckpoint();
  const checkpointsRemoved = await place.checkpoints.removeOthers(info);
  await place.rewrite(shard.fold.instances().map((instance) => [instance, key] as const));
  const aside = await place.asides();
  if (setAside) for (const path of aside) await place.removeAside(path);
  return {
    position,
    laterViews,
    checkpoint: info.position,
    checkpointsRemoved,
    setAside: aside,
    setAsideRemoved: setAside,
  };
}

/**
 * A build that has not come to the record yet would leave the key an empty state when it does. One that cannot go on holds
 * nothing, and would not come to it before its route begins anew.
 */
function isBuildingBelow({ fold, lostBuilds }: Shard, offset: number): boolean {
  return fold.builds().some(({ viewId, position }) => position <= offset && !lostBuilds.includes(viewId));
}
