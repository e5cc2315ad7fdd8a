/**
 * A view that is new over a log that is long: from the record that defines it until every shard has it complete, in a
 * compute process of eight shards that has folded the log for another view. The log keeps growing meanwhile, a thousand
 * records a second, as it does when somebody applies definitions to a mesh at work.
 */
import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ComputeService, type GetComputeStatusResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { changes, openingRecords, widerDefinitions } from './fold-workload.ts';
import { cpuUsOf, ended, LogNode, SHARDS, startCompute } from './log-node.ts';
import type { BenchResult } from './main.ts';
import { median, round } from './statistics.ts';

/** FRESHET_BENCH_EVENTS=1000000 measures a shorter log. */
const EVENTS = Number(process.env['FRESHET_BENCH_EVENTS'] ?? 10_000_000);
const KEYS = 1_000_000;
const LIVE_PER_SECOND = 1_000;
const LIVE_EVERY_MS = 50;

export async function benchNewView(): Promise<BenchResult> {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-bench-'));
  const log = await LogNode.open(join(directory, 'log'));
  let compute: ChildProcess | undefined;
  const live = new AbortController();
  try {
    await log.appendToAll(openingRecords());
    await log.append(changes(EVENTS, 'uniform', KEYS));
    const listening = Promise.withResolvers<string>();
    compute = startCompute(log.address, join(directory, 'compute'), listening);
    const pid = must(compute.pid);
    const node = createGrpcClient(ComputeService, await listening.promise);
    const status = (): Promise<GetComputeStatusResponse> => node.getComputeStatus({}, { deadlineMs: 60_000 });
    const reached = async (is: (shards: GetComputeStatusResponse['shards']) => boolean): Promise<void> => {
      for (;;) {
        const { shards } = await status();
        if (shards.length === SHARDS && is(shards)) return;
        await delay(100);
      }
    };
    const first = await timed(pid, () =>
      reached((shards) => shards.every(({ shard, position }) => Number(position) >= log.end(shard))),
    );
    const appending = append(log, live.signal);
    const lagsBefore = await lags(status, 20);
    const lagsDuring: number[] = [];
    await log.appendToAll([widerDefinitions()]);
    const build = await timed(pid, () =>
      reached((shards) => {
        lagsDuring.push(lagOf(shards));
        return shards.every(({ definitionsGeneration, builds }) => definitionsGeneration === 2n && builds.length === 0);
      }),
    );
    live.abort();
    await appending;
    node.close();
    return {
      events: EVENTS,
      keys: KEYS,
      first_fold_events_s: Math.round(EVENTS / first.seconds),
      build_s: round(build.seconds, 1),
      build_events_s: Math.round(EVENTS / build.seconds),
      build_cpu_us_event: round(build.cpuUs / EVENTS, 2),
      live_lag_records_before: median(lagsBefore),
      live_lag_records_during: median(lagsDuring),
    };
  } finally {
    live.abort();
    if (compute !== undefined) await ended(compute);
    await log.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Records that are in the log and not folded, over all shards. */
function lagOf(shards: GetComputeStatusResponse['shards']): number {
  return shards.reduce((sum, { position, logEnd }) => sum + Number(logEnd - position), 0);
}

async function lags(status: () => Promise<GetComputeStatusResponse>, times: number): Promise<number[]> {
  const found: number[] = [];
  for (let i = 0; i < times; i++) {
    found.push(lagOf((await status()).shards));
    await delay(50);
  }
  return found;
}

async function timed(pid: number, work: () => Promise<void>): Promise<{ seconds: number; cpuUs: number }> {
  const cpuBefore = cpuUsOf(pid);
  const startedAt = performance.now();
  await work();
  return { seconds: (performance.now() - startedAt) / 1000, cpuUs: cpuUsOf(pid) - cpuBefore };
}

async function append(log: LogNode, signal: AbortSignal): Promise<void> {
  const some = (LIVE_PER_SECOND * LIVE_EVERY_MS) / 1000;
  for (let first = EVENTS; !signal.aborted; first += some) {
    await log.append(changes(some, 'uniform', KEYS, first));
    await delay(LIVE_EVERY_MS, undefined, { signal }).catch(() => undefined);
  }
}
