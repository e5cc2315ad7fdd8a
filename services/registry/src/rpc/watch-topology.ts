/** WatchTopology: the nodes with a live lease, now and at each change. */

import type { Topology } from '../core/topology.ts';
import type { RegistryHandlers } from './handlers.ts';

export function watchTopology(topology: Topology): RegistryHandlers['watchTopology'] {
  return async function* (_request, { signal }) {
    for await (const nodes of topology.follow(signal)) yield { nodes: [...nodes] };
  };
}
