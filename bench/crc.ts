/**
 * What checksums cost: processor time of folding (from a log on disk to committed state and rows taken) and of reading
 * states of a store, with CRC32C as it is and with a constant in its place. Each run is a process of its own, one with
 * and one without in turn. The aim is 5 % of either.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { BenchResult } from './main.ts';
import { interleave, round } from './statistics.ts';

interface Work {
  readonly checksums: boolean;
  readonly foldNs: number;
  readonly foldThreadNs: number;
  readonly readNs: number;
}

const PROGRAM = join(import.meta.dirname, 'crc-work.ts');
const HOOK = join(import.meta.dirname, 'without-crc.ts');

export async function benchCrc(runs: number): Promise<BenchResult> {
  const works: { readonly with: Work[]; readonly without: Work[] } = { with: [], without: [] };
  for (let run = 0; run < runs; run++) {
    works.with.push(work(true));
    works.without.push(work(false));
  }
  const result: Record<string, number> = {};
  for (const name of ['foldNs', 'foldThreadNs', 'readNs'] as const) {
    const next = { with: 0, without: 0 };
    const { subject, baseline, ratio } = await interleave(
      runs,
      async () => works.with[next.with++]?.[name] ?? Number.NaN,
      async () => works.without[next.without++]?.[name] ?? Number.NaN,
    );
    const unit = NAMES[name];
    result[`${unit}_with`] = Math.round(subject);
    result[`${unit}_without`] = Math.round(baseline);
    result[`${unit}_percent`] = round((ratio - 1) * 100, 1);
  }
  return result;
}

const NAMES = {
  foldNs: 'fold_ns_event',
  foldThreadNs: 'fold_main_thread_ns_event',
  readNs: 'read_ns_state',
} as const;

function work(checksums: boolean): Work {
  const args = checksums ? [PROGRAM] : ['--import', HOOK, PROGRAM];
  const child = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const done = JSON.parse(child.stdout) as Work;
  if (done.checksums !== checksums) throw new Error('the hook did not do what it is for');
  return done;
}
