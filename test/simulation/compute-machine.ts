/** A compute node in a simulation: the production shards, their stores and checkpoints, and what followers call. */
import type { ForgetEntityRequest } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import type { MemoryDisk } from '@freshet/store/memory-store.ts';
import type { Network } from '@freshet/testkit/simulation/network.ts';
import { askGenerations } from '../../services/compute/src/core/ask-generations.ts';
import { shardBudget } from '../../services/compute/src/core/budget.ts';
import type { Fold } from '../../services/compute/src/core/fold-port.ts';
import { Gate } from '../../services/compute/src/core/gate.ts';
import { ShardHost } from '../../services/compute/src/core/shard-host.ts';
import { FRAME_LIMITS } from '../../services/compute/src/core/shard-limits.ts';
import { CheckpointTeller } from '../../services/compute/src/core/tell-checkpoints.ts';
import { Wake } from '../../services/compute/src/core/wake.ts';
import { createEngineFold, ENGINE_FORMAT } from '../../services/compute/src/io/engine.ts';
import { type NodeStorage, nodeStorage, shardDirectory } from '../../services/compute/src/io/node-storage.ts';
import { type ComputeHandlers, computeHandlers } from '../../services/compute/src/rpc/handlers.ts';
import type { Life } from './machine.ts';
import { SimLogReader } from './sim-log-reader.ts';

export interface ComputeWorld {
  readonly network: Network;
  readonly partitions: number;
  readonly address: string;
  readonly onHost: (host: ShardHost) => void;
  /** Called when states that say nothing any more were freed. */
  readonly onSwept: () => void;
  /** Called for each part of the log that the node reads, but the first of a reading. */
  readonly onReading: () => void;
  /** Called when a shard says that it has nothing of an entity any more, and what of what came since. */
  readonly onForgotten: (request: ForgetEntityRequest, answer: ForgetEntityAnswer) => void;
}

type ForgetEntityAnswer = Awaited<ReturnType<ComputeHandlers['forgetEntity']>>;

const DIRECTORY = '/compute';
/** Small, so that state is evicted, journals expire, frames fill and passes take several pages within one run. */
const CACHE_BYTES = 16 * 1024;
const COMMIT_MS = 300;
const CHECKPOINT_MS = 3_000;
const SCRUB_MS = 4_000;
const JOURNAL = { ageUs: 3_000_000, bytes: 4 * 1024 };
/** Dead keys are swept within a run. */
const SWEEP = { pageKeys: 4, pageBytes: 4 * 1024, pageMs: 20, roundMs: 1_500 };
const FRAME = { ...FRAME_LIMITS, bytes: 2_000, pageRows: 3, keys: 8 };

/** Runs until something ends it. */
export async function runCompute(life: Life, world: ComputeWorld): Promise<void> {
  const { process: clock, stores, files, logger, signal } = life;
  const { network, partitions, address } = world;
  const { yieldNow } = clock;
  const numbers = Array.from({ length: partitions }, (_, number) => number);
  await files.makeDirectory(DIRECTORY);
  const source = new SimLogReader(clock, network, 'ingest', world.onReading);
  const taken = new Wake();
  const storage = nodeStorage({
    stores,
    files,
    dataDir: DIRECTORY,
    clock,
    yieldNow,
    format: ENGINE_FORMAT,
    checkpointsKept: 2,
  });
  const teller: CheckpointTeller = new CheckpointTeller({
    host: () => host,
    source,
    node: address,
    clock,
    log: logger,
  });
  const host = new ShardHost({
    log: source,
    ...storage,
    ...asidesOf(stores, storage),
    createFold: (options) => watchSweeps(createEngineFold(options), world.onSwept),
    createDigest: ENGINE_FORMAT.createDigest,
    conditions: new ConditionBoard({ clock, log: logger }),
    upkeep: {
      checkpointIntervalMs: CHECKPOINT_MS,
      scrubIntervalMs: SCRUB_MS,
      scrubBytesPerSecond: 1_000_000,
      gate: new Gate(1),
      scrubGate: new Gate(1),
    },
    clock,
    logger,
    yieldNow,
    random: () => life.random.real(),
    pages: new Gate(2),
    limits: {
      ...shardBudget(64 * 1024 * 1024, partitions),
      cacheBytes: CACHE_BYTES,
      commitBytes: 8 * 1024,
      tailBytes: 2 * 1024,
      rowCacheBytes: 4 * 1024,
      commitIntervalMs: COMMIT_MS,
      frame: FRAME,
      journal: JOURNAL,
      sweep: SWEEP,
    },
    onCheckpoint: () => taken.set(),
    beforeReading: (logId, stop) => teller.beforeReading(logId, stop),
  });
  world.onHost(host);
  const handlers = computeHandlers(host, { clock, yieldNow, partitions, upkeep: host });
  const service: ComputeHandlers = {
    ...handlers,
    forgetEntity: async (request, context) => {
      const answer = await handlers.forgetEntity(request, context);
      world.onForgotten(request, answer);
      return answer;
    },
  };
  network.listen(address, clock, service);
  void teller.run(taken, signal);
  void askGenerations(host, { asker: source, node: address, clock, signal, log: logger });
  await host.run(numbers, signal);
}

/** As node-storage.ts, of stores that are no files. */
function asidesOf(
  stores: MemoryDisk,
  { asides, removeAside }: NodeStorage,
): Pick<NodeStorage, 'asides' | 'removeAside'> {
  return {
    asides: async (shard) => {
      const base = `${shardDirectory(DIRECTORY, shard)}.aside-`;
      return [...(await asides(shard)), ...stores.directories.filter((directory) => directory.startsWith(base))];
    },
    removeAside: (path) => (stores.directories.includes(path) ? stores.remove(path) : removeAside(path)),
  };
}

function watchSweeps(fold: Fold, onSwept: () => void): Fold {
  const sweep = fold.sweep.bind(fold);
  return Object.assign(fold, {
    sweep: (...page: Parameters<Fold['sweep']>): number => {
      const freed = sweep(...page);
      if (freed > 0) onSwept();
      return freed;
    },
  });
}
