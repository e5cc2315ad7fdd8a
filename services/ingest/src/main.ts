/**
 * Ingest: sources into the log, and the log to whoever folds it.
 *
 *     Postgres ──replication──▶ PostgresSource ──▶ segment log ──ReadLog──▶ compute
 *                                    │  ▲             ▲
 *                  quarantine file ◀─┘  │             └── ticker (log time when nothing else happens)
 *     registry ──WatchDefinitions──▶ IngestNode (definitions into the log, sources stopped and started)
 *     registry ◀─AnnounceNode──── this node        registry ──DescribeTables──▶ Postgres' catalog
 */
import { join } from 'node:path';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import type { ServiceContext } from '@freshet/kit/lifecycle.ts';
import { runMain } from '@freshet/kit/main.ts';
import { loadNodeId } from '@freshet/kit/node-id.ts';
import { RegistryLink } from '@freshet/kit/registry-link.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { startTicker } from '@freshet/log/ticker.ts';
import { type IngestConfig, OPTIONS } from './config.ts';
import { IngestNode, notConfigured } from './io/ingest-node.ts';
import { logFault } from './io/log-fault.ts';
import { parseConnectionUrl } from './io/pg/connection-url.ts';
import { PostgresSource } from './io/postgres-source.ts';
import { QuarantineFile } from './io/quarantine-file.ts';
import { describeTables as describeTablesOf } from './io/table-describer.ts';
import { describeLog } from './rpc/describe-log.ts';
import { describeTables } from './rpc/describe-tables.ts';
import { getIngestStatus } from './rpc/get-ingest-status.ts';
import { readLog } from './rpc/read-log.ts';

/** Brings the node up; resolves when it answers. `failed` rejects when capturing ends by a fault or the log halts. */
export async function startIngest(
  config: IngestConfig,
  context: ServiceContext,
): Promise<{ address: string; failed: Promise<never> }> {
  const { signal, log: logger } = context;
  const clock = systemClock;
  checkDatabases(config);

  const log = await openSegmentLog({
    directory: join(config.dataDir, 'log'),
    partitions: config.partitions,
    clock,
    log: logger,
  });
  context.onStop('the log', () => log.close());
  // Noticed also when no source appends: a node that can write nothing must not look well.
  const halted = logFault(log, clock, signal);
  halted.catch(() => {}); // whoever runs the node hears of it
  const ticker = startTicker({
    log,
    clock,
    onError: (error) => logger.error('a tick could not be written', { error }),
  });
  context.onStop('the ticker', () => ticker.stop());
  const quarantine = await QuarantineFile.open(join(config.dataDir, 'quarantine.jsonl'));
  context.onStop('the quarantine', () => quarantine.close());

  const sources = openSources(config, log, quarantine, { clock, logger });
  const node = await IngestNode.open({ directory: config.dataDir, log, sources, logger });

  const server = createGrpcServer({ log: logger })
    .add(LogService, { describeLog: describeLog(log), readLog: readLog(log) })
    .add(IngestService, {
      describeTables: describeTables((questions, s) => describeTablesOf(sources, questions, s)),
      getIngestStatus: getIngestStatus(() => ({
        logId: log.logId,
        definitionsGeneration: node.writtenGeneration,
        sources: sources.map((source) => source.status()),
        missing: node.databases.filter((name) => !sources.some((source) => source.name === name)).map(notConfigured),
        quarantined: quarantine.count,
      })),
    });
  const { address } = await server.listen(config.listen);

  const capturing = node.run(signal);
  const failed = Promise.race([halted, capturing.then(() => new Promise<never>(() => {}))]);
  failed.catch(() => {}); // whoever runs the node hears of it
  context.onStop('capturing', () => capturing.catch(() => undefined));
  if (config.registry !== undefined) {
    const link = new RegistryLink({ registry: config.registry, signal, clock, log: logger });
    const nodeId = await loadNodeId(config.dataDir, 'ingest');
    const self = { nodeId, role: Role.INGEST, address: config.advertise ?? address, partitions: log.partitionCount };
    const followed = Promise.all([
      link.announce(
        () => self,
        () => node.generation,
      ),
      link.followDefinitions(
        () => node.generation,
        (definitions) => node.apply(definitions),
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
    logId: log.logId,
    partitions: log.partitionCount,
    generation: node.generation,
  });
  return { address, failed };
}

function openSources(
  config: IngestConfig,
  log: SegmentLog,
  quarantine: QuarantineFile,
  { clock, logger }: { clock: typeof systemClock; logger: ServiceContext['log'] },
): PostgresSource[] {
  return config.postgres.map(
    ({ name, url }) =>
      new PostgresSource({
        name,
        target: parseConnectionUrl(url),
        slotName: `${config.slotName}_${name}`,
        directory: join(config.dataDir, 'postgres', name),
        log,
        quarantine,
        clock,
        logger: logger.child({ database: name }),
        inFlightBytesMax: Math.floor(config.inFlight / config.postgres.length),
        resync: config.resync.includes(name),
      }),
  );
}

function checkDatabases(config: IngestConfig): void {
  const names = config.postgres.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new FreshetError('INVALID_CONFIG', `--postgres names ${twice} twice`, {
      remedy: 'Give each database a name of its own.',
    });
  const unknown = config.resync.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new FreshetError('INVALID_CONFIG', `--resync ${unknown}: there is no such database`, {
      remedy: `Name one of: ${names.join(', ')}`,
    });
  }
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

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
