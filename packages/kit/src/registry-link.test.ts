/**
 * Goal: nothing that happens at the registry ends a node's following, and a fault of the node's own is not retried.
 * Method: a real server that fails in every way in turn.
 */
import { RegistryService, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from './clock.ts';
import { ConditionBoard } from './conditions.ts';
import { FreshetError } from './errors.ts';
import { createGrpcServer, type GrpcServer } from './grpc/server.ts';
import { silentLogger } from './logger.ts';
import { RegistryLink } from './registry-link.ts';

let server: GrpcServer | undefined;
let controller: AbortController;
beforeEach(() => {
  controller = new AbortController();
});
afterEach(async () => {
  controller.abort();
  await server?.drain(100);
});

async function follow(fails: readonly unknown[], onDefinitions: (generation: bigint) => void): Promise<void> {
  let calls = 0;
  server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    async *watchDefinitions() {
      const failure = fails[calls++];
      if (failure !== undefined) throw failure;
      yield { definitions: { generation: BigInt(calls) } };
    },
  });
  const { address } = await server.listen('127.0.0.1:0');
  const link = new RegistryLink({
    registry: address,
    signal: controller.signal,
    clock: systemClock,
    log: silentLogger,
  });
  let known = 0n;
  await link.followDefinitions(
    () => known,
    async ({ generation }) => {
      known = generation;
      onDefinitions(generation);
    },
  );
}

describe('RegistryLink', () => {
  it('says which definitions it has, and that it leaves', async () => {
    const heard: boolean[] = [];
    const generations: bigint[] = [];
    server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
      announceNode: async ({ leaving, definitionsGeneration }) => {
        heard.push(leaving);
        if (!leaving) generations.push(definitionsGeneration);
        return { leaseUs: 150_000n };
      },
    });
    const { address } = await server.listen('127.0.0.1:0');
    const stop = new AbortController();
    const link = new RegistryLink({ registry: address, signal: stop.signal, clock: systemClock, log: silentLogger });
    const announcing = link.announce(() => ({ nodeId: 'n', role: Role.SERVE, address: 'a:1' }), { known: () => 7n });
    await expect.poll(() => heard.length).toBe(2);
    stop.abort();
    await announcing;
    expect(heard).toEqual([false, false, true]);
    expect(generations).toEqual([7n, 7n]);
  });

  it('tells as it leaves what it was telling, and what was counted since', async () => {
    const heard: { leaving: boolean; number: bigint; reads: bigint[] }[] = [];
    server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
      announceNode: async ({ leaving, readsNumber, reads }, { signal }) => {
        heard.push({ leaving, number: readsNumber, reads: reads.map((one) => one.reads) });
        // The first one has no answer: it is told again.
        if (!leaving) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
        return { leaseUs: 150_000n };
      },
    });
    const { address } = await server.listen('127.0.0.1:0');
    const stop = new AbortController();
    const link = new RegistryLink({ registry: address, signal: stop.signal, clock: systemClock, log: silentLogger });
    // What is counted: 1 read before the first announcement, 2 behind it.
    const counted = [[{ service: 's', reader: 'r', reads: 1n }], [{ service: 's', reader: 'r', reads: 2n }]];
    let number = 1n;
    const reports = {
      next: () => ({ number, reads: counted[Number(number) - 1] ?? [] }),
      told: (told: bigint) => {
        if (told === number) number += 1n;
      },
    };
    const node = () => ({ nodeId: 'n', role: Role.SERVE, address: 'a:1' });
    const announcing = link.announce(node, { reports });
    await expect.poll(() => heard.length).toBe(1);
    stop.abort();
    await announcing;
    expect(heard).toEqual([
      { leaving: false, number: 1n, reads: [1n] },
      { leaving: true, number: 1n, reads: [1n] },
      { leaving: true, number: 2n, reads: [2n] },
    ]);
  });

  it('says that the registry gives no answer for as long as it gives none', async () => {
    let isWell = false;
    server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
      announceNode: async () => {
        if (!isWell) throw new FreshetError('DATA_DAMAGED', 'the store is damaged');
        return { leaseUs: 150_000n };
      },
    });
    const { address } = await server.listen('127.0.0.1:0');
    const { signal } = controller;
    const conditions = new ConditionBoard({ clock: systemClock, log: silentLogger });
    const link = new RegistryLink({ registry: address, signal, clock: systemClock, log: silentLogger });
    const announcing = link.announce(() => ({ nodeId: 'n', role: Role.SERVE, address: 'a:1' }), { conditions });
    await expect
      .poll(() => conditions.list())
      .toMatchObject([{ id: 'registry/silent', code: 'UNAVAILABLE', place: address }]);
    isWell = true;
    await expect.poll(() => conditions.list(), { timeout: 20_000 }).toEqual([]);
    controller.abort();
    await announcing;
  });

  it('announces itself again in time when an announcement is never answered', async () => {
    let heard = 0;
    server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
      announceNode: async () => {
        heard += 1;
        if (heard === 2) await new Promise(() => {});
        return { leaseUs: 150_000n };
      },
    });
    const { address } = await server.listen('127.0.0.1:0');
    const { signal } = controller;
    const link = new RegistryLink({ registry: address, signal, clock: systemClock, log: silentLogger });
    const announcing = link.announce(() => ({ nodeId: 'n', role: Role.SERVE, address: 'a:1' }));
    // A call without a deadline of its own has ten seconds.
    await expect.poll(() => heard, { timeout: 5_000 }).toBeGreaterThanOrEqual(3);
    controller.abort();
    await announcing;
  });

  it('goes on after faults of the registry, and ends with a fault of its own', async () => {
    const seen: bigint[] = [];
    const following = follow(
      [new Error('a bug there'), new FreshetError('INVALID_REQUEST', 'no'), new FreshetError('UNAVAILABLE', 'down')],
      (generation) => {
        seen.push(generation);
        if (seen.length === 2) throw new TypeError('a bug here');
      },
    );
    await expect(following).rejects.toThrow('a bug here');
    expect(seen).toEqual([4n, 5n]);
  });
});
