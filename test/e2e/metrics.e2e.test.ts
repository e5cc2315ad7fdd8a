/**
 * Goal: who watches a mesh by numbers sees what it does and what it mends. Method: the real mesh; every service's /metrics read
 * by a strict reader of the format; rows and reads counted; then the store of a shard is damaged on the disk under compute,
 * and its repair is seen there.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import { EXPOSITION_TYPE } from '@freshet/kit/metrics/exposition.ts';
import { type ReadSample, readExposition } from '@freshet/kit/metrics/read-exposition.testing.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

const PARTITIONS = 2;
const PATIENCE = { timeout: 60_000, interval: 200 };

type Port = 'ingestHttp' | 'computeHttp' | 'serveHttp' | 'registryHttp';

let under: MeshUnderTest;
let secrets: string;

beforeAll(async () => {
  secrets = mkdtempSync(join(tmpdir(), 'freshet-users-'));
  const users = join(secrets, 'users');
  writeFileSync(users, 'ann:secret\n');
  under = await startMeshUnderTest({
    ...(await storefront()),
    partitions: PARTITIONS,
    services: { registry: { 'schemas-users-file': users } },
  });
}, 120_000);
afterAll(async () => {
  await under?.close();
  rmSync(secrets, { recursive: true, force: true });
}, 60_000);

async function scrape(port: Port): Promise<readonly ReadSample[]> {
  const response = await fetch(`http://${under.mesh.addresses[port]}/metrics`);
  expect([response.status, response.headers.get('content-type')]).toEqual([200, EXPOSITION_TYPE]);
  return readExposition(await response.text());
}

/** All series of a metric with these labels, added up; undefined when there is none. */
function sumOf(
  samples: readonly ReadSample[],
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number | undefined {
  const values = samples
    .filter((one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value))
    .map(({ value }) => value);
  return values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0);
}

describe('/metrics', () => {
  it('is answered by all four services, and counts what they do', async () => {
    await under.sql`INSERT INTO user_activity (user_id, event_type, occurred_at) SELECT 7, 'click', now() FROM generate_series(1, 3)`;
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    await under.client.getFeatures({ service: 'user_profile', keys: { user_id: [7n] } });

    const ingest = await scrape('ingestHttp');
    expect(sumOf(ingest, 'freshet_source_rows_total', { database: 'default' })).toBeGreaterThanOrEqual(3);
    expect(sumOf(ingest, 'freshet_source_commits_total')).toBeGreaterThanOrEqual(1);
    expect(sumOf(ingest, 'freshet_source_streaming')).toBe(1);
    expect(sumOf(ingest, 'freshet_log_damaged_places')).toBe(0);
    expect(sumOf(ingest, 'freshet_quarantine_damaged_lines')).toBe(0);

    const compute = await scrape('computeHttp');
    expect(sumOf(compute, 'freshet_shard_running')).toBe(PARTITIONS);
    expect(sumOf(compute, 'freshet_shard_repairs_total')).toBe(0);
    // The clicks, and the definitions in each partition.
    expect(sumOf(compute, 'freshet_shard_position')).toBeGreaterThanOrEqual(3 + PARTITIONS);
    expect(sumOf(compute, 'freshet_shard_followers')).toBeGreaterThanOrEqual(PARTITIONS);

    const serve = await scrape('serveHttp');
    expect(sumOf(serve, 'freshet_calls_total', { method: 'GetFeatures', code: 'OK' })).toBeGreaterThanOrEqual(1);
    expect(sumOf(serve, 'freshet_replica_connected')).toBe(PARTITIONS);
    expect(sumOf(serve, 'freshet_replica_bootstraps_total')).toBe(PARTITIONS);
    expect(serve.filter(({ name }) => name === 'freshet_replica_completeness_age_seconds')).toHaveLength(PARTITIONS);

    // Ingest, compute and serve announce themselves in their own time.
    await expect.poll(async () => sumOf(await scrape('registryHttp'), 'freshet_nodes'), PATIENCE).toBe(3);
    const registry = await scrape('registryHttp');
    expect(sumOf(registry, 'freshet_calls_total', { method: 'ApplyDefinitions', code: 'OK' })).toBe(1);

    for (const samples of [ingest, compute, serve, registry]) {
      expect(sumOf(samples, 'freshet_definitions_generation')).toBeGreaterThanOrEqual(1);
      expect(sumOf(samples, 'process_resident_memory_bytes')).toBeGreaterThan(1e6);
      expect(sumOf(samples, 'freshet_event_loop_delay_seconds_count')).toBeGreaterThanOrEqual(1);
    }
  });

  it('is beside what else the port answers: other methods, other paths, and credentials of the Schema Registry', async () => {
    const { registryHttp, computeHttp } = under.mesh.addresses;
    expect((await fetch(`http://${registryHttp}/subjects`)).status).toBe(401);
    expect((await fetch(`http://${registryHttp}/metrics?x=1`)).status).toBe(200);
    expect((await fetch(`http://${computeHttp}/metrics`, { method: 'POST', body: 'x' })).status).toBe(405);
    const head = await fetch(`http://${computeHttp}/metrics`, { method: 'HEAD' });
    expect([head.status, await head.text()]).toEqual([200, '']);
    expect((await fetch(`http://${computeHttp}/metricsx`)).status).toBe(404);
  });

  it('L2: shows that a damaged shard was put aside and restored', async () => {
    const compute = createGrpcClient(ComputeService, under.mesh.addresses.compute);
    for await (const _ of compute.takeCheckpoint({})) void _;
    compute.close();
    await under.mesh.halt('compute');
    damage(join(under.directory, 'mesh', 'compute', 'shards', '0'));
    await under.mesh.resume('compute');
    await expect
      .poll(async () => {
        const samples = await scrape('computeHttp').catch(() => []);
        const of = (name: string): number[] => ['0', '1'].map((shard) => sumOf(samples, name, { shard }) ?? Number.NaN);
        const names = ['freshet_shard_running', 'freshet_shard_repairs_total', 'freshet_shard_restores_total'];
        return names.map(of);
      }, PATIENCE)
      .toEqual([
        [1, 1],
        [1, 0],
        [1, 0],
      ]);
    const samples = await scrape('computeHttp');
    expect(sumOf(samples, 'freshet_condition', { id: 'shard/0/mended', code: 'DATA_DAMAGED', severity: 'note' })).toBe(
      1,
    );
    expect(sumOf(samples, 'freshet_conditions', { severity: 'note' })).toBeGreaterThanOrEqual(1);
  });
});

/** What the store says of its own files is garbage from now on. */
function damage(directory: string): void {
  const manifests = readdirSync(directory).filter((name) => name.startsWith('MANIFEST-'));
  expect(manifests).not.toEqual([]);
  for (const name of manifests) writeFileSync(join(directory, name), Buffer.alloc(100, 0xa5));
}
