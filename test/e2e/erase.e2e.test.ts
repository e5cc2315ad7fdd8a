/**
 * Goal: an entity that was erased is gone: from every feature at every node, and from every file of every data directory.
 * Method: the real mesh on a real Postgres; a user whose key and values are marker strings, under rows of others, in events, in
 * a table whose rows change (contributions), some of them there still when it is erased, and in a table that those are joined
 * with; rows of its in the quarantine; restarts before and after; `freshet erase` as a user calls it, with a node stopped at
 * first; then every byte of the mesh's directory is searched, and the other users are compared.
 */
import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { isErrno } from '@freshet/log/file-system.ts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { untilServed } from '../../examples/storefront/quiesce.ts';
import { type MeshUnderTest, startMeshUnderTest } from '../support/mesh-under-test.ts';

const MARKER = 'QZXWVKJHGFQPLMNB';
/** Values of its that only contributions and features hold, and only the joined table and what was joined. */
const ITEM = 'KWJXQVZPHTBMGRDN';
const CITY = 'VXQKZJWHPLTGBFMD';
const SCHEMA = `
  CREATE TABLE visits (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    visitor text, page text NOT NULL, seen_at timestamptz NOT NULL DEFAULT now()
  );
  CREATE TABLE profiles (visitor text PRIMARY KEY, city text NOT NULL);
  CREATE TABLE carts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    visitor text NOT NULL, item text NOT NULL, amount bigint NOT NULL, placed_at timestamptz NOT NULL DEFAULT now()
  );
  ALTER TABLE carts REPLICA IDENTITY FULL;
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
kind: Source
name: profiles
mode: mutable
postgres: { table: public.profiles }
---
kind: Source
name: carts
mode: mutable
postgres: { table: public.carts }
event_time: placed_at
---
kind: FeatureView
name: visitor_carts
entity: visitor
source: carts
join:
  - table: profiles
    on: { visitor: visitor }
    columns: { city: city }
features:
  carts_total: { count: {} }
  spend_1h: { sum: amount, rolling: 1h }
  last_item: { last: item }
  last_city: { last: city }
---
kind: FeatureService
name: visitors
features: [visitor_pages:*, visitor_carts:*]
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

/** Of processes at work: a file that goes while it is looked for may have become another, so that all are looked at again. */
function filesWith(text: string): string[] {
  const home = join(under.directory, 'mesh');
  for (let looks = 1; ; looks++) {
    try {
      const files = readdirSync(home, { withFileTypes: true, recursive: true }).filter((entry) => entry.isFile());
      const paths = files.map((entry) => join(entry.parentPath, entry.name));
      return paths.filter((path) => readFileSync(path).includes(text)).map((path) => path.slice(home.length));
    } catch (error) {
      if (!isErrno(error, 'ENOENT') || looks === 100) throw error;
    }
  }
}

async function visits(visitor: string): Promise<{ total: unknown; last: unknown }> {
  const { columns } = await under.client.getFeatures({ service: 'visitors', keys: { visitor: [visitor] } });
  return {
    total: columns['visitor_pages:visits_total']?.values[0],
    last: columns['visitor_pages:last_page']?.values[0],
  };
}

async function carts(visitor: string): Promise<unknown[]> {
  const { columns } = await under.client.getFeatures({ service: 'visitors', keys: { visitor: [visitor] } });
  return ['carts_total', 'spend_1h', 'last_item', 'last_city'].map(
    (name) => columns[`visitor_carts:${name}`]?.values[0],
  );
}

/** Three carts each, of which one changes and one goes; the profiles are there before them. */
async function fillCarts(): Promise<void> {
  const { sql } = under;
  const everybody = [...OTHERS, MARKER];
  const profiles = everybody.map((visitor) => ({ visitor, city: visitor === MARKER ? CITY : 'Bergen' }));
  await sql`INSERT INTO profiles ${sql(profiles, 'visitor', 'city')}`;
  for (const amount of [1, 20, 300]) {
    const rows = everybody.map((visitor) => ({ visitor, item: `item ${amount} of ${visitor}`, amount }));
    await sql`INSERT INTO carts ${sql(rows, 'visitor', 'item', 'amount')}`;
  }
  await sql`UPDATE carts SET amount = 4000, item = CASE visitor WHEN ${MARKER} THEN ${ITEM} ELSE 'changed' END WHERE amount = 20`;
  await sql`DELETE FROM carts WHERE amount = 300`;
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
    await fillCarts();
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
    // The carts are there still when the visitor is erased, and so is the profile.
    await expect.poll(() => carts(MARKER), { timeout: 20_000 }).toEqual([2n, 4001n, ITEM, CITY]);
    const inCompute = (text: string): boolean => filesWith(text).some((path) => path.startsWith('/compute/'));
    await expect.poll(() => [ITEM, CITY].map(inCompute), { timeout: 20_000 }).toEqual([true, true]);

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
    for (const kind of ['stages', 'log', 'quarantine', 'shard', 'replica', 'outside']) expect(kinds).toContain(kind);
    expect(receipt.places.find(({ kind }) => kind === 'log')?.count).toBe('22');
    expect(receipt.places.find(({ kind }) => kind === 'quarantine')?.count).toBe('1');
    expect(erased.out).not.toContain(MARKER);

    expect(await visits(MARKER)).toEqual({ total: 0n, last: null });
    expect(await carts(MARKER)).toEqual([0n, null, null, null]);
    for (const text of [MARKER, ITEM, CITY]) expect(filesWith(text), text).toEqual([]);
    for (const visitor of OTHERS) {
      expect(await visits(visitor)).toEqual({ total: 8n, last: `/${visitor}/2` });
      expect(await carts(visitor)).toEqual([2n, 4001n, 'changed', 'Bergen']);
    }
  }, 180_000);

  it('F1: holds over restarts of everything, and what comes later is new', async () => {
    for (const service of ['compute', 'serve', 'ingest'] as const) await under.mesh.kill(service);
    await insert(1);
    // What was forgotten is taken out no second time, and a new row finds no profile: the table's row was forgotten as well.
    await under.sql`DELETE FROM carts WHERE visitor = ${MARKER} AND amount = 1`;
    await under.sql`UPDATE carts SET amount = 50000, item = 'again' WHERE visitor = ${MARKER}`;
    await under.sql`INSERT INTO carts (visitor, item, amount) VALUES (${MARKER}, 'new', 7)`;
    await served();
    await expect.poll(() => visits(MARKER), { timeout: 20_000 }).toEqual({ total: 2n, last: `/${MARKER}/0` });
    await expect.poll(() => carts(MARKER), { timeout: 20_000 }).toEqual([2n, 50007n, 'new', null]);
    for (const visitor of OTHERS) expect(await visits(visitor)).toEqual({ total: 9n, last: `/${visitor}/0` });
    const again = await freshet('erase', '--receipt', 'e2e');
    expect(again.code).toBe(0);
    expect(again.out).toContain('receipt e2e: a visitor, erased at');
  }, 120_000);
});
