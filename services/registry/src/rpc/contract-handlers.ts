/** The rpcs of contracts, one file each. */
import type { ContractService } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import type { Handlers } from '@freshet/kit/grpc/server.ts';
import type { ContractKeeper } from '../core/contract-keeper.ts';
import { acceptContract } from './accept-contract.ts';
import { checkContract } from './check-contract.ts';
import { getContract } from './get-contract.ts';
import { listContracts } from './list-contracts.ts';
import { reportContract } from './report-contract.ts';

/** All of them: a registry leaves none out. */
export type ContractHandlers = Required<Handlers<typeof ContractService>>;

export function contractHandlers(keeper: ContractKeeper): ContractHandlers {
  return {
    listContracts: listContracts(keeper),
    getContract: getContract(keeper),
    checkContract: checkContract(keeper),
    acceptContract: acceptContract(keeper),
    reportContract: reportContract(keeper),
  };
}
