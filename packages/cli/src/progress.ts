/**
 * How far a generation of definitions is from being served: asks every compute and serve node until all have it.
 * Owns the asking and the line that shows it.
 */
import { ComputeService, type ShardStatus } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type Node, type RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { liveNodes } from './mesh-nodes.ts';
import { paint, type Terminal } from './output/terminal.ts';
import { countText } from './output/values.ts';

export interface ProgressOptions {
  readonly terminal: Terminal;
  readonly registry: GrpcClient<typeof RegistryService>;
  readonly generation: bigint;
  readonly timeoutMs: number;
  /** Shows nothing. */
  readonly quiet: boolean;
}

/** What is complete of what there is. */
export interface Progress {
  readonly shardsDone: number;
  readonly shards: number;
  /** Records folded and records there are, over shards with a view being built. */
  readonly recordsDone: bigint;
  readonly records: bigint;
  readonly servesDone: number;
  readonly serves: number;
  readonly rows: bigint;
}

const POLL_MS = 250;

/** Resolves when every compute shard and serve node has the generation complete. Throws DEADLINE_EXCEEDED when late. */
export async function untilServed(options: ProgressOptions): Promise<void> {
  const { terminal, registry, generation, timeoutMs } = options;
  const endUs = terminal.clock.monotonicUs() + timeoutMs * 1000;
  let shown = '';
  for (;;) {
    const progress = await measure(registry, generation, terminal.signal);
    if (isServed(progress)) {
      if (terminal.interactive && shown !== '' && !options.quiet) terminal.err('\r\u001b[K');
      return;
    }
    const text = progressText(progress);
    if (!options.quiet && text !== shown)
      terminal.err(terminal.interactive ? `\r\u001b[K${paint(terminal, 'dim', text)}` : `${text}\n`);
    shown = text;
    if (terminal.clock.monotonicUs() > endUs) {
      if (terminal.interactive && !options.quiet) terminal.err('\n');
      throw new FreshetError(
        'DEADLINE_EXCEEDED',
        `generation ${generation} is in force but not served everywhere yet: ${text}`,
        {
          remedy: "it goes on by itself; 'freshet status' shows what it waits for",
        },
      );
    }
    await terminal.clock.sleep(POLL_MS, terminal.signal);
  }
}

export function isServed(progress: Progress): boolean {
  const { shardsDone, shards, servesDone, serves } = progress;
  return shards > 0 && shardsDone === shards && serves > 0 && servesDone === serves;
}

export function progressText({ shardsDone, shards, recordsDone, records, servesDone, serves, rows }: Progress): string {
  const building = records > 0n ? `, ${countText(recordsDone)} of ${countText(records)} records folded` : '';
  const compute = shards === 0 ? 'compute: no node is there' : `compute: ${shardsDone} of ${shards} shards${building}`;
  const serve =
    serves === 0 ? 'serve: no node is there' : `serve: ${servesDone} of ${serves} nodes, ${countText(rows)} rows`;
  return `${compute} · ${serve}`;
}

async function measure(
  registry: GrpcClient<typeof RegistryService>,
  generation: bigint,
  signal: AbortSignal,
): Promise<Progress> {
  const nodes = await liveNodes(registry, signal);
  const of = (role: Role): Node[] => nodes.filter((node) => node.role === role);
  const computes = await Promise.all(of(Role.COMPUTE).map((node) => computeProgress(node, generation, signal)));
  const serves = await Promise.all(of(Role.SERVE).map((node) => serveProgress(node, generation, signal)));
  const sum = <T>(items: readonly T[], of: (item: T) => number): number =>
    items.reduce((total, item) => total + of(item), 0);
  const bigSum = <T>(items: readonly T[], of: (item: T) => bigint): bigint =>
    items.reduce((total, item) => total + of(item), 0n);
  return {
    shardsDone: sum(computes, (c) => c.shardsDone),
    shards: sum(computes, (c) => c.shards),
    recordsDone: bigSum(computes, (c) => c.recordsDone),
    records: bigSum(computes, (c) => c.records),
    servesDone: sum(serves, (s) => (s.done ? 1 : 0)),
    serves: serves.length,
    rows: bigSum(serves, (s) => s.rows),
  };
}

async function computeProgress(
  node: Node,
  generation: bigint,
  signal: AbortSignal,
): Promise<Pick<Progress, 'shardsDone' | 'shards' | 'recordsDone' | 'records'>> {
  const client = createGrpcClient(ComputeService, node.address);
  try {
    const { shards } = await client.getComputeStatus({}, { signal });
    const building = shards.filter((shard) => shard.builds.length > 0);
    return {
      shards: shards.length,
      shardsDone: shards.filter((shard) => shard.definitionsGeneration >= generation && shard.builds.length === 0)
        .length,
      records: building.reduce((total, shard) => total + shard.position, 0n),
      recordsDone: building.reduce((total, shard) => total + leastPosition(shard), 0n),
    };
  } catch (error) {
    if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
    return { shards: Math.max(1, node.shards.length), shardsDone: 0, records: 0n, recordsDone: 0n };
  } finally {
    client.close();
  }
}

async function serveProgress(
  node: Node,
  generation: bigint,
  signal: AbortSignal,
): Promise<{ done: boolean; rows: bigint }> {
  const client = createGrpcClient(ServeService, node.address);
  try {
    const { servingGeneration, rows } = await client.getServeStatus({}, { signal });
    return { done: servingGeneration >= generation, rows };
  } catch (error) {
    if (!isFreshetError(error, 'UNAVAILABLE', 'DEADLINE_EXCEEDED')) throw error;
    return { done: false, rows: 0n };
  } finally {
    client.close();
  }
}

/** How far the slowest view that is being built has come. */
function leastPosition(shard: ShardStatus): bigint {
  let least = shard.position;
  for (const { position } of shard.builds) if (position < least) least = position;
  return least;
}
