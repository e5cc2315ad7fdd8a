/** AnnounceNode: a node is there, still there, or going. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Topology } from '../core/topology.ts';
import type { RegistryHandlers } from './handlers.ts';

export function announceNode(topology: Topology): RegistryHandlers['announceNode'] {
  return async ({ node, leaving }) => {
    if (node === undefined) throw new FreshetError('INVALID_REQUEST', 'the node is missing', { place: 'node' });
    if (leaving) topology.leave(node.nodeId);
    else topology.announce(node);
    return { leaseUs: BigInt(topology.leaseUs) };
  };
}
