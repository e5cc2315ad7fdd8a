/**
 * What the number of keys costs a compute node: a real process of it with eight shards and the default cache, on a log
 * that this process serves. First an event of every key, one after the other; then events of random keys, over the states that
 * are there, which are read from the disk where memory does not hold them. Processor time is the compute process's own.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ComputeService, type GetComputeStatusResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type CallOptions, createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { memoryOf, watchMemory } from '../test/support/memory-watch.ts';
import { changes, openingRecords } from './fold-workload.ts';
import { cpuUsOf, ended, LogNode, SHARDS, startCompute } from './log-node.ts';
import type { BenchResult } from './main.ts';
import { round } from './statistics.ts';

/** FRESHET_BENCH_KEYS=10000000 measures other sizes, with commas between them. */
const OTHERS = process.env['FRESHET_BENCH_KEYS'];
const SIZES = OTHERS?.split(',').map(Number) ?? [1_000, 100_000, 1_000_000];
/** Events of random keys. */
const EVENTS = 500_000;
const MIB = 2 ** 20;

export async function benchKeys(): Promise<BenchResult> {
  const result: Record<string, number> = {};
  for (const keys of SIZES) {
    for (const [name, value] of Object.entries(await measure(keys))) result[`${name}_${keys}`] = value;
  }
  return result;
}

async function measure(keys: number): Promise<Record<string, number>> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  const log = await LogNode.open(join(directory, 'log'));
  let compute: ChildProcess | undefined;
  try {
    await log.appendToAll(openingRecords());
    // All of it is there before compute is: its making, on the same processors, is no part of what is measured.
    await log.append(changes(keys, 'each', keys));
    const state = join(directory, 'compute');
    const listening = Promise.withResolvers<string>();
    compute = startCompute(log.address, state, listening);
    const pid = must(compute.pid);
    const watch = watchMemory(['compute'], () => pid);
    const address = await listening.promise;
    const idle = must(memoryOf(pid)).anonymous;
    const node = createGrpcClient(ComputeService, address);
    const first = await folded(log, pid, node);
    const afterFirst = must(memoryOf(pid)).anonymous;
    const diskFirst = bytesIn(state);
    process.kill(pid, 'SIGSTOP');
    await log.append(changes(EVENTS, 'uniform', keys, keys));
    process.kill(pid, 'SIGCONT');
    const random = await folded(log, pid, node);
    await watch.stop();
    node.close();
    return {
      first_events_s: Math.round(keys / first.seconds),
      first_cpu_us_event: round(first.cpuUs / keys, 1),
      random_events_s: Math.round(EVENTS / random.seconds),
      random_cpu_us_event: round(random.cpuUs / EVENTS, 1),
      disk_bytes_key: Math.round(diskFirst / keys),
      cached_mib: round(random.cacheBytes / MIB, 1),
      memory_bytes_key: Math.round((afterFirst - idle) / keys),
      rss_mib_max: Math.round(watch.peaks.compute.resident / MIB),
      anonymous_mib_max: Math.round(watch.peaks.compute.anonymous / MIB),
    };
  } finally {
    if (compute !== undefined) await ended(compute);
    await log.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Waits until all that is in the log is folded and committed. */
async function folded(
  log: LogNode,
  pid: number,
  node: { getComputeStatus(request: object, options: CallOptions): Promise<GetComputeStatusResponse> },
): Promise<{ seconds: number; cpuUs: number; cacheBytes: number }> {
  const cpuBefore = cpuUsOf(pid);
  const startedAt = performance.now();
  for (;;) {
    const { shards } = await node.getComputeStatus({}, { deadlineMs: 60_000 });
    if (shards.length === SHARDS && shards.every(({ shard, committed }) => Number(committed) >= log.end(shard))) {
      const cacheBytes = shards.reduce((sum, shard) => sum + Number(shard.cacheBytes), 0);
      return { seconds: (performance.now() - startedAt) / 1000, cpuUs: cpuUsOf(pid) - cpuBefore, cacheBytes };
    }
    await delay(100);
  }
}

function bytesIn(directory: string): number {
  let bytes = 0;
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    try {
      bytes += statSync(join(entry.parentPath, entry.name)).size;
    } catch {
      // a table that was compacted away meanwhile
    }
  }
  return bytes;
}
