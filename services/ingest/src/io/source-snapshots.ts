/**
 * The snapshots of a source's routes: taken to a stage on disk under one view of the database, and appended from there.
 *
 * Owns the two doings and what they make of routes' states; the caller saves those. Does not own when they are done
 * (core/source-state.ts) nor a stage's form (snapshot-stage.ts).
 */
import type { DefinitionSet, RoutePlan } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { type FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { BatchTaker } from '../core/append-pipeline.ts';
import { prepareRoute, SNAPSHOT_LANE } from '../core/route.ts';
import { isMutableSource, neededColumns, shapeOf } from '../core/row-shape.ts';
import { SnapshotProgress, type SnapshotReport } from '../core/snapshot-progress.ts';
import type { SnapshotReader, SourceDatabase, TableToStage } from '../core/source-database.ts';
import type { SourcePipelines } from '../core/source-pipelines.ts';
import {
  type PublishedTables,
  publishedOid,
  type RouteGeneration,
  type RouteState,
  withHoleNames,
  withHoles,
} from '../core/source-state.ts';
import { tableName } from '../core/sql.ts';
import { partsOf } from '../core/table-parts.ts';
import { earlierDecisions } from './earlier-lives.ts';
import type { QuarantineFile } from './quarantine-file.ts';
import { RuleNotices, type RuleNoticesOptions } from './rule-notices.ts';
import { appendSnapshot, rowsToAppend } from './snapshot-rows.ts';
import type { Stage, StageStore } from './snapshot-stage.ts';
import { checkShape, tableKey, tableOf } from './source-preflight.ts';
import type { SourceStore } from './source-store.ts';

export interface SourceSnapshotsOptions extends RuleNoticesOptions {
  readonly database: SourceDatabase;
  readonly slotName: string;
  readonly stages: StageStore;
  readonly pipelines: SourcePipelines;
  readonly quarantine: QuarantineFile;
  readonly store: Pick<SourceStore, 'state' | 'logged' | 'update'>;
  readonly partitions: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface StageAppend {
  readonly stage: Stage;
  readonly states: readonly RouteState[];
  readonly wanted: readonly RoutePlan[];
  readonly definitions: DefinitionSet;
  readonly pipeline: BatchTaker;
  readonly pace?: (() => Promise<void>) | undefined;
}

export class SourceSnapshots {
  readonly #options: SourceSnapshotsOptions;
  readonly #rules: RuleNotices;
  readonly #progress = new SnapshotProgress();

  constructor(options: SourceSnapshotsOptions) {
    this.#options = options;
    this.#rules = new RuleNotices(options);
  }

  /** How far what is under way is; undefined: nothing is. */
  get progress(): SnapshotReport | undefined {
    return this.#progress.report;
  }

  /**
   * Reads the routes' tables to a stage; resolves, when it is durable, with what the routes are then. `pace` is waited for
   * between some rows and the next; left out: no wait.
   */
  async take(
    routes: readonly RouteGeneration[],
    tables: readonly TableToStage[],
    published: PublishedTables,
    signal: AbortSignal,
    pace?: () => Promise<void>,
  ): Promise<RouteState[]> {
    const { database, slotName, stages, logger } = this.#options;
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
    const progress = this.#progress;
    progress.begin('reading');
    const oids = routes.map(({ plan }) => publishedOid(published, plan));
    const [stage, fills, parts] = await database
      .snapshot(slotName, signal, async (reader, fromLsn) => {
        progress.expect(await rowsAbout(reader, staged));
        const paced = pace === undefined ? reader : { copy: (table: TableToStage) => pacing(reader.copy(table), pace) };
        const written = await stages.write(name, fromLsn, staged, paced, (rows) => progress.add(rows));
        return [written, await reader.fills(oids), await reader.parts(oids)] as const;
      })
      .finally(() => progress.end());
    return routes.map(
      ({ plan, generation }): RouteState => ({
        route: plan.route,
        generation,
        phase: 'appending',
        fromLsn: stage.fromLsn,
        stage: name,
        tableOid: publishedOid(published, plan),
        contractVersion: plan.source?.contract?.version ?? 0,
        contractLsn: stage.fromLsn,
        shape: shapeOf(plan),
        fill: fills.get(publishedOid(published, plan)),
        parts: isMutableSource(plan) ? partsOf(parts.get(publishedOid(published, plan))) : undefined,
      }),
    );
  }

  /**
   * Appends a stage's rows of these routes, from the first. Resolves with the routes that are live then, or with the damage
   * for which the stage was removed: what is in the log of it ends with its generation, and the next step is another snapshot.
   */
  async append(
    stage: Stage,
    states: readonly RouteState[],
    wanted: readonly RoutePlan[],
    definitions: DefinitionSet,
    signal: AbortSignal,
  ): Promise<readonly RouteState[] | FreshetError> {
    const { pipelines } = this.#options;
    const failed = new AbortController();
    const pipeline = await pipelines.begin((failure) => failed.abort(failure));
    try {
      const until = AbortSignal.any([signal, failed.signal]);
      return await this.appendBy({ stage, states, wanted, definitions, pipeline }, until);
    } finally {
      await pipelines.retire();
    }
  }

  /** As append, by a pipeline that others use as well; it is not drained when this throws. */
  async appendBy(
    { stage, states, wanted, definitions, pipeline, pace }: StageAppend,
    signal: AbortSignal,
  ): Promise<readonly RouteState[] | FreshetError> {
    const { stages, quarantine, store, partitions, clock, logger } = this.#options;
    const plans = new Map(wanted.map((plan) => [plan.route, plan]));
    const decisionsOf = await earlierDecisions(states, SNAPSHOT_LANE, { quarantine, store });
    const routes = states.map(({ route, generation }) => {
      const plan = must(plans.get(route));
      return prepareRoute(plan, generation, partitions, decisionsOf(route), neededColumns(plan, definitions));
    });
    const progress = this.#progress;
    progress.begin('appending', rowsToAppend(stage, routes));
    try {
      const rows = await appendSnapshot({
        store: stages,
        stage,
        definitions,
        routes,
        partitions,
        pipeline,
        pace,
        onHoles: (holes) => this.#noteHoles(holes),
        onRows: (count) => progress.add(count),
        clock,
        signal,
      });
      for (const route of routes) this.#rules.tell(route);
      logger.info('snapshot appended', { routes: states.map(({ route }) => route), rows });
      const holesOf = new Map(store.state.routes.map(({ route, shape }) => [route, shape?.holes]));
      return states.map((state): RouteState => {
        const shape = withHoleNames(state.shape, holesOf.get(state.route) ?? []);
        return { ...state, shape, phase: 'live', stage: '' };
      });
    } catch (error) {
      if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
      await stages.remove(stage.name);
      return error;
    } finally {
      progress.end();
    }
  }

  /** Saves, unless it is known, that values of columns are left out: before what lacks them is in the log. */
  async #noteHoles(holes: ReadonlyMap<number, ReadonlySet<string>>): Promise<void> {
    const { store } = this.#options;
    const known = new Map(store.state.routes.map(({ route, shape }) => [route, shape?.holes ?? []]));
    const isKnown = [...holes].every(([route, names]) => [...names].every((name) => known.get(route)?.includes(name)));
    if (!isKnown) await store.update((state) => withHoles(state, holes));
  }
}

async function* pacing(pieces: AsyncIterable<Uint8Array>, pace: () => Promise<void>): AsyncGenerator<Uint8Array> {
  for await (const piece of pieces) {
    yield piece;
    await pace();
  }
}

/** The rows of all tables, about; undefined when it is not known of one. */
async function rowsAbout(reader: SnapshotReader, tables: readonly TableToStage[]): Promise<number | undefined> {
  let sum = 0;
  for (const table of tables) {
    const rows = await reader.rowsAbout(table);
    if (rows === undefined) return undefined;
    sum += rows;
  }
  return sum;
}
