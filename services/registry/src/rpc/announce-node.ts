/** AnnounceNode: a node is there, still there, or going. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { ReaderBook } from '../core/reader-book.ts';
import type { Topology } from '../core/topology.ts';
import type { RegistryHandlers } from './handlers.ts';

export function announceNode(
  keeper: DefinitionKeeper,
  topology: Topology,
  readers: ReaderBook,
): RegistryHandlers['announceNode'] {
  return async ({ node, leaving, definitionsGeneration, run, reads, readsNumber: number }, { peer }) => {
    if (node === undefined) throw new FreshetError('INVALID_REQUEST', 'the node is missing', { place: 'node' });
    // Before the node can be asked for its tables, so that no plan of a registry that lost its data gets that far.
    keeper.notice(definitionsGeneration, peer);
    readers.note({ nodeId: node.nodeId, run, number, reads });
    if (leaving) topology.leave(node.nodeId);
    else topology.announce(node, run);
    return { leaseUs: BigInt(topology.leaseUs) };
  };
}
