/**
 * The live stream of a database, and all that goes on beside it while its connection holds:
 *
 *     stream ──▶ change stream ──▶ pipeline ──▶ log
 *       beside it: routes that are built (beside-builds.ts) · held rows that are released (held-releases.ts)
 *                  · other definitions that come into force (live-revisions.ts) · the watch of tables
 *
 * Owns when these begin and end, and the counts of what came. Does not own what led here (source-preparation.ts), nor what is
 * done when it ends (postgres-source.ts). Invariants: I1 (core/replication.ts), F3 (one pipeline for all of it).
 */
import { SourceState as SourcePhase } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { isAbort, isFreshetError } from '@freshet/kit/errors.ts';
import type { AppendPipeline } from '../core/append-pipeline.ts';
import { ChangeStream } from '../core/change-stream.ts';
import type { LiveRoute } from '../core/live-route.ts';
import { checkStream } from '../core/lost-history.ts';
import { Replication, type ReplicationProgress } from '../core/replication.ts';
import type { ReplicationStream } from '../core/source-database.ts';
import type { SourcePipelines } from '../core/source-pipelines.ts';
import type { RouteState } from '../core/source-state.ts';
import { BesideBuilds, type BuildWork } from './beside-builds.ts';
import { FillGate } from './fill-gate.ts';
import { LiveRevisions } from './live-revisions.ts';
import { liveRoutes } from './live-routes.ts';
import { PausableWork } from './pausable-work.ts';
import { lookAtSource } from './source-look.ts';
import type { SourceParts, Wanted } from './source-parts.ts';
import type { Prepared } from './source-preparation.ts';
import { type TableWatch, watchTables } from './table-watch.ts';

/** Default of PostgresSourceOptions.tableCheckMs. */
const TABLE_CHECK_MS = 10_000;

export class LiveCapture {
  readonly #parts: SourceParts;
  readonly #pipelines: SourcePipelines;
  #replication: Replication | undefined;
  #stream: ChangeStream | undefined;
  #builds: BesideBuilds | undefined;
  #revisions: LiveRevisions | undefined;
  #commits = 0;
  #rows = 0;

  constructor(parts: SourceParts, pipelines: SourcePipelines) {
    this.#parts = parts;
    this.#pipelines = pipelines;
  }

  /** Whether routes are being built beside it. */
  get isBuilding(): boolean {
    return this.#builds?.isBuilding ?? false;
  }

  /** Where the newest stream is, or was; undefined: there was none. */
  get progress(): ReplicationProgress | undefined {
    return this.#replication?.progress;
  }

  /** Commits that came since start. */
  get commits(): number {
    return this.#commits + (this.#stream?.commits ?? 0);
  }

  /** Rows that came since start. */
  get rows(): number {
    return this.#rows + (this.#stream?.rows ?? 0);
  }

  /** Captures this from now on, without ending the stream; undefined: looks again at what is captured. Whether there is one. */
  tryRevise(wanted?: Wanted): boolean {
    this.#revisions?.ask(wanted);
    return this.#revisions !== undefined;
  }

  /** Streams until the signal, and then returns; or throws what broke the stream. `healthy` is called when something comes. */
  async run(wanted: Wanted, prepared: Prepared, signal: AbortSignal, healthy: () => void): Promise<void> {
    const { options, store, held, board, pace } = this.#parts;
    const { database, slotName, clock, logger } = options;
    const { routes: states } = prepared;
    const connection = await database.openStream(slotName, signal);
    try {
      checkStream(store.state, connection);
      this.#retireStream();
      const stream = new ChangeStream(await this.#liveRoutes(wanted, states));
      this.#stream = stream;
      const pipeline = await this.#pipelines.begin((failure) => connection.destroy(failure));
      const builds = this.#buildsBeside(wanted, prepared, stream, pipeline);
      this.#builds = builds;
      const holdAt = (): bigint | undefined => builds.holdAt();
      const releases = new PausableWork((until) => held.run({ stream, pipeline, holdAt }, until));
      const workOf = this.#workOf.bind(this);
      const revisions = new LiveRevisions({
        parts: this.#parts,
        stream,
        builds,
        releases,
        wanted,
        ready: prepared.ready,
        workOf,
      });
      this.#revisions = revisions;
      const fills = new FillGate({
        database,
        store,
        stream,
        wanted: () => revisions.wanted,
        onAnew: () => revisions.ask(),
        clock,
        signal,
      });
      const replication = new Replication({
        connection,
        stream,
        pipeline,
        acknowledgedLsn: store.state.acknowledgedLsn,
        save: (lsn) => store.advance(lsn, stream),
        holdAt,
        gate: () => builds.gate() ?? this.#heldGate(),
        described: (relation, by) => fills.described(relation, by),
        onUnsaved: (why) => board.note('state', why),
        clock,
        signal,
      });
      this.#replication = replication;
      const ended = new AbortController();
      const watch = this.#tableWatch(revisions, stream, connection);
      // What the stream does not tell of keys, before any row of it is taken.
      await watch.look(signal);
      const watching = watchTables(watch, ended.signal);
      let building = Promise.resolve();
      try {
        await replication.run(() => {
          const until = AbortSignal.any([signal, ended.signal]);
          building = Promise.all([builds.run(until), releases.run(until), revisions.run(until)]).then(
            () => undefined,
            (error: unknown) => connection.destroy(asError(error)),
          );
          board.enter(SourcePhase.STREAMING);
          healthy();
          const routes = states.map(({ route }) => route);
          for (const lives of ['history', ...routes] as const) pace.alive(lives, clock.monotonicUs());
          logger.info('streaming', { database: database.place, slot: slotName, routes });
        });
      } finally {
        this.#revisions = undefined;
        ended.abort();
        await watching;
        await building;
        this.#builds = undefined;
      }
    } finally {
      await this.#pipelines.retire();
      for (const what of ['state', 'keys', 'values'] as const) board.note(what, undefined);
      await connection.close();
    }
  }

  /** A release that was told to stand still lets the stream go on. */
  #heldGate(): Promise<void> | undefined {
    return this.#parts.held.gate()?.catch((error: unknown) => {
      if (!isAbort(error)) throw error;
    });
  }

  #buildsBeside(wanted: Wanted, prepared: Prepared, live: ChangeStream, pipeline: AppendPipeline): BesideBuilds {
    const { options, store, stages, snapshots, board, pace } = this.#parts;
    return new BesideBuilds({
      ...options,
      store,
      pace,
      stages,
      snapshots,
      live,
      pipeline,
      work: this.#workOf({ ...wanted, routes: prepared.ready }, prepared),
      onAnew: () => this.#revisions?.ask(),
      onProblem: (why) => board.note('build', why),
    });
  }

  #workOf(wanted: Wanted, { tables, published }: Pick<Prepared, 'tables' | 'published'>): BuildWork {
    const { routes, definitions } = wanted;
    const routesOf = (states: readonly RouteState[]): Promise<LiveRoute[]> => this.#liveRoutes(wanted, states);
    return { wanted: routes, definitions, tables, published, routesOf };
  }

  #liveRoutes({ routes, definitions, contracts }: Wanted, states: readonly RouteState[]): Promise<LiveRoute[]> {
    const { options, store } = this.#parts;
    const { quarantine, log } = options;
    const partitions = log.partitionCount;
    return liveRoutes(states, { wanted: routes, definitions, contracts, quarantine, partitions, store });
  }

  #tableWatch(revisions: LiveRevisions, stream: ChangeStream, streaming: ReplicationStream): TableWatch {
    const { options, store, held, board } = this.#parts;
    const { database, slotName, clock, tableCheckMs } = options;
    const durableLsn = (): bigint => this.#replication?.progress.durableLsn ?? 0n;
    const parts = { tells: stream.parts, durableLsn, waits: new Map<string, bigint>() };
    const at = { slotName, store, held, stream, clock, parts, note: board.note.bind(board) };
    return {
      look: (signal) =>
        database.look(signal, async (session) => {
          try {
            await lookAtSource(revisions.wanted, { ...at, session });
          } catch (error) {
            if (!isFreshetError(error, 'SOURCE_NOT_READY')) throw error;
            // Its route begins anew or waits; the others have no part in it.
            revisions.ask();
          }
        }),
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
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
