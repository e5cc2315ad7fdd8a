/**
 * Goal: rows are dropped for good only after somebody said so. Method: an ingest node and a registry over real gRPC that
 * note what they are asked, and the command run in this process.
 */
import { QuarantineService } from '@freshet/gen/freshet/ingest/v1/quarantine_pb.ts';
import { RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { runFreshet } from '../testing/fake-mesh.ts';

let servers: GrpcServer[];
let registry: string;
let dropped: string[];
beforeEach(async () => {
  dropped = [];
  const ingest = createGrpcServer({ log: silentLogger }).add(QuarantineService, {
    discardQuarantine: async ({ source }) => {
      dropped.push(source);
      return { discarded: 2n };
    },
  });
  const { address } = await ingest.listen('127.0.0.1:0');
  const known = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    watchTopology: async function* () {
      yield { nodes: [{ nodeId: 'i', role: Role.INGEST, address }] };
    },
  });
  ({ address: registry } = await known.listen('127.0.0.1:0'));
  servers = [ingest, known];
});
afterEach(() => Promise.all(servers.map((server) => server.drain(0))));

const discard = (args: readonly string[], over: Parameters<typeof runFreshet>[1] = {}) =>
  runFreshet(['quarantine', 'discard', 'orders', ...args, '--registry', registry], over);

it('drops nothing when nobody is there to say yes', async () => {
  const run = await discard([], { confirm: undefined });
  expect(run.err).toContain('give --yes');
  expect(run.code).toBe(2);
  expect(dropped).toEqual([]);
});

it('drops nothing after a no, and tells so by its exit code', async () => {
  const run = await discard([], { confirm: async () => false });
  expect(run.err).toContain('nothing was dropped');
  expect(run.code).toBe(1);
  expect(dropped).toEqual([]);
});

it('drops after a yes, or with --yes', async () => {
  expect(await discard([], { confirm: async () => true })).toMatchObject({ code: 0, out: '2 row(s) discarded\n' });
  expect(await discard(['--yes', '--json'])).toMatchObject({ code: 0, out: '{"discarded":2,"readAnew":[]}\n' });
  expect(dropped).toEqual(['orders', 'orders']);
});
