/**
 * Goal: a mesh starts and stops in order, comes back whole, gives up when it must, and finds what a killed one left
 * behind. Method: real processes that only say that they are healthy, in a temporary directory.
 */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createLogger, silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isHealthy } from './health.ts';
import { type Mesh, type MeshOptions, type Role, startMesh } from './mesh.ts';
import { PORT_NAMES, ROLES } from './mesh-config.ts';
import { processIdentity } from './process-identity.ts';

const FAKE_SERVICE = fileURLToPath(new URL('../testing/fake-service.ts', import.meta.url));
const FAKE_UP = fileURLToPath(new URL('../testing/fake-up.ts', import.meta.url));

let directory: string;
let notes: string;
const meshes: Mesh[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-mesh-'));
  notes = join(directory, 'notes');
});
afterEach(async () => {
  for (const mesh of meshes.splice(0)) {
    mesh.killAll();
    await mesh.stop();
  }
  rmSync(directory, { recursive: true, force: true });
});

async function start(behaviour: Partial<Record<Role, string>> = {}, over: Partial<MeshOptions> = {}): Promise<Mesh> {
  const mesh = await startMesh({
    config: { dataDir: join(directory, 'data'), postgres: {}, ports: 'free' },
    log: silentLogger,
    signal: new AbortController().signal,
    graceMs: 5_000,
    layout: (_, at) =>
      ROLES.map((role) => ({
        role,
        main: FAKE_SERVICE,
        address: at[role],
        args: [role, at[role], notes, behaviour[role] ?? 'well'],
      })),
    ...over,
  });
  meshes.push(mesh);
  return mesh;
}

function noted(): string[] {
  return existsSync(notes) ? readFileSync(notes, 'utf8').trimEnd().split('\n') : [];
}

describe('startMesh', () => {
  it('starts the registry first, and stops user-facing first', async () => {
    const mesh = await start();
    expect(noted()[0]).toBe('start registry');
    for (const role of ROLES) expect(await isHealthy(mesh.addresses[role], '')).toBe(true);
    expect(existsSync(join(directory, 'data', 'run', 'serve.pid'))).toBe(true);
    await mesh.stop();
    await mesh.done;
    expect(noted().slice(4)).toEqual(['stop serve', 'stop compute', 'stop ingest', 'stop registry']);
    expect(existsSync(join(directory, 'data', 'run', 'serve.pid'))).toBe(false);
    expect(existsSync(join(directory, 'data', 'run', 'LOCK'))).toBe(false);
  });

  it('brings back what is killed, and leaves stopped what is halted', async () => {
    const mesh = await start();
    const before = mesh.pid('compute');
    await mesh.kill('compute');
    await mesh.untilReady('compute');
    expect(mesh.pid('compute')).not.toBe(before);
    expect(mesh.starts('compute')).toBe(2);
    await mesh.halt('ingest', 'SIGKILL');
    expect(mesh.pid('ingest')).toBeUndefined();
    expect(await isHealthy(mesh.addresses.ingest, '')).toBe(false);
    await mesh.resume('ingest');
    expect(await isHealthy(mesh.addresses.ingest, '')).toBe(true);
  });

  it('stops everything and says why when a process refuses its configuration', async () => {
    await expect(start({ compute: 'config' })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: 'compute refuses its configuration: --wal is not an option',
      remedy: 'did you mean --log?',
    });
    expect(noted().at(-1)).toBe('stop registry');
    expect(existsSync(join(directory, 'data', 'run', 'LOCK'))).toBe(false);
  });

  it('leaves no orphan: `done` rejects only when every process is gone', async () => {
    let mesh: Mesh | undefined;
    const pids: (number | undefined)[] = [];
    const starting = start(
      { registry: 'slow', compute: 'config' },
      {
        onStarted: (started) => {
          mesh = started;
        },
        onLine: () => pids.push(mesh?.pid('registry')),
      },
    );
    starting.catch(() => undefined);
    await expect.poll(() => mesh, { timeout: 10_000 }).toBeDefined();
    await expect(mesh?.done).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    expect(noted().at(-1)).toBe('stop registry');
    for (const pid of pids) expect(await processIdentity(pid ?? 0)).toBeUndefined();
    await expect(starting).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
  });

  it('static stability: goes on without a process that came up and is given up, and tries it again', async () => {
    const told: Record<string, unknown>[] = [];
    const log = createLogger({ name: 'up', level: 'error', write: (line) => told.push(JSON.parse(line)) });
    const mesh = await start({}, { log, limits: { failuresMax: 0, givenUpDelayMs: 300 } });
    process.kill(mesh.pid('ingest') ?? 0, 'SIGKILL');
    await expect.poll(() => told, { timeout: 10_000 }).toMatchObject([{ level: 'error', place: 'ingest' }]);
    for (const role of ['serve', 'compute', 'registry'] as const) {
      expect(await isHealthy(mesh.addresses[role], '')).toBe(true);
      expect(mesh.starts(role)).toBe(1);
    }
    await mesh.untilHealthy('ingest');
    await mesh.stop();
    await mesh.done;
    expect(noted().slice(-4)).toEqual(['stop serve', 'stop compute', 'stop ingest', 'stop registry']);
  });

  it('starts nothing when a port is taken, instead of taking the other for its own', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const address = other.address();
    const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
    const free = Object.fromEntries(PORT_NAMES.map((name) => [name, 0]));
    const ports = { ...free, registry: port };
    const config = { dataDir: join(directory, 'data'), postgres: {}, ports };
    await expect(start({}, { config })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      place: `127.0.0.1:${port}`,
    });
    other.close();
    expect(noted()).toEqual([]);
    expect(existsSync(join(directory, 'data', 'run', 'LOCK'))).toBe(false);
  });

  it('keeps the URLs of databases where only we may read them, also in a file that was there, and only while it runs', async () => {
    const file = join(directory, 'data', 'run', 'postgres-shop.url');
    mkdirSync(join(directory, 'data', 'run'), { recursive: true });
    writeFileSync(file, 'old');
    chmodSync(file, 0o644);
    const named = join(directory, 'named');
    writeFileSync(named, 'postgres://b');
    const postgres = { shop: 'postgres://a:secret@localhost/shop', other: { file: named } };
    const mesh = await start({}, { config: { dataDir: join(directory, 'data'), postgres, ports: 'free' } });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).toBe('postgres://a:secret@localhost/shop\n');
    await mesh.stop();
    expect(existsSync(file)).toBe(false);
    expect(existsSync(named)).toBe(true);
  });

  it('leaves nothing behind when it is stopped while it is made ready', async () => {
    const stop = new AbortController();
    const postgres = { shop: 'postgres://a:secret@localhost/shop' };
    const config = { dataDir: join(directory, 'data'), postgres, ports: 'free' as const };
    const over = { config, signal: stop.signal, onStarted: () => queueMicrotask(() => stop.abort()) };
    await expect(start({}, over)).rejects.toMatchObject({ name: 'AbortError' });
    expect(readdirSync(join(directory, 'data', 'run'))).toEqual([]);
  });

  it('stops when its signal aborts, also while it starts', async () => {
    const stop = new AbortController();
    const mesh = await start({}, { signal: stop.signal });
    stop.abort();
    await mesh.done;
    expect(noted().at(-1)).toBe('stop registry');
    await expect(start({}, { signal: AbortSignal.abort() })).rejects.toMatchObject({ name: 'AbortError' });
  });

  it('keeps a second mesh off its data directory', async () => {
    await start();
    await expect(start()).rejects.toMatchObject({ code: 'STORE_LOCKED' });
  });

  it('of two meshes that start at once over what a killed one left, one gets the data directory', async () => {
    mkdirSync(join(directory, 'data', 'run'), { recursive: true });
    writeFileSync(join(directory, 'data', 'run', 'LOCK'), JSON.stringify({ pid: process.pid, started: '1' }));
    const both = await Promise.allSettled([start(), start()]);
    expect(both.map((result) => result.status).toSorted()).toEqual(['fulfilled', 'rejected']);
    for (const result of both) if (result.status === 'rejected') expect(result.reason.code).toBe('STORE_LOCKED');
  });

  it('tells mistakes in definitions before it starts anything', async () => {
    const file = join(directory, 'features.yaml');
    writeFileSync(file, 'kind: Entitty');
    const config = { dataDir: join(directory, 'data'), postgres: {}, ports: 'free' as const, definitions: [file] };
    await expect(start({}, { config })).rejects.toMatchObject({ code: 'INVALID_DEFINITION' });
    expect(noted()).toEqual([]);
  });

  it('gives its processes no FRESHET_ variable but everything else', async () => {
    const lines: string[] = [];
    await start({}, { env: { ...process.env, FRESHET_REGISTRY: 'x' }, onLine: (_, line) => lines.push(line) });
    expect(lines.map((line) => JSON.parse(line)).filter((entry) => entry.message === 'up')).toHaveLength(4);
    for (const line of lines) expect(JSON.parse(line).settings ?? []).toEqual([]);
  });

  it('ends the processes that a killed mesh left behind, before it starts its own', async () => {
    const up = spawn(process.execPath, [FAKE_UP, join(directory, 'data'), notes], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const text = await new Promise<string>((resolve) =>
      up.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString())),
    );
    const orphans = JSON.parse(text) as number[];
    up.kill('SIGKILL');
    await new Promise((resolve) => up.once('exit', resolve));
    for (const pid of orphans) expect(await processIdentity(pid)).toBeDefined();
    await start();
    for (const pid of orphans) expect(await processIdentity(pid)).toBeUndefined();
    expect(noted().slice(4, 8)).toEqual(['stop serve', 'stop compute', 'stop ingest', 'stop registry']);
  });
});
