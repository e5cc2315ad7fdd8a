/**
 * Captures one Postgres database: prepares it, takes snapshots of new routes, follows the stream, and goes on at any
 * point that it was stopped or thrown out at.
 *
 *     connecting ──▶ preflight ──▶ nextStep: create_slot ⟲ stage ⟲ append ⟲ stream ──▶ (streaming)
 *          ▲             │ SOURCE_NOT_READY, SLOT_LOST, CONTRACT_BROKEN                     │ connection lost
 *          │             ▼                                                                  │
 *          │          halted ── looked at again every few seconds, or at new definitions    │
 *          └────────────────────────────────────────────────────────────────────────────────┘
 *
 * Owns the loop and the source's state. What to do next is core/source-state.ts; each doing has its own file.
 * Invariants: I1 (replication.ts), and that a route streams only after its snapshot is in the log.
 */
import { join } from 'node:path';
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { type FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { Log } from '@freshet/log/log.ts';
import { AppendPipeline, type LogFailure } from '../core/append-pipeline.ts';
import { ChangeStream, type ContractFloor, type LiveRoute } from '../core/change-stream.ts';
import { type ContractHistory, plansByContract } from '../core/contract-history.ts';
import { laterLsn } from '../core/lsn.ts';
import { prepareRoute, SNAPSHOT_LANE } from '../core/route.ts';
import {
  checkTables,
  EMPTY_STATE,
  endMoved,
  endUnwanted,
  nextStep,
  type PublishedTables,
  publishedOid,
  type RouteGeneration,
  type RouteState,
  type SourceState,
  startedOver,
  type WorldFacts,
  withRoutes,
} from '../core/source-state.ts';
import { quoteLiteral, tableName } from '../core/sql.ts';
import { readServer, readSlot } from './catalog.ts';
import { type ConnectionTarget, describeTarget } from './pg/connection-url.ts';
import { PgConnection, type PgConnectionOptions, withConnection } from './pg/pg-connection.ts';
import { fromPgError } from './pg/pg-error.ts';
import { publicationNames, readPublished } from './publications.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import { Replication } from './replication.ts';
import { createSlot, withSnapshot } from './slot.ts';
import { appendSnapshot } from './snapshot-rows.ts';
import { type Stage, StageStore, stageFacts, type TableToStage } from './snapshot-stage.ts';
import { checkShape, preflight, publish, tableKey, tableOf } from './source-preflight.ts';
import { StateFile } from './state-file.ts';
import { type TableWatch, watchTables } from './table-watch.ts';

export interface PostgresSourceOptions {
  /** The database's name in definitions. */
  readonly name: string;
  readonly target: ConnectionTarget;
  readonly slotName: string;
  /** For the state and the stages. */
  readonly directory: string;
  readonly log: Log;
  readonly quarantine: QuarantineFile;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The most that is held between the socket and the log, in bytes of memory. */
  readonly inFlightBytesMax: number;
  /** Drop the slot first and take every route anew. */
  readonly resync: boolean;
  /** How long a halted source waits before it looks again whether somebody mended what is wrong. Default 5 s. */
  readonly recheckMs?: number | undefined;
  /** How often the tables are looked up while streaming. Default 10 s. */
  readonly tableCheckMs?: number | undefined;
}

/** Default of PostgresSourceOptions.recheckMs. */
const RECHECK_MS = 5_000;
/** Default of PostgresSourceOptions.tableCheckMs. */
const TABLE_CHECK_MS = 10_000;

export class PostgresSource {
  readonly #options: PostgresSourceOptions;
  readonly #stateFile: StateFile;
  readonly #stages: StageStore;
  #state: SourceState = EMPTY_STATE;
  #resync: boolean;
  #contracts: ContractHistory = new Map();
  #replication: Replication | undefined;
  #stream: ChangeStream | undefined;
  #pipeline: AppendPipeline | undefined;
  #commits = 0;
  #rows = 0;
  #records = 0;
  #recordBytes = 0;
  #unkeyed = 0;
  #phase: SourcePhase = SourcePhase.CONNECTING;
  #problem: FreshetError | undefined;

  constructor(options: PostgresSourceOptions) {
    this.#options = options;
    this.#resync = options.resync;
    this.#stateFile = new StateFile(join(options.directory, 'state.json'), options.log.logId);
    this.#stages = new StageStore(join(options.directory, 'stages'));
  }

  get name(): string {
    return this.#options.name;
  }

  /** What it is doing. Counts are since start. */
  status(): SourceReport {
    const progress = this.#replication?.progress;
    return {
      database: this.name,
      phase: this.#phase,
      routes: this.#state.routes.filter(({ phase }) => phase === 'live').map(({ route }) => route),
      durableLsn: laterLsn(this.#state.acknowledgedLsn, progress?.durableLsn ?? 0n),
      serverLsn: progress?.serverLsn ?? 0n,
      commits: this.#commits + (this.#stream?.commits ?? 0),
      rows: this.#rows + (this.#stream?.rows ?? 0),
      records: this.#records + (this.#pipeline?.records ?? 0),
      recordBytes: this.#recordBytes + (this.#pipeline?.recordBytes ?? 0),
      unkeyed: this.#unkeyed + (this.#pipeline?.unkeyed ?? 0),
      problem: this.#problem,
    };
  }

  /** Captures what the definitions want until the signal; then what was read is durable. Throws LogFailure and faults of ours. */
  async run(definitions: DefinitionSet, contracts: ContractHistory, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    const wanted = definitions.routes.filter(
      ({ source }) => source?.origin.case === 'postgres' && source.origin.value.database === this.name,
    );
    this.#contracts = contracts;
    this.#state = await this.#stateFile.load();
    await this.#save(endUnwanted(this.#state, wanted));
    let fault: unknown;
    const attempt = async (healthy: () => void): Promise<void> => {
      try {
        await this.#capture(wanted, signal, healthy);
      } catch (error) {
        // Kept aside: once the signal is aborted, retry tells of nothing else.
        if (!isFreshetError(error) && !isAbort(error) && error !== signal.reason) fault = error;
        if (isFreshetError(error) && error.retryable) this.#enter(SourcePhase.CONNECTING, error);
        throw error;
      }
    };
    while (!signal.aborted) {
      try {
        await retry(attempt, { what: `capturing ${this.name}`, signal, clock, log: logger });
        return;
      } catch (error) {
        if (fault !== undefined) throw fault;
        if (signal.aborted) return;
        if (!isFreshetError(error)) throw error;
        await this.#halt(error, signal);
      }
    }
  }

  /** Runs work on a connection of its own; the database's errors come as operating errors. */
  async connect<T>(signal: AbortSignal, work: (connection: PgConnection) => Promise<T>): Promise<T> {
    try {
      return await withConnection(this.#connection(), signal, work);
    } catch (error) {
      throw fromPgError(error, describeTarget(this.#options.target));
    }
  }

  async #halt(error: FreshetError, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    if (this.#problem?.message !== error.message) {
      for (const each of [error, ...error.also]) {
        logger.error(`${this.name} is not captured: ${each.message}`, {
          code: each.code,
          place: each.place,
          remedy: each.remedy,
        });
      }
    }
    this.#enter(SourcePhase.HALTED, error);
    // Read again, a broken contract breaks at the same row again, after what came before it is in the log twice.
    const mendable = isFreshetError(error, 'SOURCE_NOT_READY', 'SLOT_LOST', 'CLOCK_JUMP');
    if (mendable) await clock.sleep(this.#options.recheckMs ?? RECHECK_MS, signal).catch(() => undefined);
    else await aborted(signal);
  }

  async #capture(wanted: readonly RoutePlan[], signal: AbortSignal, healthy: () => void): Promise<void> {
    if (this.#phase !== SourcePhase.HALTED) this.#phase = SourcePhase.CONNECTING;
    const routes = await this.connect(signal, (connection) => this.#prepare(wanted, connection, signal));
    if (routes === undefined) {
      this.#enter(SourcePhase.STREAMING);
      await aborted(signal);
      return;
    }
    try {
      await this.#follow(wanted, routes, signal, healthy);
    } catch (error) {
      throw fromPgError(error, describeTarget(this.#options.target));
    }
  }

  /** Brings everything to where the stream can start; undefined: there is nothing to stream. */
  async #prepare(
    wanted: readonly RoutePlan[],
    connection: PgConnection,
    signal: AbortSignal,
  ): Promise<readonly RouteState[] | undefined> {
    const { slotName, logger } = this.#options;
    if (this.#resync) await this.#startOver(connection);
    const tables = await preflight({ wanted, state: this.#state, connection, clock: this.#options.clock, logger });
    const systemId = await this.#systemId(signal);
    for (;;) {
      const stages = await this.#stages.load();
      const server = await readServer(connection);
      const slot = await readSlot(connection, slotName, server.version);
      const world: WorldFacts = { systemId, database: server.database, slotName, slot, stages: stageFacts(stages) };
      const settled = endMoved(this.#state, await readPublished(connection, slotName), wanted);
      const step = nextStep(settled, world, wanted);
      await this.#save(settled);
      if (step.kind === 'idle') return undefined;
      const published = await publish({ wanted, tables, slotName, connection, logger });
      switch (step.kind) {
        case 'create_slot':
          await this.#save({ ...this.#state, slot: 'creating', systemId });
          if (slot === undefined) await createSlot(this.#connection(), slotName, signal);
          await this.#adopt(connection, server.version);
          break;
        case 'stage':
          this.#enter(SourcePhase.SNAPSHOT);
          await this.#stage(step.routes, tables, published, signal);
          break;
        case 'append':
          this.#enter(SourcePhase.SNAPSHOT);
          await this.#append(must(stages.get(step.stage)), step.routes, wanted, signal);
          break;
        case 'stream':
          for (const name of stages.keys()) await this.#stages.remove(name);
          logger.debug('prepared', { routes: step.routes.length });
          return step.routes;
      }
    }
  }

  async #adopt(connection: PgConnection, version: number): Promise<void> {
    const slot = must(await readSlot(connection, this.#options.slotName, version), 'a slot that was just made');
    await this.#save({ ...this.#state, slot: 'made', acknowledgedLsn: slot.confirmedLsn });
  }

  async #stage(
    routes: readonly RouteGeneration[],
    tables: readonly TableToStage[],
    published: PublishedTables,
    signal: AbortSignal,
  ): Promise<void> {
    const { slotName, logger } = this.#options;
    const keys = new Set(routes.map(({ plan }) => tableKey(tableOf(plan))));
    const name = routes
      .map(({ plan, generation }) => `${plan.route}.${generation}`)
      .join('_')
      .slice(0, 200);
    const staged = tables.filter((table) => keys.has(tableKey(table)));
    for (const { plan } of routes) checkShape(plan, must(staged.find((t) => tableKey(t) === tableKey(tableOf(plan)))));
    logger.info('taking a snapshot', {
      routes: routes.map(({ plan }) => plan.route),
      tables: staged.map(({ schema, table }) => tableName(schema, table)),
    });
    const stage = await withSnapshot(this.#connection(), slotName, signal, (connection, fromLsn) =>
      this.#stages.write(name, fromLsn, staged, connection),
    );
    const changed = routes.map(
      ({ plan, generation }): RouteState => ({
        route: plan.route,
        generation,
        phase: 'appending',
        fromLsn: stage.fromLsn,
        stage: name,
        tableOid: publishedOid(published, plan),
        contractVersion: plan.source?.contract?.version ?? 0,
        contractLsn: stage.fromLsn,
      }),
    );
    await this.#save(withRoutes(this.#state, changed));
  }

  async #append(
    stage: Stage,
    states: readonly RouteState[],
    wanted: readonly RoutePlan[],
    signal: AbortSignal,
  ): Promise<void> {
    const { log, clock, logger } = this.#options;
    const plans = new Map(wanted.map((plan) => [plan.route, plan]));
    const pipeline = this.#newPipeline();
    const ahead = await this.#heldAhead(states);
    const routes = states.map(({ route, generation }) =>
      prepareRoute(must(plans.get(route)), generation, log.partitionCount, ahead),
    );
    const rows = await appendSnapshot({
      store: this.#stages,
      stage,
      routes,
      partitions: log.partitionCount,
      pipeline,
      clock,
      signal,
    });
    await this.#save(
      withRoutes(
        this.#state,
        states.map((state) => ({ ...state, phase: 'live', stage: '' })),
      ),
    );
    logger.info('snapshot appended', { routes: states.map(({ route }) => route), rows });
  }

  async #follow(
    wanted: readonly RoutePlan[],
    states: readonly RouteState[],
    signal: AbortSignal,
    healthy: () => void,
  ): Promise<void> {
    const { slotName, clock, target, logger } = this.#options;
    const names = publicationNames(slotName);
    const connection = await PgConnection.open({ ...this.#connection(), replication: true }, signal);
    try {
      const { rows } = await connection.query("SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'");
      this.#retireStream();
      const ahead = await this.#heldAhead(states);
      const stream = new ChangeStream(this.#liveRoutes(wanted, states, ahead));
      this.#stream = stream;
      const replication = new Replication({
        connection,
        slotName,
        publications: [names.append, names.mutable],
        stream,
        pipeline: this.#newPipeline((failure) => connection.destroy(failure)),
        acknowledgedLsn: this.#state.acknowledgedLsn,
        save: (lsn) => this.#save(withFloors({ ...this.#state, acknowledgedLsn: lsn }, stream.floors)),
        senderTimeoutMs: Number(rows[0]?.[0] ?? 0),
        clock,
        signal,
      });
      this.#replication = replication;
      const ended = new AbortController();
      const watching = watchTables(this.#tableWatch(wanted, connection, ended.signal), ended.signal);
      try {
        await replication.run(() => {
          this.#enter(SourcePhase.STREAMING);
          healthy();
          logger.info('streaming', {
            database: describeTarget(target),
            slot: slotName,
            routes: states.map(({ route }) => route),
          });
        });
      } finally {
        ended.abort();
        await watching;
      }
    } finally {
      await connection.close();
    }
  }

  /** Rows in quarantine whose event time was ahead, of those that may come again. */
  #heldAhead(states: readonly RouteState[]): Promise<ReadonlySet<string>> {
    const generations = new Map(states.map(({ route, generation }) => [route, generation]));
    const { acknowledgedLsn } = this.#state;
    return this.#options.quarantine.places(
      ({ reason, route, generation, lane, major }) =>
        reason === 'event_time_ahead' &&
        generations.get(route) === generation &&
        (lane === SNAPSHOT_LANE || major >= acknowledgedLsn),
    );
  }

  #liveRoutes(wanted: readonly RoutePlan[], states: readonly RouteState[], ahead: ReadonlySet<string>): LiveRoute[] {
    const { partitionCount } = this.#options.log;
    const plans = new Map(wanted.map((plan) => [plan.route, plan]));
    return states.map(({ route, generation, fromLsn, tableOid, contractVersion, contractLsn }) => {
      const [newest, ...earlier] = plansByContract(must(plans.get(route)), this.#contracts).map((plan) =>
        prepareRoute(plan, generation, partitionCount, ahead),
      );
      const floor = { version: contractVersion, lsn: contractLsn };
      return { route: must(newest), earlier, tableOid, floor, fromLsn };
    });
  }

  #tableWatch(wanted: readonly RoutePlan[], streaming: PgConnection, signal: AbortSignal): TableWatch {
    const { slotName, clock, tableCheckMs } = this.#options;
    return {
      look: () =>
        this.connect(signal, async (connection) => {
          checkTables(this.#state, await readPublished(connection, slotName), wanted);
        }),
      onMoved: (error) => streaming.destroy(error),
      everyMs: tableCheckMs ?? TABLE_CHECK_MS,
      clock,
    };
  }

  async #startOver(connection: PgConnection): Promise<void> {
    const { slotName, logger } = this.#options;
    logger.warn('starting over', { slot: slotName });
    await connection.query(`
      SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ${quoteLiteral(slotName)}`);
    await this.#save(startedOver(this.#state));
    this.#resync = false;
  }

  async #systemId(signal: AbortSignal): Promise<string> {
    return withConnection({ ...this.#connection(), replication: true }, signal, async (connection) => {
      const { rows } = await connection.query('IDENTIFY_SYSTEM');
      return rows[0]?.[0] ?? '';
    });
  }

  #connection(): PgConnectionOptions {
    return { target: this.#options.target, applicationName: `freshet ingest ${this.name}` };
  }

  #newPipeline(onFailure?: (failure: LogFailure) => void): AppendPipeline {
    const { log, quarantine, inFlightBytesMax } = this.#options;
    this.#records += this.#pipeline?.records ?? 0;
    this.#recordBytes += this.#pipeline?.recordBytes ?? 0;
    this.#unkeyed += this.#pipeline?.unkeyed ?? 0;
    this.#pipeline = new AppendPipeline({ log, quarantine, bytesMax: inFlightBytesMax, onFailure });
    return this.#pipeline;
  }

  #retireStream(): void {
    this.#commits += this.#stream?.commits ?? 0;
    this.#rows += this.#stream?.rows ?? 0;
    this.#stream = undefined;
  }

  #enter(phase: SourcePhase, problem?: FreshetError): void {
    this.#phase = phase;
    this.#problem = problem;
  }

  async #save(state: SourceState): Promise<void> {
    if (state === this.#state) return;
    await this.#stateFile.save(state);
    this.#state = state;
  }
}

/** What a source reports of itself. */
export interface SourceReport {
  readonly database: string;
  readonly phase: SourcePhase;
  readonly routes: readonly number[];
  readonly durableLsn: bigint;
  readonly serverLsn: bigint;
  readonly commits: number;
  readonly rows: number;
  readonly records: number;
  readonly recordBytes: number;
  readonly unkeyed: number;
  readonly problem: FreshetError | undefined;
}

/** The state with the newest contracts that the stream has seen. */
function withFloors(state: SourceState, floors: ReadonlyMap<number, ContractFloor>): SourceState {
  const changed = state.routes.flatMap((route) => {
    const floor = floors.get(route.route);
    return floor === undefined ? [] : [{ ...route, contractVersion: floor.version, contractLsn: floor.lsn }];
  });
  return withRoutes(state, changed);
}

/** Resolves when the signal aborts. */
function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
