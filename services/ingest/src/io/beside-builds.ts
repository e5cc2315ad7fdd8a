/**
 * Brings routes to life beside the stream of those that are live, which never waits for it:
 *
 *     stage ──▶ append, slice by slice ──▶ catch up on a copy of the slot ──▶ handed to the live stream ──▶ saved as live
 *       commits < S                          S ≤ commits < C                    C ≤ commits
 *
 * S is the snapshot's point. The catch-up stops after a whole commit that ends at C, at a moment when of the live stream
 * nothing at or after C has come: in that moment the live stream takes the routes from C on. All goes through one pipeline,
 * in that order, so it is in that order in each partition (F3).
 *
 * What a crash needs is kept until then: from before the snapshot is taken until the routes are saved as live, the slot is
 * not told of a position beyond S (holdAt). A build that was interrupted is done again from its stage, and the commits
 * since S come again from a new copy; shards skip what they have.
 *
 * Definitions may change meanwhile: no further step begins then until there is other work, and a step of a route that the
 * change concerns is cut off where a crash could have cut it. Once the live stream has the routes it is not: done again it
 * would hand them over twice.
 *
 * Owns the order of these steps, the hold, and that a build's failure is its own: what is live goes on, a condition tells.
 */
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { aborted } from '@freshet/kit/aborted.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { Log } from '@freshet/log/log.ts';
import type { AppendPipeline } from '../core/append-pipeline.ts';
import { CatchUpPatience } from '../core/catch-up-patience.ts';
import { ChangeStream } from '../core/change-stream.ts';
import type { LiveRoute } from '../core/live-route.ts';
import type { LogReaders } from '../core/log-readers.ts';
import { earlierLsn, laterLsn } from '../core/lsn.ts';
import { PacedPipeline } from '../core/paced-pipeline.ts';
import type { RebuildPace } from '../core/rebuild-pace.ts';
import { Replication } from '../core/replication.ts';
import type { SourceDatabase, TableToStage } from '../core/source-database.ts';
import {
  type Build,
  heldAt,
  nextBuild,
  type PublishedTables,
  type RouteState,
  withFloors,
  withHoles,
  withRoutes,
} from '../core/source-state.ts';
import { FillGate } from './fill-gate.ts';
import { readersCaughtUp } from './reader-pace.ts';
import { type Stage, type StageStore, stageFacts } from './snapshot-stage.ts';
import type { Wanted } from './source-parts.ts';
import type { SourceSnapshots } from './source-snapshots.ts';
import type { SourceStore } from './source-store.ts';

/** What live rows may find in front of them in the queues of all partitions together, in bytes of memory. */
const SHARE_BYTES = 256 * 1024;
/**
 * For at most this share of the time rows are on their way, from being made until they are durable and folded: live rows and all who
 * handle them have the rest. On two busy cores two fifths made the 99th percentile of what live rows take twice as long.
 */
const WORK_SHARE = 1 / 3;
const REST_MS_MIN = 1;
/** A slice that took longer waited for a reader or a disk that stands still. */
const REST_MS_MAX = 500;
/** What a person can mend is looked at again after this long. */
const RECHECK_MS = 5_000;

/** What is to be built, by which definitions. */
export interface BuildWork {
  readonly wanted: readonly RoutePlan[];
  readonly definitions: DefinitionSet;
  readonly tables: readonly TableToStage[];
  readonly published: PublishedTables;
  /** Routes in these states as a stream takes them. */
  readonly routesOf: (states: readonly RouteState[]) => Promise<LiveRoute[]>;
}

/** A route that a step is about, and the generation that it has or will have. */
export interface BuiltRoute {
  readonly route: number;
  readonly generation: number;
}

/** Until when a step works. */
interface Signals {
  readonly signal: AbortSignal;
  /** As long as it may be cut off: the end of that too. */
  readonly until: AbortSignal;
}

/** What is under way. */
interface Step {
  readonly routes: readonly BuiltRoute[];
  /** Cuts it off, unless the live stream has its routes. */
  readonly cut: AbortController;
  /** Settles when it is over. */
  readonly over: Promise<void>;
}

export interface BesideBuildsOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly database: SourceDatabase;
  readonly slotName: string;
  readonly store: SourceStore;
  readonly stages: StageStore;
  readonly snapshots: SourceSnapshots;
  /** How soon a route that was lost may begin anew. */
  readonly pace: RebuildPace;
  /** The live stream, and the pipeline that it uses. */
  readonly live: ChangeStream;
  readonly pipeline: AppendPipeline;
  readonly log: Pick<Log, 'describe'>;
  /** Those who read the log; rows of a build come to it no faster than they take them. */
  readonly readers?: LogReaders | undefined;
  readonly work: BuildWork;
  /** Told that a route is to begin anew. */
  readonly onAnew: () => void;
  /** Told what a build fails of, and undefined when it goes on. */
  readonly onProblem: (why: FreshetError | undefined) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

export class BesideBuilds {
  readonly #options: BesideBuildsOptions;
  readonly #paced: PacedPipeline;
  /** The stages that are wholly with the pipeline: done again within one process, a catch-up needs not append them again. */
  readonly #appended = new Set<string>();
  /** Stages whose routes the live stream has, with the stream that brought them there, until they are saved as live. */
  readonly #handed = new Map<string, ChangeStream>();
  #work: BuildWork;
  #changed = new AbortController();
  #isPaused = false;
  #step: Step | undefined;
  #pinned: bigint | undefined;
  #gate: Promise<void> | undefined;
  #workSinceUs: number | undefined;
  #isBuilding = false;

  constructor(options: BesideBuildsOptions) {
    this.#options = options;
    this.#work = options.work;
    this.#paced = new PacedPipeline(options.pipeline, SHARE_BYTES);
  }

  /** Whether there are routes that are not live yet, and are worked at. */
  get isBuilding(): boolean {
    return this.#isBuilding;
  }

  /** Whether a step of a route is under way. */
  isAt(route: number): boolean {
    return this.#step?.routes.some((built) => built.route === route) ?? false;
  }

  /** The position beyond which nothing may be acknowledged now. */
  holdAt(): bigint | undefined {
    return earlierLsn(heldAt(this.#options.store.state), this.#pinned);
  }

  /** What the live stream waits for before it reads more; undefined: nothing. */
  gate(): Promise<void> | undefined {
    return this.#gate;
  }

  /** What is being built. */
  get work(): BuildWork {
    return this.#work;
  }

  /**
   * Begins no further step until goOn(), and cuts off the one that is under way if one of its routes is concerned; resolves
   * when none of these is at work.
   */
  async pause(isConcerned: (route: BuiltRoute) => boolean): Promise<void> {
    this.#isPaused = true;
    const step = this.#step;
    if (!step?.routes.some(isConcerned)) return;
    step.cut.abort(new DOMException('other definitions', 'AbortError'));
    await step.over;
  }

  /** Goes on, with other work. */
  goOn(work: BuildWork): void {
    this.#work = work;
    this.#isPaused = false;
    this.#changed.abort(new DOMException('there is other work', 'AbortError'));
    this.#changed = new AbortController();
  }

  /** Builds what is to be built until the signal. Throws faults of ours, and what the log failed with. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, logger, name, onProblem } = this.#options;
    const settings = { what: `building routes of ${name}`, signal, clock, random, log: logger };
    try {
      while (!signal.aborted) {
        const changed = this.#changed;
        const until = AbortSignal.any([signal, changed.signal]);
        try {
          await retry((healthy) => this.#build(signal, healthy), settings);
          // It is asked itself: a signal made of several forgets that one of them was aborted while nobody listened, once that
          // one is collected.
          if (!changed.signal.aborted) await aborted(until);
        } catch (error) {
          if (signal.aborted) return;
          if (!isFreshetError(error)) throw error;
          logger.error(`a build of ${name} waits: ${error.message}`, { code: error.code, remedy: error.remedy });
          onProblem(error);
          if (!changed.signal.aborted) await clock.sleep(RECHECK_MS, until).catch(() => undefined);
        }
      }
    } finally {
      this.#isBuilding = false;
      onProblem(undefined);
    }
  }

  /** Builds until every wanted route is live, or until it is to pause. */
  async #build(signal: AbortSignal, healthy: () => void): Promise<void> {
    const { store, stages, pace, clock, onProblem } = this.#options;
    for (;;) {
      const there = await stages.load();
      const needed = new Set(store.state.routes.map(({ stage }) => stage));
      for (const stage of there.keys()) if (!needed.has(stage)) await stages.remove(stage);
      // From here to the step nothing is waited for.
      if (this.#isPaused) return;
      const nowUs = clock.monotonicUs();
      const wanted = this.#work.wanted.filter(({ route }) => pace.waits(route, nowUs) === undefined);
      const build = nextBuild(store.state, stageFacts(there), wanted);
      this.#isBuilding = build !== undefined;
      if (build === undefined) return onProblem(undefined);
      const cut = new AbortController();
      const over = Promise.withResolvers<void>();
      this.#step = { routes: builtRoutes(build), cut, over: over.promise };
      try {
        await this.#take(build, there, { signal, until: AbortSignal.any([signal, cut.signal]) });
        onProblem(undefined);
        healthy();
      } catch (error) {
        const isCut = cut.signal.aborted && !signal.aborted && (isAbort(error) || isFreshetError(error));
        if (!isCut) throw error;
      } finally {
        this.#step = undefined;
        over.resolve();
      }
    }
  }

  async #take(build: Build, there: ReadonlyMap<string, Stage>, signals: Signals): Promise<void> {
    const { store, snapshots } = this.#options;
    if (build.kind === 'append') {
      await this.#bring(must(there.get(build.stage)), build.routes, signals);
      return;
    }
    const { tables, published } = this.#work;
    // Before the snapshot has its point, which is at or after everything that was ever acknowledged.
    this.#pinned = store.state.acknowledgedLsn;
    try {
      this.#workSinceUs = undefined;
      const pace = (): Promise<void> => this.#rest(signals.until);
      await store.staged(await snapshots.take(build.routes, tables, published, signals.until, pace));
    } finally {
      this.#pinned = undefined;
    }
  }

  async #bring(stage: Stage, states: readonly RouteState[], { signal, until }: Signals): Promise<void> {
    const { snapshots, store, stages, pace, clock, logger } = this.#options;
    // What a step before this had on its way: what was decided of its rows is known only then (earlier-lives.ts).
    await this.#paced.drained(until);
    if (!this.#appended.has(stage.name)) {
      const { wanted, definitions } = this.#work;
      this.#workSinceUs = undefined;
      const settings = {
        stage,
        states,
        wanted,
        definitions,
        pipeline: this.#paced,
        pace: () => this.#restFolded(until),
      };
      const appended = await snapshots.appendBy(settings, until);
      // Taken anew, as a new generation.
      if (appended instanceof FreshetError) return;
      this.#appended.add(stage.name);
    }
    if (!this.#handed.has(stage.name)) await this.#catchUp(stage, states, until);
    const brought = must(this.#handed.get(stage.name));
    await this.#paced.drained(signal);
    await store.update((before) => {
      const state = withHoles(withFloors(before, brought.floors), brought.holes);
      const known = new Map(state.routes.map((route) => [route.route, route]));
      const live = states.map(({ route }): RouteState => ({ ...must(known.get(route)), phase: 'live', stage: '' }));
      return withRoutes(state, live);
    });
    for (const { route } of states) pace.alive(route, clock.monotonicUs());
    this.#handed.delete(stage.name);
    await stages.remove(stage.name);
    logger.info('routes are live', { routes: states.map(({ route }) => route) });
  }

  /** Brings the commits since the snapshot, until the live stream has the routes. */
  async #catchUp({ name, fromLsn }: Stage, states: readonly RouteState[], signal: AbortSignal): Promise<void> {
    const { database, slotName, store, live, onAnew, clock } = this.#options;
    const connection = await database.openCopy(slotName, signal);
    let open: (() => void) | undefined;
    try {
      const routes = await this.#work.routesOf(states);
      const stream = new ChangeStream(routes);
      const patience = new CatchUpPatience();
      const wanted = (): Pick<Wanted, 'routes' | 'definitions'> => ({ ...this.#work, routes: this.#work.wanted });
      const fills = new FillGate({ database, store, stream, wanted, onAnew, clock, signal });
      const replication = new Replication({
        connection,
        stream,
        pipeline: this.#paced,
        acknowledgedLsn: fromLsn,
        save: () => store.update((state) => withHoles(withFloors(state, stream.floors), stream.holes)),
        described: (relation, by) => fills.described(relation, by),
        isDone: () => {
          // What is half here would come twice.
          if (stream.inTransaction) return false;
          const from = laterLsn(fromLsn, stream.endLsn);
          const isHanded = live.tryAdopt(routes.map((route) => ({ ...route, ...handedAt(route, stream, from) })));
          if (isHanded) this.#handed.set(name, stream);
          else if (patience.isOver(live.newestLsn - from)) {
            this.#gate = new Promise((resolve) => {
              open = resolve;
            });
          }
          return isHanded;
        },
        clock,
        signal,
      });
      await replication.run(() => {});
      if (!this.#handed.has(name)) {
        throw new FreshetError('CANCELLED', 'the catch-up was given up', { cause: signal.reason });
      }
    } catch (error) {
      // What remains to be done of it needs no connection.
      if (this.#handed.has(name) && isFreshetError(error)) return;
      throw isAbort(error) && !signal.aborted ? unreachable(error, database.place) : error;
    } finally {
      this.#openGate(open);
      await connection.close();
    }
  }

  #openGate(open: (() => void) | undefined): void {
    this.#gate = undefined;
    open?.();
  }

  /** Rests as #rest does, once those who fold the log have what was appended since the last rest. */
  async #restFolded(signal: AbortSignal): Promise<void> {
    const { clock, log, readers } = this.#options;
    await this.#paced.drained(signal);
    if (readers !== undefined) await readersCaughtUp({ readers, log, clock }, signal);
    await this.#rest(signal);
  }

  /**
   * Rests in proportion to how long the work since the last rest took: the busier the machine is, with it or with anything
   * else, the longer.
   */
  async #rest(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const busyMs = (clock.monotonicUs() - (this.#workSinceUs ?? clock.monotonicUs())) / 1000;
    await clock.sleep(Math.min(REST_MS_MAX, Math.max(REST_MS_MIN, busyMs * (1 / WORK_SHARE - 1))), signal);
    this.#workSinceUs = clock.monotonicUs();
  }
}

function builtRoutes(build: Build): BuiltRoute[] {
  if (build.kind === 'append') return [...build.routes];
  return build.routes.map(({ plan, generation }) => ({ route: plan.route, generation }));
}

/** Where a route goes on in the live stream. */
function handedAt(
  { route, floor }: LiveRoute,
  stream: ChangeStream,
  fromLsn: bigint,
): Pick<LiveRoute, 'floor' | 'fromLsn' | 'hold' | 'values'> {
  const [hold, values] = [stream.holdOf(route.number), stream.valuesOf(route.number)];
  return { fromLsn, floor: stream.floors.get(route.number) ?? floor, hold, values };
}

function unreachable(cause: unknown, place: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', 'the catch-up was cut off', { cause, place });
}
