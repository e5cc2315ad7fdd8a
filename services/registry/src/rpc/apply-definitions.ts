/** ApplyDefinitions: puts a plan in force. */
import { create } from '@bufbuild/protobuf';
import { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { RegistryHandlers } from './handlers.ts';

export function applyDefinitions(keeper: DefinitionKeeper): RegistryHandlers['applyDefinitions'] {
  return async ({ definitions, planHash, by, message, acceptContracts: acceptsContracts }, { peer, signal }) => {
    const applier = { peer, by, message, acceptsContracts };
    return { generation: await keeper.apply(definitions ?? create(DefinitionsSchema), planHash, applier, signal) };
  };
}
