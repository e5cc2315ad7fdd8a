/**
 * Goal: the erase command asks every node that may hold the entity, names those that it cannot reach, goes on by the receipt,
 * and says it is complete only when every place is; the key is in no output. Method: the command in this process against
 * nodes that answer with stated messages; ingest keeps what it is told. The real thing is test/e2e/erase.e2e.test.ts.
 */
import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { type ErasePlace, EraseStateSchema, IngestService } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type NodeSchema, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ServeService } from '@freshet/gen/freshet/serve/v1/serve_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

const SECRET = 'kept-secret';
const KEY = encodeKey([Kind.STRING, Kind.INT64], [SECRET, 7n]);
const servers: GrpcServer[] = [];
let registry: string;
let asked: string[];
let places: ErasePlace[];
let replicaIsUp: boolean;
let setAside: string[];
const nodes: MessageInitShape<typeof NodeSchema>[] = [];

async function host(add: (server: GrpcServer) => GrpcServer): Promise<string> {
  const server = add(createGrpcServer({ log: silentLogger }));
  servers.push(server);
  return (await server.listen('127.0.0.1:0')).address;
}

function stateOf(completedAtUs?: bigint) {
  const about = {
    eraseId: 'e1',
    entity: 'stock',
    entityKey: KEY,
    partition: 3,
    offset: 40n,
    logId: new Uint8Array(16),
    places,
  };
  return create(EraseStateSchema, { ...about, ...(completedAtUs === undefined ? {} : { completedAtUs }) });
}

beforeEach(async () => {
  asked = [];
  places = [];
  replicaIsUp = false;
  setAside = [];
  let completedAtUs: bigint | undefined;
  const ingest = await host((server) =>
    server.add(IngestService, {
      eraseEntity: async function* ({ entityKey, entity }) {
        asked.push(`ingest ${entity} ${Buffer.compare(entityKey, KEY)}`);
        yield { step: 'appended', erase: stateOf(completedAtUs) };
      },
      noteErased: async ({ places: told, complete }) => {
        for (const one of told) {
          places = [...places.filter(({ kind, place }) => kind !== one.kind || place !== one.place), one];
        }
        if (complete) completedAtUs = 5n;
        return { erase: stateOf(completedAtUs) };
      },
    }),
  );
  const compute = await host((server) =>
    server.add(ComputeService, {
      forgetEntity: async ({ shard, offset }) => {
        asked.push(`compute ${shard} ${offset}`);
        return { position: 50n, checkpoint: 50n, checkpointsRemoved: 2, setAside };
      },
    }),
  );
  const serve = await host((server) =>
    server.add(ServeService, {
      confirmErased: async ({ shard, offset }) => {
        asked.push(`serve ${shard} ${offset}`);
        if (!replicaIsUp) throw new FreshetError('UNAVAILABLE', 'it is behind');
        return { position: 51n, rowsDropped: 1 };
      },
    }),
  );
  nodes.splice(0);
  nodes.push({ nodeId: 'i', role: Role.INGEST, address: ingest });
  nodes.push({ nodeId: 'c1', role: Role.COMPUTE, address: compute, shards: [3] });
  nodes.push({ nodeId: 'c2', role: Role.COMPUTE, address: compute, shards: [1] });
  nodes.push({ nodeId: 's1', role: Role.SERVE, address: serve });
  const key = [
    { name: 'shop', kind: Kind.STRING },
    { name: 'product_id', kind: Kind.INT64 },
  ];
  registry = await host((server) =>
    server.add(RegistryService, {
      getDefinitions: async () => ({ resolved: { views: [{ name: 'v', entity: { name: 'stock', key } }] } }),
      watchTopology: async function* () {
        yield { nodes };
      },
    }),
  );
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.drain(50);
});

const erase = (...args: string[]) => runFreshet(['erase', ...args, '--registry', registry]);

it('leaves open what it cannot reach, and goes on by the receipt until every place is done', async () => {
  const first = await erase('stock', SECRET, '7', '--id', 'e1');
  expect(first.code).toBe(1);
  expect(asked).toEqual(['ingest stock 0', 'compute 3 40', 'serve 3 40']);
  expect(first.out).toContain('not complete: go on with freshet erase --receipt e1');
  expect(first.err).toContain('serve s1: not done: UNAVAILABLE: ');
  replicaIsUp = true;
  const again = await erase('--receipt', 'e1', '--json');
  expect(again.code).toBe(0);
  const receipt = JSON.parse(again.out) as { complete: boolean; places: { kind: string; done?: boolean }[] };
  expect(receipt.complete).toBe(true);
  expect(receipt.places.every(({ done }) => done)).toBe(true);
  expect(again.out).not.toContain('entityKey');
  for (const { out, err } of [first, again]) expect(out + err).not.toContain(SECRET);
});

it('waits for what was set aside until it is gone, be it by hand', async () => {
  replicaIsUp = true;
  setAside = ['/data/shards/3.aside-0001'];
  const first = await erase('stock', SECRET, '7', '--id', 'e1');
  expect(first.code).toBe(1);
  expect(first.out).toMatch(/open +set-aside +1 +compute c1 \/data/);
  setAside = [];
  const again = await erase('--receipt', 'e1');
  expect(again.out).toMatch(/done +set-aside +1 +compute c1 \/data\S+ +it is no longer there/);
  expect(again.code).toBe(0);
});

it('waits for a shard that nobody folds, and for a node that is gone until it is left out by hand', async () => {
  const [, c1] = nodes;
  nodes.splice(1, 1);
  const first = await erase('stock', SECRET, '7', '--id', 'e1');
  expect(first.code).toBe(1);
  expect(first.out).toMatch(/open +shard +shard 3 /);
  nodes.push(c1!);
  // The replica never comes back.
  nodes.splice(
    nodes.findIndex(({ nodeId }) => nodeId === 's1'),
    1,
  );
  expect((await erase('--receipt', 'e1')).code).toBe(1);
  const last = await erase('--receipt', 'e1', '--without', 's1');
  expect(last.code).toBe(0);
  expect(last.out).toContain('left out by hand');
});

it('is wrong with no entity and no receipt, with both, or with another key: nothing is asked', async () => {
  expect((await erase()).code).toBe(2);
  expect((await erase('stock', SECRET, '7', '--receipt', 'e1')).code).toBe(2);
  const short = await erase('stock', SECRET);
  expect(short.code).toBe(1);
  expect(short.err).toContain('give <shop> <product_id>');
  expect((await erase('stok', SECRET, '7')).err).toContain('did you mean stock?');
  expect((await erase('stock', SECRET, 'x')).err).toContain('WRONG_KEY');
  expect(asked).toEqual([]);
});
