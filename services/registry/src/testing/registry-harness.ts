/**
 * For tests: a registry over real gRPC in this process, with a fake ingest node that describes tables as it is told.
 */
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type DescribeTablesRequest,
  type DescribeTablesResponseSchema,
  IngestService,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ContractService } from '@freshet/gen/freshet/registry/v1/contracts_pb.ts';
import { RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { ContractKeeper } from '../core/contract-keeper.ts';
import { DefinitionKeeper } from '../core/definition-keeper.ts';
import { ReaderBook } from '../core/reader-book.ts';
import { SourceClaims } from '../core/source-claims.ts';
import { Topology } from '../core/topology.ts';
import { IngestTables } from '../io/ingest-tables.ts';
import { RegistryStore } from '../io/registry-store.ts';
import { contractHandlers } from '../rpc/contract-handlers.ts';
import { registryHandlers } from '../rpc/handlers.ts';

type TableShapes = MessageInitShape<typeof DescribeTablesResponseSchema>;
export type DescribeTables = (request: DescribeTablesRequest) => TableShapes | Promise<TableShapes>;

export interface RegistryHarness {
  readonly client: GrpcClient<typeof RegistryService>;
  readonly contracts: GrpcClient<typeof ContractService>;
  readonly keeper: DefinitionKeeper;
  readonly store: RegistryStore;
  readonly address: string;
  close(): Promise<void>;
}

export async function startRegistryHarness(options: {
  readonly directory: string;
  /** Where the store lies; LevelDB by default. */
  readonly stores?: Stores;
  readonly clock?: Clock;
  readonly definitionsBytesMax?: number;
}): Promise<RegistryHarness> {
  const clock = options.clock ?? systemClock;
  const log = silentLogger;
  const conditions = new ConditionBoard({ clock, log });
  const store = await RegistryStore.open(options.stores ?? levelStores, options.directory);
  const topology = await Topology.open({ store, clock, log, conditions });
  const tables = new IngestTables((role) => topology.nodesOf(role));
  const { definitionsBytesMax } = options;
  const keeper = await DefinitionKeeper.open({ store, tables, clock, log, conditions, definitionsBytesMax });
  const readers = await ReaderBook.open({ store, clock, log });
  const claims = await SourceClaims.open({ store, clock, isAlive: (nodeId) => topology.has(nodeId) });
  const server = createGrpcServer({ log }).add(
    RegistryService,
    registryHandlers({ keeper, topology, conditions, clock, claims, readers, history: store }),
  );
  const contractKeeper = new ContractKeeper({ store, definitions: keeper, tables, clock });
  server.add(ContractService, contractHandlers(contractKeeper));
  const { address } = await server.listen('127.0.0.1:0');
  const client = createGrpcClient(RegistryService, address);
  const contracts = createGrpcClient(ContractService, address);
  return {
    client,
    contracts,
    keeper,
    store,
    address,
    close: async () => {
      client.close();
      contracts.close();
      await server.drain(100);
      await topology.settle();
      await readers.settle();
      await store.close();
    },
  };
}

/** Starts an ingest node that answers with what `describe` returns, and announces it to the registry. */
export async function startFakeIngest(
  registry: RegistryHarness,
  describe: DescribeTables,
): Promise<{ close(): Promise<void> }> {
  const server = createGrpcServer({ log: silentLogger }).add(IngestService, {
    describeTables: async (request) => describe(request),
  });
  const { address } = await server.listen('127.0.0.1:0');
  await registry.client.announceNode({ node: { nodeId: 'ingest-1', role: Role.INGEST, address } });
  return { close: () => server.drain(100) };
}
