/**
 * What ingest remembers of a database over restarts, and what it does next at any point it may be started from. Pure.
 *
 *     route:   (none) ──staged──▶ appending ──all in the log──▶ live ──no longer wanted──▶ ended
 *                 ▲                    │ the stage no longer fits     │ its table is another  │
 *                 └────────────────────┴───────── wanted again: next generation ◀─────────────┘
 *
 *     slot:    none ──▶ creating ──▶ made          (creating is written before the database is asked)
 *
 * Invariants: a generation is used by one snapshot only: what is appended again after a crash is the same staged rows,
 * with the same numbers. A route is live only after its whole snapshot is in the log. A database whose history is not the
 * one captured so far is not gone on with (lost-history.ts). A route follows the table that its snapshot was of, by oid:
 * of a table that took the name since, or that was out of the publication, rows are missing, so the route starts anew.
 * Why else routes begin anew is settle-routes.ts.
 */
import type { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { ChangeStream } from './change-stream.ts';
import type { Landmark } from './commit-trail.ts';
import type { HistoryLoss } from './history-notice.ts';
import type { Mapping } from './hold.ts';
import { checkOwnSlot, lostHistory } from './lost-history.ts';
import { earlierLsn, laterLsn } from './lsn.ts';
import { NO_SHAPE, type RowShape } from './row-shape.ts';
import { tableName } from './sql.ts';
import type { ColumnValues, TableFill } from './table-fill.ts';
import type { TableParts } from './table-parts.ts';
import { type ToldParts, withTold } from './told-parts.ts';

export interface RouteState {
  readonly route: number;
  /** The newest generation begun, from 1. */
  readonly generation: number;
  readonly phase: 'appending' | 'live' | 'ended';
  /** The consistent point of the snapshot: commits at or after it come by the stream. */
  readonly fromLsn: bigint;
  /** The stage that holds the snapshot's rows while they are appended; '' afterwards. */
  readonly stage: string;
  /** The oid of the table, which a table that takes its name does not share; 0: it was not there to be captured. */
  readonly tableOid: number;
  /** Rows of commits from `contractLsn` on are of this version of the contract or of a later one. */
  readonly contractVersion: number;
  readonly contractLsn: bigint;
  /** The shape that rows of a mutable source had when the generation began; of an append source only what its rows lack. */
  readonly shape?: RowShape | undefined;
  /** Which filling of its table the rows are of, as it was seen last; undefined: it was not seen yet. */
  readonly fill?: TableFill | undefined;
  /** Of a mutable source: its table's partitions that the rows are of, as they were seen last; undefined: none, or not seen yet. */
  readonly parts?: TableParts | undefined;
  /** Of a mutable source: partitions of its table that rows were told of, and that no look has seen yet. */
  readonly unseen?: readonly number[] | undefined;
  /** Why rows went or came untold with partitions, or as those of another table, so that it is to begin anew; undefined: none did. */
  readonly torn?: string | undefined;
  /** Of an append source: the columns that were computed anew in the table since the route began; undefined: none that is known. */
  readonly values?: readonly ColumnValues[] | undefined;
  /** Held rows up to this place were released or discarded, and are in the quarantine only until it is rewritten. */
  readonly released?: { readonly major: string; readonly minor: number } | undefined;
  /** The lane of releases of held rows; undefined: there was none. */
  readonly releaseLane?: number | undefined;
  /** Whether that release is under way: done again, it uses the same lane. */
  readonly releasing?: boolean | undefined;
  /** The number of the newest release of rows that were put aside alone; undefined: there was none in this generation. */
  readonly aloneRelease?: number | undefined;
  /** How the table's names are read as the contract's. */
  readonly mapping?: Mapping | undefined;
}

/** A route that has not begun. */
const NEVER: RouteState = {
  route: 0,
  generation: 0,
  phase: 'ended',
  fromLsn: 0n,
  stage: '',
  tableOid: 0,
  contractVersion: 0,
  contractLsn: 0n,
};

/** The tables that are published, each in the publication of its mode: publishedKey() → oid. */
export type PublishedTables = ReadonlyMap<string, number>;

/** The key of PublishedTables: a table as it is captured in a mode. */
export function publishedKey(mode: SourceMode, schema: string, table: string): string {
  return JSON.stringify([mode, schema, table]);
}

/** The oid of the table that a route captures; 0: there is none of that name in the route's publication. */
export function publishedOid(published: PublishedTables, { source }: RoutePlan): number {
  if (source?.origin.case !== 'postgres') return 0;
  const { schema, table } = source.origin.value;
  return published.get(publishedKey(source.mode, schema, table)) ?? 0;
}

export interface SourceState {
  readonly slot: 'none' | 'creating' | 'made';
  /** The database cluster's own id, which a restored or another cluster does not share; '' until known. */
  readonly systemId: string;
  /** The cluster's timeline, which changes when a standby takes over or a backup is restored; 0 until known. */
  readonly timeline: number;
  /** The newest request to start over that was carried out; '': none. Each is carried out once. */
  readonly resync: string;
  /** Generations up to this one may have been used by a state that was lost. */
  readonly generationFloor: number;
  /** No acknowledgement beyond this was ever sent. */
  readonly acknowledgedLsn: bigint;
  /** By what the database is known again up to there; undefined: not noted. */
  readonly landmark?: Landmark | undefined;
  readonly routes: readonly RouteState[];
  /** The newest loss of history; undefined: none that is known. */
  readonly loss?: HistoryLoss | undefined;
  /** Where each partition of the log ended when this was saved; empty: not noted. */
  readonly logEnds: readonly number[];
  /** Where, in each partition, records begin of rows that may come again; empty: not noted. */
  readonly tailFrom: readonly number[];
  /** What the log lost of `logEnds`, in words; '': nothing. Stays until the source starts over. */
  readonly logLost: string;
}

export const EMPTY_STATE: SourceState = {
  slot: 'none',
  systemId: '',
  timeline: 0,
  resync: '',
  generationFloor: 0,
  acknowledgedLsn: 0n,
  routes: [],
  logEnds: [],
  tailFrom: [],
  logLost: '',
};

/** What the database says of the slot; undefined: there is none of that name. */
export interface SlotFacts {
  readonly plugin: string;
  readonly database: string;
  readonly active: boolean;
  readonly activePid: number;
  /** reserved, extended, unreserved, lost; '' before Postgres 13. */
  readonly walStatus: string;
  readonly invalidationReason: string;
  readonly confirmedLsn: bigint;
  /** How much more log may be written before the slot is in danger of being lost, bytes; undefined: there is no limit. */
  readonly safeWalBytes: number | undefined;
}

export interface WorldFacts {
  readonly systemId: string;
  readonly timeline: number;
  /** The end of the server's log, as far as it is durable; undefined: not known. */
  readonly endLsn?: bigint | undefined;
  readonly database: string;
  readonly slotName: string;
  readonly slot: SlotFacts | undefined;
  /** The stages that are whole on disk, with the columns that each has of each table ("schema.table"). */
  readonly stages: ReadonlyMap<string, StageFacts>;
}

export interface StageFacts {
  readonly columns: ReadonlyMap<string, readonly string[]>;
}

export type Step =
  /** Nothing is wanted and nothing is there. */
  | { readonly kind: 'idle' }
  /** Make the slot, or take the one that we were making when we were stopped. */
  | { readonly kind: 'create_slot' }
  /** Read the tables of these routes under one snapshot, for these generations. */
  | { readonly kind: 'stage'; readonly routes: readonly RouteGeneration[] }
  /** Append the stage's rows of these routes, from the first. */
  | { readonly kind: 'append'; readonly stage: string; readonly routes: readonly RouteState[] }
  /** Stream the routes that are live; those that are not yet are built beside it (nextBuild). */
  | { readonly kind: 'stream'; readonly routes: readonly RouteState[] };

/** What to do next for routes that are not live. */
export type Build = Extract<Step, { readonly kind: 'stage' | 'append' }>;

export interface RouteGeneration {
  readonly plan: RoutePlan;
  readonly generation: number;
}

/** What to do next. Throws SLOT_LOST or SOURCE_NOT_READY when only a person can say. */
export function nextStep(state: SourceState, world: WorldFacts, wanted: readonly RoutePlan[]): Step {
  const lost = lostHistory(state, world);
  if (lost !== undefined) throw lost.error;
  checkOwnSlot(state, world);
  const slotThere = world.slot !== undefined;
  if (!slotThere && wanted.length === 0) return { kind: 'idle' };
  if (!slotThere || state.slot !== 'made') return { kind: 'create_slot' };
  const numbers = new Set(wanted.map(({ route }) => route));
  const live = state.routes.filter(({ route, phase }) => phase === 'live' && numbers.has(route));
  if (live.length > 0) return { kind: 'stream', routes: live };
  return nextBuild(state, world.stages, wanted) ?? { kind: 'stream', routes: live };
}

/** What is to be done before every wanted route is live; undefined: they all are. The slot is made. */
export function nextBuild(
  state: SourceState,
  stages: ReadonlyMap<string, StageFacts>,
  wanted: readonly RoutePlan[],
): Build | undefined {
  const known = new Map(state.routes.map((route) => [route.route, route]));
  const appending = wanted.flatMap((plan) => {
    const route = known.get(plan.route);
    return route?.phase === 'appending' && stageFits(stages.get(route.stage), plan) ? [route] : [];
  });
  const [first] = appending;
  if (first !== undefined) {
    return { kind: 'append', stage: first.stage, routes: appending.filter((route) => route.stage === first.stage) };
  }
  const fresh = wanted.filter((plan) => known.get(plan.route)?.phase !== 'live');
  if (fresh.length > 0) {
    const routes = fresh.map((plan) => ({
      plan,
      generation: Math.max(known.get(plan.route)?.generation ?? 0, state.generationFloor) + 1,
    }));
    return { kind: 'stage', routes };
  }
  return undefined;
}

/** The newest generation of a route that was begun; 0: none. */
export function generationOf({ routes }: SourceState, route: number): number {
  return routes.find((known) => known.route === route)?.generation ?? 0;
}

/** The position that must not be acknowledged beyond: routes that are not live yet need the commits from there on. */
export function heldAt({ routes }: SourceState): bigint | undefined {
  const held = routes.filter(({ phase }) => phase === 'appending').map(({ fromLsn }) => fromLsn);
  return held.reduce<bigint | undefined>(earlierLsn, undefined);
}

/** The state once routes that nobody wants any more are marked so: should they come back, they start anew. */
export function endUnwanted(state: SourceState, wanted: readonly RoutePlan[]): SourceState {
  const numbers = new Set(wanted.map((plan) => plan.route));
  if (state.routes.every((route) => numbers.has(route.route) || route.phase === 'ended')) return state;
  const routes = state.routes.map((route) =>
    numbers.has(route.route) ? route : { ...route, phase: 'ended' as const, stage: '' },
  );
  return { ...state, routes };
}

/**
 * The state once routes are ended of which a newer generation was asked for. `above` gives, by route, the newest generation
 * that does not serve. A generation of which this state knows nothing was used by an earlier one: it is not used again.
 */
export function endAsked(
  state: SourceState,
  wanted: readonly RoutePlan[],
  above: (route: number) => number | undefined,
): SourceState {
  const known = new Map(state.routes.map((route) => [route.route, route]));
  const ended = wanted.flatMap(({ route }): RouteState[] => {
    const was = known.get(route) ?? { ...NEVER, route };
    const asked = above(route) ?? 0;
    if (asked === 0 || was.generation > asked || (was.generation === asked && was.phase === 'ended')) return [];
    return [{ ...was, generation: asked, phase: 'ended', stage: '' }];
  });
  return ended.length === 0 ? state : withRoutes(state, ended);
}

/** Throws SOURCE_NOT_READY when a route that is streamed has another table now, or one that is not published. */
export function checkTables(state: SourceState, published: PublishedTables, wanted: readonly RoutePlan[]): void {
  const [moved] = movedRoutes(state, published, wanted);
  const origin = moved?.source?.origin;
  if (moved === undefined || origin?.case !== 'postgres') return;
  const name = tableName(origin.value.schema, origin.value.table);
  const what = publishedOid(published, moved) === 0 ? 'is no longer in the publication' : 'is another table now';
  throw new FreshetError('SOURCE_NOT_READY', `${name} ${what}: it was dropped, renamed or replaced`, {
    remedy: `Nothing, if the table is there: it is read anew in a moment, as a new generation. Else correct postgres.table of source ${moved.source?.name ?? ''}.`,
    place: name,
  });
}

/** The wanted routes whose table is not the one that they began with. */
export function movedRoutes(state: SourceState, published: PublishedTables, wanted: readonly RoutePlan[]): RoutePlan[] {
  const known = new Map(state.routes.map((route) => [route.route, route]));
  return wanted.filter((plan) => {
    const route = known.get(plan.route);
    if (route === undefined || route.phase === 'ended') return false;
    return route.tableOid === 0 || route.tableOid !== publishedOid(published, plan);
  });
}

/** The state with some routes replaced. */
export function withRoutes(state: SourceState, changed: readonly RouteState[]): SourceState {
  const byNumber = new Map(state.routes.map((route) => [route.route, route]));
  for (const route of changed) byNumber.set(route.route, route);
  return { ...state, routes: [...byNumber.values()].sort((a, b) => a.route - b.route) };
}

/** The state with the newest contracts that the stream has seen. */
export function withFloors(
  state: SourceState,
  floors: ReadonlyMap<number, { readonly version: number; readonly lsn: bigint }>,
): SourceState {
  const changed = state.routes.flatMap((route) => {
    const floor = floors.get(route.route);
    return floor === undefined ? [] : [{ ...route, contractVersion: floor.version, contractLsn: floor.lsn }];
  });
  return withRoutes(state, changed);
}

/** The state once the stream has come to a position, with what it has seen until there. */
export function advanced(
  state: SourceState,
  lsn: bigint,
  { floors, holes, trail, parts }: Pick<ChangeStream, 'floors' | 'holes' | 'trail'> & { readonly parts: ToldParts },
): SourceState {
  const { acknowledgedLsn } = state;
  const landmark = trail.landmark(state.landmark, acknowledgedLsn, lsn);
  const routes = state.routes.map((route) => withTold(route, parts));
  const next = { ...state, routes, landmark, acknowledgedLsn: laterLsn(acknowledgedLsn, lsn) };
  return withHoles(withFloors(next, floors), holes);
}

/** The state with the columns of which the stream left values out, by route. */
export function withHoles(state: SourceState, holes: ReadonlyMap<number, ReadonlySet<string>>): SourceState {
  const changed = state.routes.flatMap((route): RouteState[] => {
    const found = holes.get(route.route);
    if (found === undefined) return [];
    return [{ ...route, shape: withHoleNames(route.shape, found) }];
  });
  return changed.length === 0 ? state : withRoutes(state, changed);
}

/** The shape with further columns of which values were left out. */
export function withHoleNames(shape: RowShape | undefined, found: Iterable<string>): RowShape | undefined {
  const holes = new Set([...(shape?.holes ?? []), ...found]);
  return holes.size === 0 ? shape : { ...(shape ?? NO_SHAPE), holes: [...holes] };
}

/**
 * The state after starting over: a new slot, a new generation of every route. Somebody decided so, by a request of the name
 * `resync`, or the history was lost.
 */
export function startedOver(state: SourceState, why: { resync: string } | { loss: HistoryLoss }): SourceState {
  return {
    ...EMPTY_STATE,
    resync: state.resync,
    ...(state.loss === undefined ? {} : { loss: state.loss }),
    ...why,
    generationFloor: state.generationFloor,
    routes: state.routes.map((route) => ({ ...route, phase: 'ended' as const, fromLsn: 0n, stage: '' })),
  };
}

/**
 * The state to start over from when the saved one cannot be read. Which generations it had used is not known: seconds are
 * far ahead of any count of snapshots, and last until 2088: generations have 31 bits.
 */
export function lostState(nowUs: number): SourceState {
  return { ...EMPTY_STATE, generationFloor: Math.floor(nowUs / 1_000_000) - SECONDS_TO_2020 };
}

const SECONDS_TO_2020 = 1_577_836_800;

function stageFits(stage: StageFacts | undefined, plan: RoutePlan): boolean {
  const origin = plan.source?.origin;
  if (stage === undefined || origin?.case !== 'postgres') return false;
  const columns = stage.columns.get(`${origin.value.schema}.${origin.value.table}`);
  return columns !== undefined && (plan.source?.contract?.columns ?? []).every(({ name }) => columns.includes(name));
}
