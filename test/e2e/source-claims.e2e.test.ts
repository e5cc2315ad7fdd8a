/**
 * Goal: of two ingest nodes one database is captured by exactly one at any time. One with a log of its own waits for as long
 * as the owner has the claim, whether that lives or not, for it could not go on from the owner's slot. One on the owner's
 * log (its disk attached elsewhere) takes over once the owner is dead, or stands still for longer than its lease and its
 * connection; and an owner that comes back does not capture beside it. Method: the real mesh, and further ingest processes
 * on the same registry, database and slot; SIGSTOP and SIGKILL of the owner; what each captured, by its own count.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePorts } from '@freshet/cli/mesh/free-ports.ts';
import { IngestService, type SourceStatus } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { RegistryService, type SourceClaim } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';
import { storefront } from '../support/storefront.ts';

const MAIN = join(import.meta.dirname, '../../services/ingest/src/main.ts');
/** Lease, connection and retries are seconds; a busy machine makes more of them. */
const PATIENCE = { timeout: 60_000, interval: 200 };

let under: MeshUnderTest;
let child: ChildProcess | undefined;
let first: GrpcClient<typeof IngestService>;
let second: GrpcClient<typeof IngestService>;
let registry: GrpcClient<typeof RegistryService>;
let output = '';

beforeAll(async () => {
  // Postgres holds a slot for a connection that stands still for so long.
  under = await startMeshUnderTest({ ...(await storefront()), postgresSettings: { wal_sender_timeout: '2s' } });
  registry = createGrpcClient(RegistryService, under.mesh.addresses.registry);
  first = createGrpcClient(IngestService, under.mesh.addresses.ingest);
}, 120_000);
afterAll(async () => {
  child?.kill('SIGKILL');
  for (const client of [registry, first, second]) client?.close();
  await under?.close();
}, 60_000);

/** Starts another ingest node on a directory of its own. */
async function startSecond(directory: string): Promise<void> {
  const [port] = await freePorts('127.0.0.1', 1);
  const url = join(under.directory, 'second.url');
  writeFileSync(url, under.database.url, { mode: 0o600 });
  const options = {
    listen: `127.0.0.1:${must(port)}`,
    'http-listen': '127.0.0.1:0',
    registry: under.mesh.addresses.registry,
    'data-dir': directory,
    partitions: '8',
    postgres: `default=@${url}`,
  };
  const args = Object.entries(options).map(([flag, value]) => `--${flag}=${value}`);
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('FRESHET_'));
  child = spawn(process.execPath, [MAIN, ...args], {
    env: Object.fromEntries(own),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (piece: Buffer) => {
      output = (output + piece.toString()).slice(-20_000);
    });
  second?.close();
  second = createGrpcClient(IngestService, options.listen);
}

async function killSecond(): Promise<void> {
  const gone = new Promise((resolve) => must(child).once('exit', resolve));
  must(child).kill('SIGKILL');
  await gone;
}

/** What another machine has when a node's disk is attached to it: all but the locks, and the name, which is the machine's. */
function attach(from: string, to: string): string {
  cpSync(from, to, { recursive: true, filter: (path) => !['owner', 'LOCK', 'node-id'].includes(basename(path)) });
  return to;
}

async function sourceOf(client: GrpcClient<typeof IngestService>): Promise<SourceStatus | undefined> {
  const { sources } = await client.getIngestStatus({}, { deadlineMs: 2_000 });
  return sources[0];
}

async function claim(): Promise<SourceClaim> {
  const { claims } = await registry.listSourceClaims({});
  expect(claims).toHaveLength(1);
  return must(claims[0]);
}

/** Resolves when the node has said that another one captures the database. */
async function untilTold(client: GrpcClient<typeof IngestService>, holder: string): Promise<void> {
  await expect
    .poll(async () => (await sourceOf(client).catch(() => undefined))?.problem?.message, PATIENCE)
    .toContain(`node ${holder} captures`);
}

/** Commits rows, and waits until the node has them in its log. */
async function captured(client: GrpcClient<typeof IngestService>, rows: number): Promise<void> {
  await under.sql`INSERT INTO user_activity (user_id, event_type, occurred_at) SELECT 7, 'click', now() FROM generate_series(1, ${rows})`;
  const [at] = await under.sql`SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text AS lsn`;
  const committed = BigInt(String(at?.['lsn']));
  const looked = async (): Promise<unknown> => {
    const source = await sourceOf(client).catch(() => undefined);
    return { isDurable: (source?.durableLsn ?? 0n) >= committed, problem: source?.problem?.message };
  };
  await expect.poll(looked, PATIENCE).toEqual({ isDurable: true, problem: undefined });
}

async function streams(): Promise<number> {
  const [row] = await under.sql`SELECT count(*)::int AS n FROM pg_replication_slots WHERE active`;
  return Number(row?.['n']);
}

async function stopped<T>(pid: number, work: () => Promise<T>): Promise<T> {
  process.kill(pid, 'SIGSTOP');
  try {
    return await work();
  } finally {
    process.kill(pid, 'SIGCONT');
  }
}

describe('two ingest nodes and one database', () => {
  it('one with a log of its own waits, and an owner that stood still for longer than its lease goes on', async () => {
    await captured(first, 3);
    await untilServed(under.sql, under.mesh.addresses, new AbortController().signal);
    const owner = await claim();
    expect(owner).toMatchObject({ epoch: 1n, alive: true });
    await startSecond(join(under.directory, 'second'));
    await untilTold(second, owner.nodeId);
    await captured(first, 3);

    await stopped(must(under.mesh.pid('ingest')), async () => {
      await expect.poll(async () => (await claim()).alive, PATIENCE).toBe(false);
      await expect.poll(streams, PATIENCE).toBe(0);
      // It asks every few seconds.
      await pause(8_000);
    });
    await captured(first, 5);
    await untilTold(second, owner.nodeId);
    expect(await sourceOf(second)).toMatchObject({ rows: 0n });
    expect(await claim()).toMatchObject({ nodeId: owner.nodeId, epoch: 1n });
    expect(await streams()).toBe(1);
    await killSecond();
  }, 600_000);

  it('one on its log takes over from an owner that stands still or died, and none captures beside it', async () => {
    const owner = await claim();
    const before = must(await sourceOf(first)).rows;
    const elsewhere = join(under.directory, 'elsewhere');
    await stopped(must(under.mesh.pid('ingest')), async () => {
      await startSecond(attach(join(under.directory, 'mesh', 'ingest'), elsewhere));
      await expect.poll(async () => (await claim()).epoch, PATIENCE).toBe(2n);
      await captured(second, 5);
    });
    const next = await claim();
    expect(next.nodeId).not.toBe(owner.nodeId);
    // The owner comes back, and is told; nothing that was committed since is in its log too.
    await untilTold(first, next.nodeId);
    await captured(second, 5);
    expect(must(await sourceOf(first)).rows).toBe(before);
    expect(await claim()).toMatchObject({ nodeId: next.nodeId, epoch: 2n });
    expect(await streams()).toBe(1);

    await under.mesh.halt('ingest');
    await killSecond();
    await startSecond(attach(elsewhere, join(under.directory, 'third')));
    await expect.poll(async () => (await claim()).epoch, PATIENCE).toBe(3n);
    await captured(second, 3);
    expect(await claim()).toMatchObject({ epoch: 3n, alive: true });
    expect(await streams()).toBe(1);
  }, 600_000);
});
