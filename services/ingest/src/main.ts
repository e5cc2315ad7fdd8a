/**
 * Ingest: sources into the log, and the log to whoever folds it.
 *
 *     Postgres ──replication──▶ PostgresSource ──▶ segment log ──ReadLog──▶ compute
 *                                    │  ▲             ▲  ▲                          │
 *                  quarantine file ◀─┘  │             │  └── retention ◀──NoteCheckpoints
 *                                       │             └── ticker (log time when nothing else happens)
 *     registry ──WatchDefinitions──▶ IngestNode (definitions into the log, then to the sources)
 *     registry ◀─AnnounceNode──── this node        registry ──DescribeTables──▶ Postgres' catalog
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setImmediate as yieldNow } from 'node:timers/promises';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { GetIngestStatusResponseSchema, IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { QuarantineService } from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { aborted } from '@freshet/kit/aborted.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import type { ServiceContext } from '@freshet/kit/lifecycle.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { runMain } from '@freshet/kit/main.ts';
import { CallCounts } from '@freshet/kit/metrics/call-counts.ts';
import type { MetricFamily } from '@freshet/kit/metrics/exposition.ts';
import { listenForMetrics } from '@freshet/kit/metrics/metrics-path.ts';
import { loadNodeId } from '@freshet/kit/node-id.ts';
import { watchOpenFiles } from '@freshet/kit/open-files.ts';
import { RegistryLink } from '@freshet/kit/registry-link.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { createRetentionKeeper, type RetentionKeeper } from '@freshet/log/retention-keeper.ts';
import { createLogScrubber } from '@freshet/log/scrubber.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { startTicker } from '@freshet/log/ticker.ts';
import { checkConfig, type IngestConfig, OPTIONS } from './config.ts';
import { LogReaders } from './core/log-readers.ts';
import { type FoundByReading, ingestMetrics } from './core/metrics.ts';
import { databasesToDiagnose } from './diagnose.ts';
import { captured } from './io/captured.ts';
import { CheckpointFile } from './io/checkpoint-file.ts';
import { ContractReporter } from './io/contract-reporter.ts';
import { diagnoseDatabases } from './io/diagnose.ts';
import { Eraser } from './io/eraser.ts';
import { GenerationRequests } from './io/generation-requests.ts';
import { IngestNode, notConfigured } from './io/ingest-node.ts';
import { logFault } from './io/log-fault.ts';
import { parseConnectionUrl } from './io/pg/connection-url.ts';
import { PostgresDatabase } from './io/postgres-database.ts';
import { PostgresSource } from './io/postgres-source.ts';
import { QuarantineDesk } from './io/quarantine-desk.ts';
import { QuarantineFile } from './io/quarantine-file.ts';
import { watchQuarantine } from './io/quarantine-watch.ts';
import { runRetention } from './io/retention.ts';
import { SourceClaimer } from './io/source-claimer.ts';
import { describeTables as describeTablesOf, type KnownValues } from './io/table-describer.ts';
import { describeLog } from './rpc/describe-log.ts';
import { describeTables } from './rpc/describe-tables.ts';
import { diagnoseSources } from './rpc/diagnose-sources.ts';
import { discardQuarantine } from './rpc/discard-quarantine.ts';
import { eraseEntity } from './rpc/erase-entity.ts';
import { ingestStatus } from './rpc/get-ingest-status.ts';
import { listQuarantine } from './rpc/list-quarantine.ts';
import { noteCheckpoints } from './rpc/note-checkpoints.ts';
import { getErase, noteErased } from './rpc/note-erased.ts';
import { readLog } from './rpc/read-log.ts';
import { releaseQuarantine } from './rpc/release-quarantine.ts';
import { requestGenerations } from './rpc/request-generations.ts';
import { showQuarantine } from './rpc/show-quarantine.ts';

/** Brings the node up; resolves when it answers. `failed` rejects when capturing ends by a fault or the log halts. */
export async function startIngest(
  config: IngestConfig,
  context: ServiceContext,
): Promise<{ address: string; httpAddress: string; failed: Promise<never> }> {
  const { signal, log: logger } = context;
  const clock = systemClock;
  checkConfig(config);

  const log = await openSegmentLog({
    directory: join(config.dataDir, 'log'),
    partitions: config.partitions,
    clock,
    log: logger,
  });
  context.onStop('the log', () => log.close());
  const conditions = new ConditionBoard({ clock, log: logger });
  const shared = { clock, logger, conditions };
  const watching = watchOpenFiles({ conditions, clock, signal });
  context.onStop('watching open files', () => watching);
  // Noticed also when no source appends: a node that can write nothing must not look well.
  const halted = logFault(log, conditions, clock, signal);
  halted.catch(() => {}); // whoever runs the node hears of it
  const { keeper, checkpoints } = await keepLog(config, log, shared);
  const keeping = runRetention({ keeper, checkpoints, conditions, clock }, signal);
  context.onStop('keeping the log', () => keeping);
  const scrubber = createLogScrubber({ log, clock, logger });
  const scrubbing = scrubber.run(signal);
  context.onStop('scrubbing the log', () => scrubbing);
  const quarantine = await QuarantineFile.open(nodeFileSystem, join(config.dataDir, 'quarantine.jsonl'), {
    bytesMax: config.quarantineBytesMax,
  });
  context.onStop('the quarantine', () => quarantine.close());
  const verifying = watchQuarantine(quarantine, shared, signal);
  context.onStop('reading through the quarantine', () => verifying);

  const databases = config.postgres.map(
    ({ name, url }) =>
      new PostgresDatabase({ name, target: parseConnectionUrl(url), clock, logger: logger.child({ database: name }) }),
  );
  const requests = await GenerationRequests.open({
    files: nodeFileSystem,
    path: join(config.dataDir, 'generations.json'),
    logId: log.logId,
    logger,
  });
  const claimer = await openClaimer(config, conditions);
  if (claimer !== undefined) context.onStop('claims of databases', () => claimer.close());
  const reporter =
    config.registry === undefined ? undefined : new ContractReporter({ registry: config.registry, clock, logger });
  if (reporter !== undefined) {
    const reporting = reporter.run(signal);
    context.onStop('telling the registry of shapes', () => reporting);
  }
  const readers = new LogReaders();
  const sources = openSources(config, databases, { log, quarantine, requests, readers, claimer, reporter }, shared);
  const ticker = startTicker({
    log,
    clock,
    isClockRight: () => sources.length === 0 || sources.some(({ clockAgreed }) => clockAgreed),
    onError: (error) => logger.error('a tick could not be written', { error }),
  });
  context.onStop('the ticker', () => ticker.stop());
  const node = await IngestNode.open({
    directory: config.dataDir,
    files: nodeFileSystem,
    log,
    sources,
    random: Math.random,
    ...shared,
  });

  const eraser = new Eraser({
    directory: config.dataDir,
    files: nodeFileSystem,
    log,
    quarantine,
    holders: (shard) => checkpoints.nodes.flatMap(({ nodeId, offsets }) => (offsets.has(shard) ? [nodeId] : [])),
    captured: async (name, until) => {
      const source = sources.find((one) => one.name === name);
      const database = databases.find((one) => one.name === name);
      if (source === undefined || database === undefined) throw notConfigured(name);
      await captured({ database, status: () => source.status(), clock }, until);
    },
    definitions: () => node.definitions,
    clock,
    makeSalt: () => randomBytes(16),
    yieldNow,
  });
  const desk = new QuarantineDesk({
    quarantine,
    releases: () => sources.map(({ held }) => held),
    readAnew: (route, aboveGeneration, reason) =>
      requests.ask('quarantine', [{ route, aboveGeneration, reason }], newestGenerations(node, sources)),
    clock,
    logger,
  });
  const status = (): MessageInitShape<typeof GetIngestStatusResponseSchema> =>
    ingestStatus({
      logId: log.logId,
      definitionsGeneration: node.writtenGeneration,
      sources: sources.map((source) => source.status()),
      missing: node.databases.filter((name) => !sources.some((source) => source.name === name)).map(notConfigured),
      quarantined: quarantine.count,
      held: quarantine.held,
      alone: quarantine.alone,
      conditions: conditions.list(),
      kept: keeper.state,
    });
  const valuesOf: KnownValues = (name, oid) => sources.find((one) => one.name === name)?.valuesOf(oid) ?? [];
  const calls = new CallCounts();
  const server = createGrpcServer({ log: logger, calls })
    .add(QuarantineService, {
      listQuarantine: listQuarantine(desk),
      showQuarantine: showQuarantine(desk),
      releaseQuarantine: releaseQuarantine(desk),
      discardQuarantine: discardQuarantine(desk),
    })
    .add(LogService, {
      describeLog: describeLog(log),
      readLog: readLog(log, readers),
      noteCheckpoints: noteCheckpoints(log, checkpoints),
      requestGenerations: requestGenerations(log, (who, wanted) =>
        requests.ask(who, wanted, newestGenerations(node, sources)),
      ),
    })
    .add(IngestService, {
      describeTables: describeTables((questions, s) => describeTablesOf(databases, questions, s, valuesOf)),
      diagnoseSources: diagnoseSources(({ patienceMs, tables }, s) =>
        diagnoseDatabases(databasesToDiagnose(config, tables), { patienceMs, clock, signal: s }),
      ),
      eraseEntity: eraseEntity(eraser),
      noteErased: noteErased(eraser),
      getErase: getErase(eraser),
      getIngestStatus: () => Promise.resolve({ ...status(), nowUs: BigInt(clock.nowUs()) }),
    });
  const found = (): FoundByReading => ({
    logDamage: log.damage.length,
    logScrubbedUs: scrubber.state.endedUs,
    quarantineDamage: quarantine.damage?.lines ?? 0,
  });
  const own = (): Promise<MetricFamily[]> =>
    Promise.resolve(ingestMetrics(create(GetIngestStatusResponseSchema, status()), found()));
  const httpAddress = await listenForMetrics(config.httpListen, { own, calls }, context);
  const { address } = await server.listen(config.listen);

  const capturing = node.run(signal);
  const failed = Promise.race([halted, capturing.then(() => new Promise<never>(() => {}))]);
  failed.catch(() => {}); // whoever runs the node hears of it
  context.onStop('capturing', () => capturing.catch(() => undefined));
  if (config.registry !== undefined) {
    const link = new RegistryLink({ registry: config.registry, signal, clock, log: logger });
    const nodeId = await loadNodeId(config.dataDir, 'ingest');
    const place = { address: config.advertise ?? address, httpAddress };
    const self = { nodeId, role: Role.INGEST, ...place, partitions: log.partitionCount };
    const followed = Promise.all([
      link.announce(() => self, { known: () => node.generation, conditions }),
      link.followDefinitions(
        () => node.generation,
        (definitions) => node.apply(definitions, signal),
      ),
    ]);
    context.onStop('following the registry', async () => {
      await followed;
    });
  }
  // Drained first: readers of the log end before it closes.
  context.onStop('the gRPC port', () => server.drain(1_000));
  server.setReady(true);
  logger.info('ingest is up', {
    address,
    http: httpAddress,
    logId: log.logId,
    partitions: log.partitionCount,
    generation: node.generation,
  });
  return { address, httpAddress, failed };
}

/** Without a registry there is nobody to share databases with. */
async function openClaimer(config: IngestConfig, conditions: ConditionBoard): Promise<SourceClaimer | undefined> {
  if (config.registry === undefined) return undefined;
  const nodeId = await loadNodeId(config.dataDir, 'ingest');
  return new SourceClaimer({ registry: config.registry, nodeId, conditions });
}

function openSources(
  config: IngestConfig,
  databases: readonly PostgresDatabase[],
  { log, quarantine, requests, readers, claimer, reporter }: SourceWorld,
  { clock, logger, conditions }: Shared,
): PostgresSource[] {
  return databases.map((database) => {
    const { name } = database;
    return new PostgresSource({
      name,
      database,
      slotName: `${config.slotName}_${name}`,
      directory: join(config.dataDir, 'postgres', name),
      files: nodeFileSystem,
      log,
      quarantine,
      requests,
      readers,
      clock,
      random: Math.random,
      logger: logger.child({ database: name }),
      conditions,
      inFlightBytesMax: Math.floor(config.inFlight / databases.length),
      onLostHistory: config.onLostHistory,
      onShape: (contract, lsn) => reporter?.note(contract, lsn),
      ...(claimer === undefined ? {} : { claim: (what, until) => claimer.claim(what, until) }),
      resync: config.resync.find((request) => request.name === name)?.word,
    });
  });
}

/** By route, the newest generation; undefined when the definitions in force have no such route, or nobody captures it. */
function newestGenerations(
  node: IngestNode,
  sources: readonly PostgresSource[],
): (route: number) => number | undefined {
  return (route) => sources.find(({ name }) => name === node.databaseOf(route))?.newestGeneration(route);
}

interface SourceWorld {
  readonly log: SegmentLog;
  readonly quarantine: QuarantineFile;
  readonly requests: GenerationRequests;
  readonly readers: LogReaders;
  readonly claimer: SourceClaimer | undefined;
  readonly reporter: ContractReporter | undefined;
}

interface Shared {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly conditions: ConditionBoard;
}

/** What is known of checkpoints, and the log kept within its limits by it. */
async function keepLog(
  config: IngestConfig,
  log: SegmentLog,
  { clock, logger }: Shared,
): Promise<{ keeper: RetentionKeeper; checkpoints: CheckpointFile }> {
  const checkpoints = await CheckpointFile.open({
    files: nodeFileSystem,
    path: join(config.dataDir, 'checkpoints.json'),
    logId: log.logId,
    clock,
    logger,
    nodeTimeoutUs: config.checkpointNodeTimeout,
  });
  const keeper = createRetentionKeeper({
    log,
    limits: { ageUs: config.retainAge, bytes: config.retainBytes },
    clock,
    logger,
    allowedBelow: (partition) => checkpoints.allowedBelow(partition),
  });
  return { keeper, checkpoints };
}

if (import.meta.main) {
  await runMain({
    name: 'ingest',
    about: 'captures sources into the log',
    options: OPTIONS,
    start: async (config, context) => {
      const { failed } = await startIngest(config, context);
      await Promise.race([failed, aborted(context.signal)]);
    },
  });
}
