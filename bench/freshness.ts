/**
 * From the return of COMMIT to the first GetFeatures that shows it, with every service a process of its own and 1,000
 * other commits a second; against the time from the same commit to a bare replication client, in the same run.
 */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { untilServed } from '../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../test/support/mesh-under-test.ts';
import { type BareReplication, startBareReplication } from './bare-replication.ts';
import type { BenchResult } from './main.ts';
import { median, percentile, round } from './statistics.ts';

export const RATE = 1000;
const PROBES_PER_RUN = 200;
export const SCHEMA = `CREATE TABLE activity (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL, kind text NOT NULL, note text, at timestamptz NOT NULL)`;
export const DEFINITIONS = `
kind: Entity
name: user
key: { user_id: int64 }
---
kind: Source
name: activity
mode: append
postgres: { table: public.activity }
event_time: at
---
kind: FeatureView
name: clicks
entity: user
source: activity
where: kind == "click"
features:
  click_count_5min: { count: {}, rolling: 5m }
  clicks: { count: {} }
---
kind: FeatureService
name: bench
features: ["clicks:*"]
`;

/** Commits at RATE in a process of its own, which tells on its standard output how many there were. */
export function startCommitLoad(url: string): ChildProcessByStdio<null, Readable, null> {
  const program = join(import.meta.dirname, 'commit-load.ts');
  return spawn(process.execPath, [program, url, String(RATE)], { stdio: ['ignore', 'pipe', 'inherit'] });
}

export async function benchFreshness(runs: number): Promise<BenchResult> {
  const under = await startMeshUnderTest({ schema: SCHEMA, definitions: DEFINITIONS });
  const bare = await startBareReplication(under.database.url, 'activity');
  const load = startCommitLoad(under.database.url);
  let commits = 0;
  load.stdout.on('data', (line: Buffer) => {
    commits = Number(line.toString().trim().split('\n').at(-1));
  });
  try {
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    const startedAt = performance.now();
    const commitsBefore = commits;
    const perRun: { served: number[]; wal: number[] }[] = [];
    for (let run = 0; run < runs; run++) perRun.push(await probe(under, bare, BigInt(1_000_000 + run)));
    const rate = (commits - commitsBefore) / ((performance.now() - startedAt) / 1000);
    const of = (pick: (run: { served: number[]; wal: number[] }) => number): number => median(perRun.map(pick));
    return {
      commits_per_s: Math.round(rate),
      served_ms_p50: round(
        of((run) => percentile(run.served, 0.5)),
        3,
      ),
      served_ms_p99: round(
        of((run) => percentile(run.served, 0.99)),
        3,
      ),
      wal_ms_p50: round(
        of((run) => percentile(run.wal, 0.5)),
        3,
      ),
      wal_ms_p99: round(
        of((run) => percentile(run.wal, 0.99)),
        3,
      ),
      ratio_p50: round(
        of((run) => percentile(run.served, 0.5) / percentile(run.wal, 0.5)),
        2,
      ),
    };
  } finally {
    load.kill();
    await bare.close();
    await under.close();
  }
}

/** Commits PROBES_PER_RUN events of a user, each when the one before is seen: how long until it is, milliseconds, and when it began. */
export async function probe(
  under: MeshUnderTest,
  bare: BareReplication,
  user: bigint,
  isOver = (): boolean => false,
): Promise<{ served: number[]; wal: number[]; samples: { readonly at: number; readonly ms: number }[] }> {
  const samples: { readonly at: number; readonly ms: number }[] = [];
  const wal: number[] = [];
  const total = async (): Promise<unknown> => {
    const { columns } = await under.client.getFeatures({ features: ['clicks:clicks'], keys: { user_id: [user] } });
    return columns['clicks:clicks']?.values[0];
  };
  for (let i = 0; i < PROBES_PER_RUN && !isOver(); i++) {
    const before = await total();
    const marker = `probe-${user}-${i}-`;
    const arrived = bare.latency(marker);
    await under.sql`INSERT INTO activity (user_id, kind, note, at) VALUES (${user.toString()}, 'click', ${marker}, now())`;
    const committedAt = performance.now();
    while ((await total()) === before);
    samples.push({ at: committedAt, ms: performance.now() - committedAt });
    wal.push(await arrived);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * 10));
  }
  return { served: samples.map(({ ms }) => ms), wal, samples };
}
