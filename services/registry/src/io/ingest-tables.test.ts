/**
 * Goal: what only the node that captures a table knows of it comes to whoever asks, whichever nodes are there beside it, and a node
 * that does not answer keeps nobody from an answer. Method: ingest nodes over real gRPC that describe tables as they are told.
 */
import { create } from '@bufbuild/protobuf';
import { DescribeTablesResponseSchema, IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, NodeSchema, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { PostgresTableSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, expect, it } from 'vitest';
import { IngestTables } from './ingest-tables.ts';

const servers: GrpcServer[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.drain(100)));
});

/** A node that knows since when the values of column v are others. */
async function nodeKnowing(nodeId: string, valuesSinceUs: bigint): Promise<Node> {
  const columns = [
    { name: 'id', tableOid: 7, columnNumber: 1 },
    { name: 'v', tableOid: 7, columnNumber: 2, valuesSinceUs },
  ];
  const server = createGrpcServer({ log: silentLogger }).add(IngestService, {
    describeTables: async () =>
      Promise.resolve(create(DescribeTablesResponseSchema, { tables: [{ contract: { source: 's', columns } }] })),
  });
  servers.push(server);
  const { address } = await server.listen('127.0.0.1:0');
  return create(NodeSchema, { nodeId, role: Role.INGEST, address });
}

it('asks all for what only the node that captures a table knows, and waits for none that does not answer', async () => {
  const gone = create(NodeSchema, { nodeId: 'gone', role: Role.INGEST, address: '127.0.0.1:1' });
  const [idle, captures] = [await nodeKnowing('idle', 0n), await nodeKnowing('captures', 5n)];
  const table = create(PostgresTableSchema, { database: 'shop', schema: 'public', table: 't' });
  for (const nodes of [
    [idle, captures],
    [captures, idle],
    [gone, idle, captures, gone],
  ]) {
    const tables = new IngestTables(() => nodes);
    const [answer] = await tables.describe(
      [{ source: 's', table, mode: SourceMode.APPEND }],
      AbortSignal.timeout(10_000),
    );
    expect(answer?.contract?.columns.map(({ valuesSinceUs }) => valuesSinceUs)).toEqual([0n, 5n]);
  }
});
