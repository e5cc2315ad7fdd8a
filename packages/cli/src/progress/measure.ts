/**
 * How far a generation of definitions is from being served: asks every ingest, compute and serve node, once.
 *
 * Owns the asking and the sums. A node that does not answer is not done, and is named; what is shown is show.ts.
 */
import { ComputeService, type GetComputeStatusResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  type GetIngestStatusResponse,
  IngestService,
  SnapshotStep,
  SourceState,
} from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type Node, type RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { type GetServeStatusResponse, ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { liveNodes } from '../mesh-nodes.ts';

/** A view that the generation has, by id in hex. */
export type ViewNames = ReadonlyMap<string, string>;

/** A view that is being built in a shard. */
export interface BuildProgress {
  readonly view: string;
  /** Tells the build from every other. */
  readonly key: string;
  readonly position: number;
  /** How many records it has to fold, as of now; more come while it folds. */
  readonly end: number;
}

export interface ViewProgress {
  readonly view: string;
  /** Compute's shards in which it is not being built (any more), of those that answered. */
  readonly shardsDone: number;
  readonly shards: number;
  /** Replicas' shards in which all its rows are there, over all serve nodes. */
  readonly replicaShardsDone: number;
  readonly replicaShards: number;
}

export interface SourceProgress {
  readonly database: string;
  readonly state: 'connecting' | 'snapshot' | 'streaming' | 'halted' | 'unknown';
  readonly rows: number;
  /** How far its initial rows are; undefined when none are read. */
  readonly snapshot?: SnapshotProgress | undefined;
  /** Why it does not stream; empty when it does. */
  readonly problem: string;
}

/** Rows are read from the database first, all of some tables, and then appended to the log. */
export interface SnapshotProgress {
  readonly step: 'reading' | 'appending';
  readonly rows: number;
  /** While reading, about; undefined: not known. */
  readonly rowsExpected: number | undefined;
}

/** What is complete of what there is. */
export interface Progress {
  readonly sources: readonly SourceProgress[];
  readonly shardsDone: number;
  readonly shards: number;
  readonly builds: readonly BuildProgress[];
  /** The views that are not complete everywhere, by name. */
  readonly views: readonly ViewProgress[];
  readonly servesDone: number;
  readonly serves: number;
  readonly rows: bigint;
  /** Nodes with a lease that do not answer, by what they do and where. */
  readonly unreached: readonly string[];
}

const STATES: Readonly<Record<SourceState, SourceProgress['state']>> = {
  [SourceState.UNSPECIFIED]: 'unknown',
  [SourceState.CONNECTING]: 'connecting',
  [SourceState.SNAPSHOT]: 'snapshot',
  [SourceState.STREAMING]: 'streaming',
  [SourceState.HALTED]: 'halted',
};

const STEPS: Readonly<Record<SnapshotStep, SnapshotProgress['step'] | undefined>> = {
  [SnapshotStep.UNSPECIFIED]: undefined,
  [SnapshotStep.READING]: 'reading',
  [SnapshotStep.APPENDING]: 'appending',
};

interface Asked<T> {
  readonly node: Node;
  /** Undefined when it did not answer. */
  readonly status: T | undefined;
}

/** Asks all nodes that have a lease now. */
export async function measure(
  registry: GrpcClient<typeof RegistryService>,
  generation: bigint,
  names: ViewNames,
  signal: AbortSignal,
): Promise<Progress> {
  const nodes = await liveNodes(registry, signal);
  const of = (role: Role): Node[] => nodes.filter((node) => node.role === role);
  const [ingests, computes, serves] = await Promise.all([
    ask(of(Role.INGEST), (address) => {
      const client = createGrpcClient(IngestService, address);
      return client.getIngestStatus({}, { signal }).finally(() => client.close());
    }),
    ask(of(Role.COMPUTE), (address) => {
      const client = createGrpcClient(ComputeService, address);
      return client.getComputeStatus({}, { signal }).finally(() => client.close());
    }),
    ask(of(Role.SERVE), (address) => {
      const client = createGrpcClient(ServeService, address);
      return client.getServeStatus({}, { signal }).finally(() => client.close());
    }),
  ]);
  const unreached = [
    ...unanswered('ingest', ingests),
    ...unanswered('compute', computes),
    ...unanswered('serve', serves),
  ];
  const shards = computes.flatMap(({ status }) => status?.shards ?? []);
  return {
    sources: ingests.flatMap(({ status }) => status?.sources.map(sourceProgress) ?? []),
    shards: computes.reduce(
      (sum, { node, status }) => sum + (status?.shards.length ?? Math.max(1, node.shards.length)),
      0,
    ),
    shardsDone: shards.filter((shard) => shard.definitionsGeneration >= generation && shard.builds.length === 0).length,
    builds: computes.flatMap((asked) => buildsOf(asked, names)),
    views: viewsOf(computes, serves, generation, names),
    serves: serves.length,
    servesDone: serves.filter(({ status }) => (status?.servingGeneration ?? 0n) >= generation).length,
    rows: serves.reduce((sum, { status }) => sum + (status?.rows ?? 0n), 0n),
    unreached,
  };
}

export function isServed({ shardsDone, shards, servesDone, serves }: Progress): boolean {
  return shards > 0 && shardsDone === shards && serves > 0 && servesDone === serves;
}

async function ask<T>(nodes: readonly Node[], call: (address: string) => Promise<T>): Promise<Asked<T>[]> {
  return Promise.all(
    nodes.map(async (node) => {
      try {
        return { node, status: await call(node.address) };
      } catch (error) {
        if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
        return { node, status: undefined };
      }
    }),
  );
}

function unanswered(role: string, asked: readonly Asked<unknown>[]): string[] {
  return asked.flatMap(({ node, status }) => (status === undefined ? [`${role} ${node.address}`] : []));
}

function sourceProgress({
  database,
  state,
  rows,
  problem,
  snapshot,
}: GetIngestStatusResponse['sources'][number]): SourceProgress {
  const known = { database, state: STATES[state] ?? 'unknown', rows: Number(rows), problem: problem?.message ?? '' };
  const step = snapshot === undefined ? undefined : STEPS[snapshot.step];
  if (snapshot === undefined || step === undefined) return known;
  const { rows: done, rowsExpected: expected } = snapshot;
  const rowsExpected = expected === undefined ? undefined : Number(expected);
  return { ...known, snapshot: { step, rows: Number(done), rowsExpected } };
}

function buildsOf({ node, status }: Asked<GetComputeStatusResponse>, names: ViewNames): BuildProgress[] {
  return (status?.shards ?? []).flatMap(({ shard, position, builds }) =>
    builds.map((build) => {
      const id = toHex(build.viewId);
      return {
        view: names.get(id) ?? id.slice(0, 8),
        key: `${node.nodeId} ${shard} ${id}`,
        position: Number(build.position),
        end: Number(position),
      };
    }),
  );
}

function viewsOf(
  computes: readonly Asked<GetComputeStatusResponse>[],
  serves: readonly Asked<GetServeStatusResponse>[],
  generation: bigint,
  names: ViewNames,
): ViewProgress[] {
  const shards = computes.flatMap(({ status }) => status?.shards ?? []);
  const views: ViewProgress[] = [];
  for (const [id, view] of names) {
    const isThis = (other: Uint8Array): boolean => toHex(other) === id;
    const done = shards.filter(
      ({ builds, definitionsGeneration }) =>
        definitionsGeneration >= generation && !builds.some(({ viewId }) => isThis(viewId)),
    );
    let replicaShards = 0;
    let replicaShardsDone = 0;
    for (const { status } of serves) {
      // A replica that has not heard of the generation does not know yet what it lacks.
      const knows = (status?.knownGeneration ?? 0n) >= generation;
      replicaShards += status?.shards.length ?? 0;
      if (knows) replicaShardsDone += status?.shards.filter(({ building }) => !building.some(isThis)).length ?? 0;
    }
    if (done.length === shards.length && replicaShardsDone === replicaShards) continue;
    views.push({ view, shardsDone: done.length, shards: shards.length, replicaShardsDone, replicaShards });
  }
  return views.sort((a, b) => (a.view < b.view ? -1 : 1));
}
