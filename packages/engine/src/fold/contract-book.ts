/**
 * The contracts that definitions brought, by route and version: they say which position of a row holds which column.
 *
 * Owns what is known of old rows: every record names the version that it was captured under and is read by that one
 * alone, today and in a build that folds it again, so the book only ever grows, and commits keep it whole. Ingest
 * appends no row before the definitions that bring its contract. A version that nothing brought has no layout that could
 * be told: a guess would put one column's values into another.
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

  /** The contract to read a record by, if any definitions brought it. */
  find(route: number, version: number): Contract | undefined {
    return this.of(route).find((contract) => contract.version === version);
  }
}
