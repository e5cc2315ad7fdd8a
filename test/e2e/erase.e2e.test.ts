/**
 * Goal: an entity that was erased is gone: from every feature at every node, and from every file of every data directory.
 * Method: the real mesh on a real Postgres; a user whose key and values are a marker string, under rows of others; rows of
 * its in the quarantine; restarts before and after; `freshet erase` as a user calls it, with a node stopped at first; then
 * every byte of the mesh's directory is searched, and the other users are compared with SQL.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';

const MARKER = 'QZXWVKJHGFQPLMNB';
const SCHEMA = `
  CREATE TABLE visits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    visitor text, page text NOT NULL, seen_at timestamptz NOT NULL DEFAULT now()
  );
`;
const DEFINITIONS = `
kind: Entity
name: visitor
key: { visitor: string }
---
kind: Source
name: visits
mode: append
postgres: { table: public.visits }
event_time: seen_at
---
kind: FeatureView
name: visitor_pages
entity: visitor
source: visits
features:
  visits_total: { count: {} }
  visits_1h: { count: {}, rolling: 1h }
  last_page: { last: page }
---
kind: FeatureService
name: visitors
features: [visitor_pages:*]
`;
const OTHERS = Array.from({ length: 40 }, (_, i) => `visitor-${i}`);
const signal = new AbortController().signal;

let under: MeshUnderTest;
beforeAll(async () => {
  under = await startMeshUnderTest({ schema: SCHEMA, definitions: DEFINITIONS, partitions: 2 });
}, 120_000);
afterAll(() => under?.close(), 60_000);

function freshet(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const launcher = join(import.meta.dirname, '../../scripts/freshet.mjs');
  const all = [launcher, ...args, '--registry', under.mesh.addresses.registry];
  return new Promise((resolve) => {
    execFile(process.execPath, all, (error, out, err) => {
      resolve({ code: error === null ? 0 : Number(error.code), out, err });
    });
  });
}

function filesWith(text: string): string[] {
  const home = join(under.directory, 'mesh');
  const files = readdirSync(home, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name));
  return paths.filter((path) => readFileSync(path).includes(text)).map((path) => path.slice(home.length));
}

async function visits(visitor: string): Promise<{ total: unknown; last: unknown }> {
  const { columns } = await under.client.getFeatures({ service: 'visitors', keys: { visitor: [visitor] } });
  return {
    total: columns['visitor_pages:visits_total']?.values[0],
    last: columns['visitor_pages:last_page']?.values[0],
  };
}

async function insert(rounds: number): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    const rows = [...OTHERS, MARKER, MARKER].map((visitor) => ({ visitor, page: `/${visitor}/${round}` }));
    await under.sql`INSERT INTO visits ${under.sql(rows, 'visitor', 'page')}`;
  }
}

/** As untilServed, also while processes are still coming back. */
async function served(): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      await untilServed(under.sql, under.mesh.addresses, signal);
      return;
    } catch (error) {
      if (tries === 100 || !isFreshetError(error, 'UNAVAILABLE')) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

describe('freshet erase', () => {
  it('leaves nothing of the entity in any feature or file, with a receipt that names every place', async () => {
    await insert(5);
    // Of no entity's future: quarantined, because it leads the clock.
    await under.sql`INSERT INTO visits (visitor, page, seen_at) VALUES (${MARKER}, 'ahead', now() + interval '1 hour')`;
    await served();
    // The tables' first rows may come after what ingest counts as captured.
    await expect.poll(() => visits(MARKER), { timeout: 20_000 }).toEqual({ total: 10n, last: `/${MARKER}/4` });
    await under.mesh.kill('compute');
    await under.mesh.kill('serve');
    await insert(3);
    await served();
    // Commits and flushes come within a second or so.
    const places = (): unknown[] =>
      [...new Set(filesWith(MARKER).map((path) => path.split('/')[1] ?? ''))].sort((a, b) => a.localeCompare(b));
    await expect.poll(places, { timeout: 20_000 }).toEqual(['compute', 'ingest', 'serve']);

    await under.sql`DELETE FROM visits WHERE visitor = ${MARKER}`;
    const unknown = await freshet('erase', 'vistor', MARKER, '--yes');
    expect(unknown.code).toBe(1);
    expect(unknown.err).toContain('did you mean visitor?');

    // A node that does not answer stays open in the receipt, by name; asking again by the receipt ends it.
    const pid = under.mesh.pid('serve') ?? 0;
    process.kill(pid, 'SIGSTOP');
    const first = await freshet('erase', 'visitor', MARKER, '--yes', '--id', 'e2e', '--timeout', '5s');
    process.kill(pid, 'SIGCONT');
    expect(first.code).toBe(1);
    expect(first.out).toContain('not complete: go on with freshet erase --receipt e2e');
    expect(first.out).toMatch(/open +replica +serve /);
    const erased = await freshet('erase', '--receipt', 'e2e', '--json');
    expect(erased.err).toBe('');
    expect(erased.code).toBe(0);
    const receipt = JSON.parse(erased.out) as { complete: boolean; places: { kind: string; count: string }[] };
    expect(receipt.complete).toBe(true);
    const kinds = receipt.places.map(({ kind }) => kind);
    for (const kind of ['log', 'quarantine', 'shard', 'replica', 'outside']) expect(kinds).toContain(kind);
    expect(receipt.places.find(({ kind }) => kind === 'log')?.count).toBe('16');
    expect(receipt.places.find(({ kind }) => kind === 'quarantine')?.count).toBe('1');
    expect(erased.out).not.toContain(MARKER);

    expect(await visits(MARKER)).toEqual({ total: 0n, last: null });
    expect(filesWith(MARKER)).toEqual([]);
    for (const visitor of OTHERS) expect(await visits(visitor)).toEqual({ total: 8n, last: `/${visitor}/2` });
  }, 180_000);

  it('F1: holds over restarts of everything, and what comes later is new', async () => {
    for (const service of ['compute', 'serve', 'ingest'] as const) await under.mesh.kill(service);
    await insert(1);
    await served();
    await expect.poll(() => visits(MARKER), { timeout: 20_000 }).toEqual({ total: 2n, last: `/${MARKER}/0` });
    for (const visitor of OTHERS) expect(await visits(visitor)).toEqual({ total: 9n, last: `/${visitor}/0` });
    const again = await freshet('erase', '--receipt', 'e2e');
    expect(again.code).toBe(0);
    expect(again.out).toContain('receipt e2e: a visitor, erased at');
  }, 120_000);
});
