/** PlanDefinitions: what applying definitions would change. */
import { create } from '@bufbuild/protobuf';
import { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { RegistryHandlers } from './handlers.ts';

export function planDefinitions(keeper: DefinitionKeeper): RegistryHandlers['planDefinitions'] {
  return async ({ definitions }, { signal }) => {
    const { hash, changes, resolved, notes } = await keeper.plan(definitions ?? create(DefinitionsSchema), signal);
    return { planHash: hash, changes: [...changes], resolved, notes: [...notes] };
  };
}
