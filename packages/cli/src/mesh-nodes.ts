/** The nodes of a running mesh, as the registry knows them now. */
import type { Node, RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { GrpcClient } from '@freshet/kit/grpc/client.ts';

/** The nodes with a live lease, by node id ascending. */
export async function liveNodes(registry: GrpcClient<typeof RegistryService>, signal: AbortSignal): Promise<Node[]> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(10_000)]);
  for await (const { nodes } of registry.watchTopology({}, { signal: deadline })) return nodes;
  return [];
}
