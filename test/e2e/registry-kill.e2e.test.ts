/**
 * Goal: no registration that was acknowledged is lost, changed, or its id given again, whenever the registry dies. Method:
 * the real process; writers register new and known schemas at once while it is killed with SIGKILL; after each life every
 * acknowledged id, version and GUID is asked for.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { afterAll, expect, it } from 'vitest';
import { RegistryProcess } from '../../services/registry/src/testing/registry-process.ts';

const ROUNDS = Number(process.env['FRESHET_REGISTRY_KILL_ROUNDS'] ?? 6);
const WRITERS = 6;

const home = mkdtempSync(join(tmpdir(), 'freshet-registry-kill-'));
const registry = new RegistryProcess(home);
afterAll(async () => {
  await registry.kill();
  rmSync(home, { recursive: true });
});

interface Acknowledged {
  readonly id: number;
  readonly version: number;
  readonly guid: string;
  readonly subject: string;
  readonly schema: string;
}

async function storm(acknowledged: Acknowledged[], life: number, stop: AbortSignal): Promise<void> {
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    const random = new Random(`registry-kill/${life}/${writer}`);
    for (let n = 0; !stop.aborted; n++) {
      const old = acknowledged.length > 0 && random.oneIn(3) ? random.pick(acknowledged) : undefined;
      const schema = old?.schema ?? `{"type":"record","name":"R${life}_${writer}_${n}","fields":[]}`;
      const subject = old?.subject ?? `s${random.between(0, 20)}-${writer}`;
      const answer = await fetch(`${registry.url}/subjects/${subject}/versions`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ schema }),
      })
        .then(async (response) => ({ status: response.status, body: (await response.json()) as Acknowledged }))
        .catch(() => undefined);
      if (answer?.status === 200) {
        if (old !== undefined) expect(answer.body).toMatchObject({ id: old.id, version: old.version });
        const { id, version, guid } = answer.body;
        acknowledged.push({ id, version, guid, subject, schema });
      }
    }
  });
  await Promise.all(writers);
}

it(`${ROUNDS} rounds of SIGKILL in a storm of registrations lose, change and reuse nothing`, async () => {
  const acknowledged: Acknowledged[] = [];
  const random = new Random('registry-kill');
  await registry.start();
  await fetch(`${registry.url}/config`, { method: 'PUT', body: '{"compatibility":"NONE"}' });
  for (let round = 0; round < ROUNDS; round++) {
    const stop = new AbortController();
    const storming = storm(acknowledged, round, stop.signal);
    await pause(random.between(50, 700));
    await registry.kill();
    stop.abort();
    await storming;
    await registry.start();
    for (const { id, version, guid, subject, schema } of acknowledged) {
      const response = await fetch(`${registry.url}/subjects/${subject}/versions/${version}`);
      expect(await response.json()).toMatchObject({ id, guid, schema });
    }
    const texts = new Map<number, string>();
    for (const { id, schema } of acknowledged) expect(texts.get(id) ?? schema).toBe(schema);
    for (const { id, schema } of acknowledged) texts.set(id, schema);
    expect(texts.size).toBe(new Set(acknowledged.map(({ schema }) => schema)).size);
  }
  expect(acknowledged.length).toBeGreaterThan(ROUNDS * 10);
}, 86_400_000);
