/**
 * Connects a replica to its mesh: definitions and topology from the registry, or compute nodes named by hand.
 *
 * Owns: who is asked, and what a replica is told. All of it may be unreachable for any time: the replica serves.
 */
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type Node, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { isAbort } from '@freshet/kit/errors.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { KnownNodes } from '@freshet/kit/known-nodes.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { RegistryLink } from '@freshet/kit/registry-link.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { Replica } from './replica.ts';
import type { Upstream } from './upstreams.ts';

const RESTART_MS = 5000;
/** How often nodes that were named by hand are asked for their shards: one that is down now may run in a while. */
const ASK_AGAIN_MS = 10_000;

export interface MeshLinkOptions {
  readonly replica: Replica;
  /** The registry's "host:port"; undefined: definitions come from the replica's disk. */
  readonly registry: string | undefined;
  /** The compute nodes' "host:port"; empty: as the registry's topology has them. */
  readonly compute: readonly string[];
  /** Where the topology is kept, for a start without the registry. */
  readonly knownNodes?: KnownNodes | undefined;
  readonly clock: Clock;
  readonly log: Logger;
  readonly signal: AbortSignal;
}

/** Follows the mesh until the signal. `onRegistry` is called once the registry has said which definitions there are, if any. */
export async function followMesh(options: MeshLinkOptions, onRegistry: () => void = () => {}): Promise<void> {
  const { replica, registry, compute } = options;
  const work: Promise<void>[] = [];
  if (registry !== undefined) {
    const link = new RegistryLink({ ...options, registry });
    work.push(keepGoing(options, 'asking for definitions', () => askDefinitions(options, registry, onRegistry)));
    work.push(
      keepGoing(options, 'following definitions', () =>
        link.followDefinitions(
          () => replica.knownGeneration,
          async (set) => replica.define(set),
        ),
      ),
    );
    if (compute.length === 0) {
      work.push(
        keepGoing(options, 'following the topology', () =>
          link.followTopology((nodes, isHeard) => {
            // Told by nodes that know the log, never guessed from the shards that happen to run: with a smaller number
            // keys would be looked for in the wrong shard, and read as never seen. What was heard before the replica keeps.
            for (const { partitions } of isHeard ? nodes : []) replica.learnShardCount(partitions);
            replica.setUpstreams(upstreamsIn(nodes));
          }, options.knownNodes),
        ),
      );
    }
  }
  if (compute.length > 0) work.push(keepGoing(options, 'following compute', () => followFixed(options)));
  await Promise.all(work);
}

/** Runs it again when it fails, until the signal: whatever is wrong with the registry, a serve node goes on serving. */
export async function keepGoing(
  { signal, clock, log }: Pick<MeshLinkOptions, 'signal' | 'clock' | 'log'>,
  what: string,
  run: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    try {
      await run();
      return;
    } catch (error) {
      if (signal.aborted) return;
      log.error(`${what} failed; trying again in ${RESTART_MS / 1000} s`, { error });
      await clock.sleep(RESTART_MS, signal).catch(() => undefined);
    }
  }
}

/** The compute nodes of a topology. */
export function upstreamsIn(nodes: readonly Node[]): Upstream[] {
  return nodes.filter(({ role }) => role === Role.COMPUTE).map(({ address, shards }) => ({ address, shards }));
}

/** Asks once for the definitions in force: the stream of them says nothing as long as there are none. */
async function askDefinitions(options: MeshLinkOptions, registry: string, onRegistry: () => void): Promise<void> {
  const client = createGrpcClient(RegistryService, registry);
  try {
    const { resolved } = await forever(options, 'asking the registry for definitions', () =>
      client.getDefinitions({}, { signal: options.signal }),
    );
    if (resolved !== undefined) options.replica.define(resolved);
    onRegistry();
  } catch (error) {
    if (!options.signal.aborted && !isAbort(error)) throw error;
  } finally {
    client.close();
  }
}

/**
 * Asks compute nodes that were named by hand which shards they fold, again and again, and follows them. A shard that a
 * node once had is looked for there ever after: it is told by the node itself when it does not run for now.
 */
async function followFixed(options: MeshLinkOptions): Promise<void> {
  const known = new Map<string, Set<number>>();
  await Promise.all(options.compute.map((address) => askForShards(options, address, known)));
}

async function askForShards(options: MeshLinkOptions, address: string, known: Map<string, Set<number>>): Promise<void> {
  const { replica, signal, clock } = options;
  const client = createGrpcClient(ComputeService, address);
  const mine = new Set<number>();
  try {
    while (!signal.aborted) {
      const { shards, partitions } = await forever(options, `asking ${address} for its shards`, async () => {
        const status = await client.getComputeStatus({}, { signal });
        if (status.shards.length === 0 && mine.size === 0) throw new Error(`${address} folds no shards yet`);
        return status;
      });
      replica.learnShardCount(partitions);
      for (const { shard } of shards) mine.add(shard);
      known.set(address, mine);
      replica.setUpstreams([...known].map(([upstream, some]) => ({ address: upstream, shards: [...some] })));
      await clock.sleep(ASK_AGAIN_MS, signal);
    }
  } catch (error) {
    if (!signal.aborted && !isAbort(error)) throw error;
  } finally {
    client.close();
  }
}

function forever<T>(options: MeshLinkOptions, what: string, operation: () => Promise<T>): Promise<T> {
  const { signal, clock, log } = options;
  return retry(operation, { what, signal, clock, log, retryable: () => true });
}
