/** The registry's rpcs, one file each, as the gRPC port and the HTTP port both host them. */
import type { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Handlers } from '@freshet/kit/grpc/server.ts';
import { announceNode } from './announce-node.ts';
import { applyDefinitions } from './apply-definitions.ts';
import { getDefinitions } from './get-definitions.ts';
import { getRegistryStatus, type StatusParts } from './get-registry-status.ts';
import { planDefinitions } from './plan-definitions.ts';
import { watchDefinitions } from './watch-definitions.ts';
import { watchTopology } from './watch-topology.ts';

/** All of them: a registry leaves none out. */
export type RegistryHandlers = Required<Handlers<typeof RegistryService>>;

export function registryHandlers(parts: StatusParts): RegistryHandlers {
  const { keeper, topology } = parts;
  return {
    planDefinitions: planDefinitions(keeper),
    applyDefinitions: applyDefinitions(keeper),
    getDefinitions: getDefinitions(keeper),
    watchDefinitions: watchDefinitions(keeper),
    announceNode: announceNode(keeper, topology),
    watchTopology: watchTopology(topology),
    getRegistryStatus: getRegistryStatus(parts),
  };
}
