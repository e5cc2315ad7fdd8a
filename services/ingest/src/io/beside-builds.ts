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
 * Owns the order of these steps, the hold, and that a build's failure is its own: what is live goes on, a condition tells.
 */
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { Log } from '@freshet/log/log.ts';
import type { AppendPipeline } from '../core/append-pipeline.ts';
import { CatchUpPatience } from '../core/catch-up-patience.ts';
import { ChangeStream, type LiveRoute } from '../core/change-stream.ts';
import type { LogReaders } from '../core/log-readers.ts';
import { earlierLsn, laterLsn } from '../core/lsn.ts';
import { PacedPipeline } from '../core/paced-pipeline.ts';
import { IdentityBroken } from '../core/relation-identity.ts';
import { Replication } from '../core/replication.ts';
import type { SourceDatabase, TableToStage } from '../core/source-database.ts';
import {
  heldAt,
  nextBuild,
  type PublishedTables,
  type RouteState,
  withFloors,
  withHoles,
  withRoutes,
} from '../core/source-state.ts';
import { readersCaughtUp } from './reader-pace.ts';
import { type StageStore, stageFacts } from './snapshot-stage.ts';
import type { SourceSnapshots } from './source-snapshots.ts';
import type { SourceStore } from './source-store.ts';

/** What live rows may find in front of them in the queues of all partitions together, in bytes of memory. */
const SHARE_BYTES = 256 * 1024;
/** Rows are appended for at most this share of the time, so that live rows and the shards that fold them come to theirs. */
const WORK_SHARE = 0.5;
const REST_MS_MIN = 1;
/** What a person can mend is looked at again after this long. */
const RECHECK_MS = 5_000;

export interface BesideBuildsOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly database: SourceDatabase;
  readonly slotName: string;
  readonly store: SourceStore;
  readonly stages: StageStore;
  readonly snapshots: SourceSnapshots;
  /** The live stream, and the pipeline that it uses. */
  readonly live: ChangeStream;
  readonly pipeline: AppendPipeline;
  readonly log: Pick<Log, 'describe'>;
  /** Those who read the log; rows of a build come to it no faster than they take them. */
  readonly readers?: LogReaders | undefined;
  readonly wanted: readonly RoutePlan[];
  readonly definitions: DefinitionSet;
  readonly tables: readonly TableToStage[];
  readonly published: PublishedTables;
  /** Routes in these states as a stream takes them. */
  readonly routesOf: (states: readonly RouteState[]) => Promise<LiveRoute[]>;
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
  #pinned: bigint | undefined;
  #gate: Promise<void> | undefined;
  #workSinceUs: number | undefined;
  #isBuilding = false;

  constructor(options: BesideBuildsOptions) {
    this.#options = options;
    this.#paced = new PacedPipeline(options.pipeline, SHARE_BYTES);
  }

  /** Whether there are routes that are not live yet, and are worked at. */
  get isBuilding(): boolean {
    return this.#isBuilding;
  }

  /** The position beyond which nothing may be acknowledged now. */
  holdAt(): bigint | undefined {
    return earlierLsn(heldAt(this.#options.store.state), this.#pinned);
  }

  /** What the live stream waits for before it reads more; undefined: nothing. */
  gate(): Promise<void> | undefined {
    return this.#gate;
  }

  /** Builds until all wanted routes are live, or the signal. Throws faults of ours, and what the log failed with. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random, logger, name, store, onProblem } = this.#options;
    const settings = { what: `building routes of ${name}`, signal, clock, random, log: logger };
    try {
      while (!signal.aborted) {
        try {
          await retry((healthy) => this.#build(signal, healthy), settings);
          return;
        } catch (error) {
          if (signal.aborted) return;
          if (!isFreshetError(error)) throw error;
          if (error instanceof IdentityBroken) {
            await store.end([{ route: error.route, table: error.place, why: error.message, isLoss: false }]);
            continue;
          }
          logger.error(`a build of ${name} waits: ${error.message}`, { code: error.code, remedy: error.remedy });
          onProblem(error);
          await clock.sleep(RECHECK_MS, signal).catch(() => undefined);
        }
      }
    } finally {
      this.#isBuilding = false;
      onProblem(undefined);
    }
  }

  async #build(signal: AbortSignal, healthy: () => void): Promise<void> {
    const { store, stages, wanted, tables, published, snapshots, onProblem } = this.#options;
    for (;;) {
      const there = await stages.load();
      const build = nextBuild(store.state, stageFacts(there), wanted);
      const needed = new Set(store.state.routes.map(({ stage }) => stage));
      for (const stage of there.keys()) if (!needed.has(stage)) await stages.remove(stage);
      this.#isBuilding = build !== undefined;
      if (build === undefined) return;
      if (build.kind === 'stage') {
        // Before the snapshot has its point, which is at or after everything that was ever acknowledged.
        this.#pinned = store.state.acknowledgedLsn;
        try {
          await store.staged(await snapshots.take(build.routes, tables, published, signal));
        } finally {
          this.#pinned = undefined;
        }
      } else {
        await this.#bring(must(there.get(build.stage)), build.routes, signal);
      }
      onProblem(undefined);
      healthy();
    }
  }

  async #bring(
    stage: Parameters<SourceSnapshots['append']>[0],
    states: readonly RouteState[],
    signal: AbortSignal,
  ): Promise<void> {
    const { snapshots, wanted, definitions, store, stages, logger } = this.#options;
    if (!this.#appended.has(stage.name)) {
      this.#workSinceUs = undefined;
      const settings = { stage, states, wanted, definitions, pipeline: this.#paced, pace: () => this.#rest(signal) };
      const appended = await snapshots.appendBy(settings, signal);
      // Taken anew, as a new generation.
      if (appended instanceof FreshetError) return;
      this.#appended.add(stage.name);
    }
    await this.#catchUp(stage.fromLsn, states, signal);
    await store.update((state) => {
      const known = new Map(state.routes.map((route) => [route.route, route]));
      const live = states.map(({ route }): RouteState => ({ ...must(known.get(route)), phase: 'live', stage: '' }));
      return withRoutes(state, live);
    });
    await stages.remove(stage.name);
    logger.info('routes are live', { routes: states.map(({ route }) => route) });
  }

  /** Brings the commits since the snapshot, until the live stream has the routes and what was before is durable. */
  async #catchUp(fromLsn: bigint, states: readonly RouteState[], signal: AbortSignal): Promise<void> {
    const { database, slotName, store, live, routesOf, clock } = this.#options;
    const connection = await database.openCopy(slotName, signal);
    let open: (() => void) | undefined;
    try {
      const routes = await routesOf(states);
      const stream = new ChangeStream(routes);
      let isHanded = false;
      const patience = new CatchUpPatience();
      const replication = new Replication({
        connection,
        stream,
        pipeline: this.#paced,
        acknowledgedLsn: fromLsn,
        save: () => store.update((state) => withHoles(withFloors(state, stream.floors), stream.holes)),
        isDone: () => {
          // What is half here would come twice.
          if (stream.inTransaction) return false;
          const from = laterLsn(fromLsn, stream.endLsn);
          isHanded = live.tryAdopt(routes.map((route) => ({ ...route, ...handedAt(route, stream, from) })));
          if (!isHanded && patience.isOver(live.newestLsn - from)) {
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
      if (!isHanded) throw new FreshetError('CANCELLED', 'the catch-up was given up', { cause: signal.reason });
      this.#openGate(open);
      await this.#paced.drained(signal);
      await store.update((state) => withHoles(withFloors(state, stream.floors), stream.holes));
    } catch (error) {
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

  /** Rests in proportion to the work since the last rest, and until those who fold the log are with it. */
  async #rest(signal: AbortSignal): Promise<void> {
    const { clock, log, readers } = this.#options;
    const nowUs = clock.monotonicUs();
    const workUs = nowUs - (this.#workSinceUs ?? nowUs);
    await clock.sleep(Math.max(REST_MS_MIN, (workUs / 1000) * (1 / WORK_SHARE - 1)), signal);
    if (readers !== undefined) await readersCaughtUp({ readers, log, clock }, signal);
    this.#workSinceUs = clock.monotonicUs();
  }
}

/** Where a route goes on in the live stream. */
function handedAt(
  { route, floor }: LiveRoute,
  stream: ChangeStream,
  fromLsn: bigint,
): Pick<LiveRoute, 'floor' | 'fromLsn' | 'hold'> {
  const hold = stream.holdOf(route.number);
  return { fromLsn, floor: stream.floors.get(route.number) ?? floor, hold };
}

function unreachable(cause: unknown, place: string): FreshetError {
  return new FreshetError('SOURCE_UNREACHABLE', 'the catch-up was cut off', { cause, place });
}
