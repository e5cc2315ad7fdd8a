/**
 * A replica of a million rows: how fast it takes them from frames, writes them, loads them when it starts, looks through its
 * files; and what a row costs in memory. One core, no network, a real LevelDB in the system's temporary directory.
 *
 * The baseline is decoding the same frames with protobuf-es and doing nothing with them, in the same run: what is above
 * it is ours.
 */

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type ShardCursor,
  ShardCursorSchema,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { ReplicaState } from '@freshet/replica/replica-state.ts';
import { ReplicaStore } from '@freshet/replica/replica-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { partitionOfKeyString } from '@freshet/values/partition.ts';
import type { BenchResult } from './main.ts';
import { median, round } from './statistics.ts';

const ROWS = 1_000_000;
const SHARDS = 8;
/** About what a row of ten features has. */
const ROW_BYTES = 230;
const PAGE_ROWS = 1000;
const VIEW_ID = Buffer.alloc(16, 1);
const LOG_ID = Buffer.alloc(16, 9);

interface Spent {
  readonly wallS: number;
  readonly cpuS: number;
}

type Step = 'decode' | 'apply' | 'write' | 'load' | 'scrub';

interface Run {
  readonly spent: Readonly<Record<Step, Spent>>;
  readonly scrubBytes: number;
  readonly rowBytes: number;
}

export async function benchReplica(runs: number): Promise<BenchResult> {
  const frames = allFrames();
  const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
  const all: Run[] = [];
  for (let run = 0; run < runs; run++) all.push(await once(frames));
  const of = (step: Step, kind: keyof Spent): number => median(all.map(({ spent }) => spent[step][kind]));
  const rates = (step: Step, size: number): BenchResult => ({
    [`${step}RowsPerS`]: Math.round(ROWS / of(step, 'wallS')),
    [`${step}RowsPerCpuS`]: Math.round(ROWS / of(step, 'cpuS')),
    [`${step}MBPerS`]: round(size / 1e6 / of(step, 'wallS'), 1),
  });
  const stored = median(all.map(({ scrubBytes }) => scrubBytes));
  return {
    rows: ROWS,
    frameMB: round(bytes / 1e6, 1),
    ...rates('decode', bytes),
    ...rates('apply', bytes),
    applyToDecodeCpu: round(median(all.map(({ spent }) => spent.apply.cpuS / spent.decode.cpuS)), 2),
    ...rates('write', bytes),
    ...rates('load', stored),
    startToFirstAnswerS: round(of('load', 'wallS'), 2),
    scrubMBPerS: round(stored / 1e6 / of('scrub', 'wallS'), 1),
    scrubMBPerCpuS: round(stored / 1e6 / of('scrub', 'cpuS'), 1),
    memoryBytesPerRow: Math.round(median(all.map(({ rowBytes }) => rowBytes))),
  };
}

async function once(frames: readonly Buffer[]): Promise<Run> {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-bench-'));
  const options = { stores: levelStores, directory, onDamage: (what: string): never => fail(what) };
  try {
    const decode = await seconds(() => {
      for (const frame of frames) fromBinary(SubscribeChangesResponseSchema, frame);
    });
    const before = heap();
    const state = new ReplicaState();
    const apply = await seconds(() => applyAll(state, frames));
    const rowBytes = (heap() - before) / ROWS;
    const store = await ReplicaStore.open(options);
    await store.load();
    const write = await seconds(() => store.flush(state));
    await store.close();
    // Leaves a log that is then made into tables, as at any start; the next one is timed.
    await (await ReplicaStore.open(options)).close();
    let again = await ReplicaStore.open(options);
    await again.close();
    const load = await seconds(async () => {
      again = await ReplicaStore.open(options);
      const loaded = await again.load();
      if (loaded.rowCount !== ROWS) fail(`${loaded.rowCount} rows were loaded`);
    });
    let scrubBytes = 0;
    const scrub = await seconds(async () => {
      scrubBytes = await again.scrub(() => Promise.resolve());
    });
    await again.close();
    return { spent: { decode, apply, write, load, scrub }, scrubBytes, rowBytes };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function applyAll(state: ReplicaState, frames: readonly Buffer[]): void {
  for (const bytes of frames) {
    const applied = state.apply(fromBinary(SubscribeChangesResponseSchema, bytes));
    if (applied.outcome === 'refused') fail(applied.reason);
    else if (applied.rest !== undefined) for (const _ of applied.rest);
  }
}

/** The encoded frames of a pass in each shard, as compute sends them. */
function allFrames(): Buffer[] {
  const keys: string[][] = Array.from({ length: SHARDS }, () => []);
  for (let id = 0; id < ROWS; id++) {
    const key = int64KeyString(id);
    must(keys[partitionOfKeyString(key, SHARDS)]).push(key);
  }
  return keys.flatMap((own, shard) => framesOf(shard, own.sort()));
}

function framesOf(shard: number, keys: readonly string[]): Buffer[] {
  const asOf = BigInt(keys.length);
  const frames: Buffer[] = [];
  const noise = randomBytes(ROW_BYTES * 64);
  const start = cursor(shard, 0n);
  for (let i = 0; i < keys.length; i += PAGE_ROWS) {
    const page = keys.slice(i, i + PAGE_ROWS);
    const rows = page.map((key, j) => {
      const from = ((i + j) * 37) % (noise.length - ROW_BYTES);
      return { key: keyBytes(key), version: BigInt(i + j), row: noise.subarray(from, from + ROW_BYTES) };
    });
    const pass = {
      viewId: VIEW_ID,
      afterKey: i === 0 ? Buffer.alloc(0) : keyBytes(must(keys[i - 1])),
      throughKey: keyBytes(must(page.at(-1))),
      last: i + PAGE_ROWS >= keys.length,
      asOf,
    };
    frames.push(encoded({ shard, cursor: start, rows: [{ viewId: VIEW_ID, rows }], pass }));
  }
  frames.push(encoded({ shard, cursor: cursor(shard, asOf), completeThroughUs: 1n }));
  return frames;
}

function cursor(shard: number, position: bigint): ShardCursor {
  return create(ShardCursorSchema, { shard, logId: LOG_ID, position, views: position === 0n ? [] : [VIEW_ID] });
}

function encoded(frame: Parameters<typeof create<typeof SubscribeChangesResponseSchema>>[1]): Buffer {
  const message = create(SubscribeChangesResponseSchema, frame);
  message.logId = LOG_ID;
  return Buffer.from(toBinary(SubscribeChangesResponseSchema, message));
}

/** Seconds of wall time and of processor time, LevelDB's threads included, that the work takes. */
async function seconds(work: () => unknown): Promise<Spent> {
  const start = performance.now();
  const cpu = process.cpuUsage();
  await Promise.resolve(work());
  const { user, system } = process.cpuUsage(cpu);
  return { wallS: (performance.now() - start) / 1000, cpuS: (user + system) / 1e6 };
}

/** Bytes in use after a collection. */
function heap(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  return process.memoryUsage().heapUsed;
}

function fail(what: string): never {
  throw new Error(what);
}
