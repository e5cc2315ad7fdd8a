/**
 * Goal: plans are what gets applied, applies are durable, ordered and heard of, and everything that stops a plan is
 * told at once with its place. Method: a real registry on LevelDB and a fake ingest over real gRPC.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { Severity } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import { type ColumnSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { VERSION } from '@freshet/kit/version.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  type DescribeTables,
  type RegistryHarness,
  startFakeIngest,
  startRegistryHarness,
} from './registry-harness.ts';

/** Long enough for a busy machine. */
const SOON = { timeout: 10_000 };

let directory: string;
const open: { close(): Promise<void> }[] = [];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-registry-'));
});
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
  rmSync(directory, { recursive: true, force: true });
});

type DefinitionsInit = MessageInitShape<typeof DefinitionsSchema>;

/** A view "a" counts another column than a view "b"; every source beyond the first has a view of its own. */
function definitions(views: readonly string[], sources: readonly string[] = ['clicks']): DefinitionsInit {
  const view = (name: string, source: string) => ({
    name,
    entity: 'user',
    source,
    where: `kind == "${name}"`,
    features: [
      {
        name: 'n',
        aggregate: 'count',
        window: { kind: { case: 'rolling' as const, value: { lengthUs: 60_000_000n } } },
      },
    ],
  });
  return {
    entities: [{ name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] }],
    sources: sources.map((name, i) => ({
      name,
      mode: SourceMode.APPEND,
      origin: { case: 'postgres' as const, value: { database: 'default', schema: 'public', table: name } },
      location: { file: 'features.yaml', line: 10 * (i + 1), column: 3 },
    })),
    views: [...views.map((name) => view(name, 'clicks')), ...sources.slice(1).map((name) => view(`on_${name}`, name))],
  };
}

const COLUMNS: MessageInitShape<typeof ColumnSchema>[] = [
  { name: 'user_id', type: { kind: Kind.INT64 }, nullable: false },
  { name: 'kind', type: { kind: Kind.STRING }, nullable: false },
];
const EXTRA: MessageInitShape<typeof ColumnSchema> = { name: 'extra', type: { kind: Kind.STRING }, nullable: true };
let columns = COLUMNS;
beforeEach(() => {
  columns = COLUMNS;
});
const describeWell: DescribeTables = ({ tables }) => ({
  tables: tables.map(({ source }) => ({ contract: { source, version: 1, columns } })),
});

type Limits = { readonly definitionsBytesMax?: number };

async function registry(limits: Limits = {}): Promise<RegistryHarness> {
  const harness = await startRegistryHarness({ directory: join(directory, 'store'), ...limits });
  open.push(harness);
  return harness;
}

async function registryWithIngest(
  describeTables: DescribeTables = describeWell,
  limits: Limits = {},
): Promise<RegistryHarness> {
  const harness = await registry(limits);
  open.push(await startFakeIngest(harness, describeTables));
  return harness;
}

async function planAndApply({ client }: RegistryHarness, written: DefinitionsInit): Promise<bigint> {
  const { planHash } = await client.planDefinitions({ definitions: written });
  return (await client.applyDefinitions({ definitions: written, planHash })).generation;
}

describe('PlanDefinitions', () => {
  it('says what would change, and changes nothing', async () => {
    const { client } = await registryWithIngest();
    const plan = await client.planDefinitions({ definitions: definitions(['a', 'b']) });
    expect(plan.changes.map((change) => change.subject)).toEqual(['source clicks', 'view a', 'view b']);
    expect(plan.resolved?.generation).toBe(1n);
    expect(plan.resolved?.routes[0]?.source?.contract?.columns[0]?.name).toBe('user_id');
    const current = await client.getDefinitions({});
    expect(current.definitions).toBeUndefined();
    expect(current.resolved?.generation).toBe(0n);
  });

  it('gives equal hashes to equal plans only', async () => {
    const harness = await registryWithIngest();
    const hash = async (written: DefinitionsInit) =>
      Buffer.from((await harness.client.planDefinitions({ definitions: written })).planHash).toString('hex');
    const first = await hash(definitions(['a']));
    expect(await hash(definitions(['a']))).toBe(first);
    expect(await hash(definitions(['b']))).not.toBe(first);
    columns = [...COLUMNS, EXTRA];
    expect(await hash(definitions(['a']))).not.toBe(first);
    columns = COLUMNS;
    await planAndApply(harness, definitions(['a']));
    expect(await hash(definitions(['a']))).not.toBe(first);
  });

  it('without an ingest node is UNAVAILABLE and says what to start', async () => {
    const { client } = await registry();
    await expect(client.planDefinitions({ definitions: definitions(['a']) })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      remedy: expect.stringContaining('start ingest'),
    });
    await client.announceNode({ node: { nodeId: 'ingest-9', role: Role.INGEST, address: '127.0.0.1:1' } });
    await expect(client.planDefinitions({ definitions: definitions(['a']) })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      place: '127.0.0.1:1',
    });
  });

  it('needs no ingest node to drop everything', async () => {
    const { client } = await registry();
    expect((await client.planDefinitions({ definitions: {} })).changes).toEqual([]);
  });

  it('tells every problem of every table at the place where its source was written', async () => {
    const { client } = await registryWithIngest(({ tables }) => ({
      tables: tables.map(({ source }) =>
        source === 'clicks'
          ? { contract: { source, version: 1, columns } }
          : {
              problems: [
                {
                  code: 'SOURCE_NOT_READY',
                  message: `no SELECT on ${source}`,
                  remedy: `GRANT SELECT ON ${source} TO freshet`,
                  place: `public.${source}`,
                },
                {
                  code: 'SOURCE_NOT_READY',
                  message: 'wal_level is replica',
                  remedy: "ALTER SYSTEM SET wal_level = 'logical'",
                },
              ],
            },
      ),
    }));
    const error = await client
      .planDefinitions({ definitions: definitions(['a'], ['clicks', 'orders', 'carts']) })
      .catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: 'SOURCE_NOT_READY',
      message: 'source orders: no SELECT on orders',
      place: 'features.yaml:20:3',
      remedy: 'GRANT SELECT ON orders TO freshet',
      also: [
        { place: 'features.yaml:20:3' },
        { message: 'source carts: no SELECT on carts', place: 'features.yaml:30:3' },
        { code: 'SOURCE_NOT_READY' },
      ],
    });
  });

  it('R4: definitions that would be too large a record of the log are refused, and the message names the largest', async () => {
    const harness = await registryWithIngest(describeWell, { definitionsBytesMax: 1024 ** 2 });
    const wide = Array.from({ length: 1_598 }, (_, i) => ({ ...EXTRA, name: `${'c'.repeat(56)}_${i}` }));
    columns = [...COLUMNS, ...wide];
    const sources = (count: number) => ['clicks', ...Array.from({ length: count - 1 }, (_, i) => `t${i}`)];
    const error = await harness.client
      .planDefinitions({ definitions: definitions(['a'], sources(12)) })
      .catch((e: unknown) => e);
    expect(error).toMatchObject({
      code: 'INVALID_DEFINITION',
      message: expect.stringMatching(/resolve to 1\.\d MiB in 12 views; 1\.0 MiB is the limit/),
      remedy: expect.stringContaining('the largest view is'),
    });
    await planAndApply(harness, definitions(['a'], sources(5)));
    const { definitionsBytes } = await harness.client.getRegistryStatus({});
    expect(Number(definitionsBytes)).toBeGreaterThan(400_000);
    expect(Number(definitionsBytes)).toBeLessThanOrEqual(1024 ** 2);
  });

  it('a table without a shape and without a reason is a problem too', async () => {
    const { client } = await registryWithIngest(({ tables }) => ({ tables: tables.map(() => ({})) }));
    await expect(client.planDefinitions({ definitions: definitions(['a']) })).rejects.toMatchObject({
      code: 'SOURCE_NOT_READY',
      place: 'features.yaml:10:3',
    });
  });
});

describe('ApplyDefinitions', () => {
  it('puts the plan in force, once: applying the same again changes nothing', async () => {
    const harness = await registryWithIngest();
    expect(await planAndApply(harness, definitions(['a']))).toBe(1n);
    expect(await planAndApply(harness, definitions(['a']))).toBe(1n);
    expect(await planAndApply(harness, definitions(['a', 'b']))).toBe(2n);
    const { definitions: written, resolved } = await harness.client.getDefinitions({});
    expect(written?.views.map((view) => view.name)).toEqual(['a', 'b']);
    expect(resolved?.generation).toBe(2n);
    expect((await harness.store.audit(10)).map((entry) => entry.generation)).toEqual([2n, 1n]);
  });

  it('keeps prose that changes no plan, without a new generation', async () => {
    const harness = await registryWithIngest();
    await planAndApply(harness, definitions(['a']));
    const written = create(DefinitionsSchema, definitions(['a']));
    written.views[0]!.description = 'clicks by user';
    expect(await planAndApply(harness, written)).toBe(1n);
    expect((await harness.client.getDefinitions({})).definitions?.views[0]?.description).toBe('clicks by user');
  });

  it('refuses a plan that another apply came in the middle of: nobody was shown what it would drop', async () => {
    const shapes: Promise<void>[] = [];
    const harness = await registryWithIngest(async (request) => {
      await shapes.shift();
      return describeWell(request);
    });
    await planAndApply(harness, definitions(['a']));
    const asked = Promise.withResolvers<void>();
    shapes.push(asked.promise);
    const planning = harness.client.planDefinitions({ definitions: definitions(['a', 'c']) });
    await expect.poll(() => shapes.length, SOON).toBe(0);
    await planAndApply(harness, definitions(['a', 'b']));
    asked.resolve();
    const { planHash, changes } = await planning;
    expect(changes.map(({ subject }) => subject)).toEqual(['view c']);
    await expect(
      harness.client.applyDefinitions({ definitions: definitions(['a', 'c']), planHash }),
    ).rejects.toMatchObject({ code: 'PLAN_OUTDATED' });
  });

  it('refuses a plan that is outdated by another apply or by a changed table', async () => {
    const harness = await registryWithIngest();
    const stale = await harness.client.planDefinitions({ definitions: definitions(['a']) });
    await planAndApply(harness, definitions(['b']));
    await expect(
      harness.client.applyDefinitions({ definitions: definitions(['a']), planHash: stale.planHash }),
    ).rejects.toMatchObject({ code: 'PLAN_OUTDATED' });
    const fresh = await harness.client.planDefinitions({ definitions: definitions(['a']) });
    columns = [...COLUMNS, EXTRA];
    await expect(
      harness.client.applyDefinitions({ definitions: definitions(['a']), planHash: fresh.planHash }),
    ).rejects.toMatchObject({ code: 'PLAN_OUTDATED' });
    columns = COLUMNS;
    expect((await harness.client.getDefinitions({})).resolved?.generation).toBe(1n);
  });

  it('of many applies of different plans at once lets exactly one through', async () => {
    const harness = await registryWithIngest();
    const plans = await Promise.all(
      ['a', 'b', 'c', 'd', 'e'].map(async (name) => {
        const written = definitions([name]);
        return { written, planHash: (await harness.client.planDefinitions({ definitions: written })).planHash };
      }),
    );
    const outcomes = await Promise.allSettled(
      plans.map(({ written, planHash }) => harness.client.applyDefinitions({ definitions: written, planHash })),
    );
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes)
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'PLAN_OUTDATED' });
    expect((await harness.client.getDefinitions({})).resolved?.generation).toBe(1n);
  });

  it('of two applies of one plan at once makes one generation', async () => {
    const harness = await registryWithIngest();
    const written = definitions(['a']);
    const { planHash } = await harness.client.planDefinitions({ definitions: written });
    const outcomes = await Promise.allSettled(
      [1, 2].map(() => harness.client.applyDefinitions({ definitions: written, planHash })),
    );
    expect(outcomes.filter((outcome) => outcome.status === 'fulfilled')).toHaveLength(1);
    expect((await harness.client.getDefinitions({})).resolved?.generation).toBe(1n);
  });

  it('gives a contract that changed its shape the next version, and only then', async () => {
    const harness = await registryWithIngest();
    const version = async () =>
      (await harness.client.getDefinitions({})).resolved?.routes[0]?.source?.contract?.version;
    await planAndApply(harness, definitions(['a']));
    await planAndApply(harness, definitions(['a', 'b']));
    expect(await version()).toBe(1);
    columns = [...COLUMNS, EXTRA];
    expect(await planAndApply(harness, definitions(['a', 'b']))).toBe(3n);
    expect(await version()).toBe(2);
    columns = COLUMNS;
  });

  it('never gives a route number twice, also after the route was dropped and the registry restarted', async () => {
    let harness = await registryWithIngest();
    await planAndApply(harness, definitions(['a'], ['clicks', 'orders']));
    await planAndApply(harness, definitions(['a'], ['clicks']));
    for (const thing of open.splice(0).reverse()) await thing.close();
    harness = await registryWithIngest();
    await planAndApply(harness, definitions(['a'], ['clicks', 'orders']));
    const { resolved } = await harness.client.getDefinitions({});
    expect(resolved?.routes.map((route) => [route.source?.name, route.route])).toEqual([
      ['clicks', 1],
      ['orders', 3],
    ]);
  });

  it('is refused when the node whose tables it needs announced definitions that this registry never gave', async () => {
    const harness = await registryWithIngest();
    const { planHash } = await harness.client.planDefinitions({ definitions: definitions(['a']) });
    const node = { nodeId: 'ingest-2', role: Role.INGEST, address: '127.0.0.1:1' };
    await harness.client.announceNode({ node, definitionsGeneration: 7n });
    await expect(harness.client.applyDefinitions({ definitions: definitions(['a']), planHash })).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
      message: expect.stringContaining('generation 7'),
    });
    expect(await harness.client.getRegistryStatus({})).toMatchObject({
      version: VERSION,
      runtime: expect.stringMatching(/^node v/),
      nodes: 2,
      conditions: [{ id: 'definitions/unknown', code: 'DATA_DAMAGED', severity: Severity.PROBLEM }],
    });
  });

  it('is refused when a node has definitions that this registry never gave', async () => {
    const harness = await registryWithIngest();
    const stop = new AbortController();
    const watching = (async () => {
      for await (const _ of harness.client.watchDefinitions({ knownGeneration: 7n }, { signal: stop.signal })) void _;
    })().catch(() => undefined);
    await expect
      .poll(async () => planAndApply(harness, definitions(['a'])).catch((e: unknown) => e), SOON)
      .toMatchObject({
        code: 'DATA_DAMAGED',
        remedy: expect.stringContaining('data directory'),
      });
    stop.abort();
    await watching;
  });
});

describe('WatchDefinitions', () => {
  it('tells what is in force to who does not have it, and each change, until the caller leaves', async () => {
    const harness = await registryWithIngest();
    const stop = new AbortController();
    const told: bigint[] = [];
    const watch = async (knownGeneration: bigint): Promise<void> => {
      for await (const { definitions: set } of harness.client.watchDefinitions(
        { knownGeneration },
        { signal: stop.signal },
      ))
        told.push(set?.generation ?? -1n);
    };
    await planAndApply(harness, definitions(['a']));
    const watching = [watch(0n), watch(1n)].map((w) => w.catch(() => undefined));
    await expect.poll(() => told, SOON).toEqual([1n]);
    await planAndApply(harness, definitions(['b']));
    await expect.poll(() => told.map(Number).toSorted((a, b) => a - b), SOON).toEqual([1, 2, 2]);
    stop.abort();
    await Promise.all(watching);
  });
});

describe('AnnounceNode and WatchTopology', () => {
  it('tell who is there, also to followers of a restarted registry before anybody announced himself', async () => {
    let { client } = await registry();
    const told: string[] = [];
    const stop = new AbortController();
    const watch = async (): Promise<void> => {
      for await (const { nodes } of client.watchTopology({}, { signal: stop.signal })) {
        told.push(nodes.map((node) => `${node.nodeId}@${node.address}`).join(' '));
      }
    };
    let watching = watch().catch(() => undefined);
    const compute = { nodeId: 'compute-1', role: Role.COMPUTE, address: '127.0.0.1:1', shards: [0, 1] };
    await expect.poll(() => told, SOON).toEqual(['']);
    expect((await client.announceNode({ node: compute })).leaseUs).toBe(9_000_000n);
    await client.announceNode({ node: compute });
    await client.announceNode({ node: { ...compute, address: '127.0.0.1:2' } });
    await client.announceNode({ node: { nodeId: 'serve-1', role: Role.SERVE, address: '127.0.0.1:3' } });
    await client.announceNode({ node: { nodeId: 'serve-1', role: Role.SERVE, address: '127.0.0.1:3' }, leaving: true });
    const last = ['compute-1@127.0.0.1:2 serve-1@127.0.0.1:3', 'compute-1@127.0.0.1:2'];
    await expect.poll(() => told.slice(-2), SOON).toEqual(last);
    for (const thing of open.splice(0).reverse()) await thing.close();
    await watching;
    told.length = 0;
    ({ client } = await registry());
    watching = watch().catch(() => undefined);
    await expect.poll(() => told, SOON).toEqual(['compute-1@127.0.0.1:2']);
    stop.abort();
    await watching;
  });

  it('refuse a node without an id, a role or an address', async () => {
    const { client } = await registry();
    for (const node of [
      {},
      { nodeId: 'x', role: Role.SERVE },
      { nodeId: 'x', address: 'a:1' },
      { role: Role.SERVE, address: 'a:1' },
    ]) {
      await expect(client.announceNode({ node })).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    }
  });
});

describe('the store', () => {
  it('keeps everything over a restart', async () => {
    let harness = await registryWithIngest();
    await planAndApply(harness, definitions(['a']));
    const before = await harness.client.getDefinitions({});
    for (const thing of open.splice(0).reverse()) await thing.close();
    harness = await registry();
    expect(await harness.client.getDefinitions({})).toEqual(before);
  });

  it('refuses a second process, and bytes that are not what was written', async () => {
    const harness = await registryWithIngest();
    await planAndApply(harness, definitions(['a']));
    await expect(registry()).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      remedy: expect.stringContaining('--data-dir'),
    });
    for (const thing of open.splice(0).reverse()) await thing.close();
    const path = join(directory, 'store');
    const log = join(path, must(readdirSync(path).find((file) => file.endsWith('.log'))));
    const bytes = readFileSync(log);
    bytes[Math.floor(bytes.length / 2)]! ^= 1;
    writeFileSync(log, bytes);
    await expect(registry()).rejects.toMatchObject({
      code: 'DATA_DAMAGED',
      place: join(directory, 'store'),
      remedy: expect.stringContaining('restore the directory from a copy'),
    });
  });
});
