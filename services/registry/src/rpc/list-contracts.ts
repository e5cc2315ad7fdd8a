/** ListContracts: the newest contract of each source. */
import type { ContractKeeper } from '../core/contract-keeper.ts';
import type { ContractHandlers } from './contract-handlers.ts';

export function listContracts(keeper: ContractKeeper): ContractHandlers['listContracts'] {
  return async () => ({ contracts: await keeper.list() });
}
