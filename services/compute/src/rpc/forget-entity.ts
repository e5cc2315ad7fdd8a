/** ForgetEntity: removes what is left on disk of an entity that was erased. */
import { FreshetError } from '@freshet/kit/errors.ts';
import { fromHex, toHex } from '@freshet/kit/hex.ts';
import { keyString } from '@freshet/values/key.ts';
import type { NodeUpkeep } from '../core/node-upkeep.ts';
import type { ComputeHandlers } from './handlers.ts';

export function forgetEntity(node: NodeUpkeep | undefined): ComputeHandlers['forgetEntity'] {
  return async ({ logId, shard, offset, entityKey, setAside }, { signal }) => {
    if (node === undefined) throw new FreshetError('UNIMPLEMENTED', 'this node keeps no shards of its own');
    const request = { logId: toHex(logId), shard, offset: Number(offset), key: keyString(entityKey), setAside };
    const done = await node.forget(request, signal);
    return {
      position: BigInt(done.position),
      viewsWithLaterRows: done.laterViews.map(fromHex),
      checkpoint: BigInt(done.checkpoint),
      checkpointsRemoved: done.checkpointsRemoved,
      setAside: [...done.setAside],
      setAsideRemoved: done.setAsideRemoved,
    };
  };
}
