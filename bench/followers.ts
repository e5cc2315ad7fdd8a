/**
 * What followers cost a compute node: 8 shards at 5,000 events a second, followed by nobody, by one and by a hundred
 * (each a connection of its own, in another process), with rows as soon as they are folded and coalesced over 100 ms.
 * A follower's cost is the node's CPU time above that with no follower, by rows delivered.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import { type ComputeNode, startComputeNode } from './compute-node.ts';
import { foldWorkload, type WorkloadRecord } from './fold-workload.ts';
import type { BenchResult } from './main.ts';
import { median, round } from './statistics.ts';

const SHARDS = 8;
const EVENTS_PER_SECOND = 5_000;
const MANY = 100;
/** Events come for so long before it is measured. */
const WARM_MS = 2_000;
const MEASURE_MS = 5_000;
const TURN_MS = 10;
/** Records that every shard gets first: definitions, and a route without a snapshot. */
const OPENING = 3;

export interface Counted {
  /** By follower. */
  readonly rows: readonly number[];
  readonly bytes: number;
  /** Shards over all followers whose first catch-up has ended. */
  readonly caughtUp: number;
}

interface Measured {
  readonly rowsPerSecond: number;
  readonly bytesPerSecond: number;
  /** Microseconds of CPU time a second. */
  readonly cpuUs: number;
  /** The rows of the follower that got the fewest, by those of the one that got the most. */
  readonly fairness: number;
}

const NOTHING: Counted = { rows: [], bytes: 0, caughtUp: 0 };

export async function benchFollowers(runs: number): Promise<BenchResult> {
  const result: Record<string, number> = {};
  for (const coalesceUs of [0, 100_000]) {
    const name = coalesceUs === 0 ? 'live' : 'coalesced';
    const one: number[] = [];
    const many: number[] = [];
    const ratios: number[] = [];
    let last: Measured | undefined;
    for (let run = 0; run < runs; run++) {
      const idle = await measure(0, coalesceUs);
      const cost = (of: Measured): number => (of.cpuUs - idle.cpuUs) / of.rowsPerSecond;
      one.push(cost(await measure(1, coalesceUs)));
      last = await measure(MANY, coalesceUs);
      many.push(cost(last));
      ratios.push(must(many.at(-1)) / must(one.at(-1)));
      if (run === 0) result[`cpu_percent_0_${name}`] = round(idle.cpuUs / 10_000, 1);
    }
    const { cpuUs, rowsPerSecond, bytesPerSecond, fairness } = must(last);
    result[`cpu_percent_100_${name}`] = round(cpuUs / 10_000, 1);
    result[`rows_s_100_${name}`] = Math.round(rowsPerSecond);
    result[`mb_s_100_${name}`] = round(bytesPerSecond / 1e6, 1);
    result[`fairness_100_${name}`] = round(fairness, 3);
    result[`us_row_1_${name}`] = round(median(one), 2);
    result[`us_row_100_${name}`] = round(median(many), 2);
    result[`ratio_${name}`] = round(median(ratios), 2);
  }
  return result;
}

async function measure(followers: number, coalesceUs: number): Promise<Measured> {
  const seconds = (WARM_MS + MEASURE_MS) / 1000 + 3;
  const workload = foldWorkload(Math.ceil(seconds * EVENTS_PER_SECOND), 'zipf');
  let nowUs = must(workload[0]).logTimeUs;
  const node = await startComputeNode(SHARDS, () => nowUs);
  const opening = workload.slice(0, OPENING).map(({ record }) => record);
  for (let shard = 0; shard < SHARDS; shard++) await node.log.append(shard, opening);
  const load = followers === 0 ? undefined : startLoad(node.address, { followers, shards: SHARDS, coalesceUs });
  // They follow from the beginning: what a bootstrap costs is another benchmark (bootstrap.ts).
  while (((await load?.count()) ?? NOTHING).caughtUp < followers * SHARDS) await delay(50);
  const stop = new AbortController();
  const feeding = feed(node, workload, stop.signal, (us) => {
    nowUs = us;
  });
  try {
    await delay(WARM_MS);
    const before = (await load?.count()) ?? NOTHING;
    const cpu = process.cpuUsage();
    const startedAt = performance.now();
    await delay(MEASURE_MS);
    const { user, system } = process.cpuUsage(cpu);
    const after = (await load?.count()) ?? NOTHING;
    const measuredS = (performance.now() - startedAt) / 1000;
    const rows = after.rows.map((each, i) => each - (before.rows[i] ?? 0));
    return {
      rowsPerSecond: rows.reduce((sum, each) => sum + each, 0) / measuredS,
      bytesPerSecond: (after.bytes - before.bytes) / measuredS,
      cpuUs: (user + system) / measuredS,
      fairness: Math.min(...rows) / Math.max(...rows),
    };
  } finally {
    stop.abort();
    await feeding;
    load?.stop();
    await node.close();
  }
}

/** Appends the workload at its rate, in turn to the shards. */
async function feed(
  { log }: ComputeNode,
  workload: readonly WorkloadRecord[],
  signal: AbortSignal,
  setNow: (us: number) => void,
): Promise<void> {
  const startedAt = performance.now();
  for (let sent = OPENING; sent < workload.length && !signal.aborted; ) {
    const due = OPENING + Math.floor(((performance.now() - startedAt) / 1000) * EVENTS_PER_SECOND);
    const batches: Uint8Array[][] = Array.from({ length: SHARDS }, () => []);
    for (; sent < Math.min(due, workload.length); sent++) {
      const { record, logTimeUs } = must(workload[sent]);
      must(batches[sent % SHARDS]).push(record);
      setNow(logTimeUs);
    }
    for (const [shard, batch] of batches.entries()) if (batch.length > 0) await log.append(shard, batch);
    await delay(TURN_MS);
  }
}

export interface Load {
  count(): Promise<Counted>;
  stop(): void;
}

/** Followers in a process of their own. */
export function startLoad(
  address: string,
  { followers, shards, coalesceUs }: { followers: number; shards: number; coalesceUs: number },
): Load {
  const program = join(import.meta.dirname, 'follower-load.ts');
  const child = spawn(process.execPath, [program, address, `${followers}`, `${shards}`, `${coalesceUs}`], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const lines: Interface = createInterface({ input: child.stdout });
  return {
    count: async () => {
      child.stdin.write('\n');
      const [line] = (await once(lines, 'line')) as [string];
      return JSON.parse(line) as Counted;
    },
    stop: () => child.kill('SIGKILL'),
  };
}
