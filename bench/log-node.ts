/**
 * A log as an ingest node serves it, inside the benchmark, and a compute process on it: its processor time is its own.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { LogService } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { type Clock, systemClock } from '@freshet/kit/clock.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { openSegmentLog, type SegmentLog } from '@freshet/log/segment-log.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import { describeLog } from '../services/ingest/src/rpc/describe-log.ts';
import { noteCheckpoints } from '../services/ingest/src/rpc/note-checkpoints.ts';
import { readLog } from '../services/ingest/src/rpc/read-log.ts';
import { openingRecords, type WorkloadChange, type WorkloadRecord } from './fold-workload.ts';

export const SHARDS = 8;
const BATCH = 20_000;
const COMPUTE = join(import.meta.dirname, '../services/compute/src/main.ts');

/** A log as an ingest node serves it. */
export class LogNode {
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

  /** Appends the records to every partition, at the log time of the last change. */
  async appendToAll(opening: readonly WorkloadRecord[]): Promise<void> {
    const records = opening.map(({ record }) => record);
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
export function startCompute(log: string, dataDir: string, listening: PromiseWithResolvers<string>): ChildProcess {
  const args = ['--log', log, '--data-dir', dataDir, '--listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0'];
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

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await gone;
}

/** The processor time of all threads of a process, microseconds; the system counts in hundredths of a second. */
export function cpuUsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}
