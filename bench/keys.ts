/**
 * What the number of keys costs a compute node: a real process of it with eight shards and the default cache, on a log
 * that this process serves. First an event of every key, one after the other; then events of random keys, over the states that
 * are there, which are read from the disk where memory does not hold them. Processor time is the compute process's own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ComputeService, type GetComputeStatusResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { type CallOptions, createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import { describeLog } from '../services/ingest/src/rpc/describe-log.ts';
import { noteCheckpoints } from '../services/ingest/src/rpc/note-checkpoints.ts';
import { readLog } from '../services/ingest/src/rpc/read-log.ts';
import { memoryOf, watchMemory } from '../test/support/memory-watch.ts';
import { changes, openingRecords, type WorkloadChange } from './fold-workload.ts';
import type { BenchResult } from './main.ts';
import { round } from './statistics.ts';

const SHARDS = 8;
/** FRESHET_BENCH_KEYS=10000000 measures other sizes, with commas between them. */
const OTHERS = process.env['FRESHET_BENCH_KEYS'];
const SIZES = OTHERS?.split(',').map(Number) ?? [1_000, 100_000, 1_000_000];
/** Events of random keys. */
const EVENTS = 500_000;
const BATCH = 20_000;
const MIB = 2 ** 20;
const COMPUTE = join(import.meta.dirname, '../services/compute/src/main.ts');

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
    await log.appendToAll();
    // All of it is there before compute is: its making, on the same processors, is no part of what is measured.
    await log.append(changes(keys, 'each', keys));
    const state = join(directory, 'compute');
    const listening = Promise.withResolvers<string>();
    compute = start(log.address, state, listening);
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

/** A log as an ingest node serves it. */
class LogNode {
  readonly address: string;
  readonly #log: SegmentLog;
  readonly #close: () => Promise<void>;
  readonly #clock: { us: number };
  readonly #ends = new Float64Array(SHARDS);

  private constructor(address: string, log: SegmentLog, clock: { us: number }, close: () => Promise<void>) {
    this.address = address;
    this.#log = log;
    this.#clock = clock;
    this.#close = close;
  }

  static async open(directory: string): Promise<LogNode> {
    // The log stamps its own time: the clock is the workload's, so that windows are as full as they would be.
    const now = { us: must(openingRecords()[0]).logTimeUs };
    const clock: Clock = { ...systemClock, nowUs: () => now.us, monotonicUs: () => now.us };
    const log = await openSegmentLog({ directory, partitions: SHARDS, clock });
    const checkpoints = { note: async () => undefined, allowedBelow: () => undefined };
    const server = createGrpcServer({ log: silentLogger }).add(LogService, {
      describeLog: describeLog(log),
      readLog: readLog(log),
      noteCheckpoints: noteCheckpoints(log, checkpoints),
    });
    const { address } = await server.listen('127.0.0.1:0');
    return new LogNode(address, log, now, async () => {
      await server.drain(100);
      await log.close();
    });
  }

  /** One past the last record of a partition. */
  end(partition: number): number {
    return must(this.#ends[partition]);
  }

  async appendToAll(): Promise<void> {
    const records = openingRecords().map(({ record }) => record);
    await this.#append(Array.from({ length: SHARDS }, () => records));
  }

  async append(all: Iterable<WorkloadChange>): Promise<void> {
    let batch: Uint8Array[][] = Array.from({ length: SHARDS }, () => []);
    let count = 0;
    for (const { record, logTimeUs, entityKey } of all) {
      must(batch[partitionOf(entityKey, SHARDS)]).push(record);
      this.#clock.us = logTimeUs;
      if (++count % BATCH !== 0) continue;
      await this.#append(batch);
      batch = Array.from({ length: SHARDS }, () => []);
    }
    await this.#append(batch);
  }

  close(): Promise<void> {
    return this.#close();
  }

  async #append(batch: readonly (readonly Uint8Array[])[]): Promise<void> {
    await Promise.all(
      batch.map(async (records, partition) => {
        if (records.length === 0) return;
        await this.#log.append(partition, records);
        this.#ends[partition] = this.end(partition) + records.length;
      }),
    );
  }
}

/** Starts compute; the promise has where it listens, or why it does not. */
function start(log: string, dataDir: string, listening: PromiseWithResolvers<string>): ChildProcess {
  const args = ['--log', log, '--data-dir', dataDir, '--listen', '127.0.0.1:0'];
  // A service takes FRESHET_ variables for its own options, and refuses what it does not know.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('FRESHET_')));
  const child = spawn(process.execPath, [COMPUTE, ...args], { stdio: ['ignore', 'inherit', 'pipe'], env });
  let text = '';
  must(child.stderr).on('data', (some: Buffer) => {
    text = (text + some.toString()).slice(-10_000);
    const address = /"address":"([\d.]+:\d+)"/.exec(text)?.[1];
    if (address !== undefined) listening.resolve(address);
  });
  child.once('exit', (code, signal) => {
    const error = new Error(`compute ended (${code ?? signal}): ${text}`);
    listening.reject(error);
    if (signal !== 'SIGKILL') process.stderr.write(`${error.message}\n`);
  });
  return child;
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** The processor time of all threads of a process, microseconds; the system counts in hundredths of a second. */
function cpuUsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
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
