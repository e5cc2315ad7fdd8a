/**
 * What schemas that take long do to everybody else: lookups by id while some clients post, again and again, a pair that
 * takes the engine to its limits, against the same lookups without them, turn by turn.
 *
 * The registry is the real process; clients and server share the machine, so with fewer cores than threads the lookups
 * also wait for a core.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { hostilePair } from '../services/registry/src/testing/hostile-schemas.ts';
import { RegistryProcess } from '../services/registry/src/testing/registry-process.ts';
import type { BenchResult } from './main.ts';
import { percentile, round } from './statistics.ts';

const READERS = 4;
const ATTACKERS = 4;
/** How long lookups are measured, each turn. */
const TURN_MS = 5_000;

const agent = new Agent({ keepAlive: true });

export async function benchRegistryHostile(runs: number): Promise<BenchResult> {
  const home = mkdtempSync(join(tmpdir(), 'freshet-bench-registry-hostile-'));
  const registry = new RegistryProcess(home);
  try {
    await registry.start();
    const { now, old } = hostilePair();
    const body = (schema: string): string => JSON.stringify({ schema, schemaType: 'JSON' });
    await send(`${registry.url}/subjects/hostile/versions`, body(old));
    await send(`${registry.url}/subjects/plain/versions`, JSON.stringify({ schema: '"int"' }));
    const quiet: number[] = [];
    const attacked: number[] = [];
    const statuses = new Map<number, number>();
    const check = `${registry.url}/compatibility/subjects/hostile/versions/latest`;
    for (let run = 0; run < runs; run++) {
      await lookUp(registry.url, quiet);
      const stop = new AbortController();
      const attack = Promise.all(
        Array.from({ length: ATTACKERS }, async () => {
          while (!stop.signal.aborted) {
            const status = await send(check, body(now));
            statuses.set(status, (statuses.get(status) ?? 0) + 1);
          }
        }),
      );
      await lookUp(registry.url, attacked);
      stop.abort();
      await attack;
    }
    return {
      readers: READERS,
      attackers: ATTACKERS,
      hostileRequests: [...statuses].map(([status, count]) => `${status}: ${count}`).join(', '),
      lookups: quiet.length,
      lookupP50Ms: round(percentile(quiet, 0.5), 2),
      lookupP99Ms: round(percentile(quiet, 0.99), 2),
      lookupMaxMs: round(percentile(quiet, 1), 2),
      lookupsBroken: quiet.filter((ms) => ms === Number.POSITIVE_INFINITY).length,
      attackedLookups: attacked.length,
      attackedLookupP50Ms: round(percentile(attacked, 0.5), 2),
      attackedLookupP99Ms: round(percentile(attacked, 0.99), 2),
      attackedLookupMaxMs: round(percentile(attacked, 1), 2),
      attackedLookupsBroken: attacked.filter((ms) => ms === Number.POSITIVE_INFINITY).length,
    };
  } finally {
    await registry.kill();
    rmSync(home, { recursive: true, force: true });
  }
}

async function lookUp(url: string, into: number[]): Promise<void> {
  const end = performance.now() + TURN_MS;
  const readers = Array.from({ length: READERS }, async () => {
    while (performance.now() < end) {
      const began = performance.now();
      const status = await send(`${url}/schemas/ids/2`);
      into.push(status === 200 ? performance.now() - began : Number.POSITIVE_INFINITY);
    }
  });
  await Promise.all(readers);
}

/** The status; 0 where the connection was broken, as a server does to one that it thinks idle after a long pause. */
function send(url: string, body?: string): Promise<number> {
  return new Promise((resolve) => {
    const headers = { 'content-type': 'application/vnd.schemaregistry.v1+json' };
    const call = request(url, { method: body === undefined ? 'GET' : 'POST', agent, headers }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
      response.on('error', () => resolve(0));
    });
    call.on('error', () => resolve(0));
    call.end(body);
  });
}
