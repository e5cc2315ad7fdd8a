/**
 * What reading a large table for a new view does to the freshness of what is live: from COMMIT to the first GetFeatures
 * that shows it, at 1,000 other commits a second, before while and after a table of two million rows is snapshotted and folded;
 * and how fast that goes, from the apply until it is served. Every service is a process of its own.
 *
 * Taking up the new definitions (`switch_`) is counted apart from reading the table (`read_`): the first is over in a moment
 * however large the table is, and would else say more the smaller it is.
 */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type GetIngestStatusResponse, IngestService, SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { must } from '@freshet/kit/assert.ts';
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

interface Sample {
  readonly at: number;
  readonly ms: number;
}

export async function benchBackfill(runs: number): Promise<BenchResult> {
  const under = await startMeshUnderTest({ schema: `${SCHEMA};\n${HISTORY}`, definitions: DEFINITIONS });
  const bare = await startBareReplication(under.database.url, 'activity');
  const load = startCommitLoad(under.database.url);
  load.stdout.resume();
  const over = new AbortController();
  try {
    await untilServed(under.sql, under.mesh.addresses, over.signal);
    let user = 1_000_000n;
    const probing = async (isOver?: () => boolean): Promise<Sample[]> => {
      user += 1n;
      return (await probe(under, bare, user, isOver)).samples;
    };
    const quiet: Sample[] = [];
    for (let run = 0; run < runs; run++) quiet.push(...(await probing()));
    const file = join(under.directory, 'more.yaml');
    writeFileSync(file, DEFINITIONS + MORE);
    const startedAt = performance.now();
    let readFrom = Infinity;
    let liveAt = 0;
    let servedAt: number | undefined;
    let failure: unknown;
    const args = [LAUNCHER, 'apply', file, '--yes', '--registry', under.mesh.addresses.registry];
    const reading = untilReading(under.mesh.addresses.ingest, over.signal).then(() => {
      readFrom = performance.now();
    });
    // Nobody waits for it when the apply fails.
    reading.catch(() => undefined);
    const applied = promisify(execFile)(process.execPath, args).then(async () => {
      await reading;
      // A first generation is served while its rows come in.
      await untilLive(under.mesh.addresses.ingest, 2, over.signal);
      liveAt = performance.now();
      await untilServed(under.sql, under.mesh.addresses, over.signal);
      servedAt = performance.now();
    });
    applied.catch((error: unknown) => {
      failure = error;
    });
    const isOver = (): boolean => servedAt !== undefined || failure !== undefined;
    const during: Sample[] = [];
    while (!isOver()) during.push(...(await probing(isOver)));
    await applied;
    const end = must(servedAt);
    for (let run = 0; run < runs; run++) quiet.push(...(await probing()));
    const read = during.filter(({ at }) => at >= readFrom);
    return {
      rows: ROWS,
      commits_per_s: RATE,
      rows_s: Math.round(ROWS / ((end - readFrom) / 1000)),
      apply_to_reading_s: round((readFrom - startedAt) / 1000, 1),
      reading_to_live_s: round((liveAt - readFrom) / 1000, 1),
      live_to_served_s: round((end - liveAt) / 1000, 1),
      ...told('quiet', quiet),
      ...told(
        'switch',
        during.filter(({ at }) => at < readFrom),
      ),
      ...told('read', read),
      read_ratio_p50: round(at(read, 0.5) / at(quiet, 0.5), 2),
      read_ratio_p99: round(at(read, 0.99) / at(quiet, 0.99), 2),
    };
  } finally {
    over.abort();
    load.kill();
    await bare.close();
    await under.close();
  }
}

function at(samples: readonly Sample[], share: number): number {
  return percentile(
    samples.map(({ ms }) => ms),
    share,
  );
}

function told(name: string, samples: readonly Sample[]): BenchResult {
  return {
    [`${name}_probes`]: samples.length,
    [`${name}_ms_p50`]: round(at(samples, 0.5), 1),
    [`${name}_ms_p99`]: round(at(samples, 0.99), 1),
    [`${name}_ms_max`]: round(at(samples, 1), 1),
  };
}

/** Waits until a snapshot is being taken. */
function untilReading(ingest: string, signal: AbortSignal): Promise<void> {
  return untilIngest(ingest, (sources) => sources.some(({ state }) => state === SourceState.SNAPSHOT), signal);
}

/** Waits until so many routes are live: their snapshots are in the log. */
function untilLive(ingest: string, routes: number, signal: AbortSignal): Promise<void> {
  const count = (sources: GetIngestStatusResponse['sources']): number =>
    sources.reduce((sum, source) => sum + source.routes.length, 0);
  return untilIngest(ingest, (sources) => count(sources) >= routes, signal);
}

async function untilIngest(
  ingest: string,
  holds: (sources: GetIngestStatusResponse['sources']) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const node = createGrpcClient(IngestService, ingest);
  try {
    while (!holds((await node.getIngestStatus({}, { signal })).sources)) await delay(50, undefined, { signal });
  } finally {
    node.close();
  }
}
