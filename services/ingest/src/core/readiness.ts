/**
 * Which routes can be captured as their tables are now, and why the others wait. One that is not ready holds up no other.
 *
 *     not begun   any finding, it was lost too often (rebuild-pace.ts), or no slot is free to read its table: it waits
 *     appending   any finding: it ends, as it would only be done again, and waits
 *     live        its table tells no row from another at all, so that the source's own UPDATE and DELETE fail for as long as it
 *                 is published as a mutable one: it ends, and waits
 *                 rows of it go or come untold: a partition is not logged, or its table was attached to that of another that is
 *                 live, as whose rows its rows come: it ends, and waits
 *                 else it goes on, whatever is found: the stream itself holds what may not be read (C1), also rows that are
 *                 told apart by another key (key-look.ts), and a table that is another one now, or is gone, is seen by its
 *                 oid (settle-routes.ts)
 *
 * What ends is not published while it waits, so that updates of a table without an identity work again at the source. Pure:
 * judges facts that were looked up.
 */
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { CatalogTable } from './contract.ts';
import { besideFindings, type Captured, unloggedFindings } from './leaf-findings.ts';
import { untoldFindings } from './preflight.ts';
import type { Ended } from './settle-routes.ts';
import type { RouteState, SourceState } from './source-state.ts';

/** What was found of a route's table. */
export interface Examined {
  readonly plan: RoutePlan;
  /** Undefined: there is none of that name, or it is not to be seen. */
  readonly table: CatalogTable | undefined;
  readonly findings: readonly FreshetError[];
  /** How the table's shape breaks the contract; of a route that has begun the stream holds that. Undefined: it does not. */
  readonly misshapen?: FreshetError | undefined;
}

export interface Readiness {
  readonly ready: readonly RoutePlan[];
  /** By route, why it waits, and what to do. */
  readonly waiting: ReadonlyMap<number, FreshetError>;
}

/** Which routes are ready in a state that is settled; `paced`: why one is not to begin yet, whatever its table is like. */
export function readiness(
  examined: readonly Examined[],
  state: SourceState,
  paced: (route: number) => FreshetError | undefined = () => undefined,
): Readiness {
  const ready: RoutePlan[] = [];
  const waiting = new Map<number, FreshetError>();
  for (const { plan, findings, misshapen } of examined) {
    const phase = stateOf(state, plan)?.phase;
    const first = findings[0] ?? (phase === 'appending' ? undefined : (misshapen ?? paced(plan.route)));
    if (first === undefined || phase === 'live') ready.push(plan);
    else waiting.set(plan.route, whyWaiting(plan, first, findings));
  }
  return { ready, waiting };
}

/** The routes that end for what was found of their tables. */
export function endedByFindings(examined: readonly Examined[], state: SourceState): Ended[] {
  const captured = capturedOf(examined, state);
  return examined.flatMap(({ plan, table, findings }): Ended[] => {
    const phase = stateOf(state, plan)?.phase;
    const isMutable = plan.source?.mode === SourceMode.MUTABLE;
    const [untold] = table !== undefined && isMutable ? untoldFindings(table) : [];
    const own = captured.find((one) => one.table.oid === table?.oid);
    const [missed] = own === undefined ? [] : [...unloggedFindings(own.table), ...besideFindings(own, captured)];
    const why = phase === 'appending' ? findings[0] : phase === 'live' ? (untold ?? missed) : undefined;
    if (why === undefined) return [];
    // Rows of an append source that are gone when it is read again are counted no more.
    const isLoss = phase === 'live' && why === missed && !isMutable;
    return [{ route: plan.route, table: why.place, why: why.message, isLoss }];
  });
}

/** The tables of routes, each once, and how far the furthest route of it is. */
export function capturedOf(examined: readonly Pick<Examined, 'plan' | 'table'>[], state: SourceState): Captured[] {
  const captured = new Map<number, Captured>();
  for (const { plan, table } of examined) {
    if (table === undefined) continue;
    const phase = stateOf(state, plan)?.phase;
    const begun = phase === undefined ? 'never' : phase === 'ended' ? 'before' : 'now';
    const known = captured.get(table.oid)?.begun;
    if (known === undefined || known === 'never' || begun === 'now') captured.set(table.oid, { table, begun });
  }
  return [...captured.values()];
}

/** All findings of the routes that wait, as one error. */
export function allWaiting({ waiting }: Readiness): FreshetError | undefined {
  const [first, ...rest] = [...waiting.values()].flatMap((error) => [error, ...error.also]);
  if (first === undefined) return undefined;
  return new FreshetError(first.code, first.message, { remedy: first.remedy, place: first.place, also: rest });
}

function whyWaiting({ source }: RoutePlan, first: FreshetError, findings: readonly FreshetError[]): FreshetError {
  const place = first.place === '' ? `source ${source?.name ?? ''}` : first.place;
  return new FreshetError(first.code, first.message, { remedy: first.remedy, place, also: findings.slice(1) });
}

function stateOf({ routes }: SourceState, { route }: RoutePlan): RouteState | undefined {
  return routes.find((known) => known.route === route);
}
