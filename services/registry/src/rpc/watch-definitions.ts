/** WatchDefinitions: the resolved definitions in force, now and at each change. */

import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { RegistryHandlers } from './handlers.ts';

export function watchDefinitions(keeper: DefinitionKeeper): RegistryHandlers['watchDefinitions'] {
  return async function* ({ knownGeneration }, { peer, signal }) {
    for await (const definitions of keeper.follow(knownGeneration, peer, signal)) yield { definitions };
  };
}
