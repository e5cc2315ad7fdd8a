/**
 * Changes what is captured while the stream goes on: the connection stays, nothing is sent again, and only what changed begins.
 *
 *     looked at ──▶ builds that it concerns, and releases, stand still ──▶ state saved ──▶ stream revised ──▶ published ──▶ they go on
 *
 * Routes that nobody wants any more, or that cannot go on, are ended in the state before the stream leaves them, and before the
 * publications, which are the evidence, are mended. New ones are built beside (beside-builds.ts). A crash in between is met as
 * ever by what the state says (source-preparation.ts). In one moment, in which nothing is waited for, no needed column has a
 * hole and the stream takes its routes by the new definitions: what it leaves out from then on nobody reads (I2).
 *
 * Routes whose table is not ready wait (core/readiness.ts), and are looked at again; the others go on.
 *
 * Owns that order, and that a change which cannot be made now is tried again: what is live goes on, a condition tells. Does not
 * own what is wanted (postgres-source.ts).
 */
import type { RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { aborted } from '@freshet/kit/aborted.ts';
import { type FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { ChangeStream } from '../core/change-stream.ts';
import { type Examined, endedByFindings, type Readiness, readiness } from '../core/readiness.ts';
import { type CapturedBy, isSameCapture } from '../core/same-capture.ts';
import { endRoutes, type Settled, settleRoutes } from '../core/settle-routes.ts';
import type { DatabaseSession } from '../core/source-database.ts';
import { endUnwanted, generationOf, type PublishedTables, type SourceState, withHoles } from '../core/source-state.ts';
import type { BesideBuilds, BuildWork, BuiltRoute } from './beside-builds.ts';
import { revisedRoutes } from './live-routes.ts';
import type { PausableWork } from './pausable-work.ts';
import { RECHECK_MS } from './postgres-source-options.ts';
import type { SourceParts, Wanted } from './source-parts.ts';
import { preflight, publish } from './source-preflight.ts';

export interface LiveRevisionsOptions {
  readonly parts: SourceParts;
  /** The live stream, and what works beside it. */
  readonly stream: ChangeStream;
  readonly builds: BesideBuilds;
  readonly releases: PausableWork;
  /** What is captured at first. */
  readonly wanted: Wanted;
  /** What of it is ready at first. */
  readonly ready: readonly RoutePlan[];
  /** The work of builds for what is wanted. */
  readonly workOf: (wanted: Wanted, prepared: Pick<BuildWork, 'tables' | 'published'>) => BuildWork;
}

export class LiveRevisions {
  readonly #options: LiveRevisionsOptions;
  /** What is captured now. */
  #wanted: Wanted;
  /** The routes of it that are ready. */
  #ready: readonly RoutePlan[];
  /** What is to be; undefined: nothing was asked since the last look. */
  #asked: Wanted | undefined;
  /** Aborts when something is asked. */
  #news = new AbortController();

  constructor(options: LiveRevisionsOptions) {
    this.#options = options;
    this.#wanted = options.wanted;
    this.#ready = options.ready;
  }

  /** What is captured now. */
  get wanted(): Wanted {
    return this.#wanted;
  }

  /** Asks that this is captured from now on, as soon as it can be; or that what is captured is looked at again. */
  ask(wanted: Wanted = this.#asked ?? this.#wanted): void {
    this.#asked = wanted;
    this.#news.abort(new DOMException('something is asked', 'AbortError'));
  }

  /** Makes the changes that are asked for, until the signal. Throws faults of ours. */
  async run(signal: AbortSignal): Promise<void> {
    const { options, board } = this.#options.parts;
    const { name, clock, random, logger, recheckMs } = options;
    const settings = { what: `changing what is captured of ${name}`, signal, clock, random, log: logger };
    try {
      while (!signal.aborted) {
        if (this.#asked === undefined) await this.#rest(signal);
        if (signal.aborted) return;
        try {
          await retry(() => this.#attempt(signal), settings);
          board.note('change', undefined);
        } catch (error) {
          if (signal.aborted || !isFreshetError(error)) throw error;
          await clock.sleep(recheckMs ?? RECHECK_MS, this.#untilNews(signal)).catch(() => undefined);
        }
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      board.note('change', undefined);
    }
  }

  /** Until something is asked; while routes wait, they are looked at again. */
  async #rest(signal: AbortSignal): Promise<void> {
    const { options, board } = this.#options.parts;
    const until = this.#untilNews(signal);
    if (board.waiting.size === 0) await aborted(until);
    else await options.clock.sleep(options.recheckMs ?? RECHECK_MS, until).catch(() => undefined);
    this.#asked ??= this.#wanted;
  }

  /** Aborts with the signal, or when something is asked from now on. */
  #untilNews(signal: AbortSignal): AbortSignal {
    this.#news = new AbortController();
    return AbortSignal.any([signal, this.#news.signal]);
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    const { options, board } = this.#options.parts;
    const wanted = this.#asked ?? this.#wanted;
    this.#asked = undefined;
    try {
      await options.database.look(signal, (session) => this.#revise(wanted, session));
    } catch (error) {
      // Not lost, unless something newer was asked meanwhile.
      this.#asked ??= wanted;
      if (isFreshetError(error) && !signal.aborted) board.note('change', error);
      throw error;
    }
  }

  async #revise(wanted: Wanted, session: DatabaseSession): Promise<void> {
    const { parts, builds, releases, workOf } = this.#options;
    const { store, options } = parts;
    const { clock, logger, slotName } = options;
    const looked = { wanted: wanted.routes, state: store.state, session, clock, logger };
    const { examined, tables, noSlot } = await preflight(looked);
    const settle = this.#settling(wanted, examined, await session.published(slotName));
    const { state: settled } = settle(store.state);
    const found = this.#readiness(examined, settled, noSlot);
    if (wanted === this.#wanted && isSameProgress(settled, store.state)) {
      // Nothing has moved, so the publications are no evidence of anything.
      const { published, refused } = await publish({ wanted: found.ready, tables, slotName, session });
      const ready = this.#admit(found, refused);
      // Builds may have waited for what is over by now, or still stand where a change failed before.
      if (isSameRoutes(ready, this.#ready))
        return builds.goOn(workOf({ ...wanted, routes: ready }, { tables, published }));
    }
    await this.#pause({ ...wanted, routes: found.ready }, settled);
    try {
      await this.#enforce(wanted, settle);
    } finally {
      releases.resume();
    }
    // Again: what was lost now may have to wait before it begins anew.
    const after = this.#readiness(examined, store.state, noSlot);
    const { published, refused } = await publish({ wanted: after.ready, tables, slotName, session });
    this.#ready = this.#admit(after, refused);
    builds.goOn(workOf({ ...wanted, routes: this.#ready }, { tables, published }));
    const routes = this.#ready.map(({ route }) => route);
    logger.info('what is captured changed, and the stream went on', { routes });
  }

  #readiness(examined: readonly Examined[], state: SourceState, noSlot: FreshetError | undefined): Readiness {
    const { parts, builds } = this.#options;
    const { options, pace } = parts;
    // One that is at work has had its slot.
    const unplaced = (route: number): FreshetError | undefined => (builds.isAt(route) ? undefined : noSlot);
    return readiness(examined, state, (route) => pace.waits(route, options.clock.monotonicUs()) ?? unplaced(route));
  }

  /** The routes that are ready but for those whose table may not be published; tells which wait. */
  #admit({ ready, waiting }: Readiness, refused: ReadonlyMap<number, FreshetError>): readonly RoutePlan[] {
    this.#options.parts.board.wait(new Map([...waiting, ...refused]));
    return ready.filter(({ route }) => !refused.has(route));
  }

  /** What becomes of a state: by one view of the world, so that it can be asked again as the state goes on. */
  #settling(
    { routes: wanted, definitions }: Wanted,
    examined: readonly Examined[],
    published: PublishedTables,
  ): (state: SourceState) => Settled {
    const { parts, stream } = this.#options;
    const { clock, requests } = parts.options;
    const nowUs = clock.nowUs();
    const asked = new Map(wanted.map(({ route }) => [route, requests?.of(route)?.above]));
    return (before) => {
      const kept = endUnwanted(withHoles(before, stream.holes), wanted);
      const state = endRoutes(kept, endedByFindings(examined, kept), nowUs);
      return settleRoutes({ state, wanted, definitions, published, asked: (route) => asked.get(route), nowUs });
    };
  }

  /** Resolves when nothing is at work that the change concerns. */
  async #pause(wanted: Wanted, settled: SourceState): Promise<void> {
    const { builds, releases } = this.#options;
    const after: CapturedBy = { wanted: wanted.routes, definitions: wanted.definitions };
    const known = new Map(settled.routes.map((route) => [route.route, route]));
    const isOver = ({ route, generation }: BuiltRoute): boolean => {
      const state = known.get(route);
      return state?.phase === 'ended' && state.generation >= generation;
    };
    await Promise.all([
      builds.pause((built) => isOver(built) || !isSameCapture(built.route, builds.work, after)),
      releases.pause(),
    ]);
  }

  /** Saves what ends, and lets the stream take its routes as they are wanted now. */
  async #enforce(wanted: Wanted, settle: (state: SourceState) => Settled): Promise<void> {
    const { parts, stream } = this.#options;
    const { store, options, pace } = parts;
    const revised = revisedRoutes({
      wanted: wanted.routes,
      definitions: wanted.definitions,
      contracts: wanted.contracts,
      partitions: options.log.partitionCount,
    });
    // Ends: each time round at least one route ends, by a hole that came while the state was saved.
    do {
      await store.update((state) => {
        const settled = settle(state);
        const nowUs = options.clock.monotonicUs();
        for (const { route, why, mayRecur } of settled.ended) {
          options.logger.warn('a route begins anew', { route, why });
          if (mayRecur) pace.lost(route, why, { nowUs, generation: generationOf(state, route) });
        }
        return settled.state;
      });
    } while (settle(store.state).ended.length > 0);
    const states = new Map(store.state.routes.map((state) => [state.route, state]));
    stream.revise((live) => {
      const state = states.get(live.route.number);
      const isOver = state === undefined || state.phase === 'ended' || state.generation !== live.route.generation;
      return isOver ? undefined : revised(live, state);
    });
    this.#wanted = wanted;
  }
}

/** Whether no route of the one state is at another point in the other. */
function isSameProgress(a: SourceState, b: SourceState): boolean {
  const points = ({ routes }: SourceState): string =>
    JSON.stringify(routes.map(({ route, generation, phase }) => [route, generation, phase]));
  return points(a) === points(b);
}

function isSameRoutes(a: readonly RoutePlan[], b: readonly RoutePlan[]): boolean {
  return a.length === b.length && a.every(({ route }, i) => route === b[i]?.route);
}
