/**
 * The Schema Registry API with 10,000 subjects: registrations a second, lookups by id a second and their p99, each against
 * a bare node server that answers the same bytes, with as many connections from the same client, turn by turn.
 *
 * The registry is the real process with its store on this machine's disk; every registration is synced before it is
 * answered, the bare server's is not. Client and server share the machine.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RegistryProcess } from '../services/registry/src/testing/registry-process.ts';
import type { BenchResult } from './main.ts';
import { interleave, percentile, round } from './statistics.ts';

const SUBJECTS = 10_000;
const CONNECTIONS = 16;
const LOOKUPS = 20_000;
const REGISTRATIONS = 2_000;

const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });

export async function benchRegistry(runs: number): Promise<BenchResult> {
  const home = mkdtempSync(join(tmpdir(), 'freshet-bench-registry-'));
  const registry = new RegistryProcess(home);
  try {
    await registry.start();
    const before = residentBytes(registry.pid);
    let next = 0;
    const register = (url: string): Promise<string> => {
      const n = next++;
      const schema = `{"type":"record","name":"R${n}","fields":[{"name":"id","type":"long"},{"name":"note","type":"string"}]}`;
      return send(`${url}/subjects/subject-${n}/versions`, JSON.stringify({ schema }));
    };
    const filled = await perSecond(SUBJECTS, () => register(registry.url));
    const subjectBytes = (residentBytes(registry.pid) - before) / SUBJECTS;
    const answer = await send(`${registry.url}/schemas/ids/1`);
    const bare = await startBare(answer);
    const registrations = await interleave(
      runs,
      async () => (await perSecond(REGISTRATIONS, () => register(registry.url))).perSecond,
      async () => (await perSecond(REGISTRATIONS, () => register(bare.url))).perSecond,
    );
    const latencies: number[] = [];
    const bareLatencies: number[] = [];
    const lookup = (url: string, into: number[]) => async (): Promise<number> => {
      const result = await perSecond(LOOKUPS, (n) => send(`${url}/schemas/ids/${1 + ((n * 7_919) % SUBJECTS)}`));
      into.push(percentile(result.ms, 0.99));
      return result.perSecond;
    };
    const lookups = await interleave(runs, lookup(registry.url, latencies), lookup(bare.url, bareLatencies));
    bare.close();
    return {
      subjects: SUBJECTS,
      residentBytesPerSubject: round(subjectBytes, 0),
      fillPerSecond: round(filled.perSecond, 0),
      registrationsPerSecond: round(registrations.subject, 0),
      bareRegistrationsPerSecond: round(registrations.baseline, 0),
      registrationsRatio: round(registrations.ratio, 3),
      lookupsPerSecond: round(lookups.subject, 0),
      bareLookupsPerSecond: round(lookups.baseline, 0),
      lookupsRatio: round(lookups.ratio, 3),
      lookupP99Ms: round(percentile(latencies, 0.5), 2),
      bareLookupP99Ms: round(percentile(bareLatencies, 0.5), 2),
    };
  } finally {
    await registry.kill();
    rmSync(home, { recursive: true, force: true });
  }
}

async function perSecond(
  count: number,
  call: (n: number) => Promise<unknown>,
): Promise<{ readonly perSecond: number; readonly ms: readonly number[] }> {
  const ms: number[] = [];
  let next = 0;
  const start = performance.now();
  const workers = Array.from({ length: CONNECTIONS }, async () => {
    while (next < count) {
      const began = performance.now();
      await call(next++);
      ms.push(performance.now() - began);
    }
  });
  await Promise.all(workers);
  return { perSecond: (count * 1000) / (performance.now() - start), ms };
}

function send(url: string, body?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
    const call = request(url, { method: body === undefined ? 'GET' : 'POST', agent, headers }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`${url}: ${response.statusCode} ${text}`));
      });
      response.on('error', reject);
    });
    call.on('error', reject);
    call.end(body);
  });
}

const BARE = `
const bytes = Buffer.from(process.argv[1]);
const server = require('node:http').createServer((incoming, response) => {
  incoming.resume();
  incoming.on('end', () => { response.setHeader('content-length', bytes.length); response.end(bytes); });
});
server.listen(0, '127.0.0.1', () => console.log(server.address().port));
`;

/** A server, as a process of its own too, that reads the request and answers always the same. */
async function startBare(answer: string): Promise<{ readonly url: string; close(): void }> {
  const child = spawn(process.execPath, ['--eval', BARE, answer], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { url: `http://127.0.0.1:${line.toString().trim()}`, close: () => child.kill() };
}

function residentBytes(pid: number | undefined): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;
  } catch {
    return Number.NaN;
  }
}
