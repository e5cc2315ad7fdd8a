/**
 * The contracts that definitions brought, by route and version: they say which position of a row holds which column.
 *
 * Records name the version that they were captured under. A version that no definitions brought is read by the nearest
 * older one known, else the oldest: columns are added at the end of a table, so positions hold.
 */
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';

export class ContractBook {
  readonly #byRoute = new Map<number, Contract[]>();

  /** Adds a contract; one of a version that is there already is the same contract. */
  add(route: number, contract: Contract): void {
    const contracts = this.#byRoute.get(route) ?? [];
    if (contracts.some(({ version }) => version === contract.version)) return;
    contracts.push(contract);
    contracts.sort((a, b) => a.version - b.version);
    this.#byRoute.set(route, contracts);
  }

  /** All of a route, by version ascending. */
  of(route: number): readonly Contract[] {
    return this.#byRoute.get(route) ?? [];
  }

  /** The routes that have any. */
  routes(): readonly number[] {
    return [...this.#byRoute.keys()];
  }

  /** The contract to read a record by, and whether it is the one the record names. */
  find(route: number, version: number): { readonly contract: Contract; readonly exact: boolean } | undefined {
    const contracts = this.of(route);
    const older = contracts.filter((contract) => contract.version <= version);
    const contract = older.at(-1) ?? contracts[0];
    return contract === undefined ? undefined : { contract, exact: contract.version === version };
  }
}
