/**
 * Goal: a replica follows every shard of a compute node that was named by hand, whenever it comes to run there.
 * Method: a node over real gRPC that says one shard first and another later; a clock whose sleeps are short.
 */
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { expect, it } from 'vitest';
import { followMesh } from './mesh-link.ts';
import type { Replica } from './replica.ts';
import type { Upstream } from './upstreams.ts';

it('asks a node that was named by hand again: shards that come later are followed, and none is dropped', async () => {
  const answers = [[0], [1], []];
  let asked = 0;
  const server = createGrpcServer({ log: silentLogger }).add(ComputeService, {
    getComputeStatus: () => {
      const shards = answers[Math.min(asked++, answers.length - 1)] ?? [];
      return Promise.resolve({ partitions: 2, shards: shards.map((shard) => ({ shard })) });
    },
  });
  const { address } = await server.listen('127.0.0.1:0');
  const stop = new AbortController();
  let offered: readonly Upstream[] = [];
  const replica = {
    learnShardCount: () => undefined,
    setUpstreams: (upstreams: readonly Upstream[]) => {
      offered = upstreams;
      if (asked > answers.length) stop.abort();
    },
  } as unknown as Replica;
  const clock = {
    ...systemClock,
    sleep: (ms: number, signal?: AbortSignal) => systemClock.sleep(Math.min(ms, 5), signal),
  };
  try {
    await followMesh({
      replica,
      registry: undefined,
      compute: [address],
      clock,
      log: silentLogger,
      signal: stop.signal,
    });
    expect(offered).toEqual([{ address, shards: [0, 1] }]);
  } finally {
    await server.drain(0);
  }
}, 5_000);
