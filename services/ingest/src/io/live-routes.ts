/**
 * Routes as a stream takes them, of their states and plans: under each contract that a backlog may have been written in, with
 * the rows that were put aside and may come again. Owns no state.
 */
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { LiveRoute } from '../core/change-stream.ts';
import { type ContractHistory, plansByContract } from '../core/contract-history.ts';
import { prepareRoute, SLOT_LANE } from '../core/route.ts';
import { neededColumns } from '../core/row-shape.ts';
import type { RouteState } from '../core/source-state.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import { heldAhead } from './source-snapshots.ts';

/** `acknowledgedLsn`: nothing before it comes again. */
export async function liveRoutes(
  states: readonly RouteState[],
  options: {
    readonly wanted: readonly RoutePlan[];
    readonly definitions: DefinitionSet;
    readonly contracts: ContractHistory;
    readonly quarantine: QuarantineFile;
    readonly partitions: number;
    readonly acknowledgedLsn: bigint;
  },
): Promise<LiveRoute[]> {
  const { wanted, definitions, contracts, quarantine, partitions, acknowledgedLsn } = options;
  const ahead = await heldAhead(quarantine, states, SLOT_LANE, acknowledgedLsn);
  const plans = new Map(wanted.map((plan) => [plan.route, plan]));
  return states.map(({ route, generation, fromLsn, tableOid, contractVersion, contractLsn }) => {
    const needed = neededColumns(must(plans.get(route)), definitions);
    const [newest, ...earlier] = plansByContract(must(plans.get(route)), contracts).map((plan) =>
      prepareRoute(plan, generation, partitions, ahead, needed),
    );
    const floor = { version: contractVersion, lsn: contractLsn };
    return { route: must(newest), earlier, tableOid, floor, fromLsn };
  });
}
