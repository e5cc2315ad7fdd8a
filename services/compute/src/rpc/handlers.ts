/** Compute's rpcs, one file each. */
import type { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { Handlers } from '@freshet/kit/grpc/server.ts';
import type { Shard } from '../core/shard.ts';
import { getComputeStatus } from './get-compute-status.ts';
import { subscribeChanges } from './subscribe-changes.ts';

/** All of them: compute leaves none out. */
export type ComputeHandlers = Required<Handlers<typeof ComputeService>>;

/** The shards that a node runs now. */
export interface RunningShards {
  readonly shards: readonly Shard[];
  shard(number: number): Shard | undefined;
}

export interface HandlerOptions {
  readonly clock: Clock;
  readonly yieldNow: () => Promise<unknown>;
  /** How many partitions the log has. */
  readonly partitions: number;
}

export function computeHandlers(running: RunningShards, options: HandlerOptions): ComputeHandlers {
  return {
    subscribeChanges: subscribeChanges(running, options),
    getComputeStatus: getComputeStatus(running, options.partitions),
  };
}
