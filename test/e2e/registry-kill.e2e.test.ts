/**
 * Goal: no registration that was acknowledged is lost, changed, or its id given again, whenever the registry dies. Method:
 * the real process; writers register new and known schemas at once while it is killed with SIGKILL; after each life the
 * list of all schemas has every id, version and GUID that was ever acknowledged, and those of the last life are asked for
 * one by one; after the last life all are.
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
/** A long run says so often where it is. */
const PROGRESS_ROUNDS = 20;

const home = mkdtempSync(join(tmpdir(), 'freshet-registry-kill-'));
const registry = new RegistryProcess(home);
afterAll(async () => {
  await registry.kill();
  rmSync(home, { recursive: true });
});

const headers = { 'content-type': 'application/json' };

interface Acknowledged {
  readonly id: number;
  readonly version: number;
  readonly guid: string;
  readonly subject: string;
  readonly schema: string;
}

/** What was acknowledged, by subject and version, and what each id was acknowledged for. */
class Promises {
  readonly all: Acknowledged[] = [];
  readonly #schemas = new Map<number, string>();
  readonly #ids = new Map<string, number>();
  readonly #keys = new Set<string>();

  /** Throws when the answer breaks a promise that was made before. */
  add(answer: Acknowledged): void {
    const { id, version, guid, subject, schema } = answer;
    // An id stands for one schema, and a schema has one id.
    expect(this.#schemas.get(id) ?? schema).toBe(schema);
    expect(this.#ids.get(schema) ?? id).toBe(id);
    this.#schemas.set(id, schema);
    this.#ids.set(schema, id);
    const key = keyOf(answer);
    if (this.#keys.has(key)) return;
    this.#keys.add(key);
    this.all.push({ id, version, guid, subject, schema });
  }
}

const keyOf = ({ subject, version }: { readonly subject: string; readonly version: number }): string =>
  `${subject} ${version}`;

async function storm(promises: Promises, life: number, stop: AbortSignal): Promise<void> {
  const writers = Array.from({ length: WRITERS }, async (_, writer) => {
    const random = new Random(`registry-kill/${life}/${writer}`);
    for (let n = 0; !stop.aborted; n++) {
      const old = promises.all.length > 0 && random.oneIn(3) ? random.pick(promises.all) : undefined;
      const schema = old?.schema ?? `{"type":"record","name":"R${life}_${writer}_${n}","fields":[]}`;
      const subject = old?.subject ?? `s${random.between(0, 20)}-${writer}`;
      const answer = await fetch(`${registry.url}/subjects/${subject}/versions`, {
        method: 'POST',
        headers,
        body: JSON.stringify({ schema }),
      })
        .then(async (response) => ({ status: response.status, body: (await response.json()) as Acknowledged }))
        .catch(() => undefined);
      if (answer?.status !== 200) continue;
      if (old !== undefined) expect(answer.body).toMatchObject({ id: old.id, version: old.version });
      promises.add({ ...answer.body, subject, schema });
    }
  });
  await Promise.all(writers);
}

/** Waits for so many new promises, for some seconds at most: a kill by the clock may come before any on a busy machine. */
async function stormed(promises: Promises, until: number): Promise<void> {
  for (let turn = 0; turn < 5_000 && promises.all.length < until; turn++) await pause(1);
}

const PAGE = 1_000;

/** All that the registry has, by subject and version. */
async function listed(): Promise<ReadonlyMap<string, Acknowledged>> {
  const rows = new Map<string, Acknowledged>();
  for (let offset = 0; ; offset += PAGE) {
    const response = await fetch(`${registry.url}/schemas?offset=${offset}&limit=${PAGE}`);
    const some = (await response.json()) as Acknowledged[];
    for (const row of some) rows.set(keyOf(row), row);
    if (some.length < PAGE) return rows;
  }
}

/** Each by its own path, some at a time. */
async function ask(acknowledged: readonly Acknowledged[]): Promise<void> {
  let next = 0;
  const askers = Array.from({ length: WRITERS }, async () => {
    for (let one = acknowledged[next++]; one !== undefined; one = acknowledged[next++]) {
      const { id, version, guid, subject, schema } = one;
      const response = await fetch(`${registry.url}/subjects/${subject}/versions/${version}`);
      expect(await response.json()).toMatchObject({ id, guid, schema });
    }
  });
  await Promise.all(askers);
}

/** Throws when anything that was acknowledged is not there as it was. */
async function requireKept(promises: Promises, from: number): Promise<void> {
  const rows = await listed();
  for (const acknowledged of promises.all) {
    const { id, version, guid, subject, schema } = acknowledged;
    expect(rows.get(keyOf(acknowledged))).toMatchObject({ id, version, guid, subject, schema });
  }
  await ask(promises.all.slice(from));
}

it(`${ROUNDS} rounds of SIGKILL in a storm of registrations lose, change and reuse nothing`, async () => {
  const promises = new Promises();
  const random = new Random('registry-kill');
  await registry.start();
  // Else each subject would take one schema, and the storm be over when all have one.
  const answer = await fetch(`${registry.url}/config`, { method: 'PUT', headers, body: '{"compatibility":"NONE"}' });
  expect(await answer.json()).toEqual({ compatibility: 'NONE' });
  for (let round = 0; round < ROUNDS; round++) {
    const before = promises.all.length;
    const stop = new AbortController();
    const storming = storm(promises, round, stop.signal);
    await stormed(promises, before + random.between(1, 150));
    await pause(random.between(0, 20));
    await registry.kill();
    stop.abort();
    await storming;
    await registry.start();
    await requireKept(promises, before);
    if ((round + 1) % PROGRESS_ROUNDS === 0)
      process.stderr.write(
        `${Math.round(performance.now() / 1_000)} s, ${round + 1} rounds, ${promises.all.length} acknowledged\n`,
      );
  }
  await ask(promises.all);
  expect(promises.all.length).toBeGreaterThan(ROUNDS * 10);
}, 86_400_000);
