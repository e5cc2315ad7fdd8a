/** Asks a running mesh what it is doing: the registry, and every node that announced itself to it. Judges nothing. */
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { PostgresTable } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { toFreshetError } from '@freshet/kit/grpc/error-mapping.ts';
import { tablesOf } from '../definitions.ts';
import { isHealthy } from '../mesh/health.ts';
import { liveNodes } from '../mesh-nodes.ts';
import type { OtherClock } from './judge-clocks.ts';
import type { MeshFacts, NodeFacts } from './judge-services.ts';

/** A node is asked this long, in milliseconds; the nodes are asked at once. */
const NODE_MS = 3_000;

export interface GatheredMesh {
  readonly mesh: MeshFacts;
  /** The registry's, and that of each node which told it. */
  readonly clocks: readonly OtherClock[];
  /** The tables that the definitions in force name, each once; undefined: none were applied yet. */
  readonly tables: readonly PostgresTable[] | undefined;
}

interface AskedNode {
  readonly facts: NodeFacts;
  readonly clock: OtherClock | undefined;
}

/** Throws UNAVAILABLE and its like when the registry does not answer; a node that does not is part of the facts. */
export async function gatherMesh(registry: string, clock: Clock, signal: AbortSignal): Promise<GatheredMesh> {
  const client = createGrpcClient(RegistryService, registry, { deadlineMs: NODE_MS });
  try {
    const began = readingOf(clock);
    const status = await client.getRegistryStatus({}, { signal });
    const registryClock = otherClock(`registry ${registry}`, status.nowUs, began, clock);
    const { definitions } = await client.getDefinitions({}, { signal });
    const nodes = await Promise.all((await liveNodes(client, signal)).map((node) => askNode(node, clock, signal)));
    return {
      mesh: { registryAddress: registry, registry: status, nodes: nodes.map(({ facts }) => facts) },
      clocks: [registryClock, ...nodes.map(({ clock: other }) => other)].filter((other) => other !== undefined),
      tables: definitions === undefined ? undefined : tablesOf(definitions),
    };
  } finally {
    client.close();
  }
}

interface Reading {
  readonly wallUs: number;
  readonly monotonicUs: number;
}

function readingOf(clock: Clock): Reading {
  return { wallUs: clock.nowUs(), monotonicUs: clock.monotonicUs() };
}

/** What another's clock showed within a call that began so; undefined: it does not tell, being older than the field. */
function otherClock(whose: string, nowUs: bigint, began: Reading, clock: Clock): OtherClock | undefined {
  if (nowUs === 0n) return undefined;
  // It was read, as far as we can know, in the middle of the round trip; a step of our own clock is told by itself.
  const halfUs = Math.round((clock.monotonicUs() - began.monotonicUs) / 2);
  return { whose, against: 'this machine', aheadUs: Number(nowUs) - began.wallUs - halfUs, uncertainUs: halfUs };
}

async function askNode(node: Node, clock: Clock, signal: AbortSignal): Promise<AskedNode> {
  const [healthy, ready, { answer, clock: other }] = await Promise.all([
    isHealthy(node.address, '', signal),
    isHealthy(node.address, 'ready', signal),
    askStatus(node, clock, signal),
  ]);
  return { facts: { node, healthy, ready, answer }, clock: other };
}

async function askStatus(
  node: Node,
  clock: Clock,
  signal: AbortSignal,
): Promise<Pick<NodeFacts, 'answer'> & Pick<AskedNode, 'clock'>> {
  const began = readingOf(clock);
  try {
    const answer = await statusOf(node, signal);
    return { answer, clock: otherClock(`${answer.role} ${node.address}`, answer.status.nowUs, began, clock) };
  } catch (error) {
    signal.throwIfAborted();
    return { answer: { role: ROLE_NAMES[node.role] ?? 'unknown', error: toFreshetError(error) }, clock: undefined };
  }
}

async function statusOf(
  { role, address }: Node,
  signal: AbortSignal,
): Promise<Extract<NodeFacts['answer'], { status: unknown }>> {
  const options = { deadlineMs: NODE_MS };
  if (role === Role.INGEST) {
    const client = createGrpcClient(IngestService, address, options);
    return { role: 'ingest', status: await client.getIngestStatus({}, { signal }).finally(() => client.close()) };
  }
  if (role === Role.COMPUTE) {
    const client = createGrpcClient(ComputeService, address, options);
    return { role: 'compute', status: await client.getComputeStatus({}, { signal }).finally(() => client.close()) };
  }
  const client = createGrpcClient(ServeService, address, options);
  return { role: 'serve', status: await client.getServeStatus({}, { signal }).finally(() => client.close()) };
}

const ROLE_NAMES: Readonly<Record<number, string>> = {
  [Role.INGEST]: 'ingest',
  [Role.COMPUTE]: 'compute',
  [Role.SERVE]: 'serve',
};
