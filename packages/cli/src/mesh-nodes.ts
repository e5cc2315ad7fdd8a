/** The nodes of a running mesh, as the registry knows them now. */
import type { Node, RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { GrpcClient } from '@freshet/kit/grpc/client.ts';

const NODES_MS = 10_000;

/**
 * The nodes with a live lease, by node id ascending. Throws DEADLINE_EXCEEDED when the registry does not say within
 * `withinMs`.
 */
export async function liveNodes(
  registry: GrpcClient<typeof RegistryService>,
  signal: AbortSignal,
  withinMs: number = NODES_MS,
): Promise<Node[]> {
  const late = AbortSignal.timeout(withinMs);
  try {
    for await (const { nodes } of registry.watchTopology({}, { signal: AbortSignal.any([signal, late]) })) return nodes;
    return [];
  } catch (error) {
    if (signal.aborted || !late.aborted) throw error;
    throw new FreshetError('DEADLINE_EXCEEDED', `the registry did not say which nodes there are in ${withinMs} ms`, {
      remedy: 'see that its process is not stopped or overloaded; its log says more',
    });
  }
}
