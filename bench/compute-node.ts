/** A compute node inside the benchmark's process, on a log in memory and stores in a temporary directory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as yieldNow } from 'node:timers/promises';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { Gate } from '../services/compute/src/core/gate.ts';
import { PassPace } from '../services/compute/src/core/pass-pace.ts';
import { ShardHost } from '../services/compute/src/core/shard-host.ts';
import { FRAME_LIMITS } from '../services/compute/src/core/shard-limits.ts';
import { createEngineFold, ENGINE_FORMAT } from '../services/compute/src/io/engine.ts';
import { nodeStorage } from '../services/compute/src/io/node-storage.ts';
import { computeHandlers } from '../services/compute/src/rpc/handlers.ts';

export interface ComputeNode {
  readonly address: string;
  readonly host: ShardHost;
  readonly log: MemoryLog;
  close(): Promise<void>;
}

/** @param logNowUs the clock that stamps log time, microseconds */
export async function startComputeNode(shards: number, logNowUs: () => number): Promise<ComputeNode> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  const stamp: Clock = { ...systemClock, nowUs: logNowUs, monotonicUs: logNowUs };
  const log = createMemoryLog({ partitions: shards, clock: stamp });
  const host = new ShardHost({
    log,
    ...nodeStorage({
      stores: levelStores,
      files: nodeFileSystem,
      dataDir: directory,
      clock: systemClock,
      yieldNow,
      format: ENGINE_FORMAT,
      checkpointsKept: 1,
    }),
    conditions: new ConditionBoard({ clock: systemClock, log: silentLogger }),
    upkeep: {
      checkpointIntervalMs: 1e9,
      scrubIntervalMs: 1e9,
      scrubBytesPerSecond: 1e9,
      gate: new Gate(1),
      scrubGate: new Gate(1),
    },
    onCheckpoint: () => undefined,
    createFold: createEngineFold,
    createDigest: ENGINE_FORMAT.createDigest,
    clock: systemClock,
    logger: silentLogger,
    yieldNow,
    pages: new Gate(2),
    passPace: new PassPace(),
    limits: {
      cacheBytes: (512 * 2 ** 20) / shards,
      commitBytes: 16 * 2 ** 20,
      commitIntervalMs: 1000,
      tailBytes: 16 * 2 ** 20,
      rowCacheBytes: 16 * 2 ** 20,
      journal: { ageUs: 21_600_000_000, bytes: 64 * 2 ** 20 },
      frame: FRAME_LIMITS,
    },
  });
  const stop = new AbortController();
  let opened = (): void => undefined;
  const allOpen = new Promise<void>((resolve) => {
    opened = resolve;
  });
  const numbers = Array.from({ length: shards }, (_, shard) => shard);
  const running = host.run(numbers, stop.signal, opened);
  await Promise.race([allOpen, running]);
  const server = createGrpcServer({ log: silentLogger }).add(
    ComputeService,
    computeHandlers(host, { clock: systemClock, yieldNow, partitions: shards }),
  );
  const { address } = await server.listen('127.0.0.1:0');
  return {
    address,
    host,
    log,
    close: async () => {
      await server.drain(100);
      stop.abort();
      await running;
      await log.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
