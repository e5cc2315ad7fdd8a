/** ReportContract: ingest saw a shape in the stream. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { ContractKeeper } from '../core/contract-keeper.ts';
import type { ContractHandlers } from './contract-handlers.ts';
import { judgementProto } from './judgement-proto.ts';

export function reportContract(keeper: ContractKeeper): ContractHandlers['reportContract'] {
  return async ({ contract, lsn }) => {
    if (contract === undefined)
      throw new FreshetError('INVALID_REQUEST', 'the contract is missing', { place: 'contract' });
    const { version, judgement, returned } = await keeper.report(contract, lsn);
    return { version, judgement: judgementProto(judgement), returned };
  };
}
