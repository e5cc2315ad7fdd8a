/**
 * Routes as a stream takes them, of their states and plans: under each contract that a backlog may have been written in, with
 * the rows that were put aside and may come again. Owns no state.
 */
import { type SourceUsage, usageOf } from '@freshet/contracts/usage.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { LiveRoute } from '../core/change-stream.ts';
import { type ContractHistory, plansByContract } from '../core/contract-history.ts';
import { isHeldOf } from '../core/held-index.ts';
import { comparePlaces } from '../core/quarantine.ts';
import { prepareRoute, SLOT_LANE } from '../core/route.ts';
import { neededColumns, readColumns } from '../core/row-shape.ts';
import type { RouteState } from '../core/source-state.ts';
import { earlierDecisions } from './earlier-lives.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import type { SourceStore } from './source-store.ts';

export async function liveRoutes(
  states: readonly RouteState[],
  options: {
    readonly wanted: readonly RoutePlan[];
    readonly definitions: DefinitionSet;
    readonly contracts: ContractHistory;
    readonly quarantine: QuarantineFile;
    readonly partitions: number;
    readonly store: Pick<SourceStore, 'state' | 'logged'>;
  },
): Promise<LiveRoute[]> {
  const { wanted, definitions, contracts, quarantine, partitions, store } = options;
  const decisionsOf = await earlierDecisions(states, SLOT_LANE, { quarantine, store });
  // Released rows that were not taken out yet hold nothing.
  for (const { route, generation, released } of states) {
    if (released === undefined) continue;
    const upTo = { major: BigInt(released.major), minor: released.minor };
    const held = quarantine.heldOf(route, generation);
    if (held === undefined || comparePlaces({ ...held.first, ...upTo }, held.first) < 0) continue;
    await quarantine.remove(isHeldOf(route, generation, upTo));
  }
  const plans = new Map(wanted.map((plan) => [plan.route, plan]));
  const usages = new Map<string, SourceUsage>();
  /** Walks all definitions: looked up when something breaks, once a source. */
  const usageOfSource = (source: string): SourceUsage => {
    const usage = usages.get(source) ?? usageOf(definitions, source);
    usages.set(source, usage);
    return usage;
  };
  return states.map(({ route, generation, fromLsn, tableOid, contractVersion, contractLsn, mapping }) => {
    const needed = neededColumns(must(plans.get(route)), definitions);
    const source = must(plans.get(route)).source?.name ?? '';
    const readers = {
      read: readColumns(must(plans.get(route)), definitions),
      usage: () => usageOfSource(source),
    };
    const [newest, ...earlier] = plansByContract(must(plans.get(route)), contracts).map((plan, i) =>
      prepareRoute(plan, generation, partitions, decisionsOf(route), needed, { ...readers, isEarlier: i > 0 }),
    );
    const floor = { version: contractVersion, lsn: contractLsn };
    const hold = quarantine.heldOf(route, generation)?.hold;
    // Another contract knows the table by its own names.
    const isMapped = mapping !== undefined && mapping.version === must(newest).contract.version;
    return { route: must(newest), earlier, tableOid, floor, fromLsn, hold, mapping: isMapped ? mapping : undefined };
  });
}
