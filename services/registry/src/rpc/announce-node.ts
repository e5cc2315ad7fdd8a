/** AnnounceNode: a node is there, still there, or going. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { Topology } from '../core/topology.ts';
import type { RegistryHandlers } from './handlers.ts';

export function announceNode(keeper: DefinitionKeeper, topology: Topology): RegistryHandlers['announceNode'] {
  return async ({ node, leaving, definitionsGeneration }, { peer }) => {
    if (node === undefined) throw new FreshetError('INVALID_REQUEST', 'the node is missing', { place: 'node' });
    // Before the node can be asked for its tables, so that no plan of a registry that lost its data gets that far.
    keeper.notice(definitionsGeneration, peer);
    if (leaving) topology.leave(node.nodeId);
    else topology.announce(node);
    return { leaseUs: BigInt(topology.leaseUs) };
  };
}
