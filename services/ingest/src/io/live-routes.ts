/**
 * Routes as a stream takes them, of their states and plans: under each contract that a backlog may have been written in, with
 * the rows that were put aside and may come again. Owns no state.
 */
import { type SourceUsage, usageOf } from '@freshet/contracts/usage.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type ContractHistory, plansByContract } from '../core/contract-history.ts';
import type { EarlierDecisions } from '../core/earlier-decisions.ts';
import { isHeldOf } from '../core/held-index.ts';
import type { LiveRoute } from '../core/live-route.ts';
import { comparePlaces } from '../core/quarantine.ts';
import { prepareRoute, SLOT_LANE } from '../core/route.ts';
import { namesUnder, neededColumns, readColumns } from '../core/row-shape.ts';
import type { RouteState } from '../core/source-state.ts';
import { earlierDecisions } from './earlier-lives.ts';
import { valuesOf } from './fill-look.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import type { SourceStore } from './source-store.ts';

/** What makes a route of a plan. */
export interface RoutesUnder {
  readonly wanted: readonly RoutePlan[];
  readonly definitions: DefinitionSet;
  readonly contracts: ContractHistory;
  readonly partitions: number;
}

export async function liveRoutes(
  states: readonly RouteState[],
  options: RoutesUnder & {
    readonly quarantine: QuarantineFile;
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
  const ready = readying({ wanted, definitions, contracts, partitions });
  return states.map((state): LiveRoute => {
    const { route, generation, fromLsn, tableOid, contractVersion, contractLsn } = state;
    const floor = { version: contractVersion, lsn: contractLsn };
    const hold = quarantine.heldOf(route, generation)?.hold;
    const readied = ready(state, decisionsOf(route));
    return { ...readied, tableOid, floor, fromLsn, hold, values: valuesOf(state, readied.route) };
  });
}

/** Routes that are streamed, as other definitions have them: everything that only the stream knows of them stays. */
export function revisedRoutes(under: RoutesUnder): (live: LiveRoute, state: RouteState) => LiveRoute {
  const ready = readying(under);
  return (live, state) => ({ ...live, ...ready(state, live.route.decisions) });
}

type Readied = Pick<LiveRoute, 'route' | 'earlier' | 'mapping'>;

/** Makes routes ready under their contract and those before it. */
function readying({ wanted, definitions, contracts, partitions }: RoutesUnder) {
  const plans = new Map(wanted.map((plan) => [plan.route, plan]));
  const usages = new Map<string, SourceUsage>();
  /** Walks all definitions: looked up when something breaks, once a source. */
  const usageOfSource = (source: string): SourceUsage => {
    const usage = usages.get(source) ?? usageOf(definitions, source);
    usages.set(source, usage);
    return usage;
  };
  return ({ route, generation, mapping }: RouteState, decisions: EarlierDecisions): Readied => {
    const plan = must(plans.get(route));
    const needed = neededColumns(plan, definitions);
    const source = plan.source?.name ?? '';
    const readers = { read: readColumns(plan, definitions), usage: () => usageOfSource(source) };
    const newest = prepareRoute(plan, generation, partitions, decisions, needed, readers);
    const earlier = plansByContract(plan, contracts)
      .slice(1)
      .map((under) => {
        const contract = must(under.source?.contract);
        const neededThen = namesUnder(needed, plan, contract);
        const readersThen = { ...readers, read: namesUnder(readers.read, plan, contract), isEarlier: true };
        return prepareRoute(under, generation, partitions, decisions, neededThen, readersThen);
      });
    // Another contract knows the table by its own names.
    const isMapped = mapping !== undefined && mapping.version === newest.contract.version;
    return { route: newest, earlier, mapping: isMapped ? mapping : undefined };
  };
}
