/** GetDefinitionsAt: the definitions of an earlier generation, to be planned again. */
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import { type ApplyHistory, definitionsAt } from '../core/history.ts';
import type { RegistryHandlers } from './handlers.ts';

export function getDefinitionsAt(
  keeper: DefinitionKeeper,
  history: ApplyHistory,
): RegistryHandlers['getDefinitionsAt'] {
  return async ({ generation }) => {
    const stored = await definitionsAt(history, generation, keeper.generation);
    return { generation: stored.generation, ...(stored.written && { definitions: stored.written }) };
  };
}
