/** PlanDefinitions: what applying definitions would change. */
import { create } from '@bufbuild/protobuf';
import { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import type { DefinitionKeeper } from '../core/definition-keeper.ts';
import type { RegistryHandlers } from './handlers.ts';
import { judgementProto } from './judgement-proto.ts';

export function planDefinitions(keeper: DefinitionKeeper): RegistryHandlers['planDefinitions'] {
  return async ({ definitions }, { signal }) => {
    const plan = await keeper.plan(definitions ?? create(DefinitionsSchema), signal);
    const { hash, changes, resolved, notes, columns, contracts } = plan;
    return {
      planHash: hash,
      changes: [...changes],
      resolved,
      notes: [...notes],
      columnsAdded: [...columns.added],
      columnsDropped: [...columns.dropped],
      contracts: contracts.map(judgementProto),
    };
  };
}
