/**
 * Serve: feature reads from a replica that follows compute.
 *
 *     registry ──definitions, topology──▶ replica ◀──SubscribeChanges── compute
 *                                            │  memory + LevelDB
 *     model server ──GetFeatures (gRPC)──────┤
 *     curl, browser ──Connect, JSON (HTTP)───┘
 *
 * It starts from its own disk and serves at once, whatever of the mesh it can reach.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { getHeapStatistics } from 'node:v8';
import { Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { connectHandlers, createHttpHost } from '@freshet/kit/http/host.ts';
import { KnownNodes } from '@freshet/kit/known-nodes.ts';
import type { ServiceContext } from '@freshet/kit/lifecycle.ts';
import { runMain } from '@freshet/kit/main.ts';
import { CallCounts } from '@freshet/kit/metrics/call-counts.ts';
import type { MetricFamily } from '@freshet/kit/metrics/exposition.ts';
import { metricsPath } from '@freshet/kit/metrics/metrics-path.ts';
import { loadNodeId } from '@freshet/kit/node-id.ts';
import { watchOpenFiles } from '@freshet/kit/open-files.ts';
import { RegistryLink } from '@freshet/kit/registry-link.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { followMesh, keepGoing } from '@freshet/replica/mesh-link.ts';
import { Replica } from '@freshet/replica/replica.ts';
import { OPTIONS, type ServeConfig } from './config.ts';
import { createFeatureHandler } from './core/get-features.ts';
import { serveMetrics } from './core/metrics.ts';
import { OnDemandErrorCounts } from './core/on-demand-errors.ts';
import { ReaderCounts } from './core/reader-counts.ts';
import { Readiness } from './core/readiness.ts';
import { asidesIn } from './io/asides.ts';
import { getServeStatus } from './rpc/get-serve-status.ts';
import { serveHandlers } from './rpc/handlers.ts';

// Above the limit of a request (1 MiB), so that one that is too large is told so with its limit and remedy; what is
// above this is cut off by gRPC itself.
const RECEIVE_BYTES_MAX = 16 * 1024 * 1024;
const READY_POLL_MS = 50;
// Answers of a few KiB come from slabs of this size; with Node's 8 KiB each would have an allocation of its own outside
// the heap, which costs more than making the answer (measured: 11 % more calls a second at 4.6 KB an answer).
const BUFFER_POOL_BYTES = 256 * 1024;

/** Brings serve up; resolves when it answers. */
export async function startServe(
  config: ServeConfig,
  context: ServiceContext,
): Promise<{ address: string; httpAddress: string }> {
  const { signal, log } = context;
  const clock = systemClock;
  Buffer.poolSize = BUFFER_POOL_BYTES;

  const conditions = new ConditionBoard({ clock, log });
  const watching = watchOpenFiles({ conditions, clock, signal });
  context.onStop('watching open files', () => watching);
  const replica = await Replica.open({
    directory: config.dataDir,
    clock,
    log,
    conditions,
    coalesceUs: config.coalesce * 1000,
    flushIntervalMs: config.flushInterval,
    maxSteps: config.decodedRows,
    memoryBudgetBytes: config.memoryBudget || heapForRows(),
    scrubIntervalMs: config.scrubInterval,
    scrubBytesPerS: Math.max(1, config.scrubRate),
  });
  context.onStop('the replica', () => replica.close());
  if (config.partitions > 0) replica.learnShardCount(config.partitions);

  const errors = new OnDemandErrorCounts();
  const readers = new ReaderCounts();
  const features = createFeatureHandler(replica, { clock, yieldNow: turn, errors, readers });
  const handlers = serveHandlers(replica, features, errors, asidesIn(nodeFileSystem, config.dataDir), clock);
  const calls = new CallCounts();
  const server = createGrpcServer({ log, calls, maxReceiveBytes: RECEIVE_BYTES_MAX })
    .add(ServeService, handlers)
    .addRawUnary(ServeService, 'getFeatures', features);
  const status = getServeStatus(replica, errors, clock);
  const own = async (): Promise<MetricFamily[]> => serveMetrics(await status(), replica.counts, clock.nowUs());
  const http = createHttpHost({
    log,
    routes: (router, stopping) => connectHandlers(router, ServeService, handlers, log, stopping, calls),
    extra: metricsPath({ own, calls }, context),
    maxReceiveBytes: RECEIVE_BYTES_MAX,
  });
  const { address: httpAddress } = await http.listen(config.httpListen);
  context.onStop('the HTTP port', () => http.close());
  server.setReady(false);
  const { address } = await server.listen(config.listen);
  context.onStop('the gRPC port', () => server.drain(1_000));

  let asked = config.registry === undefined;
  const knownNodes = new KnownNodes(config.dataDir, log);
  const { registry, compute } = config;
  const mesh = followMesh({ replica, registry, compute, knownNodes, clock, log, signal }, () => {
    asked = true;
  });
  context.onStop('following the mesh', () => mesh);
  const ready = reportReadiness();
  context.onStop('readiness', () => ready);
  if (config.registry !== undefined) {
    const nodeId = await loadNodeId(config.dataDir, 'serve');
    const link = new RegistryLink({ registry: config.registry, signal, clock, log });
    const node = { nodeId, role: Role.SERVE, address: config.advertise ?? address, httpAddress };
    const announced = keepGoing({ signal, clock, log }, 'announcing', () =>
      link.announce(() => node, { reports: readers, conditions }),
    );
    context.onStop('announcing', () => announced);
  }
  log.info('serve is up', {
    address,
    http: httpAddress,
    rows: replica.rowCount,
    generation: replica.catalog.generation,
  });
  return { address, httpAddress };

  async function reportReadiness(): Promise<void> {
    const readiness = new Readiness();
    while (!signal.aborted && !readiness.update(replica, asked)) {
      await clock.sleep(READY_POLL_MS, signal).catch(() => undefined);
    }
    if (signal.aborted) return;
    server.setReady(true);
    log.info('serve is ready', { generation: replica.catalog.generation, rows: replica.rowCount });
  }
}

/** What rows may take of the heap, bytes: the rest is for answers, and for the collector to work in. */
function heapForRows(): number {
  return Math.floor(getHeapStatistics().heap_size_limit * 0.7);
}

if (import.meta.main) {
  await runMain({
    name: 'serve',
    about: 'answers feature reads from a replica beside the reader',
    options: OPTIONS,
    start: startServe,
  });
}
