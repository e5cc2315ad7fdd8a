/** The engine as this node runs it: the fold, and how its states are read in stores and checkpoints. */
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import { engineVersion } from '@freshet/engine/windows.ts';
import type { CheckpointFormat } from '../core/checkpoint.ts';
import type { CreateFold } from '../core/fold-port.ts';

export const ENGINE_FORMAT: CheckpointFormat = {
  engineVersion,
  createDigest: createStateDigest,
  versionOf: readVersion,
};

export const createEngineFold: CreateFold = (options) => new ShardFold(options);
