/**
 * Captures one database: prepares it, takes snapshots of new routes, follows the stream, and goes on at any point that it
 * was stopped or thrown out at.
 *
 *     connecting ──▶ prepared (source-preparation.ts) ──▶ streaming, building beside (live-capture.ts)
 *          ▲             │ SOURCE_NOT_READY, SLOT_LOST, CONTRACT_BROKEN, DATA_DAMAGED       │ connection lost
 *          │             ▼                                                                  │
 *          │          halted ── looked at again every few seconds, or at new definitions    │
 *          └────────────────────────────────────────────────────────────────────────────────┘
 *
 * Where some routes are live already, they are streamed at once, and the others are built beside (beside-builds.ts). Other
 * definitions come into force while the stream goes on (live-revisions.ts); where there is none yet, all is looked at again.
 *
 * Owns the loop and what the source says of itself. The database is behind core/source-database.ts, the disk behind
 * FileSystem, time and chance are arguments: a simulator drives this. Invariants: I1 (core/replication.ts), F3
 * (core/source-pipelines.ts: one pipeline at a time, and none when run() has returned), and that a route streams only after
 * its snapshot is in the log.
 */
import { join } from 'node:path';
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { aborted } from '@freshet/kit/aborted.ts';
import { must } from '@freshet/kit/assert.ts';
import { type FreshetError, isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { ContractHistory } from '../core/contract-history.ts';
import { laterLsn } from '../core/lsn.ts';
import { RebuildPace } from '../core/rebuild-pace.ts';
import { IdentityRestored } from '../core/relation-identity.ts';
import { brokenRoute } from '../core/settle-routes.ts';
import { SourcePipelines } from '../core/source-pipelines.ts';
import type { SourceReport } from '../core/source-report.ts';
import { endAsked, endUnwanted, generationOf } from '../core/source-state.ts';
import type { ColumnValues } from '../core/table-fill.ts';
import { HeldReleases } from './held-releases.ts';
import { LiveCapture } from './live-capture.ts';
import { type PostgresSourceOptions, RECHECK_MS } from './postgres-source-options.ts';
import { StageStore } from './snapshot-stage.ts';
import { SourceBoard } from './source-board.ts';
import { type SourceParts, type Wanted, wantedOf } from './source-parts.ts';
import { compareClocks } from './source-preflight.ts';
import { SourcePreparation } from './source-preparation.ts';
import { SourceSnapshots } from './source-snapshots.ts';
import { SourceStore } from './source-store.ts';

/** What somebody can mend without a restart; another definition set is looked at in any case. */
const MENDABLE = [
  'SOURCE_NOT_READY',
  'SLOT_LOST',
  'CLOCK_JUMP',
  'DATA_DAMAGED',
  'INVALID_CONFIG',
  // A table that is to be read has another shape than was accepted: it may get its own again. Rows of the stream are held.
  'CONTRACT_BROKEN',
] as const;

export class PostgresSource {
  readonly #options: PostgresSourceOptions;
  readonly #store: SourceStore;
  readonly #pipelines: SourcePipelines;
  readonly #snapshots: SourceSnapshots;
  readonly #board: SourceBoard;
  readonly #preparation: SourcePreparation;
  readonly #live: LiveCapture;
  readonly #pace: RebuildPace;
  /** What is held of tables, and its release. */
  readonly held: HeldReleases;
  #clockAgreed = false;
  /** What is to be captured; undefined until it runs. */
  #wanted: Wanted | undefined;
  /** Ends what is under way in order, to look again at what is wanted; anew for each look. */
  #again = new AbortController();

  constructor(options: PostgresSourceOptions) {
    this.#options = options;
    const { files, directory, log, quarantine, clock, random, logger, inFlightBytesMax } = options;
    const store = new SourceStore(options);
    this.#store = store;
    this.held = new HeldReleases({ ...options, store });
    const board = new SourceBoard(options);
    this.#board = board;
    const stages = new StageStore(files, join(directory, 'stages'), logger);
    this.#pipelines = new SourcePipelines({
      log,
      quarantine,
      clock,
      random,
      logger,
      bytesMax: inFlightBytesMax,
      onWaiting: (why) => board.note('append', why),
    });
    this.#snapshots = new SourceSnapshots({
      ...options,
      store,
      stages,
      pipelines: this.#pipelines,
      partitions: log.partitionCount,
    });
    const pace = new RebuildPace(random);
    this.#pace = pace;
    const parts: SourceParts = { options, store, stages, snapshots: this.#snapshots, held: this.held, board, pace };
    this.#preparation = new SourcePreparation(parts, () => {
      this.#clockAgreed = true;
    });
    this.#live = new LiveCapture(parts, this.#pipelines);
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
      if (isFreshetError(error)) {
        this.#board.enter(error.retryable ? SourcePhase.CONNECTING : SourcePhase.HALTED, error);
      }
      throw error;
    }
  }

  /** What it is doing. Counts are since start. */
  status(): SourceReport {
    const { progress, isBuilding, commits, rows } = this.#live;
    const { phase, problem } = this.#board;
    return {
      database: this.name,
      phase: phase === SourcePhase.STREAMING && isBuilding ? SourcePhase.SNAPSHOT : phase,
      routes: this.#store.state.routes.filter((route) => route.phase === 'live').map(({ route }) => route),
      acknowledgedLsn: this.#store.state.acknowledgedLsn,
      durableLsn: laterLsn(this.#store.state.acknowledgedLsn, progress?.durableLsn ?? 0n),
      serverLsn: progress?.serverLsn ?? 0n,
      commits,
      rows,
      records: this.#pipelines.records,
      recordBytes: this.#pipelines.recordBytes,
      unkeyed: this.#pipelines.unkeyed,
      problem,
      snapshot: this.#snapshots.progress,
    };
  }

  /** The newest generation of a route that was begun; 0: none, or not known yet. */
  newestGeneration(route: number): number {
    return generationOf(this.#store.state, route);
  }

  /** What was computed anew in a table of an append source since it is captured. */
  valuesOf(tableOid: number): readonly ColumnValues[] {
    const routes = this.#store.state.routes.filter((route) => route.tableOid === tableOid && route.phase !== 'ended');
    return routes.flatMap(({ values = [] }) => values);
  }

  /**
   * Captures what the definitions want, or those of the newest update(), until the signal. When it has returned, nothing of it can come to the log any more.
   * Throws LogFailure and faults of ours.
   */
  async run(definitions: DefinitionSet, contracts: ContractHistory, signal: AbortSignal): Promise<void> {
    const { clock, random, logger, requests } = this.#options;
    this.#wanted = wantedOf(this.name, definitions, contracts);
    const forget = requests?.listen(() => {
      // Another source's route is nothing to us: a snapshot that is under way would begin at its first row again.
      const { state } = this.#store;
      const { routes } = must(this.#wanted);
      const isAsked = endAsked(state, routes, (route) => requests.of(route)?.above) !== state;
      if (isAsked && !this.#live.tryRevise()) this.#lookAgain();
    });
    let loaded = false;
    let fault: unknown;
    const attempt = async (until: AbortSignal, healthy: () => void): Promise<void> => {
      try {
        if (!loaded) await this.#store.load();
        loaded = true;
        const wanted = must(this.#wanted);
        await this.#store.save(endUnwanted(this.#store.state, wanted.routes));
        await this.#capture(wanted, until, healthy);
      } catch (error) {
        // Kept aside: once the signal is aborted, retry tells of nothing else.
        if (!isFreshetError(error) && !isAbort(error) && error !== until.reason) fault = error;
        if (error instanceof IdentityRestored) {
          const generation = this.newestGeneration(error.route);
          this.#pace.lost(error.route, error.message, { nowUs: clock.monotonicUs(), generation });
          await this.#store.end([brokenRoute(error)]);
        }
        if (isFreshetError(error) && error.retryable) this.#board.enter(SourcePhase.CONNECTING, error);
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
          // Its route has ended: whether it can begin anew is seen at once; the others go on.
          if (error instanceof IdentityRestored) continue;
          await this.#halt(error, until);
        }
      }
    } finally {
      forget?.();
      await this.#pipelines.retire();
    }
  }

  /** Captures by other definitions from now on: those that are streamed go on, as far as they are wanted. */
  update(definitions: DefinitionSet, contracts: ContractHistory): void {
    this.#wanted = wantedOf(this.name, definitions, contracts);
    if (!this.#live.tryRevise(this.#wanted)) this.#lookAgain();
  }

  #lookAgain(): void {
    this.#again.abort(new DOMException('something else is wanted', 'AbortError'));
  }

  async #halt(error: FreshetError, signal: AbortSignal): Promise<void> {
    const { clock, logger } = this.#options;
    if (this.#board.problem?.message !== error.message) {
      for (const { message, code, place, remedy } of error.also) {
        logger.error(`${this.name} is not captured: ${message}`, { code, place, remedy });
      }
    }
    this.#board.enter(SourcePhase.HALTED, error);
    const mendable = isFreshetError(error, ...MENDABLE);
    if (mendable) await clock.sleep(this.#options.recheckMs ?? RECHECK_MS, signal).catch(() => undefined);
    else await aborted(signal);
  }

  async #capture(wanted: Wanted, signal: AbortSignal, healthy: () => void): Promise<void> {
    this.#board.connect();
    const prepared = await this.#options.database.look(signal, (session) =>
      this.#preparation.prepare(wanted, session, signal),
    );
    if (prepared === undefined) {
      this.#board.enter(SourcePhase.STREAMING);
      await aborted(signal);
      return;
    }
    await this.#live.run(wanted, prepared, signal, healthy);
  }
}
