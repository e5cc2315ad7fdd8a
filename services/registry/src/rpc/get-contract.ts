/** GetContract: the contracts that a source has had. */
import type { ContractKeeper } from '../core/contract-keeper.ts';
import type { ContractHandlers } from './contract-handlers.ts';
import { judgementProto } from './judgement-proto.ts';

export function getContract(keeper: ContractKeeper): ContractHandlers['getContract'] {
  return async ({ source }) => {
    const { versions, seen, judgement, shownVersion } = await keeper.get(source);
    return {
      versions: [...versions],
      shownVersion,
      ...(seen !== undefined && { seen }),
      ...(judgement !== undefined && { judgement: judgementProto(judgement) }),
    };
  };
}
