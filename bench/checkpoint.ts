/**
 * What safety costs: a checkpoint of a shard (written and read back), verifying one, restoring it into a new store,
 * scrubbing, and a restart to the first correct answer and to caught up. One shard, the fold benchmark's view of 6
 * features, a state of a few kilobytes a key. The baseline is the disk itself: the same bytes written to a file and synced.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as yieldNow } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { shardBudget } from '../services/compute/src/core/budget.ts';
import { Gate } from '../services/compute/src/core/gate.ts';
import { PassPace } from '../services/compute/src/core/pass-pace.ts';
import { ShardHost } from '../services/compute/src/core/shard-host.ts';
import { FRAME_LIMITS } from '../services/compute/src/core/shard-limits.ts';
import { verifyCheckpoint } from '../services/compute/src/io/checkpoint-file.ts';
import { createEngineFold, ENGINE_FORMAT } from '../services/compute/src/io/engine.ts';
import { checkpointDirectory, nodeStorage } from '../services/compute/src/io/node-storage.ts';
import { foldWorkload } from './fold-workload.ts';
import type { BenchResult } from './main.ts';
import { median, round } from './statistics.ts';

/** Keys that events are of, uniformly, as many events as keys; FRESHET_BENCH_KEYS=1000000 for the large one. */
const KEYS = Number(process.env['FRESHET_BENCH_KEYS'] ?? '200000');
const BATCH = 2_000;
/** Records that came while the node was down. */
const BEHIND = 20_000;

export async function benchCheckpoint(runs: number): Promise<BenchResult> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  const times: Record<string, number[]> = {};
  const note = (name: string, value: number): void => {
    times[name] = [...(times[name] ?? []), value];
  };
  try {
    const { log, append } = makeLog(KEYS + runs * BEHIND);
    const result: Record<string, number> = {};
    await append(KEYS);
    const node = start(directory, log);
    await caughtUp(node.host, KEYS);
    await must(node.host.shard(0)).digest();
    for (let run = 0; run < runs; run++) {
      const beganAt = performance.now();
      const info = await node.host.takeCheckpoint(0);
      note('checkpoint_mb_s', megabytes(info.bytes, beganAt));
      const path = join(checkpointDirectory(directory, 0), info.file);
      note(
        'verify_mb_s',
        await timed(info.bytes, () => verifyCheckpoint(nodeFileSystem, path, ENGINE_FORMAT, yieldNow)),
      );
      note('disk_write_mb_s', await timed(info.bytes, () => writeBytes(join(directory, 'raw'), info.bytes)));
      result['states'] = info.states;
      result['checkpoint_mb'] = round(info.bytes / 1e6, 1);
      const scrubAt = performance.now();
      note('scrub_mb_s', megabytes(await scrub(node.host), scrubAt));
    }
    await node.stop();
    for (let run = 0; run < runs; run++) {
      const end = KEYS + (run + 1) * BEHIND;
      await append(end);
      const { answerMs, caughtUpMs } = await restart(directory, log, end);
      note('restart_answer_ms', answerMs);
      note('restart_caught_up_ms', caughtUpMs);
    }
    for (let run = 0; run < runs; run++) {
      const storage = storageOf(directory, 1 << 30);
      await storage.setAside(0);
      const checkpoints = await storage.openCheckpoints(0);
      const info = must(checkpoints.list[0]);
      const signal = new AbortController().signal;
      note('restore_mb_s', await timed(info.bytes, () => checkpoints.restore(info, signal)));
    }
    for (const [name, values] of Object.entries(times)) result[name] = round(median(values), 1);
    await log.close();
    return result;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function makeLog(events: number): { log: MemoryLog; append: (end: number) => Promise<void> } {
  const workload = foldWorkload(events, 'uniform', KEYS);
  let nowUs = 0;
  const clock = { ...systemClock, nowUs: () => nowUs, monotonicUs: () => nowUs };
  const log = createMemoryLog({ partitions: 1, clock });
  let appended = 0;
  const append = async (end: number): Promise<void> => {
    while (appended < end) {
      const batch = workload.slice(appended, Math.min(end, appended + BATCH));
      appended += batch.length;
      nowUs = must(batch.at(-1)).logTimeUs;
      await log.append(
        0,
        batch.map(({ record }) => record),
      );
    }
  };
  return { log, append };
}

function storageOf(dataDir: string, bytes: number): ReturnType<typeof nodeStorage> {
  const places = { stores: levelStores, files: nodeFileSystem, dataDir, checkpointsKept: 1 };
  return nodeStorage({ ...places, ...shardBudget(bytes, 1), clock: systemClock, yieldNow, format: ENGINE_FORMAT });
}

function start(dataDir: string, log: MemoryLog): { host: ShardHost; stop: () => Promise<void> } {
  const bytes = 2 ** 30;
  const host = new ShardHost({
    log,
    ...storageOf(dataDir, bytes),
    createFold: createEngineFold,
    createDigest: ENGINE_FORMAT.createDigest,
    conditions: new ConditionBoard({ clock: systemClock, log: silentLogger }),
    upkeep: {
      checkpointIntervalMs: 1e9,
      scrubIntervalMs: 1e9,
      scrubBytesPerSecond: 1e12,
      gate: new Gate(1),
      scrubGate: new Gate(1),
    },
    onCheckpoint: () => undefined,
    clock: systemClock,
    logger: silentLogger,
    yieldNow,
    pages: new Gate(2),
    passPace: new PassPace(),
    limits: {
      ...shardBudget(bytes, 1),
      commitIntervalMs: 1000,
      journal: { ageUs: 21_600_000_000, bytes: 64 * 2 ** 20 },
      frame: FRAME_LIMITS,
    },
  });
  const controller = new AbortController();
  const run = host.run([0], controller.signal);
  return {
    host,
    stop: async () => {
      controller.abort();
      await run;
    },
  };
}

async function caughtUp(host: ShardHost, position: number): Promise<void> {
  while ((host.shard(0)?.position ?? 0) < position) await yieldNow();
}

/** From nothing running to the first row that can be answered, and to the log's end. */
async function restart(
  directory: string,
  log: MemoryLog,
  end: number,
): Promise<{ answerMs: number; caughtUpMs: number }> {
  const beganAt = performance.now();
  const { host, stop } = start(directory, log);
  while ((host.shard(0)?.fold.completeViews().length ?? 0) === 0) await yieldNow();
  const answerMs = performance.now() - beganAt;
  await caughtUp(host, end);
  const caughtUpMs = performance.now() - beganAt;
  await stop();
  return { answerMs, caughtUpMs };
}

async function scrub(host: ShardHost): Promise<number> {
  const shard = must(host.shard(0));
  let bytes = await shard.options.storage.scrub(async () => {
    await yieldNow();
  });
  const snapshot = must(await shard.snapshot());
  for await (const some of snapshot.states) for (const [, key, state] of some) bytes += key.length + state.length;
  await snapshot.close();
  return bytes;
}

async function writeBytes(path: string, bytes: number): Promise<void> {
  const file = await open(path, 'w');
  const block = Buffer.alloc(256 * 1024, 7);
  for (let at = 0; at < bytes; at += block.length) await file.write(block, 0, block.length, at);
  await file.datasync();
  await file.close();
}

async function timed(bytes: number, work: () => Promise<unknown>): Promise<number> {
  const beganAt = performance.now();
  await work();
  return megabytes(bytes, beganAt);
}

function megabytes(bytes: number, beganAt: number): number {
  return bytes / 1e6 / ((performance.now() - beganAt) / 1000);
}
