/** AcceptContract: takes the live tables for the contracts of the sources in force. */
import type { ContractKeeper } from '../core/contract-keeper.ts';
import type { ContractHandlers } from './contract-handlers.ts';
import { judgementProto } from './judgement-proto.ts';

export function acceptContract(keeper: ContractKeeper): ContractHandlers['acceptContract'] {
  return async ({ planHash, by, message }, { peer, signal }) => {
    const accepted = planHash.length > 0;
    const who = { peer, by, message };
    const { generation, hash, judgements } = await keeper.accept(accepted ? planHash : undefined, who, signal);
    return { generation, planHash: hash, judgements: judgements.map(judgementProto), accepted };
  };
}
