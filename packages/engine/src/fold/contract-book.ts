/**
 * The contracts that definitions brought, by route and version: they say which position of a row holds which column.
 *
 * Owns what is known of old rows: every record names the version that it was captured under and is read by that one
 * alone, today and in a build that folds it again, so the book only ever grows, and commits keep it whole. Ingest
 * appends no row before the definitions that bring its contract. A version that nothing brought has no layout that could
 * be told: a guess would put one column's values into another.
 *
 * A column that was renamed is the same column: rows from before have its value under the name of then.
 */
import type { Column, Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { ValueType } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { sameType } from '@freshet/values/type-name.ts';

export class ContractBook {
  readonly #byRoute = new Map<number, Contract[]>();

  /** Adds a contract; one of a version that is there already is the same contract, and may come to tell its columns' numbers. */
  add(route: number, contract: Contract): void {
    const contracts = this.#byRoute.get(route) ?? [];
    const known = contracts.findIndex(({ version }) => version === contract.version);
    if (known >= 0 && (isNumbered(contracts[known]) || !isNumbered(contract))) return;
    if (known >= 0) contracts.splice(known, 1);
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

  /**
   * Where rows of a contract have a column that is known by its name of now; -1: they have no value of its type. Who the column
   * is under that name, the first later contract says that has it: what comes to the book behind that changes nothing (F1).
   */
  position(route: number, contract: Contract, wanted: { readonly name: string; readonly type: ValueType }): number {
    const named = contract.columns.findIndex((column) => isNamed(column, wanted));
    if (named >= 0) return named;
    const later = this.of(route).filter(({ version }) => version > contract.version);
    const first = later.findIndex(({ columns }) => columns.some((column) => isNamed(column, wanted)));
    let column = later[first]?.columns.find((one) => isNamed(one, wanted));
    // Back from one version to the one before, as the registry compares them: numbers may begin or change in between.
    for (const { columns } of [...later.slice(0, Math.max(0, first)).reverse(), contract])
      column = columns.find((one) => column !== undefined && isSameColumn(one, column));
    return contract.columns.findIndex((one) => one === column && hasType(one, wanted.type));
  }
}

function isNumbered(contract: Contract | undefined): boolean {
  return contract?.columns.some(({ columnNumber }) => columnNumber !== 0) === true;
}

function isNamed(column: Column, { name, type }: { readonly name: string; readonly type: ValueType }): boolean {
  return column.name === name && hasType(column, type);
}

/** A column that had another type then has no value that could be read now. */
function hasType(column: Column, type: ValueType): boolean {
  return column.type !== undefined && sameType(column.type, type);
}

/** By their numbers in one table; where these are not known or the tables are two, by name. */
function isSameColumn(a: Column, b: Column): boolean {
  const areNumbered = a.columnNumber !== 0 && b.columnNumber !== 0 && a.tableOid === b.tableOid;
  return areNumbered ? a.columnNumber === b.columnNumber : a.name === b.name;
}
