/** ServeService.GetServeStatus: how complete the replica is, shard by shard. */

import { create } from '@bufbuild/protobuf';
import { type GetServeStatusResponse, GetServeStatusResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import type { Replica } from '@freshet/replica/replica.ts';

export function getServeStatus(replica: Replica): () => Promise<GetServeStatusResponse> {
  return async () =>
    create(GetServeStatusResponseSchema, {
      shards: replica.shards().map((shard) => ({
        shard: shard.shard,
        logId: fromHex(shard.logId),
        position: BigInt(shard.position),
        completeThroughUs: BigInt(shard.completeThroughUs),
        connected: shard.connected,
        catchingUp: shard.catchingUp,
        building: shard.building.map(fromHex),
        healing: shard.healing,
        upstream: shard.upstream ?? '',
        reason: shard.reason,
        standstillUs: BigInt(Math.round(shard.standstillUs)),
        standing: shard.standing.map(fromHex),
      })),
      servingGeneration: replica.catalog.generation,
      knownGeneration: replica.knownGeneration,
      rows: BigInt(replica.rowCount),
      conditions: replica.conditions,
      rowBytes: BigInt(replica.rowBytes),
      pendingGenerations: replica.pendingGenerations.map(({ viewId, name, generation, ready, sinceUs }) => ({
        viewId: fromHex(viewId),
        name,
        generation,
        shardsReady: ready,
        shards: replica.shardCount,
        sinceUs: BigInt(sinceUs),
      })),
    });
}
