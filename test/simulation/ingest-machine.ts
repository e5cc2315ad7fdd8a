/** Ingest in a simulation: the production capture, log and reading of the log, wired as services/ingest/src/main.ts does. */

import type { EraseState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Log } from '@freshet/log/log.ts';
import { createRetentionKeeper } from '@freshet/log/retention-keeper.ts';
import { createLogScrubber } from '@freshet/log/scrubber.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { startTicker } from '@freshet/log/ticker.ts';
import type { Network } from '@freshet/testkit/simulation/network.ts';
import { captured } from '../../services/ingest/src/io/captured.ts';
import { CheckpointFile } from '../../services/ingest/src/io/checkpoint-file.ts';
import { Eraser } from '../../services/ingest/src/io/eraser.ts';
import { GenerationRequests } from '../../services/ingest/src/io/generation-requests.ts';
import { IngestNode } from '../../services/ingest/src/io/ingest-node.ts';
import { PostgresSource } from '../../services/ingest/src/io/postgres-source.ts';
import { QuarantineDesk } from '../../services/ingest/src/io/quarantine-desk.ts';
import { QuarantineFile } from '../../services/ingest/src/io/quarantine-file.ts';
import { watchQuarantine } from '../../services/ingest/src/io/quarantine-watch.ts';
import { keepOnce } from '../../services/ingest/src/io/retention.ts';
import { noteCheckpoints } from '../../services/ingest/src/rpc/note-checkpoints.ts';
import type { AskGenerations } from '../../services/ingest/src/rpc/request-generations.ts';
import type { Life } from './machine.ts';
import type { SimPostgres } from './sim-postgres.ts';
import { RENAMED } from './sim-tables.ts';
import type { TrimCheck } from './trim-check.ts';

const DIRECTORY = '/ingest';
/** Where the log lies. */
export const LOG_DIRECTORY = `${DIRECTORY}/log`;
const SEGMENT_BYTES = 4 * 1024;
/** What is kept of the log beyond what checkpoints need, microseconds: little, so that trimming matters within a run. */
const RETAIN_US = 2_000_000;
const RETAIN_EVERY_MS = 1_500;
const SCRUB_MS = 3_000;

export interface IngestWorld {
  readonly network: Network;
  readonly postgres: SimPostgres;
  readonly partitions: number;
  readonly trims: boolean;
  /** The word of a request to start over, if an operator made one. */
  readonly resync: string | undefined;
  /** The definitions in force, at the registry. */
  readonly definitions: () => DefinitionSet | undefined;
  /** How often somebody asked so far that the source be read anew. */
  readonly anew: () => number;
  /** Whether somebody has what is held of tables released. */
  readonly releases: () => boolean;
  /** Who is promised which records, over all lives. */
  readonly trimCheck: TrimCheck;
  /** Called with what is wrong about a trim. */
  readonly onWrongTrim: (what: string) => void;
  /** Called with each log that is open, for whoever knows the truth. */
  readonly onLog: (log: SegmentLog) => void;
  /** Called when records of somebody are out of the log and the quarantine, and when a receipt is complete. */
  readonly onErased: (erase: EraseState, log: SegmentLog) => void;
}

/** How often the node asks for definitions, milliseconds. */
const DEFINITIONS_MS = 300;
const RELEASE_MS = 1_000;

/** Runs until something ends it. */
export async function runIngest(life: Life, world: IngestWorld): Promise<void> {
  const { process: clock, files, logger, signal } = life;
  const random = (): number => life.random.real();
  const conditions = new ConditionBoard({ clock, log: logger });
  const log = await openSegmentLog({
    directory: LOG_DIRECTORY,
    partitions: world.partitions,
    clock,
    log: logger,
    segmentBytes: SEGMENT_BYTES,
    files,
    // Without the reserve the disk itself refuses, and may take a write in part.
    ...(life.random.branch('reserve').oneIn(2) ? { minFreeBytes: 0 } : {}),
    makeLogId: () => life.random.branch('log id').uint32().toString(16).padStart(32, '0'),
  });
  world.onLog(log);
  void createLogScrubber({ log, clock, logger, everyMs: SCRUB_MS })
    .run(signal)
    .catch(() => undefined);
  startTicker({ log, clock, onError: () => undefined });
  const quarantine = await QuarantineFile.open(files, `${DIRECTORY}/quarantine.jsonl`);
  void watchQuarantine(quarantine, { conditions, logger }, signal).catch(() => undefined);
  const requests = await GenerationRequests.open({
    files,
    path: `${DIRECTORY}/generations.json`,
    logId: log.logId,
    logger,
  });
  const source = new PostgresSource({
    name: 'default',
    database: world.postgres.connection(clock),
    slotName: 'freshet',
    directory: `${DIRECTORY}/postgres`,
    files,
    log,
    quarantine,
    requests,
    clock,
    random,
    logger,
    conditions,
    inFlightBytesMax: 64 * 1024,
    recheckMs: 500,
    tableCheckMs: 2_000,
    resync: world.resync,
  });
  const node = await IngestNode.open({
    directory: DIRECTORY,
    files,
    log,
    sources: [source],
    clock,
    random,
    logger,
    conditions,
  });
  const checkpoints = await CheckpointFile.open({
    files,
    path: `${DIRECTORY}/checkpoints.json`,
    logId: log.logId,
    clock,
    logger,
    nodeTimeoutUs: Number.MAX_SAFE_INTEGER,
  });
  const keeper = createRetentionKeeper({
    log: world.trimCheck.watchTrims(log, world.onWrongTrim),
    limits: { ageUs: world.trims ? RETAIN_US : undefined, bytes: undefined },
    clock,
    logger,
    allowedBelow: (partition) => {
      world.trimCheck.noteDecision(partition);
      return checkpoints.allowedBelow(partition);
    },
  });
  const ask: AskGenerations = (who, wanted) =>
    requests.ask(who, wanted, (route) =>
      node.databaseOf(route) === undefined ? undefined : source.newestGeneration(route),
    );
  const database = world.postgres.connection(clock);
  const eraser = new Eraser({
    ...{ directory: DIRECTORY, files, log, quarantine, clock, yieldNow: clock.yieldNow },
    holders: (shard) => checkpoints.nodes.flatMap(({ nodeId, offsets }) => (offsets.has(shard) ? [nodeId] : [])),
    captured: (_, until) => captured({ database, status: () => source.status(), clock }, until),
    definitions: () => node.definitions,
    makeSalt: () => Uint8Array.from({ length: 16 }, () => life.random.between(0, 255)),
  });
  const desk = new QuarantineDesk({
    quarantine,
    releases: () => [source.held],
    readAnew: (route, aboveGeneration, reason) => ask('quarantine', [{ route, aboveGeneration, reason }]),
    clock,
    logger,
  });
  const note = world.trimCheck.watchNotes(noteCheckpoints(log, checkpoints));
  const service: SimIngestService = { log, ask, noteCheckpoints: note, eraser: watchErases(eraser, log, world) };
  world.network.listen('ingest', clock, service);
  const keep = async (): Promise<void> => {
    for (;;) {
      await clock.sleep(RETAIN_EVERY_MS);
      await keepOnce({ keeper, checkpoints, conditions });
    }
  };
  await Promise.race([
    node.run(signal),
    followDefinitions(life, world, node),
    halted(life, log),
    keep(),
    askAnew(life, world, ask),
    releaseHeld(life, world, desk),
  ]);
}

/** What ingest offers at its address. */
export interface SimIngestService {
  readonly log: Log;
  readonly ask: AskGenerations;
  readonly noteCheckpoints: ReturnType<typeof noteCheckpoints>;
  readonly eraser: Pick<Eraser, 'erase' | 'note'>;
}

function watchErases(eraser: Eraser, log: SegmentLog, { onErased }: IngestWorld): SimIngestService['eraser'] {
  return {
    async *erase(wish, signal) {
      for await (const step of eraser.erase(wish, signal)) {
        if (step.step === 'quarantine') onErased(step.erase, log);
        yield step;
      }
    },
    note: async (...told) => {
      const erase = await eraser.note(...told);
      if (erase.completedAtUs !== undefined) onErased(erase, log);
      return erase;
    },
  };
}

async function followDefinitions({ process: clock }: Life, world: IngestWorld, node: IngestNode): Promise<void> {
  for (;;) {
    const definitions = world.definitions();
    if (definitions !== undefined) await node.apply(definitions);
    await clock.sleep(DEFINITIONS_MS);
  }
}

/** Somebody wants the source read anew, for reasons of his own. */
async function askAnew({ process: clock }: Life, world: IngestWorld, ask: AskGenerations): Promise<void> {
  for (let done = world.anew(); ; ) {
    await clock.sleep(DEFINITIONS_MS);
    if (done === world.anew()) continue;
    const routes = world.definitions()?.routes ?? [];
    const route = routes[world.anew() % Math.max(1, routes.length)];
    if (route === undefined) continue;
    const [answer] = await ask('somebody', [{ route: route.route, aboveGeneration: 0, reason: 'to see it' }]);
    if (answer !== undefined && answer.generation > 0) {
      await ask('somebody', [{ route: route.route, aboveGeneration: answer.generation, reason: 'to see it' }]);
    }
    done = world.anew();
  }
}

/** An operator who releases what is held, under the name that the column has or had. */
async function releaseHeld({ process: clock, signal }: Life, world: IngestWorld, desk: QuarantineDesk): Promise<void> {
  for (;;) {
    await clock.sleep(RELEASE_MS);
    if (!world.releases() || desk.held(RENAMED.table.table).length === 0) continue;
    const wish = { mapping: { columns: { [RENAMED.column]: RENAMED.to }, labels: {} } };
    try {
      for await (const { isDone } of desk.release(RENAMED.table.table, wish, signal)) if (isDone) break;
    } catch (error) {
      // Not streamed now: there is a next time.
      if (!isFreshetError(error)) throw error;
    }
  }
}

/** A log that takes no more records ends the process, so that it is opened anew. */
async function halted({ process: clock }: Life, log: SegmentLog): Promise<void> {
  for (;;) {
    if (log.fault !== undefined) throw log.fault;
    await clock.sleep(1_000);
  }
}
