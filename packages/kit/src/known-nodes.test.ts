/**
 * Goal: a node that is started again while the registry is down finds the nodes it knew, and nothing about the file stops
 * it. Method: real files, and a real registry that is there and then not.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { NodeSchema, RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import { createGrpcServer } from './grpc/server.ts';
import { KnownNodes } from './known-nodes.ts';
import { silentLogger } from './logger.ts';
import { RegistryLink } from './registry-link.ts';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'freshet-known-nodes-'));
});
afterEach(() => rmSync(home, { recursive: true }));

const known = (directory = home): KnownNodes => new KnownNodes(directory, silentLogger);

it('tells the nodes of before at once, and then those that the registry has', async () => {
  const server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    async *watchTopology() {
      yield { nodes: [{ nodeId: 'c', role: Role.COMPUTE, address: 'a:1', shards: [0, 3] }] };
    },
  });
  const { address } = await server.listen('127.0.0.1:0');
  const follow = async (): Promise<[string[], boolean][]> => {
    const stop = new AbortController();
    const link = new RegistryLink({ registry: address, signal: stop.signal, clock: systemClock, log: silentLogger });
    const told: [string[], boolean][] = [];
    const following = link.followTopology((nodes, isHeard) => {
      told.push([nodes.map((node) => node.address), isHeard]);
    }, known());
    await expect.poll(() => told.length).toBeGreaterThan(0);
    await expect.poll(async () => (await known().load()).length).toBe(1);
    stop.abort();
    await following;
    return told;
  };
  expect((await follow())[0]).toEqual([['a:1'], true]);
  await server.drain(0);
  expect(await follow()).toEqual([[['a:1'], false]]);
});

it('keeps the last that had anybody, and is stopped by nothing', async () => {
  const nodes = async (): Promise<string[]> => (await known().load()).map(({ nodeId }) => nodeId);
  expect(await nodes()).toEqual([]);
  const node = create(NodeSchema, { nodeId: 'n' });
  await known(join(home, 'new')).save([node]);
  await known().save([node]);
  await known().save([]);
  expect(await nodes()).toEqual(['n']);
  writeFileSync(join(home, 'known-nodes.binpb'), 'no message');
  expect(await nodes()).toEqual([]);
  writeFileSync(join(home, 'file'), '');
  await known(join(home, 'file', 'below')).save([node]);
});
