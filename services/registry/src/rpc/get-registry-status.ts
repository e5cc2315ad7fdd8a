/** GetRegistryStatus: what the registry is doing, and what is not as it should be. */
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
  const { keeper, topology, conditions, clock } = parts;
  return async () => ({
    version: VERSION,
    runtime: RUNTIME,
    generation: keeper.generation,
    nodes: topology.size,
    nowUs: BigInt(clock.nowUs()),
    conditions: conditions.list(),
    definitionsBytes: BigInt(keeper.definitionsBytes),
  });
}
