/**
 * Goal: what was applied can be told, found, followed and rolled back to, and a database is captured by one node. Method: a
 * real registry on LevelDB over real gRPC, restarted in between.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { contractOf, STOREFRONT } from '@freshet/definitions/definitions.testing.ts';
import { parseDefinitions } from '@freshet/definitions/parse.ts';
import type { Definitions } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { BuildWay, Role, SubjectKind } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type RegistryHarness, startFakeIngest, startRegistryHarness } from './registry-harness.ts';

let directory: string;
const open: { close(): Promise<void> }[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-history-'));
});
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
  rmSync(directory, { recursive: true, force: true });
});

async function start(): Promise<RegistryHarness> {
  const registry = await startRegistryHarness({ directory: join(directory, 'store') });
  open.push(registry);
  open.push(
    await startFakeIngest(registry, ({ tables }) => ({
      tables: tables.map(({ source }) => ({ contract: { ...contractOf(), source, version: 1 }, rows: 777n })),
    })),
  );
  return registry;
}

async function stop(): Promise<void> {
  for (const thing of open.splice(0).reverse()) await thing.close();
}

const written = (text: string): Definitions => parseDefinitions([{ path: 'f.yaml', text }]);

async function apply({ client }: RegistryHarness, definitions: Definitions, by = 'ada@laptop'): Promise<bigint> {
  const { planHash } = await client.planDefinitions({ definitions });
  return (await client.applyDefinitions({ definitions, planHash, by, message: 'because' })).generation;
}

const FIRST = written(STOREFRONT);
const SECOND = written(STOREFRONT.replace('rolling: 5m', 'rolling: 10m'));

describe('a plan', () => {
  it('tells details, cost with the rows of the table, and columns that are newly read', async () => {
    const { client } = await start();
    const plan = await client.planDefinitions({ definitions: FIRST });
    expect(plan.columnsAdded.map(({ column }) => column)).toContain('amount');
    const view = plan.changes.find(({ subject }) => subject === 'view user_clicks');
    expect(view?.cost).toMatchObject({ way: BuildWay.READS_TABLE, rows: 777n });
  });
});

describe('history', () => {
  it('tells who applied what, a page at a time, over a restart', async () => {
    const before = await start();
    for (let i = 0; i < 5; i++) await apply(before, i % 2 === 0 ? FIRST : SECOND, `user-${i}`);
    await stop();
    const { client } = await start();
    const first = await client.listApplies({ limit: 2 });
    expect(first.applies.map(({ number, generation, by, kept }) => [number, generation, by, kept])).toEqual([
      [5n, 5n, 'user-4', true],
      [4n, 4n, 'user-3', true],
    ]);
    expect(first.applies[0]).toMatchObject({ message: 'because', peer: expect.stringContaining('127.0.0.1') });
    expect(first.applies[0]?.planHash).toHaveLength(16);
    const second = await client.listApplies({ limit: 2, before: first.nextBefore });
    const third = await client.listApplies({ limit: 2, before: second.nextBefore });
    expect([...second.applies, ...third.applies].map(({ number }) => number)).toEqual([3n, 2n, 1n]);
    expect(third.nextBefore).toBe(0n);
  });

  it('an earlier generation is planned again as a new one, and gives back the ids of its views', async () => {
    const registry = await start();
    const { client } = registry;
    await apply(registry, FIRST);
    const ids = (await client.getDefinitions({})).resolved?.views.map(({ viewId }) => viewId);
    await apply(registry, SECOND);
    const earlier = await client.getDefinitionsAt({});
    expect(earlier).toMatchObject({ generation: 1n, definitions: FIRST });
    expect(await apply(registry, earlier.definitions as Definitions)).toBe(3n);
    expect((await client.getDefinitions({})).resolved?.views.map(({ viewId }) => viewId)).toEqual(ids);
    await expect(client.getDefinitionsAt({ generation: 99n })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      remedy: expect.stringContaining('1, 2, 3'),
    });
  });

  it('applying what is in force changes nothing and is not told as an apply', async () => {
    const registry = await start();
    await apply(registry, FIRST);
    expect(await apply(registry, FIRST)).toBe(1n);
    expect((await registry.client.listApplies({})).applies).toHaveLength(1);
  });
});

describe('Search and GetLineage', () => {
  it('answer from what is in force', async () => {
    const registry = await start();
    const { client } = registry;
    await expect(client.getLineage({ kind: SubjectKind.VIEW, name: 'v' })).rejects.toMatchObject({
      message: expect.stringContaining('nothing is in force'),
    });
    await apply(registry, FIRST);
    const found = await client.search({ text: 'spend', kinds: [SubjectKind.FEATURE] });
    expect(found).toMatchObject({ total: 1, hits: [{ name: 'user_clicks:spend_1h', location: { file: 'f.yaml' } }] });
    const lineage = await client.getLineage({ kind: SubjectKind.COLUMN, name: 'public.user_activity.amount' });
    expect(lineage.subject).toBe('column public.user_activity.amount');
    expect(lineage.nodes.map(({ id }) => id)).toContain('service recommendations');
    await expect(client.getLineage({ kind: SubjectKind.FEATURE, name: 'user_clicks:spend_1' })).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      remedy: 'did you mean "user_clicks:spend_1h"?',
    });
  });
});

describe('lineage to readers', () => {
  it('goes on behind services, both ways, and over a restart; a report that comes again counts once', async () => {
    const registry = await start();
    await apply(registry, FIRST);
    const node = { nodeId: 'serve-1', role: Role.SERVE, address: '127.0.0.1:1' };
    const service = 'recommendations';
    const lastUs = BigInt(systemClock.nowUs()) - 1_000_000n;
    const reads = [
      { service, reader: 'checkout-model', reads: 7n, lastUs },
      { service, reader: '', reads: 2n, lastUs },
      { service: 'gone', reader: 'checkout-model', reads: 1n, lastUs },
    ];
    for (let i = 0; i < 2; i++) await registry.client.announceNode({ node, run: 'r', readsNumber: 1n, reads });
    const check = async ({ client }: RegistryHarness) => {
      const column = await client.getLineage({ kind: SubjectKind.COLUMN, name: 'public.user_activity.amount' });
      expect(column.edges.filter(({ role }) => role === 'read')).toMatchObject([
        { from: 'service recommendations', to: 'reader (unnamed)', reads: 2n, lastUs },
        { from: 'service recommendations', to: 'reader checkout-model', reads: 7n, lastUs },
      ]);
      const reader = await client.getLineage({ kind: SubjectKind.READER, name: 'checkout-model' });
      const ids = reader.nodes.map(({ id }) => id);
      expect(reader.subject).toBe('reader checkout-model');
      expect(ids).toContain('service recommendations');
      expect(ids).toContain('column public.user_activity.amount');
      expect(ids).not.toContain('service gone');
      expect((await client.getLineage({ kind: SubjectKind.READER, name: '(unnamed)' })).edges).toContainEqual(
        expect.objectContaining({ to: 'reader (unnamed)', role: 'read' }),
      );
      await expect(client.getLineage({ kind: SubjectKind.READER, name: 'checkout-modl' })).rejects.toMatchObject({
        code: 'INVALID_REQUEST',
        remedy: 'did you mean "checkout-model"?',
      });
    };
    await check(registry);
    await registry.close();
    const again = await start();
    await again.client.announceNode({ node, run: 'r', readsNumber: 1n, reads });
    await check(again);
  });
});

describe('claims of databases', () => {
  const DB = '7000/shop';

  it('one node holds a database, over a restart of the registry, until it leaves', async () => {
    const before = await start();
    await before.client.announceNode({ node: { nodeId: 'a', role: Role.INGEST, address: '127.0.0.1:1' } });
    const [claim] = (await before.client.claimSources({ nodeId: 'a', databases: [DB] })).claims;
    expect(claim).toMatchObject({ nodeId: 'a', epoch: 1n, alive: true });
    await stop();
    const { client } = await start();
    const claimB = async () => (await client.claimSources({ nodeId: 'b', databases: [DB] })).claims[0];
    expect(await claimB()).toMatchObject({ nodeId: 'a', epoch: 1n });
    // That a node has no lease does not say that it stopped: only its slot does, or it says so itself.
    await client.announceNode({ node: { nodeId: 'a', role: Role.INGEST, address: '127.0.0.1:1' } });
    const takeOver = async () =>
      (await client.claimSources({ nodeId: 'c', databases: [DB], takeOver: true })).claims[0];
    expect(await takeOver()).toMatchObject({ nodeId: 'a', epoch: 1n });
    await client.announceNode({ node: { nodeId: 'a', role: Role.INGEST, address: '127.0.0.1:1' }, leaving: true });
    expect(await claimB()).toMatchObject({ nodeId: 'a', epoch: 1n, alive: false });
    expect(await takeOver()).toMatchObject({ nodeId: 'c', epoch: 2n });
    expect((await client.claimSources({ nodeId: 'a', databases: [DB] })).claims[0]).toMatchObject({ nodeId: 'c' });
    await client.releaseSource({ database: DB, nodeId: 'c' });
    expect((await client.listSourceClaims({})).claims).toEqual([]);
    expect(await claimB()).toMatchObject({ nodeId: 'b', epoch: 3n });
  });

  it('of many that claim at once, one gets it', async () => {
    const { client } = await start();
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, i) => client.claimSources({ nodeId: `n${i}`, databases: [DB] })),
    );
    expect(new Set(answers.map(({ claims }) => claims[0]?.nodeId)).size).toBe(1);
  });

  it('a person frees it only from a node without a lease, or by force', async () => {
    const { client } = await start();
    await client.announceNode({ node: { nodeId: 'a', role: Role.INGEST, address: '127.0.0.1:1' } });
    await client.claimSources({ nodeId: 'a', databases: [DB] });
    const release = (nodeId: string, force = false) => client.releaseSource({ database: DB, nodeId, force });
    await expect(release('b')).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('a does'),
    });
    await expect(release('a')).rejects.toMatchObject({ message: expect.stringContaining('is alive') });
    await release('a', true);
    expect((await client.claimSources({ nodeId: 'b', databases: [DB] })).claims[0]).toMatchObject({
      nodeId: 'b',
      alive: false,
    });
    await release('b');
    expect((await client.listSourceClaims({})).claims).toEqual([]);
  });
});
