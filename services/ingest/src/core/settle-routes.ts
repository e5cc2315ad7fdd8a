/**
 * Which routes cannot go on as they are: they end here, and so begin anew, as their next generation. Pure.
 *
 *     asked    somebody needs the route from its beginning, which the log no longer has
 *     moved    its table is another one, or was out of the publication: rows are missing
 *     changed  what its rows are told apart by, or a column that is read, is not what it was (row-shape.ts)
 *     torn     rows went or came with its table's partitions, untold (table-parts.ts), or came as those of another table
 *
 * To be saved before anything is mended: the publication holds the evidence of a table that moved.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { HistoryLoss } from './history-notice.ts';
import type { IdentityRestored } from './relation-identity.ts';
import { neededColumns, relabelled, shapeChange } from './row-shape.ts';
import {
  endAsked,
  movedRoutes,
  type PublishedTables,
  type RouteState,
  type SourceState,
  withRoutes,
} from './source-state.ts';
import { tableName } from './sql.ts';

export interface Ended {
  readonly route: number;
  readonly table: string;
  /** Why it begins anew, in a sentence without its end. */
  readonly why: string;
  /** Whether the table's history has a seam there that people must know of. */
  readonly isLoss: boolean;
  /** Whether it may be so again at once: it is then read anew later each time (rebuild-pace.ts). */
  readonly mayRecur?: boolean | undefined;
}

export interface Settled {
  readonly state: SourceState;
  readonly ended: readonly Ended[];
}

export function settleRoutes(options: {
  readonly state: SourceState;
  readonly wanted: readonly RoutePlan[];
  readonly definitions: DefinitionSet;
  readonly published: PublishedTables;
  /** By route, the newest generation that does not serve. */
  readonly asked: (route: number) => number | undefined;
  /** Ingest's clock, microseconds since the Unix epoch. */
  readonly nowUs: number;
}): Settled {
  const { state, wanted, definitions, published, nowUs } = options;
  const moved = movedRoutes(state, published, wanted).map(
    (plan): Ended => ({
      ...named(plan),
      why: `table ${named(plan).table} was replaced, renamed or out of the publication for a while`,
      isLoss: true,
      mayRecur: true,
    }),
  );
  const begun = new Map(state.routes.filter(({ phase }) => phase !== 'ended').map((route) => [route.route, route]));
  const changed = wanted.flatMap((plan): Ended[] => {
    const route = begun.get(plan.route);
    const { table } = named(plan);
    // Rows of an append source that are gone by now are counted no more.
    const isLoss = plan.source?.mode === SourceMode.APPEND;
    if (route?.torn !== undefined)
      return [{ route: plan.route, table, why: `of table ${table} ${route.torn}`, isLoss, mayRecur: true }];
    const why = route && shapeChange(route.shape, plan, neededColumns(plan, definitions));
    return why === undefined ? [] : [{ ...named(plan), why: `of table ${table} ${why}`, isLoss: false }];
  });
  const ended = [...moved, ...changed];
  const after = endAsked(endRoutes(labelled(state, wanted), ended, nowUs), wanted, options.asked);
  return { state: after, ended };
}

/** The state with the labels that enums have by now: one that was added since a route began may be renamed as well. */
function labelled(state: SourceState, wanted: readonly RoutePlan[]): SourceState {
  const plans = new Map(wanted.map((plan) => [plan.route, plan]));
  const changed = state.routes.flatMap((route): RouteState[] => {
    const plan = plans.get(route.route);
    if (plan === undefined || route.shape === undefined || route.phase === 'ended') return [];
    const shape = relabelled(route.shape, plan);
    return shape === route.shape ? [] : [{ ...route, shape }];
  });
  return changed.length === 0 ? state : withRoutes(state, changed);
}

/** The state with routes ended that were begun, and the loss noted if one of them is. */
export function endRoutes(state: SourceState, ended: readonly Ended[], nowUs: number): SourceState {
  const numbers = new Set(ended.map(({ route }) => route));
  const isOver = (route: RouteState): boolean => numbers.has(route.route) && route.phase !== 'ended';
  if (!state.routes.some(isOver)) return state;
  const routes = state.routes.map((route) =>
    isOver(route) ? { ...route, phase: 'ended' as const, stage: '' } : route,
  );
  const lost = ended.find(({ isLoss }) => isLoss);
  if (lost === undefined) return { ...state, routes };
  const loss: HistoryLoss = { atUs: nowUs, what: lost.why, fromLsn: state.acknowledgedLsn };
  return { ...state, routes, loss };
}

/** The end of a route of which rows are held that do not tell which row they are about. */
export function brokenRoute({ route, message, place }: IdentityRestored): Ended {
  return { route, table: place, why: message, isLoss: false };
}

function named(plan: RoutePlan): { readonly route: number; readonly table: string } {
  const origin = plan.source?.origin;
  const table = origin?.case === 'postgres' ? tableName(origin.value.schema, origin.value.table) : '';
  return { route: plan.route, table };
}
