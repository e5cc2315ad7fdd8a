/** GetComputeStatus: what the shards are doing. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ShardStatusSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import type { NodeUpkeep } from '../core/node-upkeep.ts';
import type { Shard } from '../core/shard.ts';
import type { ShardSource } from '../core/shard-source.ts';
import { checkpointMessage } from './checkpoint-message.ts';
import type { ComputeHandlers, HandlerOptions } from './handlers.ts';

export function getComputeStatus(
  running: ShardSource,
  { upkeep, partitions }: HandlerOptions,
): ComputeHandlers['getComputeStatus'] {
  return async (request) => {
    const shards: MessageInitShape<typeof ShardStatusSchema>[] = [];
    // One digest after the other: each reads all of a shard's state.
    for (const shard of running.shards) {
      shards.push(await statusOf(shard, request.digests, upkeep));
    }
    return { shards, partitions, conditions: [...(upkeep?.conditionList ?? [])] };
  };
}

async function statusOf(
  shard: Shard,
  digests: boolean,
  upkeep: NodeUpkeep | undefined,
): Promise<MessageInitShape<typeof ShardStatusSchema>> {
  const digested = digests ? await shard.digest() : undefined;
  const { fold, head } = shard;
  const stats = fold.stats();
  return {
    shard: shard.shard,
    logId: fromHex(shard.logId),
    // A digest is of one position: with it, the status is of that position too.
    position: BigInt(digested?.position ?? head.position),
    logEnd: BigInt(shard.logEnd),
    committed: BigInt(digested?.position ?? shard.committed?.position ?? 0),
    logTimeUs: BigInt(head.logTimeUs),
    definitionsGeneration: BigInt(fold.generation),
    builds: fold.builds().map(({ viewId, position }) => ({ viewId: fromHex(viewId), position: BigInt(position) })),
    keys: BigInt(stats.keys),
    expiredEvents: BigInt(stats.expiredEvents),
    expressionErrors: BigInt(stats.expressionErrors),
    cacheBytes: BigInt(stats.cacheBytes),
    followers: shard.followers,
    checkpoints: (upkeep?.checkpoints(shard.shard) ?? []).map(checkpointMessage),
    repairs: upkeep?.repairs(shard.shard) ?? 0,
    scrubbedAtUs: BigInt(upkeep?.scrubbedAtUs(shard.shard) ?? 0),
    ...(digested === undefined ? {} : { digest: digested.digest }),
  };
}
