/** CheckContract: whom a change would hurt, by DDL, by the live tables, or by given contracts. */
import { FreshetError } from '@freshet/kit/errors.ts';
import type { ContractKeeper } from '../core/contract-keeper.ts';
import type { ContractHandlers } from './contract-handlers.ts';
import { judgementProto } from './judgement-proto.ts';

export function checkContract(keeper: ContractKeeper): ContractHandlers['checkContract'] {
  return async ({ change, sources }, { signal }) => {
    switch (change.case) {
      case 'ddl': {
        const { judgements, notUnderstood, unread } = keeper.checkDdl(change.value, sources);
        return {
          judgements: judgements.map(judgementProto),
          notUnderstood: [...notUnderstood],
          unreadTables: [...unread],
        };
      }
      case 'given':
        return { judgements: keeper.checkGiven(change.value, sources).map(judgementProto) };
      case 'live':
        return { judgements: (await keeper.checkLive(sources, signal)).map(judgementProto) };
      default:
        throw new FreshetError('INVALID_REQUEST', 'the change is missing', { place: 'change' });
    }
  };
}
