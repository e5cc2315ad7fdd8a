/**
 * Goal: the doctor looks at a mesh that runs and at one that does not, tells people and programs the same, ends with 1
 * when there is a problem, and does not hang where what it looks at does. Method: the command in this process against
 * fake nodes, against configurations in a temporary directory, and against a peer that accepts and says nothing.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@freshet/kit/clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { examine } from '../doctor/examine.ts';
import type { Finding } from '../doctor/finding.ts';
import { runFreshet as freshet, NOW_US, startFakeMesh } from '../testing/fake-mesh.ts';

let directory: string;
const open: (() => unknown)[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-doctor-test-'));
});
afterEach(async () => {
  for (const close of open.splice(0)) await close();
  rmSync(directory, { recursive: true, force: true });
});

async function listen(): Promise<{ server: Server; port: number }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  open.push(() => new Promise((resolve) => server.close(resolve)));
  return { server, port: (server.address() as AddressInfo).port };
}

function meshFile(ports: Readonly<Record<string, number>>, postgres = 'postgres://app@127.0.0.1:1/shop'): string {
  const path = join(directory, 'mesh.yaml');
  const all = {
    ...{ registry: 0, registry_http: 0, ingest: 0, ingest_http: 0 },
    ...{ compute: 0, compute_http: 0, serve: 0, serve_http: 0 },
    ...ports,
  };
  const text = `data_dir: data\npostgres:\n  shop: ${postgres}\nports: ${JSON.stringify(all)}\n`;
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}

async function json(args: readonly string[]): Promise<{ code: number; findings: Finding[]; problem: number }> {
  const { code, out } = await freshet(['doctor', '--json', ...args], { env: process.env });
  return { code, ...JSON.parse(out) };
}

const found = (findings: readonly Finding[], area: string): string[] =>
  findings.filter((f) => f.area === area && f.level !== 'ok').map(({ level, message }) => `${level}: ${message}`);

describe('doctor', () => {
  it('of a running mesh asks every node, and ingest for its databases', async () => {
    const mesh = await startFakeMesh();
    open.push(() => mesh.close());
    const { code, findings, problem } = await json(['--registry', mesh.registry]);
    expect(code).toBe(1);
    expect(problem).toBeGreaterThan(0);
    expect(found(findings, 'services')).toContain('problem: database crm is not captured: the slot is lost');
    // Asked of the tables that the definitions in force name, each once.
    expect(found(findings, 'databases')).toEqual([
      'problem: user app may not replicate',
      expect.stringMatching(/^note: slot freshet_crm is not made yet/),
      'problem: user app may not read public.clicks',
      'problem: app@db:5432/shop cannot be looked at: nobody answers',
    ]);
    const { out } = await freshet(['doctor', '--registry', mesh.registry]);
    expect(out).toMatch(
      /problem {2}database crm is not captured: the slot is lost {2}ingest \S+\n {11}fix DROP the slot\n/,
    );
    expect(out).toMatch(/\n\d+ problems, \d+ warnings, \d+ notes; \d+ ok\n$/);
  });

  it('compares the clock of every node that tells it with that of this machine', async () => {
    const mesh = await startFakeMesh({
      ingestNowUs: BigInt(NOW_US + 6_000_000),
      shards: () => ({ nowUs: BigInt(NOW_US - 2_000_000) }),
    });
    open.push(() => mesh.close());
    const findings = await examine({
      file: undefined,
      registry: mesh.registry,
      env: {},
      clock: { ...systemClock, nowUs: () => NOW_US, monotonicUs: () => 0 },
      signal: new AbortController().signal,
    });
    expect(found(findings, 'clocks')).toEqual([
      expect.stringMatching(/^warning: the clock of compute \S+ is 2\.0 s behind that of this machine$/),
      expect.stringMatching(/^problem: the clock of ingest \S+ is 6\.0 s ahead of that of this machine$/),
    ]);
  });

  it('of a mesh that does not run looks at the machine, and at the databases by itself', async () => {
    const { port } = await listen();
    mkdirSync(join(directory, 'data', 'run'), { recursive: true });
    writeFileSync(join(directory, 'data', 'run', 'postgres-shop.url'), 'x');
    mkdirSync(join(directory, 'data', 'compute', 'shard-3.aside-0001'), { recursive: true });
    writeFileSync(join(directory, 'data', 'compute', 'shard-3.aside-0001', 'x'), 'twelve bytes');
    const { code, findings } = await json(['-f', meshFile({ serve: port })]);
    expect(code).toBe(1);
    expect(found(findings, 'configuration')).toEqual(['note: the configuration names no definitions']);
    expect(found(findings, 'databases')).toEqual([
      expect.stringMatching(/^problem: app@127\.0\.0\.1:1\/shop cannot be looked at: .*ECONNREFUSED/),
    ]);
    expect(found(findings, 'ports')).toEqual([
      expect.stringMatching(
        process.platform === 'linux'
          ? new RegExp(`^problem: serve: .* \\(pid ${process.pid}\\) listens on 127.0.0.1:${port}`)
          : /^problem: serve: somebody listens/,
      ),
    ]);
    expect(found(findings, 'disks')).toContainEqual(expect.stringMatching(/^note: compute: 12 B were put aside/));
    expect(found(findings, 'processes')).toEqual([
      'note: no mesh runs on this data directory',
      expect.stringMatching(/^warning: a killed mesh left a database's URL/),
    ]);
  });

  it('tells what is wrong with the configuration, and looks at what it can without it', async () => {
    const path = join(directory, 'mesh.yaml');
    writeFileSync(path, 'data_dirr: x\npostgres: 7\n');
    const { code, findings } = await json(['-f', path]);
    expect(code).toBe(1);
    expect(found(findings, 'configuration')).toEqual([
      'problem: the configuration has no "data_dirr"',
      'problem: postgres is not a mapping',
    ]);
    expect(findings.some(({ area }) => area === 'clocks')).toBe(true);
  });

  it('does not hang on a peer that accepts and says nothing', async () => {
    const { port, server } = await listen();
    server.on('connection', (socket) => open.unshift(() => socket.destroy()));
    const findings = await examine({
      file: undefined,
      registry: `127.0.0.1:${port}`,
      env: process.env,
      clock: systemClock,
      signal: new AbortController().signal,
      lookMs: 300,
    });
    expect(found(findings, 'services')).toEqual(['problem: could not be looked at: looking took longer than 300 ms']);
  });
});
