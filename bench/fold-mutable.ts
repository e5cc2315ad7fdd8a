/**
 * What a mutable source costs the fold: the same events appended, inserted as rows with keys, and half of them updates of
 * rows that are there; in memory on one core, and from a log on disk to committed state. And what a live row takes: in
 * memory beside what the append fold takes, and in the entries that commits write (before compression).
 */
import { type FoldEntry, ShardFold } from '@freshet/engine/shard-fold.ts';
import { foldFromLog } from './fold.ts';
import { foldWorkload, type WorkloadRecord } from './fold-workload.ts';
import type { BenchResult } from './main.ts';
import { mutableWorkload } from './mutable-workload.ts';
import { median, round } from './statistics.ts';

const EVENTS = 500_000;
const BATCH = 2000;
/** What a store's key has before the entity's: a letter and the instance; and the checksum of a value. */
const ENTRY_BYTES = 21 + 4;

interface Folded {
  readonly eventsPerS: number;
  readonly cpuUs: number;
  /** Of the heap and of buffers, in bytes, that the fold holds in the end. */
  readonly heldBytes: number;
  /** Keys and values of all contributions that a commit would write. */
  readonly storedBytes: number;
}

export async function benchFoldMutable(runs: number): Promise<BenchResult> {
  const inserts = mutableWorkload(EVENTS, 0);
  const updates = mutableWorkload(EVENTS, 0.5);
  const cases = {
    append: { records: foldWorkload(EVENTS, 'uniform'), rows: EVENTS },
    inserts,
    updates,
  };
  const result: Record<string, number> = {};
  const folded = new Map<string, Folded[]>(Object.keys(cases).map((name) => [name, []]));
  // In turn, so that a slow minute of the machine is everybody's.
  for (let run = 0; run < runs; run++) {
    for (const [name, { records }] of Object.entries(cases)) folded.get(name)?.push(inMemory(records));
  }
  const of = (name: string, value: (one: Folded) => number): number => median((folded.get(name) ?? []).map(value));
  for (const [name, { rows }] of Object.entries(cases)) {
    result[`memory_${name}`] = Math.round(of(name, (one) => one.eventsPerS));
    result[`cpu_us_${name}`] = round(
      of(name, (one) => one.cpuUs),
      2,
    );
    if (name === 'append') continue;
    result[`stored_bytes_row_${name}`] = round(of(name, (one) => one.storedBytes) / rows, 1);
  }
  const beside = of('inserts', (one) => one.heldBytes) - of('append', (one) => one.heldBytes);
  result['memory_bytes_row'] = Math.round(beside / inserts.rows);
  for (const [name, { records }] of Object.entries(cases)) {
    const rates: number[] = [];
    for (let run = 0; run < runs; run++) rates.push((await foldFromLog(records)).eventsPerS);
    result[`log_to_rows_${name}`] = Math.round(median(rates));
  }
  return result;
}

function inMemory(workload: readonly WorkloadRecord[]): Folded {
  const entries: FoldEntry[] = workload.map(({ record, logTimeUs }, offset) => ({ offset, logTimeUs, record, crc: 0 }));
  globalThis.gc?.();
  const before = process.memoryUsage();
  const fold = new ShardFold({ cold: { load: () => undefined }, cacheBytes: 2 ** 40 });
  const cpu = process.threadCpuUsage();
  const startedAt = performance.now();
  for (let at = 0; at < entries.length; at += BATCH) fold.fold(entries.slice(at, at + BATCH));
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.threadCpuUsage(cpu);
  globalThis.gc?.();
  const after = process.memoryUsage();
  const names = new Set(fold.contributions());
  let storedBytes = 0;
  for (const [name, key, bytes] of fold.takeCommit().puts) {
    if (names.has(name)) storedBytes += ENTRY_BYTES + key.length + (bytes?.length ?? 0);
  }
  return {
    eventsPerS: EVENTS / seconds,
    cpuUs: (user + system) / EVENTS,
    heldBytes: after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers,
    storedBytes,
  };
}
