/**
 * Captures one database: prepares it, takes snapshots of new routes, follows the stream, and goes on at any point that it
 * was stopped or thrown out at.
 *
 *     connecting ──▶ preflight ──▶ nextStep: create_slot ⟲ stage ⟲ append ⟲ stream ──▶ (streaming, building beside)
 *          ▲             │ SOURCE_NOT_READY, SLOT_LOST, CONTRACT_BROKEN, DATA_DAMAGED       │ connection lost
 *          │             ▼                                                                  │
 *          │          halted ── looked at again every few seconds, or at new definitions    │
 *          └────────────────────────────────────────────────────────────────────────────────┘
 *
 * Where some routes are live already, they are streamed at once, and the others are built beside (beside-builds.ts).
 *
 * Owns the loop and the source's state. What to do next is core/source-state.ts; each doing has its own file. The database
 * is behind core/source-database.ts, the disk behind FileSystem, time and chance are arguments: a simulator drives this.
 * Invariants: I1 (core/replication.ts), F3 (core/source-pipelines.ts: one pipeline at a time, and none when run() has
 * returned), and that a route streams only after its snapshot is in the log.
 */
import { join } from 'node:path';
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { aborted } from '@freshet/kit/aborted.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { AppendPipeline } from '../core/append-pipeline.ts';
import { ChangeStream, type LiveRoute } from '../core/change-stream.ts';
import type { ContractHistory } from '../core/contract-history.ts';
import { checkStream, type LostHistory, lostHistory } from '../core/lost-history.ts';
import { laterLsn } from '../core/lsn.ts';
import { IdentityRestored } from '../core/relation-identity.ts';
import { Replication } from '../core/replication.ts';
import { brokenRoute, type Ended, settleRoutes } from '../core/settle-routes.ts';
import type { DatabaseSession, ReplicationStream, TableToStage } from '../core/source-database.ts';
import { SourcePipelines } from '../core/source-pipelines.ts';
import type { SourceReport } from '../core/source-report.ts';
import {
  endAsked,
  endUnwanted,
  nextStep,
  type PublishedTables,
  type RouteState,
  type SourceState,
  type WorldFacts,
  withRoutes,
} from '../core/source-state.ts';
import { BesideBuilds } from './beside-builds.ts';
import { HeldReleases } from './held-releases.ts';
import { liveRoutes } from './live-routes.ts';
import type { PostgresSourceOptions } from './postgres-source-options.ts';
import { type Stage, StageStore, stageFacts } from './snapshot-stage.ts';
import { claimed } from './source-claimer.ts';
import { lookAtSource, type SourceLook } from './source-look.ts';
import { compareClocks, preflight, publish } from './source-preflight.ts';
import { SourceSnapshots } from './source-snapshots.ts';
import { SourceStore } from './source-store.ts';
import { type TableWatch, watchTables } from './table-watch.ts';

/** Default of PostgresSourceOptions.recheckMs. */
const RECHECK_MS = 5_000;
/** Default of PostgresSourceOptions.tableCheckMs. */
const TABLE_CHECK_MS = 10_000;
/** What somebody can mend without a restart; another definition set is looked at in any case. */
const MENDABLE = ['SOURCE_NOT_READY', 'SLOT_LOST', 'CLOCK_JUMP', 'DATA_DAMAGED', 'INVALID_CONFIG'] as const;

export class PostgresSource {
  readonly #options: PostgresSourceOptions;
  readonly #store: SourceStore;
  readonly #stages: StageStore;
  readonly #pipelines: SourcePipelines;
  readonly #snapshots: SourceSnapshots;
  /** What is held of tables, and its release. */
  readonly held: HeldReleases;
  #contracts: ContractHistory = new Map();
  #replication: Replication | undefined;
  #stream: ChangeStream | undefined;
  #builds: BesideBuilds | undefined;
  #commits = 0;
  #rows = 0;
  #phase: SourcePhase = SourcePhase.CONNECTING;
  #clockAgreed = false;
  #problem: FreshetError | undefined;
  #definitions: DefinitionSet | undefined;
  /** What was seen to be lost at the last look; done about only when it is so again. */
  #suspected: LostHistory['kind'] | undefined;
  /** Ends what is under way in order, to look again at what is wanted; anew for each look. */
  #again = new AbortController();

  constructor(options: PostgresSourceOptions) {
    this.#options = options;
    const { files, directory, log, quarantine, clock, random, logger, inFlightBytesMax } = options;
    this.#store = new SourceStore(options);
    this.held = new HeldReleases({ ...options, store: this.#store });
    this.#stages = new StageStore(files, join(directory, 'stages'), logger);
    this.#pipelines = new SourcePipelines({
      log,
      quarantine,
      clock,
      random,
      logger,
      bytesMax: inFlightBytesMax,
      onWaiting: (why) => this.#note('append', why),
    });
    this.#snapshots = new SourceSnapshots({
      ...options,
      store: this.#store,
      stages: this.#stages,
      pipelines: this.#pipelines,
      partitions: log.partitionCount,
    });
  }

  get name(): string {
    return this.#options.name;
  }

  /** Whether the database's clock agreed with ours once; a clock that leaps since is noticed by the log. */
  get clockAgreed(): boolean {
    return this.#clockAgreed;
  }

  /** Compares the database's clock with ours. Throws CLOCK_JUMP when they are far apart, or why it cannot be asked. */
  async compareClocks(signal: AbortSignal): Promise<void> {
    try {
      await this.#options.database.look(signal, (session) => compareClocks(session, this.#options));
      this.#clockAgreed = true;
    } catch (error) {
      if (isFreshetError(error)) this.#enter(error.retryable ? SourcePhase.CONNECTING : SourcePhase.HALTED, error);
      throw error;
    }
  }

  /** What it is doing. Counts are since start. */
  status(): SourceReport {
    const progress = this.#replication?.progress;
    return {
      database: this.name,
      phase: this.#phase === SourcePhase.STREAMING && this.#builds?.isBuilding ? SourcePhase.SNAPSHOT : this.#phase,
      routes: this.#store.state.routes.filter(({ phase }) => phase === 'live').map(({ route }) => route),
      durableLsn: laterLsn(this.#store.state.acknowledgedLsn, progress?.durableLsn ?? 0n),
      serverLsn: progress?.serverLsn ?? 0n,
      commits: this.#commits + (this.#stream?.commits ?? 0),
      rows: this.#rows + (this.#stream?.rows ?? 0),
      records: this.#pipelines.records,
      recordBytes: this.#pipelines.recordBytes,
      unkeyed: this.#pipelines.unkeyed,
      problem: this.#problem,
    };
  }

  /** The newest generation of a route that was begun; 0: none, or not known yet. */
  newestGeneration(route: number): number {
    return this.#store.state.routes.find((known) => known.route === route)?.generation ?? 0;
  }

  /**
   * Captures what the definitions want until the signal. When it has returned, nothing of it can come to the log any more.
   * Throws LogFailure and faults of ours.
   */
  async run(definitions: DefinitionSet, contracts: ContractHistory, signal: AbortSignal): Promise<void> {
    const { clock, random, logger } = this.#options;
    const wanted = definitions.routes.filter(
      ({ source }) => source?.origin.case === 'postgres' && source.origin.value.database === this.name,
    );
    this.#contracts = contracts;
    this.#definitions = definitions;
    const { requests } = this.#options;
    const forget = requests?.listen(() => {
      // Another source's route is nothing to us: a snapshot that is under way would begin at its first row again.
      const { state } = this.#store;
      if (endAsked(state, wanted, (route) => requests.of(route)?.above) !== state) this.#lookAgain();
    });
    let loaded = false;
    let fault: unknown;
    const attempt = async (until: AbortSignal, healthy: () => void): Promise<void> => {
      try {
        if (!loaded) await this.#store.load();
        loaded = true;
        await this.#store.save(endUnwanted(this.#store.state, wanted));
        await this.#capture(wanted, until, healthy);
      } catch (error) {
        // Kept aside: once the signal is aborted, retry tells of nothing else.
        if (!isFreshetError(error) && !isAbort(error) && error !== until.reason) fault = error;
        if (error instanceof IdentityRestored) await this.#store.end([brokenRoute(error)]);
        if (isFreshetError(error) && error.retryable) this.#enter(SourcePhase.CONNECTING, error);
        throw error;
      }
    };
    try {
      while (!signal.aborted) {
        this.#again = new AbortController();
        const until = AbortSignal.any([signal, this.#again.signal]);
        const settings = { what: `capturing ${this.name}`, signal: until, clock, random, log: logger };
        try {
          await retry((healthy) => attempt(until, healthy), settings);
        } catch (error) {
          if (fault !== undefined) throw fault;
          if (signal.aborted) return;
          if (this.#again.signal.aborted) continue;
          if (!isFreshetError(error)) throw error;
          // Its route has ended: whether it can begin anew is seen at once.
          if (error instanceof IdentityRestored) continue;
          await this.#halt(error, until);
        }
      }
    } finally {
      forget?.();
      await this.#pipelines.retire();
    }
  }

  #lookAgain(): void {
    this.#again.abort(new DOMException('routes were asked to begin anew', 'AbortError'));
  }

  async #halt(error: FreshetError, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    if (this.#problem?.message !== error.message) {
      for (const { message, code, place, remedy } of error.also) {
        logger.error(`${this.name} is not captured: ${message}`, { code, place, remedy });
      }
    }
    this.#enter(SourcePhase.HALTED, error);
    // Read again, a broken contract breaks at the same row again, after what came before it is in the log twice.
    const mendable = isFreshetError(error, ...MENDABLE);
    if (mendable) await clock.sleep(this.#options.recheckMs ?? RECHECK_MS, signal).catch(() => undefined);
    else await aborted(signal);
  }

  async #capture(wanted: readonly RoutePlan[], signal: AbortSignal, healthy: () => void): Promise<void> {
    if (this.#phase !== SourcePhase.HALTED) this.#phase = SourcePhase.CONNECTING;
    const prepared = await this.#options.database.look(signal, (session) => this.#prepare(wanted, session, signal));
    if (prepared === undefined) {
      this.#enter(SourcePhase.STREAMING);
      await aborted(signal);
      return;
    }
    await this.#follow(wanted, prepared, signal, healthy);
  }

  /** Brings everything to where the stream can start; undefined: there is nothing to stream. */
  async #prepare(
    wanted: readonly RoutePlan[],
    session: DatabaseSession,
    signal: AbortSignal,
  ): Promise<Prepared | undefined> {
    const { database, slotName, clock, logger } = this.#options;
    await this.#store.resync(session);
    const onClockAgreed = (): void => {
      this.#clockAgreed = true;
    };
    const rekeyed: Ended[] = [];
    const onRekeyed = (route: number, { message, place }: FreshetError): void => {
      rekeyed.push({ route, table: place, why: message, isLoss: false });
    };
    const settings = { wanted, state: this.#store.state, session, clock, logger, onClockAgreed, onRekeyed };
    let tables: readonly TableToStage[];
    try {
      tables = await preflight(settings);
    } finally {
      await this.#store.end(rekeyed);
    }
    for (;;) {
      const { endLsn, ...identity } = await database.identify(signal);
      const stages = await this.#stages.load();
      const server = await session.server();
      const slot = await session.slot(slotName);
      await this.#options.claim?.(claimed(identity.systemId, server.database, this.#store.state, slot), signal);
      const world: WorldFacts = {
        ...identity,
        endLsn,
        database: server.database,
        slotName,
        slot,
        stages: stageFacts(stages),
      };
      const lost = lostHistory(this.#store.state, world);
      if (lost !== undefined) {
        await this.#meetLoss(lost, slot !== undefined, session);
        continue;
      }
      this.#suspected = undefined;
      const settled = this.#settle(wanted, await session.published(slotName));
      const step = nextStep(settled, world, wanted);
      // States of before timelines were kept learn theirs, now that everything else is as it was.
      await this.#store.save(settled.slot === 'made' && settled.timeline === 0 ? { ...settled, ...identity } : settled);
      if (step.kind === 'idle') return undefined;
      const published = await publish({ wanted, tables, slotName, session });
      switch (step.kind) {
        case 'create_slot':
          await this.#store.save({ ...this.#store.state, slot: 'creating', ...identity });
          if (slot === undefined) await database.createSlot(slotName, signal);
          await this.#adopt(session);
          break;
        case 'stage':
          this.#enter(SourcePhase.SNAPSHOT);
          await this.#store.staged(await this.#snapshots.take(step.routes, tables, published, signal));
          break;
        case 'append':
          this.#enter(SourcePhase.SNAPSHOT);
          await this.#append(must(stages.get(step.stage)), step.routes, wanted, signal);
          break;
        case 'stream':
          logger.debug('prepared', { routes: step.routes.length });
          return { routes: step.routes, tables, published };
      }
    }
  }

  async #adopt(session: DatabaseSession): Promise<void> {
    const slot = must(await session.slot(this.#options.slotName), 'a slot that was just made');
    await this.#store.save({ ...this.#store.state, slot: 'made', acknowledgedLsn: slot.confirmedLsn });
  }

  /** The state once routes that cannot go on are ended. */
  #settle(wanted: readonly RoutePlan[], published: PublishedTables): SourceState {
    const { clock, logger, requests } = this.#options;
    const { state, ended } = settleRoutes({
      state: this.#store.state,
      wanted,
      definitions: must(this.#definitions),
      published,
      asked: (route) => requests?.of(route)?.above,
      nowUs: clock.nowUs(),
    });
    for (const { route, why } of ended) logger.warn('a route begins anew', { route, why });
    return state;
  }

  /** Starts over when the loss is seen a second time, and may be met so. Else throws what is lost. */
  async #meetLoss(
    { kind, error, rebuildable }: LostHistory,
    hasSlot: boolean,
    session: DatabaseSession,
  ): Promise<void> {
    const { onLostHistory } = this.#options;
    if (onLostHistory === 'halt' || !rebuildable) throw error;
    if (this.#suspected !== kind) {
      this.#suspected = kind;
      const remedy = 'Nothing: if it is so when it is looked up again, in a moment, everything is read anew.';
      throw new FreshetError('SLOT_LOST', error.message, { remedy, place: error.place });
    }
    this.#suspected = undefined;
    await this.#store.rebuild(error.message, hasSlot ? session : undefined);
  }

  async #append(
    stage: Stage,
    states: readonly RouteState[],
    wanted: readonly RoutePlan[],
    signal: AbortSignal,
  ): Promise<void> {
    const live = await this.#snapshots.append(stage, states, wanted, must(this.#definitions), signal);
    if (live instanceof FreshetError) {
      this.#note('stage', live);
      return;
    }
    await this.#store.save(withRoutes(this.#store.state, live));
    this.#note('stage', undefined);
  }

  async #follow(
    wanted: readonly RoutePlan[],
    prepared: Prepared,
    signal: AbortSignal,
    healthy: () => void,
  ): Promise<void> {
    const { database, slotName, clock, logger } = this.#options;
    const { routes: states } = prepared;
    const connection = await database.openStream(slotName, signal);
    try {
      checkStream(this.#store.state, connection);
      this.#retireStream();
      const stream = new ChangeStream(await this.#liveRoutes(wanted, states));
      this.#stream = stream;
      const pipeline = await this.#pipelines.begin((failure) => connection.destroy(failure));
      const builds = this.#buildsBeside(wanted, prepared, stream, pipeline);
      this.#builds = builds;
      const replication = new Replication({
        connection,
        stream,
        pipeline,
        acknowledgedLsn: this.#store.state.acknowledgedLsn,
        save: (lsn) => this.#store.advance(lsn, stream),
        holdAt: () => builds.holdAt(),
        gate: () => builds.gate() ?? this.held.gate(),
        onUnsaved: (why) => this.#note('state', why),
        clock,
        signal,
      });
      this.#replication = replication;
      const ended = new AbortController();
      const at = { slotName, store: this.#store, held: this.held, stream, note: this.#note.bind(this) };
      const watch = this.#tableWatch(wanted, connection, at);
      // What the stream does not tell of keys, before any row of it is taken.
      await watch.look(signal);
      const watching = watchTables(watch, ended.signal);
      let building = Promise.resolve();
      try {
        await replication.run(() => {
          const until = AbortSignal.any([signal, ended.signal]);
          const beside = { stream, pipeline, holdAt: () => builds.holdAt() };
          building = Promise.all([builds.run(until), this.held.run(beside, until)]).then(
            () => undefined,
            (error: unknown) => connection.destroy(asError(error)),
          );
          this.#enter(SourcePhase.STREAMING);
          healthy();
          const routes = states.map(({ route }) => route);
          logger.info('streaming', { database: database.place, slot: slotName, routes });
        });
      } finally {
        ended.abort();
        await watching;
        await building;
        this.#builds = undefined;
      }
    } finally {
      await this.#pipelines.retire();
      for (const what of ['state', 'keys'] as const) this.#note(what, undefined);
      await connection.close();
    }
  }

  #buildsBeside(
    wanted: readonly RoutePlan[],
    { tables, published }: Prepared,
    live: ChangeStream,
    pipeline: AppendPipeline,
  ): BesideBuilds {
    return new BesideBuilds({
      ...this.#options,
      store: this.#store,
      stages: this.#stages,
      snapshots: this.#snapshots,
      live,
      pipeline,
      wanted,
      definitions: must(this.#definitions),
      tables,
      published,
      routesOf: (states) => this.#liveRoutes(wanted, states),
      onProblem: (why) => this.#note('build', why),
    });
  }

  #liveRoutes(wanted: readonly RoutePlan[], states: readonly RouteState[]): Promise<LiveRoute[]> {
    const { quarantine, log } = this.#options;
    const [definitions, contracts] = [must(this.#definitions), this.#contracts];
    const partitions = log.partitionCount;
    return liveRoutes(states, { wanted, definitions, contracts, quarantine, partitions, store: this.#store });
  }

  #tableWatch(wanted: readonly RoutePlan[], streaming: ReplicationStream, at: Omit<SourceLook, 'session'>): TableWatch {
    const { database, clock, tableCheckMs } = this.#options;
    return {
      look: (signal) => database.look(signal, (session) => lookAtSource(wanted, { ...at, session })),
      onMoved: (error) => streaming.destroy(error),
      everyMs: tableCheckMs ?? TABLE_CHECK_MS,
      clock,
    };
  }

  #retireStream(): void {
    this.#commits += this.#stream?.commits ?? 0;
    this.#rows += this.#stream?.rows ?? 0;
    this.#stream = undefined;
  }

  #enter(phase: SourcePhase, problem?: FreshetError): void {
    this.#phase = phase;
    this.#problem = problem;
    const { conditions } = this.#options;
    if (problem === undefined) conditions.clear(`source/${this.name}`);
    else conditions.raise(`source/${this.name}`, problem, phase === SourcePhase.HALTED ? 'problem' : 'warning');
  }

  /** Tells of something beside the phase, or that it is over. */
  #note(what: 'append' | 'state' | 'stage' | 'build' | 'slot' | 'keys', why: FreshetError | undefined): void {
    const { conditions } = this.#options;
    const id = `source/${this.name}/${what}`;
    if (why === undefined) conditions.clear(id);
    else conditions.raise(id, why);
  }
}

/** What a stream begins with: the routes that are live, and what those are built of that are not. */
interface Prepared {
  readonly routes: readonly RouteState[];
  readonly tables: readonly TableToStage[];
  readonly published: PublishedTables;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
