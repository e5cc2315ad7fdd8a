/** GetRegistryStatus: what the registry is doing, and what is not as it should be. */
import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GetRegistryStatusResponseSchema } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import type { ConditionBoard } from '@freshet/kit/conditions.ts';
import { RUNTIME, VERSION } from '@freshet/kit/version.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { Topology } from '../core/topology.ts';
import type { RegistryHandlers } from './handlers.ts';

export interface StatusParts {
  readonly keeper: DefinitionKeeper;
  readonly topology: Topology;
  readonly conditions: ConditionBoard;
  readonly clock: Pick<Clock, 'nowUs'>;
}

export function getRegistryStatus(parts: StatusParts): RegistryHandlers['getRegistryStatus'] {
  const status = registryStatus(parts);
  return () => Promise.resolve(status());
}

/** Makes the status. */
export function registryStatus(parts: StatusParts): () => MessageInitShape<typeof GetRegistryStatusResponseSchema> {
  const { keeper, topology, conditions, clock } = parts;
  return () => ({
    version: VERSION,
    runtime: RUNTIME,
    generation: keeper.generation,
    nodes: topology.size,
    nowUs: BigInt(clock.nowUs()),
    conditions: conditions.list(),
    definitionsBytes: BigInt(keeper.definitionsBytes),
  });
}
