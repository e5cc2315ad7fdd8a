/** Asks a running mesh what it is doing: the registry, and every node that announced itself to it. Judges nothing. */
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { isHealthy } from '../mesh/health.ts';
import { liveNodes } from '../mesh-nodes.ts';
import type { OtherClock } from './judge-clocks.ts';
import type { MeshFacts, NodeFacts } from './judge-services.ts';

/** A node is asked this long, in milliseconds; the nodes are asked at once. */
const NODE_MS = 3_000;

export interface GatheredMesh {
  readonly mesh: MeshFacts;
  readonly registryClock: OtherClock;
}

/** Throws UNAVAILABLE and its like when the registry does not answer; a node that does not is part of the facts. */
export async function gatherMesh(registry: string, clock: Clock, signal: AbortSignal): Promise<GatheredMesh> {
  const client = createGrpcClient(RegistryService, registry, { deadlineMs: NODE_MS });
  try {
    const beganUs = clock.nowUs();
    const status = await client.getRegistryStatus({}, { signal });
    const tripUs = Math.max(0, clock.nowUs() - beganUs);
    const nodes = await Promise.all((await liveNodes(client, signal)).map((node) => askNode(node, signal)));
    return {
      mesh: { registryAddress: registry, registry: status, nodes },
      registryClock: {
        whose: `registry ${registry}`,
        against: 'this machine',
        aheadUs: Number(status.nowUs) - beganUs - Math.round(tripUs / 2),
        uncertainUs: Math.round(tripUs / 2),
      },
    };
  } finally {
    client.close();
  }
}

async function askNode(node: Node, signal: AbortSignal): Promise<NodeFacts> {
  const [healthy, ready, answer] = await Promise.all([
    isHealthy(node.address, '', signal),
    isHealthy(node.address, 'ready', signal),
    askStatus(node, signal),
  ]);
  return { node, healthy, ready, answer };
}

async function askStatus(node: Node, signal: AbortSignal): Promise<NodeFacts['answer']> {
  const options = { deadlineMs: NODE_MS };
  try {
    if (node.role === Role.INGEST) {
      const client = createGrpcClient(IngestService, node.address, options);
      return { role: 'ingest', status: await client.getIngestStatus({}, { signal }).finally(() => client.close()) };
    }
    if (node.role === Role.COMPUTE) {
      const client = createGrpcClient(ComputeService, node.address, options);
      return { role: 'compute', status: await client.getComputeStatus({}, { signal }).finally(() => client.close()) };
    }
    const client = createGrpcClient(ServeService, node.address, options);
    return { role: 'serve', status: await client.getServeStatus({}, { signal }).finally(() => client.close()) };
  } catch (error) {
    signal.throwIfAborted();
    return { role: ROLE_NAMES[node.role] ?? 'unknown', error: toFreshetError(error) };
  }
}

const ROLE_NAMES: Readonly<Record<number, string>> = {
  [Role.INGEST]: 'ingest',
  [Role.COMPUTE]: 'compute',
  [Role.SERVE]: 'serve',
};
