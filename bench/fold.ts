/**
 * Events per second through the engine in memory, and from a log on disk to committed LevelDB state with every changed
 * row emitted to a follower; one core, one shard. The baseline does the least that any store must, without being
 * right: it decodes the same records with protobuf-es and counts per key in a Map.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as yieldNow } from 'node:timers/promises';
import { fromBinary } from '@bufbuild/protobuf';
import { createStateDigest } from '@freshet/engine/fold/state-digest.ts';
import { type FoldEntry, ShardFold } from '@freshet/engine/shard-fold.ts';
import { readVersion } from '@freshet/engine/state/state-codec.ts';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { openSegmentLog } from '@freshet/log/segment-log.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { Gate } from '../services/compute/src/core/gate.ts';
import { PassPace } from '../services/compute/src/core/pass-pace.ts';
import { runLoops } from '../services/compute/src/core/run-loops.ts';
import { Shard } from '../services/compute/src/core/shard.ts';
import { FRAME_LIMITS } from '../services/compute/src/core/shard-limits.ts';
import { singleShard } from '../services/compute/src/core/shard-source.ts';
import { ShardStore } from '../services/compute/src/io/shard-store.ts';
import { computeHandlers } from '../services/compute/src/rpc/handlers.ts';
import { type Distribution, foldWorkload, type WorkloadRecord } from './fold-workload.ts';
import type { BenchResult } from './main.ts';
import { interleave, median, round } from './statistics.ts';

const EVENTS = 500_000;
const BATCH = 2000;

export async function benchFold(runs: number): Promise<BenchResult> {
  const result: Record<string, number> = {};
  for (const distribution of ['uniform', 'zipf'] as const satisfies readonly Distribution[]) {
    const workload = foldWorkload(EVENTS, distribution);
    const memory = await interleave(
      runs,
      async () => inMemory(workload),
      async () => naive(workload),
    );
    result[`memory_${distribution}`] = Math.round(memory.subject);
    result[`naive_${distribution}`] = Math.round(memory.baseline);
    result[`ratio_memory_${distribution}`] = round(memory.ratio, 2);
    const committed: number[] = [];
    for (let run = 0; run < runs; run++) committed.push(await logToRows(workload));
    result[`log_to_rows_${distribution}`] = Math.round(median(committed));
  }
  return result;
}

function inMemory(workload: readonly WorkloadRecord[]): number {
  const fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: 2 ** 40 });
  const entries: FoldEntry[] = workload.map(({ record, logTimeUs }, offset) => ({ offset, logTimeUs, record, crc: 0 }));
  globalThis.gc?.();
  const startedAt = performance.now();
  for (let at = 0; at < entries.length; at += BATCH) fold.fold(entries.slice(at, at + BATCH));
  return (EVENTS / (performance.now() - startedAt)) * 1000;
}

function naive(workload: readonly WorkloadRecord[]): number {
  const counts = new Map<string, number>();
  globalThis.gc?.();
  const startedAt = performance.now();
  for (const { record } of workload) {
    const { kind } = fromBinary(LogRecordSchema, record);
    if (kind.case !== 'change') continue;
    const key = Buffer.from(kind.value.entityKey).toString('latin1');
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return (EVENTS / (performance.now() - startedAt)) * 1000;
}

/** From a log on disk until everything is committed and every follower frame was taken, in events per second. */
async function logToRows(workload: readonly WorkloadRecord[]): Promise<number> {
  return (await foldFromLog(workload)).eventsPerS;
}

/** The same, with the processor time of it: of all threads and of the main one, microseconds. */
export async function foldFromLog(
  workload: readonly WorkloadRecord[],
): Promise<{ eventsPerS: number; cpuUs: number; threadUs: number }> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  // The log stamps its own time: the clock is the workload's, so that windows are as full as they would be.
  let nowUs = workload[0]?.logTimeUs ?? 0;
  const clock: Clock = { ...systemClock, nowUs: () => nowUs, monotonicUs: () => nowUs };
  const log = await openSegmentLog({ directory: join(directory, 'log'), partitions: 1, clock });
  for (let at = 0; at < workload.length; at += BATCH) {
    const batch = workload.slice(at, at + BATCH);
    nowUs = batch.at(-1)?.logTimeUs ?? nowUs;
    await log.append(
      0,
      batch.map(({ record }) => record),
    );
  }
  const storage = await ShardStore.open({
    stores: levelStores,
    directory: join(directory, 'shard'),
    shard: 0,
    yieldNow,
    versionOf: readVersion,
  });
  const shard = new Shard({
    shard: 0,
    log,
    storage,
    createFold: (options) => new ShardFold(options),
    createDigest: createStateDigest,
    clock: systemClock,
    logger: silentLogger,
    yieldNow,
    pages: new Gate(2),
    passPace: new PassPace(),
    limits: {
      cacheBytes: 512 * 2 ** 20,
      commitBytes: 16 * 2 ** 20,
      commitIntervalMs: 1000,
      tailBytes: 16 * 2 ** 20,
      rowCacheBytes: 16 * 2 ** 20,
      journal: { ageUs: 21_600_000_000, bytes: 64 * 2 ** 20 },
      frame: FRAME_LIMITS,
    },
  });
  const stop = new AbortController();
  const cpu = process.cpuUsage();
  const thread = process.threadCpuUsage();
  const startedAt = performance.now();
  const loops = runLoops(shard, stop.signal);
  const handlers = computeHandlers(singleShard(shard), { clock: systemClock, yieldNow, partitions: 1 });
  const request = {
    shards: [{ shard: 0, position: 0n, recordCrc: 0, logId: new Uint8Array(), views: [] }],
    views: [],
    coalesceUs: 0n,
  };
  const frames = handlers.subscribeChanges(request as never, { signal: stop.signal, peer: 'bench' });
  for await (const frame of frames) {
    if (Number(frame.cursor?.position ?? 0n) >= workload.length) break;
  }
  shard.askCommit();
  while ((shard.committed?.position ?? 0) < workload.length) await yieldNow();
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const own = process.threadCpuUsage(thread);
  stop.abort();
  await loops;
  await storage.close();
  await log.close();
  rmSync(directory, { recursive: true, force: true });
  return { eventsPerS: workload.length / seconds, cpuUs: user + system, threadUs: own.user + own.system };
}
