/**
 * Goal: a serve node as a whole: it finds its mesh, answers on both ports, and outlives everything upstream.
 * Method: a registry and a compute node that say what the test says, over real gRPC; the node is started as main does.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import {
  type AnnounceNodeRequest,
  type Node,
  RegistryService,
  Role,
} from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import {
  type DefinitionSet,
  OnDemandPlanSchema,
  RequestFieldPlanSchema,
} from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { Kind, ValueStatus } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { readConfig } from '@freshet/kit/config.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { countView, definitions, keysOf, ModelShard } from '@freshet/replica/replica.testing.ts';
import { decodeKey, keyBytes } from '@freshet/values/key.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OPTIONS } from './config.ts';
import { startServe } from './main.ts';

const SHARDS = 2;
let directory = '';
const cleanUps: (() => Promise<void>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'serve-'));
});
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  await rm(directory, { recursive: true, force: true });
});

/** User ids of a shard, by the rows' order in the model. */
function userIds(shard: number, count: number): bigint[] {
  return keysOf(shard, SHARDS, count).map((key) => decodeKey([Kind.INT64], keyBytes(key))[0] as bigint);
}

async function until(check: () => void | Promise<void>): Promise<void> {
  await vi.waitFor(check, { timeout: 10_000, interval: 10 });
}

async function listen(server: GrpcServer): Promise<string> {
  const { address } = await server.listen('127.0.0.1:0');
  cleanUps.push(() => server.drain(50));
  return address;
}

/** A compute node with two shards, three rows each. */
async function fakeCompute(): Promise<{ address: string; server: GrpcServer }> {
  const models = Array.from({ length: SHARDS }, (_, shard) => {
    const model = new ModelShard(shard, 9, [1]);
    for (const key of keysOf(shard, SHARDS, 3)) model.records.push({ view: 1, key, drops: false });
    return model;
  });
  const server = createGrpcServer({ log: silentLogger }).add(ComputeService, {
    getComputeStatus: async () => ({ shards: models.map(({ shard }) => ({ shard })), partitions: SHARDS }),
    subscribeChanges: async function* (request, { signal }) {
      let sequence = 0n;
      for (const { shard, position } of request.shards) {
        const model = models[shard];
        if (model === undefined || position !== 0n) continue;
        for (const frame of model.pass(model.cursor(0), model.end, 2)) yield { ...frame, sequence: sequence++ };
      }
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  });
  return { address: await listen(server), server };
}

/** A registry with definitions and nodes; announced nodes are kept. */
async function fakeRegistry(
  nodes: readonly Partial<Node>[],
  defined: boolean | DefinitionSet,
): Promise<{ address: string; server: GrpcServer; announced: Node[]; reported: AnnounceNodeRequest[] }> {
  const announced: Node[] = [];
  const reported: AnnounceNodeRequest[] = [];
  const set = typeof defined === 'object' ? defined : defined ? definitions(1, [countView(1)]) : undefined;
  const forever = (signal: AbortSignal): Promise<void> =>
    new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  const server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    getDefinitions: async () => (set === undefined ? {} : { resolved: set }),
    watchDefinitions: async function* (_request, { signal }) {
      if (set !== undefined) yield { definitions: set };
      await forever(signal);
    },
    watchTopology: async function* (_request, { signal }) {
      yield {
        nodes: nodes.map((node, i) => ({
          nodeId: `n${i}`,
          shards: [],
          address: '',
          httpAddress: '',
          partitions: 0,
          version: '',
          runtime: '',
          ...node,
          role: node.role ?? Role.COMPUTE,
        })),
      };
      await forever(signal);
    },
    announceNode: async (request) => {
      if (request.node !== undefined) announced.push(request.node);
      reported.push(request);
      return { leaseUs: 9_000_000n };
    },
  });
  return { address: await listen(server), server, announced, reported };
}

async function serve(...args: string[]): Promise<{ address: string; httpAddress: string; stop: () => Promise<void> }> {
  const config = readConfig(
    OPTIONS,
    ['--listen', '127.0.0.1:0', '--http-listen', '127.0.0.1:0', '--data-dir', directory, ...args],
    {},
  );
  const controller = new AbortController();
  const stops: (() => Promise<void>)[] = [];
  const started = await startServe(config, {
    signal: controller.signal,
    log: silentLogger,
    onStop: (_name, stop) => stops.push(stop),
  });
  let stopped = false;
  const stop = async (): Promise<void> => {
    if (stopped) return;
    stopped = true;
    controller.abort();
    for (const step of stops.reverse()) await step();
  };
  cleanUps.push(stop);
  return { ...started, stop };
}

function clientOf(address: string): GrpcClient<typeof ServeService> {
  const client = createGrpcClient(ServeService, address, { deadlineMs: 5000 });
  cleanUps.push(async () => client.close());
  return client;
}

async function counts(address: string): Promise<readonly bigint[]> {
  const values = [...userIds(0, 3), ...userIds(1, 3)];
  const { columns } = await clientOf(address).getFeatures({
    service: 'all',
    keys: [{ name: 'user_id', values: { case: 'int64s', value: { values } } }],
  });
  return columns[0]?.values?.int64s ?? [];
}

// The row of the i-th key is the i-th record of its shard; its count is its version.
const COUNTS = [0n, 1n, 2n, 0n, 1n, 2n];

describe('serve', () => {
  it('finds compute by the registry, answers both ports, and serves on when all of it is gone', async () => {
    const compute = await fakeCompute();
    const registry = await fakeRegistry(
      [{ role: Role.COMPUTE, address: compute.address, shards: [0, 1], partitions: SHARDS }],
      true,
    );
    const node = await serve('--registry', registry.address);
    await until(async () => expect(await counts(node.address)).toEqual(COUNTS));
    await until(() =>
      expect(registry.announced[0]).toMatchObject({
        role: Role.SERVE,
        address: node.address,
        httpAddress: node.httpAddress,
      }),
    );

    const json = await post(node.httpAddress, 'GetFeatures', {
      features: ['view1:count'],
      keys: [{ name: 'user_id', int64s: { values: userIds(1, 3).map(String) } }],
    });
    expect(json).toMatchObject({
      status: 200,
      body: { columns: [{ name: 'view1:count', values: { int64s: ['0', '1', '2'] } }], completeThroughUs: '3000' },
    });
    expect(await post(node.httpAddress, 'GetFeatures', { service: 'al' })).toMatchObject({
      status: 404,
      body: { code: 'not_found', message: expect.stringContaining('did you mean "all"?') },
    });
    expect(await post(node.httpAddress, 'ListServices', {})).toMatchObject({
      body: {
        services: [
          { name: 'all', keys: [{ name: 'user_id', kind: 'KIND_INT64' }], outputs: [{ name: 'view1:count' }] },
        ],
      },
    });

    await compute.server.drain(10);
    await registry.server.drain(10);
    expect(await counts(node.address)).toEqual(COUNTS);
    await node.stop();
    const again = await serve('--registry', registry.address);
    expect(await counts(again.address)).toEqual(COUNTS);
    expect(await clientOf(again.address).getServeStatus({})).toMatchObject({
      rows: 6n,
      servingGeneration: 1n,
      knownGeneration: 1n,
      shards: [
        {
          shard: 0,
          position: 3n,
          completeThroughUs: 3000n,
          connected: false,
          catchingUp: false,
        },
        { shard: 1, position: 3n },
      ],
    });
    expect(await health(again.address, 'ready')).toBe('SERVING');
  });

  it('tells the registry who reads which service, by the name that a program gives itself, on both ports', async () => {
    const compute = await fakeCompute();
    const nodes = [{ role: Role.COMPUTE, address: compute.address, shards: [0, 1], partitions: SHARDS }];
    const registry = await fakeRegistry(nodes, true);
    const node = await serve('--registry', registry.address);
    await until(async () => expect(await counts(node.address)).toEqual(COUNTS));
    const named = createGrpcClient(ServeService, node.address, { headers: { 'freshet-reader': 'checkout-model' } });
    const keys = [{ name: 'user_id', values: { case: 'int64s' as const, value: { values: userIds(0, 3) } } }];
    for (let i = 0; i < 3; i++) await named.getFeatures({ service: 'all', keys });
    await expect(named.getFeatures({ service: 'al', keys })).rejects.toMatchObject({ code: 'UNKNOWN_SERVICE' });
    await named.getFeatures({ features: ['view1:count'], keys });
    named.close();
    const answer = await fetch(`http://${node.httpAddress}/freshet.serve.v1.ServeService/GetFeatures`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'freshet-reader': 'a page' },
      body: JSON.stringify({ service: 'all', keys: [{ name: 'user_id', int64s: { values: ['1'] } }] }),
    });
    expect(answer.status).toBe(200);
    await node.stop();
    // Each report once: one that was not answered would come again under its number.
    const byNumber = new Map(registry.reported.map(({ readsNumber, reads }) => [readsNumber, reads]));
    const sums = new Map<string, bigint>();
    for (const { service, reader, reads } of [...byNumber.values()].flat())
      sums.set(`${service} ${reader}`, (sums.get(`${service} ${reader}`) ?? 0n) + reads);
    expect(sums.get('all checkout-model')).toBe(3n);
    expect(sums.get('all (other)')).toBe(1n);
    expect(sums.get('all ')).toBeGreaterThan(0n);
    expect(sums.size).toBe(3);
    expect(new Set(registry.reported.map(({ run }) => run)).size).toBe(1);
  });

  it('computes on-demand features by what is on its own disk, with nothing upstream', async () => {
    const set = definitions(1, [countView(1)]);
    const [service] = set.services;
    service!.request = [create(RequestFieldPlanSchema, { name: 'cart', type: { kind: Kind.DOUBLE } })];
    service!.onDemand = [
      create(OnDemandPlanSchema, {
        name: 'ratio',
        expression: 'count == 1 ? double(1 / (count - 1)) : cart / double(count)',
        type: { kind: Kind.DOUBLE },
        inputs: [
          { name: 'cart', type: { kind: Kind.DOUBLE }, source: { case: 'request', value: 0 } },
          { name: 'count', type: { kind: Kind.INT64 }, source: { case: 'feature', value: 0 } },
        ],
      }),
    ];
    const compute = await fakeCompute();
    const nodes = [{ role: Role.COMPUTE, address: compute.address, shards: [0, 1], partitions: SHARDS }];
    const registry = await fakeRegistry(nodes, set);
    const keys = [{ name: 'user_id', values: { case: 'int64s' as const, value: { values: userIds(0, 3) } } }];
    const ratios = async (address: string): Promise<unknown> => {
      const request = [{ name: 'cart', values: { doubles: [3] } }];
      const { columns } = await clientOf(address).getFeatures({ service: 'all', keys, request });
      return columns.find(({ name }) => name === 'ratio')?.values;
    };
    const right = {
      doubles: [Number.POSITIVE_INFINITY, 0, 1.5],
      statuses: [ValueStatus.PRESENT, ValueStatus.ABSENT, ValueStatus.PRESENT],
    };
    const node = await serve('--registry', registry.address);
    await until(async () => expect(await ratios(node.address)).toMatchObject(right));
    await compute.server.drain(10);
    await registry.server.drain(10);
    await node.stop();
    const again = await serve('--registry', registry.address);
    expect(await ratios(again.address)).toMatchObject(right);
    expect(await clientOf(again.address).listServices({})).toMatchObject({
      services: [
        {
          name: 'all',
          request: [{ name: 'cart', type: { kind: Kind.DOUBLE } }],
          outputs: [{ name: 'view1:count' }, { name: 'ratio', type: { kind: Kind.DOUBLE } }],
        },
      ],
    });
    expect((await clientOf(again.address).getServeStatus({})).onDemand).toMatchObject([
      { service: 'all', feature: 'ratio', errors: 1n, lastError: expect.stringContaining('zero') },
    ]);
    // The same on the other port.
    const body = {
      service: 'all',
      keys: [{ name: 'user_id', int64s: { values: userIds(0, 3).map(String) } }],
      request: [{ name: 'cart', values: { int64s: ['6'] } }],
    };
    expect(await post(again.httpAddress, 'GetFeatures', body)).toMatchObject({
      status: 200,
      body: { columns: [{ name: 'view1:count' }, { name: 'ratio', values: { doubles: ['Infinity', 0, 3] } }] },
    });
    expect(await post(again.httpAddress, 'GetFeatures', { ...body, request: [] })).toMatchObject({
      status: 400,
      body: { message: expect.stringContaining('"cart" is missing') },
    });
  });

  it('R3: serves nothing from some of the shards, whatever shards happen to run', async () => {
    const compute = await fakeCompute();
    const registry = await fakeRegistry(
      [{ role: Role.COMPUTE, address: compute.address, shards: [0, 1], partitions: 2 * SHARDS }],
      true,
    );
    const node = await serve('--registry', registry.address);
    await until(async () => {
      const { knownGeneration, shards, nowUs } = await clientOf(node.address).getServeStatus({});
      expect(nowUs).toBeGreaterThan(0n);
      expect({ knownGeneration, shards: shards.length }).toEqual({ knownGeneration: 1n, shards: SHARDS });
    });
    await expect(counts(node.address)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  it('follows compute nodes named by hand', async () => {
    const compute = await fakeCompute();
    const registry = await fakeRegistry([], true);
    const node = await serve('--registry', registry.address, '--compute', compute.address);
    await until(async () => expect(await counts(node.address)).toEqual(COUNTS));
  });

  it('is ready when there is nothing to serve, and not while what is defined is not complete', async () => {
    const empty = await serve('--registry', (await fakeRegistry([], false)).address);
    await until(async () => expect(await health(empty.address, 'ready')).toBe('SERVING'));
    await empty.stop();
    const waiting = await serve('--registry', (await fakeRegistry([], true)).address);
    await until(async () => {
      await expect(counts(waiting.address)).rejects.toMatchObject({
        code: 'UNAVAILABLE',
        message: expect.stringContaining('"all"'),
      });
    });
    expect(await health(waiting.address, 'ready')).toBe('NOT_SERVING');
    expect(await health(waiting.address, '')).toBe('SERVING');
  });

  it('tells a request of 10 MB its limit, on both ports', async () => {
    const node = await serve();
    const service = 'x'.repeat(10 * 1024 * 1024);
    const call = clientOf(node.address).getFeatures({ service });
    await expect(call).rejects.toMatchObject({
      code: 'REQUEST_TOO_LARGE',
      message: expect.stringContaining('1048576'),
    });
    const { status, body } = await post(node.httpAddress, 'GetFeatures', { service });
    expect(status).toBe(429);
    expect(body).toMatchObject({ code: 'resource_exhausted', message: expect.stringContaining('1048576') });
  });
});

async function post(address: string, method: string, body: unknown): Promise<{ status: number; body: unknown }> {
  const response = await fetch(`http://${address}/freshet.serve.v1.ServeService/${method}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

/** What grpc.health.v1.Health/Check says of a service of the health check. */
async function health(address: string, service: string): Promise<string> {
  const session = connect(`http://${address}`);
  try {
    const stream = session.request({
      ':method': 'POST',
      ':path': '/grpc.health.v1.Health/Check',
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    const request = service === '' ? [] : [0x0a, service.length, ...Buffer.from(service)];
    stream.end(Buffer.from([0, 0, 0, 0, request.length, ...request]));
    const answer = Buffer.concat(await stream.toArray());
    return ['UNKNOWN', 'SERVING', 'NOT_SERVING'][answer[6] ?? 0] ?? '';
  } finally {
    session.destroy();
  }
}
