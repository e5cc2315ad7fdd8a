/**
 * The registry: what the mesh agrees on.
 *
 *     freshet plan, apply ──▶ PlanDefinitions, ApplyDefinitions ──▶ definition keeper ──▶ store (LevelDB)
 *                                    tables' shapes ◀── ingest           │
 *     freshet contract ──▶ contract keeper: judges changes by the definitions in force, accepts by applying them anew
 *     ingest, compute, serve ◀────────── WatchDefinitions ◀──────────────┘
 *     Kafka's tools ──▶ Schema Registry API (rest/) ──▶ subjects, ids, levels ──▶ schema store (LevelDB)
 *     ingest, compute, serve ──▶ AnnounceNode ──▶ topology (leases) ──▶ WatchTopology ──▶ serve, freshet status
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { ContractService } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { GetRegistryStatusResponseSchema, RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { connectHandlers, createHttpHost } from '@freshet/kit/http/host.ts';
import type { ServiceContext } from '@freshet/kit/lifecycle.ts';
import { runMain } from '@freshet/kit/main.ts';
import { CallCounts } from '@freshet/kit/metrics/call-counts.ts';
import type { MetricFamily } from '@freshet/kit/metrics/exposition.ts';
import { metricsPath } from '@freshet/kit/metrics/metrics-path.ts';
import { watchOpenFiles } from '@freshet/kit/open-files.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { OPTIONS, type RegistryConfig } from './config.ts';
import { ContractKeeper } from './core/contract-keeper.ts';
import { DefinitionKeeper } from './core/definition-keeper.ts';
import { registryMetrics } from './core/metrics.ts';
import { ReaderBook } from './core/reader-book.ts';
import { SourceClaims } from './core/source-claims.ts';
import { SubjectRegistry } from './core/subjects/subject-registry.ts';
import { Topology } from './core/topology.ts';
import { schemaEngines } from './engines.ts';
import { readCredentials } from './io/credentials.ts';
import { IngestTables } from './io/ingest-tables.ts';
import { RegistryStore } from './io/registry-store.ts';
import { LevelSchemaStore } from './io/schema-store.ts';
import { SchemaThreads } from './io/schema-workers.ts';
import { PROFILES } from './rest/profiles.ts';
import { createSchemaApi } from './rest/schema-api.ts';
import { contractHandlers } from './rpc/contract-handlers.ts';
import { registryStatus } from './rpc/get-registry-status.ts';
import { registryHandlers } from './rpc/handlers.ts';

/** Definitions of a large mesh are megabytes; its other requests are small. */
const REQUEST_BYTES_MAX = 16 * 1024 * 1024;

/** Large schemas are rare; more threads would only hold memory. */
const SCHEMA_THREADS_MAX = 4;

/** Brings the registry up; resolves when it answers. */
export async function startRegistry(
  config: RegistryConfig,
  context: ServiceContext,
): Promise<{ address: string; httpAddress: string }> {
  const { signal, log } = context;
  const clock = systemClock;
  const conditions = new ConditionBoard({ clock, log });

  const store = await RegistryStore.open(levelStores, join(config.dataDir, 'definitions'));
  context.onStop('the store', () => store.close());

  const topology = await Topology.open({ store, clock, log, conditions });
  context.onStop('keeping the nodes', () => topology.settle());
  const tables = new IngestTables((role) => topology.nodesOf(role));
  const keeper = await DefinitionKeeper.open({ store, tables, clock, log, conditions });

  const schemaApi = await openSchemaApi(config, context);

  const readers = await ReaderBook.open({ store, clock, log });
  context.onStop('keeping the readers', () => readers.settle());
  const claims = await SourceClaims.open({ store, clock, isAlive: (nodeId) => topology.has(nodeId) });

  const handlers = registryHandlers({ keeper, topology, conditions, clock, claims, readers, history: store });
  const calls = new CallCounts();
  const server = createGrpcServer({ log, calls, maxReceiveBytes: REQUEST_BYTES_MAX }).add(RegistryService, handlers);
  const contracts = contractHandlers(new ContractKeeper({ store, definitions: keeper, tables, clock }));
  server.add(ContractService, contracts);
  const status = registryStatus({ keeper, topology, conditions, clock });
  const own = (): Promise<MetricFamily[]> =>
    Promise.resolve(registryMetrics(create(GetRegistryStatusResponseSchema, status())));
  const metrics = metricsPath({ own, calls }, context);
  const http = createHttpHost({
    log,
    // Without the credentials of the Schema Registry API: nothing is told of what is registered there.
    extra: (request, response) => metrics(request, response) || schemaApi(request, response),
    routes: (router, stopping) => {
      connectHandlers(router, RegistryService, handlers, log, stopping, calls);
      connectHandlers(router, ContractService, contracts, log, stopping, calls);
    },
    maxReceiveBytes: REQUEST_BYTES_MAX,
  });
  const expiry = topology.run(signal);
  context.onStop('lease expiry', () => expiry);
  const watching = watchOpenFiles({ conditions, clock, signal });
  context.onStop('watching open files', () => watching);

  const { address: httpAddress } = await http.listen(config.httpListen);
  context.onStop('the HTTP port', () => http.close());
  const { address } = await server.listen(config.listen);
  context.onStop('the gRPC port', () => server.drain(1_000));
  server.setReady(true);
  log.info('registry is up', { address, http: httpAddress, generation: keeper.generation });
  return { address, httpAddress };
}

async function openSchemaApi(
  config: RegistryConfig,
  context: ServiceContext,
): Promise<ReturnType<typeof createSchemaApi>> {
  const { schemasUsersFile: usersFile, schemasTokensFile: tokensFile } = config;
  const allows = await readCredentials({ usersFile, tokensFile });
  const store = await LevelSchemaStore.open(levelStores, join(config.dataDir, 'schemas'));
  context.onStop('the schema store', () => store.close());
  const readOnly = config.schemasReadOnly === 'yes';
  const profile = PROFILES[config.schemasProfile];
  const engines = schemaEngines(profile);
  // One core stays for whoever asks for what is small.
  const threads = Math.min(SCHEMA_THREADS_MAX, Math.max(1, availableParallelism() - 1));
  const workers = new SchemaThreads({ ...profile, clock: systemClock, threads });
  context.onStop('the threads for schemas', () => workers.close());
  const registry = await SubjectRegistry.open({ store, engines, workers, clock: systemClock, readOnly });
  context.onStop('what is registered', () => registry.settle());
  return createSchemaApi({ registry, profile, log: context.log, allows });
}

if (import.meta.main) {
  await runMain({
    name: 'registry',
    about: 'keeps what the mesh agrees on: definitions, contracts, topology',
    options: OPTIONS,
    start: startRegistry,
  });
}
