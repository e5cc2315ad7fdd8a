/**
 * Compute: folds the log's partitions into features and streams what changes.
 *
 *     ingest's log ──▶ log source ──▶ shards: live loop ──▶ fold ──▶ tail ──▶ SubscribeChanges ──▶ serve
 *                                       │  build loop ──┘     │        ▲
 *                                       └─ commit loop ──▶ LevelDB ─────┘ (journal, pages)
 *     registry ──▶ where the log is; ◀── which shards run here
 */
import { setImmediate as yieldNow } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { ComputeService, GetComputeStatusResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type Node, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError, isAbort } from '@freshet/kit/errors.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { KnownNodes } from '@freshet/kit/known-nodes.ts';
import type { ServiceContext } from '@freshet/kit/lifecycle.ts';
import { runMain } from '@freshet/kit/main.ts';
import { CallCounts } from '@freshet/kit/metrics/call-counts.ts';
import type { MetricFamily } from '@freshet/kit/metrics/exposition.ts';
import { listenForMetrics } from '@freshet/kit/metrics/metrics-path.ts';
import { loadNodeId } from '@freshet/kit/node-id.ts';
import { watchOpenFiles } from '@freshet/kit/open-files.ts';
import { RegistryLink } from '@freshet/kit/registry-link.ts';
import { retry } from '@freshet/kit/retry.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { type ComputeConfig, OPTIONS } from './config.ts';
import { askGenerations } from './core/ask-generations.ts';
import { shardBudget } from './core/budget.ts';
import { Gate } from './core/gate.ts';
import { computeMetrics } from './core/metrics.ts';
import { PassPace } from './core/pass-pace.ts';
import { ShardHost, type ShardHostOptions } from './core/shard-host.ts';
import { FRAME_LIMITS } from './core/shard-limits.ts';
import { CheckpointTeller } from './core/tell-checkpoints.ts';
import { Wake } from './core/wake.ts';
import { createEngineFold, ENGINE_FORMAT } from './io/engine.ts';
import { LogSource } from './io/log-source.ts';
import { nodeStorage } from './io/node-storage.ts';
import { loadPartitionCount, savePartitionCount } from './io/partition-count.ts';
import { computeStatus } from './rpc/get-compute-status.ts';
import { computeHandlers } from './rpc/handlers.ts';

/** Brings compute up; resolves when all its shards can be followed. */
export async function startCompute(
  config: ComputeConfig,
  context: ServiceContext,
): Promise<{ address: string; httpAddress: string }> {
  const { signal, log } = context;
  const clock = systemClock;

  // One process per data directory, and `freshet checkpoint restore` counts as one.
  await nodeFileSystem.makeDirectory(config.dataDir);
  const lock = await nodeFileSystem.lockDirectory(config.dataDir, 'the state of compute');
  context.onStop('the lock', () => lock.release());

  const source = new LogSource();
  context.onStop('the log', async () => source.close());
  const registry =
    config.registry === undefined ? undefined : new RegistryLink({ registry: config.registry, signal, clock, log });
  findLog(config, source, registry, new KnownNodes(config.dataDir, log));

  const node = await loadNodeId(config.dataDir, 'compute');
  const partitions = await countPartitions(config, source, clock, context);
  const numbers = shardNumbers(config, partitions);
  const checkpointTaken = new Wake();
  const options = hostOptions(config, numbers.length, source, clock, context);
  const watching = watchOpenFiles({ conditions: options.conditions, clock, signal });
  context.onStop('watching open files', () => watching);
  const teller: CheckpointTeller = new CheckpointTeller({ host: () => host, source, node, clock, log });
  const host = new ShardHost({
    ...options,
    onCheckpoint: () => checkpointTaken.set(),
    beforeReading: (logId, stop) => teller.beforeReading(logId, stop),
  });
  const handlers = computeHandlers(host, { clock, yieldNow, partitions, upkeep: host });
  const calls = new CallCounts();
  const server = createGrpcServer({ log, calls }).add(ComputeService, handlers);
  // Before the shards are open: one that is being restored is told.
  const told = { own: () => metricsOf(host, partitions), calls };
  const httpAddress = await listenForMetrics(config.httpListen, told, context);

  const { running } = await openShards(host, numbers, signal);
  context.onStop('the shards', () => running);
  const { address } = await server.listen(config.listen);
  context.onStop('the gRPC port', () => server.drain(1_000));
  server.setReady(true);

  const self = { nodeId: node, role: Role.COMPUTE, address: config.advertise ?? address, httpAddress, partitions };
  const { conditions } = options;
  void registry?.announce(() => ({ ...self, shards: host.shards.map(({ shard }) => shard) }), { conditions });
  void teller.run(checkpointTaken, signal);
  void askGenerations(host, { asker: source, node, clock, signal, log });
  log.info('compute is up', { address, http: httpAddress, node, shards: numbers.length });
  return { address, httpAddress };
}

/** What is told at /metrics. */
async function metricsOf(host: ShardHost, partitions: number): Promise<MetricFamily[]> {
  const status = await computeStatus(host, { upkeep: host, partitions, digests: false });
  return computeMetrics(create(GetComputeStatusResponseSchema, status), host);
}

/** Points the source at the log: where --log says, or wherever the registry says. */
function findLog(
  config: ComputeConfig,
  source: LogSource,
  registry: RegistryLink | undefined,
  known: KnownNodes,
): void {
  if (config.log !== undefined) source.setAddress(config.log);
  else if (registry !== undefined) {
    const onNodes = (nodes: readonly Node[]): void =>
      source.setAddress(nodes.find(({ role }) => role === Role.INGEST)?.address);
    void registry.followTopology(onNodes, known);
  } else {
    throw new FreshetError('INVALID_CONFIG', 'neither --registry nor --log is given', {
      remedy: 'give --registry <host:port>, or --log <host:port> of an ingest node',
    });
  }
}

/** How many partitions the log has, or had when it was last heard. */
async function countPartitions(
  config: ComputeConfig,
  source: LogSource,
  clock: Clock,
  { signal, log }: ServiceContext,
): Promise<number> {
  const ask = (): Promise<number> =>
    retry(async () => (await source.describe(signal)).partitions.length, {
      what: 'asking for the log',
      signal,
      clock,
      log,
    });
  const known = await loadPartitionCount(config.dataDir);
  const count = known ?? (await ask());
  if (known === undefined) await savePartitionCount(config.dataDir, count);
  else void followPartitionCount(config.dataDir, known, ask);
  return count;
}

/** Which shards to fold. Throws INVALID_CONFIG when one is asked for that the log does not have. */
function shardNumbers(config: ComputeConfig, partitions: number): readonly number[] {
  if (config.shards === 'all') return Array.from({ length: partitions }, (_, number) => number);
  const beyond = config.shards.find((number) => number >= partitions);
  if (beyond === undefined) return config.shards;
  throw new FreshetError('INVALID_CONFIG', `--shards names ${beyond}, but the log has ${partitions} partitions`, {
    remedy: `name shards from 0 to ${partitions - 1}`,
  });
}

/** The number is fixed for the life of a log; another log may have another. Then the process starts again with it. */
async function followPartitionCount(directory: string, known: number, ask: () => Promise<number>): Promise<void> {
  try {
    const count = await ask();
    if (count === known) return;
    await savePartitionCount(directory, count);
    throw new FreshetError('WRONG_LOG', `the log has ${count} partitions, the one before had ${known}`, {
      remedy: 'nothing needs to be done: start again, and the new log is folded',
    });
  } catch (error) {
    if (!isAbort(error)) throw error;
  }
}

function hostOptions(
  config: ComputeConfig,
  shards: number,
  source: LogSource,
  clock: Clock,
  { log }: ServiceContext,
): Omit<ShardHostOptions, 'onCheckpoint'> {
  const budget = shardBudget(config.cacheBytes, shards);
  const { dataDir, checkpointsKept } = config;
  const places = { stores: levelStores, files: nodeFileSystem, dataDir, checkpointsKept };
  return {
    log: source,
    ...nodeStorage({ ...places, ...budget, clock, yieldNow, format: ENGINE_FORMAT }),
    createFold: createEngineFold,
    createDigest: ENGINE_FORMAT.createDigest,
    conditions: new ConditionBoard({ clock, log }),
    upkeep: {
      checkpointIntervalMs: config.checkpointInterval,
      scrubIntervalMs: config.scrubInterval,
      scrubBytesPerSecond: config.scrubRate,
      gate: new Gate(1),
      scrubGate: new Gate(1),
    },
    clock,
    logger: log,
    yieldNow,
    pages: new Gate(2),
    passPace: new PassPace(),
    limits: {
      ...budget,
      commitIntervalMs: config.commitInterval,
      frame: FRAME_LIMITS,
      journal: { ageUs: config.journalAge * 1000, bytes: config.journalBytes },
    },
  };
}

/**
 * Starts the shards; resolves once all are open, with what ends when they do. Throws what keeps one from opening. A fault
 * of ours later on is thrown where nobody catches it, which ends the process: without shards it is of no use.
 */
export async function openShards(
  host: Pick<ShardHost, 'run'>,
  numbers: readonly number[],
  signal: AbortSignal,
  onFault: (error: unknown) => void = (error) => {
    throw error;
  },
): Promise<{ running: Promise<void> }> {
  let opened = (): void => undefined;
  const allOpen = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const running = host.run(numbers, signal, opened);
  await Promise.race([allOpen, running]);
  // The race has taken notice of whatever `running` becomes; without this nobody would hear of it.
  void running.catch(onFault);
  return { running };
}

if (import.meta.main) {
  await runMain({
    name: 'compute',
    about: 'folds the log into features and streams what changes',
    options: OPTIONS,
    start: startCompute,
  });
}
