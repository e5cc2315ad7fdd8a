/** Compute's rpcs, one file each. */
import type { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { Handlers } from '@freshet/kit/grpc/server.ts';
import type { NodeUpkeep } from '../core/node-upkeep.ts';
import type { ShardSource } from '../core/shard-source.ts';
import { forgetEntity } from './forget-entity.ts';
import { getComputeStatus } from './get-compute-status.ts';
import { subscribeChanges } from './subscribe-changes.ts';
import { takeCheckpoint } from './take-checkpoint.ts';

/** All of them: compute leaves none out. */
export type ComputeHandlers = Required<Handlers<typeof ComputeService>>;

export interface HandlerOptions {
  readonly clock: Clock;
  readonly yieldNow: () => Promise<unknown>;
  /** Checkpoints and conditions of the node; a rig without them leaves it out. */
  readonly upkeep?: NodeUpkeep | undefined;
  /** How many partitions the log has. */
  readonly partitions: number;
}

export function computeHandlers(running: ShardSource, options: HandlerOptions): ComputeHandlers {
  return {
    subscribeChanges: subscribeChanges(running, options),
    getComputeStatus: getComputeStatus(running, options),
    takeCheckpoint: takeCheckpoint(options.upkeep),
    forgetEntity: forgetEntity(options.upkeep),
  };
}
