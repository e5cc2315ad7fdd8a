/** ServeService.GetServeStatus: how complete the replica is, shard by shard. */

import { create } from '@bufbuild/protobuf';
import { type GetServeStatusResponse, GetServeStatusResponseSchema } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { fromHex } from '@freshet/kit/hex.ts';
import type { Replica } from '@freshet/replica/replica.ts';
import type { OnDemandErrorCounts } from '../core/on-demand-errors.ts';

export function getServeStatus(
  replica: Replica,
  errors: OnDemandErrorCounts,
  clock: Clock,
): () => Promise<GetServeStatusResponse> {
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
      nowUs: BigInt(clock.nowUs()),
      servingGeneration: replica.catalog.generation,
      knownGeneration: replica.knownGeneration,
      rows: BigInt(replica.rowCount),
      conditions: replica.conditions,
      rowBytes: BigInt(replica.rowBytes),
      onDemand: errors.list().map((counted) => ({ ...counted, errors: BigInt(counted.errors) })),
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
