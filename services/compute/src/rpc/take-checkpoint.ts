/** TakeCheckpoint: a verified checkpoint of each shard asked for, one after the other. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { NodeUpkeep } from '../core/node-upkeep.ts';
import { checkpointMessage } from './checkpoint-message.ts';
import type { ComputeHandlers } from './handlers.ts';

export function takeCheckpoint(node: NodeUpkeep | undefined): ComputeHandlers['takeCheckpoint'] {
  return async function* (request, { signal }) {
    if (node === undefined) throw new FreshetError('UNIMPLEMENTED', 'this node keeps no checkpoints');
    for (const shard of request.shards.length === 0 ? node.numbers : request.shards) {
      if (signal.aborted) return;
      yield { checkpoint: checkpointMessage(await node.takeCheckpoint(shard)) };
    }
  };
}
