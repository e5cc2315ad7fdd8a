/** What a node tells of the safety of its shards, and does about it when asked. shard-host.ts is one. */
import type { Condition } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import type { CheckpointInfo } from './checkpoint.ts';
import type { ForgetRequest, Forgotten } from './forget-entity.ts';

export interface NodeUpkeep {
  /** The numbers of the shards that are meant to run here, ascending. */
  readonly numbers: readonly number[];
  /** What is not as it should be. */
  readonly conditionList: readonly Condition[];
  /** A shard's verified checkpoints, newest first. */
  checkpoints(number: number): readonly CheckpointInfo[];
  /** How often a shard's store was put aside since the process started. */
  repairs(number: number): number;
  /** How often a shard was restored from a checkpoint since the process started. */
  restores(number: number): number;
  /** When a shard's store was last found whole, wall clock microseconds; 0: not since the process started. */
  scrubbedAtUs(number: number): number;
  /** Takes a checkpoint of a shard now. Throws UNAVAILABLE when it does not run, and what keeps it from being taken. */
  takeCheckpoint(number: number): Promise<CheckpointInfo>;
  /** Removes what a shard still has of an erased entity. Throws UNAVAILABLE when it does not run here. */
  forget(request: ForgetRequest, signal: AbortSignal): Promise<Forgotten>;
}
