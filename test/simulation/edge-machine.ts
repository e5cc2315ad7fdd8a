/** A serve node in a simulation: the production replica, following whichever compute nodes there are. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  SubscribeChangesRequestSchema,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { ConfirmErasedRequest, ConfirmErasedResponse } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { ChangesClient } from '@freshet/replica/connections.ts';
import { Replica } from '@freshet/replica/replica.ts';
import type { MemoryDisk } from '@freshet/store/memory-store.ts';
import type { Network } from '@freshet/testkit/simulation/network.ts';
import type { SimProcess } from '@freshet/testkit/simulation/sim-process.ts';
import type { ComputeHandlers } from '../../services/compute/src/rpc/handlers.ts';
import { confirmErased } from '../../services/serve/src/rpc/confirm-erased.ts';
import type { Life } from './machine.ts';

export interface EdgeWorld {
  readonly network: Network;
  readonly partitions: number;
  readonly address: string;
  readonly upstreams: readonly string[];
  readonly definitions: () => DefinitionSet | undefined;
  /** Called with each replica that is open. */
  readonly onReplica: (replica: Replica) => void;
  /** Called when the replica says that it holds nothing of an entity, and what of what came since. */
  readonly onConfirmed: (request: ConfirmErasedRequest, answer: ConfirmErasedResponse) => void;
}

/** What a serve node offers at its address. */
export interface SimEdgeService {
  readonly confirmErased: (
    request: ConfirmErasedRequest,
    context: { readonly signal: AbortSignal },
  ) => Promise<ConfirmErasedResponse>;
}

const DEFINITIONS_MS = 300;
/** Once or twice in a run. */
const SCRUB_MS = 4_000;

/** Runs until something ends it. */
export async function runEdge(life: Life, world: EdgeWorld): Promise<void> {
  const { process: clock, stores, logger } = life;
  const replica = await Replica.open({
    directory: '/replica',
    stores,
    clock,
    log: logger,
    random: () => life.random.real(),
    yieldNow: clock.yieldNow,
    connect: (address) => changesClient(clock, world.network, address),
    flushIntervalMs: 100,
    scrubIntervalMs: SCRUB_MS,
  });
  replica.learnShardCount(world.partitions);
  const shards = Array.from({ length: world.partitions }, (_, shard) => shard);
  replica.setUpstreams(world.upstreams.map((address) => ({ address, shards })));
  world.onReplica(replica);
  const confirm = confirmErased(replica, asidesOf(stores));
  const service: SimEdgeService = {
    confirmErased: async (request, context) => {
      const answer = await confirm(request, context);
      world.onConfirmed(request, answer);
      return answer;
    },
  };
  world.network.listen(world.address, clock, service);
  for (;;) {
    const definitions = world.definitions();
    if (definitions !== undefined) replica.define(definitions);
    await clock.sleep(DEFINITIONS_MS);
  }
}

/** As services/serve/src/io/asides.ts, of stores that are no files. */
function asidesOf(stores: MemoryDisk): Parameters<typeof confirmErased>[1] {
  return {
    list: () => Promise.resolve(stores.directories.filter((directory) => directory.includes('.aside-'))),
    remove: (directory) => stores.remove(directory),
  };
}

/** A client as gRPC makes one: what goes over the wire is bytes. */
function changesClient(process: SimProcess, network: Network, address: string): ChangesClient {
  return {
    subscribeChanges: (request, { signal }) => {
      const sent = toBinary(SubscribeChangesRequestSchema, create(SubscribeChangesRequestSchema, request));
      return network.stream(
        process,
        address,
        async function* (service: ComputeHandlers, server) {
          const received = fromBinary(SubscribeChangesRequestSchema, sent);
          for await (const frame of service.subscribeChanges(received, { signal: server, peer: process.name })) {
            yield create(SubscribeChangesResponseSchema, frame);
          }
        },
        (frame) => fromBinary(SubscribeChangesResponseSchema, toBinary(SubscribeChangesResponseSchema, frame)),
        signal,
      );
    },
    close: () => undefined,
  };
}
