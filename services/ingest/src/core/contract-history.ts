/**
 * The contracts that definitions in the log brought for each route: a backlog of the source may still have the shape of
 * an earlier one. Bounded. Pure; io/ingest-node.ts keeps it, and only after the definitions are in the log, so that
 * whoever reads a record knows the contract that it names.
 */
import type { Contract } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { sameRows } from './row-shape.ts';

/** By route, newest version first. */
export type ContractHistory = ReadonlyMap<number, readonly Contract[]>;

/** How many versions a route keeps: the oldest goes. */
const VERSIONS_MAX = 16;

/** The history with what the definitions bring. Routes that they no longer have are forgotten: wanted again, they start anew. */
export function addContracts(history: ContractHistory, definitions: DefinitionSet): ContractHistory {
  const next = new Map<number, readonly Contract[]>();
  for (const { route, source } of definitions.routes) {
    const contract = source?.contract;
    if (contract === undefined) continue;
    const earlier = (history.get(route) ?? []).filter(({ version }) => version !== contract.version);
    const all = [contract, ...earlier].sort((a, b) => b.version - a.version);
    next.set(route, all.slice(0, VERSIONS_MAX));
  }
  return next;
}

/** The plan under its contract and under every earlier one that has what the route needs, newest first. */
export function plansByContract(plan: RoutePlan, history: ContractHistory): RoutePlan[] {
  const { source } = plan;
  if (source?.contract === undefined) return [plan];
  const { version } = source.contract;
  const earlier = (history.get(plan.route) ?? []).filter((contract) => contract.version < version);
  const usable = earlier.filter((contract) => hasWhatItNeeds(plan, contract) && tellsRows(plan, contract));
  return [plan, ...usable.map((contract) => ({ ...plan, source: { ...source, contract } }))];
}

/** Of a mutable source, whether a row has the same key under an earlier contract: else its rows are not those of the route. */
function tellsRows({ source }: RoutePlan, earlier: Contract): boolean {
  return source?.mode !== SourceMode.MUTABLE || (source.contract !== undefined && sameRows(earlier, source.contract));
}

function hasWhatItNeeds(plan: RoutePlan, contract: Contract): boolean {
  const kinds = new Map(contract.columns.map(({ name, type }) => [name, type?.kind]));
  const eventTime = plan.source?.eventTimeColumn ?? '';
  return (
    plan.keyColumns.every((name, i) => kinds.get(name) === plan.entity?.key[i]?.kind) &&
    (eventTime === '' || kinds.get(eventTime) === Kind.TIMESTAMP)
  );
}
