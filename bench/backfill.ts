/**
 * What reading a large table for a new view does to the freshness of what is live: from COMMIT to the first GetFeatures
 * that shows it, at 1,000 other commits a second, before and while a table of two million rows is snapshotted and folded;
 * and how fast that goes, from the apply until it is served. Every service is a process of its own.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { untilServed } from '../examples/storefront/quiesce.ts';
import { startMeshUnderTest } from '../test/support/mesh-under-test.ts';
import { startBareReplication } from './bare-replication.ts';
import { DEFINITIONS, probe, RATE, SCHEMA, startCommitLoad } from './freshness.ts';
import type { BenchResult } from './main.ts';
import { percentile, round } from './statistics.ts';

/** FRESHET_BENCH_ROWS=100000 measures a smaller table. */
const ROWS = Number(process.env['FRESHET_BENCH_ROWS'] ?? 2_000_000);
const HISTORY = `CREATE TABLE history (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint NOT NULL, amount double precision NOT NULL, at timestamptz NOT NULL);
INSERT INTO history (user_id, amount, at)
  SELECT 1 + i % 200000, i % 977 / 8.0, now() - make_interval(secs => i % 86400) FROM generate_series(1, ${ROWS}) i`;
const MORE = `
---
kind: Source
name: history
mode: append
postgres: { table: public.history }
event_time: at
---
kind: FeatureView
name: past
entity: user
source: history
features:
  spent: { sum: amount }
  spent_6h: { sum: amount, rolling: 6h }
---
kind: FeatureService
name: old
features: ["past:*"]
`;
const LAUNCHER = join(import.meta.dirname, '../scripts/freshet.mjs');

export async function benchBackfill(runs: number): Promise<BenchResult> {
  const under = await startMeshUnderTest({ schema: `${SCHEMA};\n${HISTORY}`, definitions: DEFINITIONS });
  const bare = await startBareReplication(under.database.url, 'activity');
  const load = startCommitLoad(under.database.url);
  load.stdout.resume();
  try {
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    const before: number[] = [];
    for (let run = 0; run < runs; run++) before.push(...(await probe(under, bare, BigInt(1_000_000 + run))).served);
    const file = join(under.directory, 'more.yaml');
    writeFileSync(file, DEFINITIONS + MORE);
    const startedAt = performance.now();
    let seconds: number | undefined;
    const args = [LAUNCHER, 'apply', file, '--yes', '--registry', under.mesh.addresses.registry];
    const applied = promisify(execFile)(process.execPath, args).then(async () => {
      // A first generation is served while its rows come in.
      await untilLive(under.mesh.addresses.ingest, 2);
      await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
      seconds = (performance.now() - startedAt) / 1000;
    });
    const during: number[] = [];
    for (let run = 0; seconds === undefined; run++) {
      during.push(...(await probe(under, bare, BigInt(2_000_000 + run), () => seconds !== undefined)).served);
    }
    await applied;
    return {
      rows: ROWS,
      commits_per_s: RATE,
      rows_s: Math.round(ROWS / seconds),
      seconds: round(seconds, 1),
      probes_during: during.length,
      before_ms_p50: round(percentile(before, 0.5), 2),
      before_ms_p99: round(percentile(before, 0.99), 2),
      during_ms_p50: round(percentile(during, 0.5), 2),
      during_ms_p99: round(percentile(during, 0.99), 2),
      ratio_p50: round(percentile(during, 0.5) / percentile(before, 0.5), 2),
      ratio_p99: round(percentile(during, 0.99) / percentile(before, 0.99), 2),
    };
  } finally {
    load.kill();
    await bare.close();
    await under.close();
  }
}

/** Waits until so many routes are live: their snapshots are in the log. */
async function untilLive(ingest: string, routes: number): Promise<void> {
  const node = createGrpcClient(IngestService, ingest);
  try {
    for (;;) {
      const { sources } = await node.getIngestStatus({});
      if (sources.reduce((sum, source) => sum + source.routes.length, 0) >= routes) return;
      await delay(100);
    }
  } finally {
    node.close();
  }
}
