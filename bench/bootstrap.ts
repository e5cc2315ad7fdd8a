/**
 * How fast a replica with nothing gets everything: one follower over gRPC, in another process, that takes every frame
 * without decoding its rows, of 8 shards with 200,000 and with 1,000,000 keys in all, on disk. No events come meanwhile.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import { type ComputeNode, startComputeNode } from './compute-node.ts';
import { foldWorkload } from './fold-workload.ts';
import { type Counted, startLoad } from './followers.ts';
import type { BenchResult } from './main.ts';
import { median, round } from './statistics.ts';

const SHARDS = 8;
const BATCH = 2_000;
/** Definitions and a route without a snapshot, for every shard. */
const OPENING = 3;

export async function benchBootstrap(runs: number): Promise<BenchResult> {
  const result: Record<string, number> = {};
  for (const keys of [200_000, 1_000_000]) {
    const { node, close } = await filled(keys);
    const seconds: number[] = [];
    const cpuUs: number[] = [];
    let counted: Counted | undefined;
    for (let run = 0; run < runs; run++) {
      const cpu = process.cpuUsage();
      const startedAt = performance.now();
      const load = startLoad(node.address, { followers: 1, shards: SHARDS, coalesceUs: 0 });
      do {
        await delay(20);
        counted = await load.count();
      } while (counted.caughtUp < SHARDS);
      seconds.push((performance.now() - startedAt) / 1000);
      const { user, system } = process.cpuUsage(cpu);
      cpuUs.push(user + system);
      load.stop();
    }
    await close();
    const { rows: byFollower, bytes } = must(counted);
    const rows = must(byFollower[0]);
    const name = keys === 1_000_000 ? '1m' : '200k';
    result[`rows_${name}`] = rows;
    result[`rows_s_${name}`] = Math.round(rows / median(seconds));
    result[`mb_s_${name}`] = round(bytes / median(seconds) / 1e6, 1);
    result[`cpu_us_row_${name}`] = round(median(cpuUs) / rows, 2);
  }
  return result;
}

/** A node that has folded and committed an event of each key. */
async function filled(keys: number): Promise<{ node: ComputeNode; close: () => Promise<void> }> {
  const workload = foldWorkload(keys, 'each', keys);
  let nowUs = must(workload[0]).logTimeUs;
  const node = await startComputeNode(SHARDS, () => nowUs);
  const opening = workload.slice(0, OPENING).map(({ record }) => record);
  for (let shard = 0; shard < SHARDS; shard++) await node.log.append(shard, opening);
  for (let at = OPENING; at < workload.length; at += BATCH) {
    const some = workload.slice(at, at + BATCH);
    nowUs = must(some.at(-1)).logTimeUs;
    for (let shard = 0; shard < SHARDS; shard++) {
      const own = some.filter((_, i) => i % SHARDS === shard).map(({ record }) => record);
      if (own.length > 0) await node.log.append(shard, own);
    }
  }
  for (const shard of node.host.shards) {
    const { partitions } = await node.log.describe();
    const { end } = must(partitions[shard.shard]);
    while (shard.position < end) await delay(10);
    await shard.digest();
  }
  return { node, close: () => node.close() };
}
