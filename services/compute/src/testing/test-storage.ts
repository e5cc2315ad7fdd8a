/**
 * What a ShardHost of the counting fold needs beside its log: stores and checkpoints below a directory, with loops that
 * do nothing by themselves unless a test says how often.
 */
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import type { CheckpointFormat } from '../core/checkpoint.ts';
import { Gate } from '../core/gate.ts';
import type { ShardHostOptions } from '../core/shard-host.ts';
import type { UpkeepLimits } from '../core/shard-upkeep.ts';
import { type NodeStorageOptions, nodeStorage } from '../io/node-storage.ts';
import { countingVersion, createCountingDigest } from './counting-fold.ts';

export const COUNTING_FORMAT: CheckpointFormat = {
  engineVersion: 1,
  createDigest: createCountingDigest,
  versionOf: countingVersion,
};

const NEVER_MS = 1e9;

export function testStorage(
  dataDir: string,
  clock: Clock,
  options: Partial<NodeStorageOptions> & { readonly upkeep?: Partial<UpkeepLimits> | undefined } = {},
): Pick<
  ShardHostOptions,
  | 'openStorage'
  | 'setAside'
  | 'discard'
  | 'openCheckpoints'
  | 'checkDisk'
  | 'compact'
  | 'asides'
  | 'removeAside'
  | 'conditions'
  | 'upkeep'
  | 'onCheckpoint'
> {
  const storage = nodeStorage({
    stores: levelStores,
    files: nodeFileSystem,
    dataDir,
    clock,
    yieldNow: () => turn(),
    format: COUNTING_FORMAT,
    checkpointsKept: 3,
    ...options,
  });
  return {
    ...storage,
    conditions: new ConditionBoard({ clock, log: silentLogger }),
    upkeep: {
      checkpointIntervalMs: NEVER_MS,
      scrubIntervalMs: NEVER_MS,
      scrubBytesPerSecond: Number.MAX_SAFE_INTEGER,
      gate: new Gate(1),
      scrubGate: new Gate(1),
      ...options.upkeep,
    },
    onCheckpoint: () => undefined,
  };
}
