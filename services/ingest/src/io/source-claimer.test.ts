/**
 * Goal: a database is captured where the registry says so; with the registry down what was captured before goes on, and says
 * so. Method: a registry over real gRPC that is there, is held by another, or is gone.
 */
import { RegistryService } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, expect, it } from 'vitest';
import { claimed, SourceClaimer } from './source-claimer.ts';

const { signal } = new AbortController();
const DB = { identity: '7/shop', isOurs: false, isSlotIdle: true };
const open: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function start(holder: (nodeId: string) => string) {
  const asked: { takeOver: boolean }[] = [];
  const released: string[] = [];
  const server = createGrpcServer({ log: silentLogger }).add(RegistryService, {
    claimSources: async ({ nodeId, databases, takeOver }) => {
      asked.push({ takeOver });
      return { claims: databases.map((database) => ({ database, nodeId: holder(nodeId) })) };
    },
    releaseSource: async ({ database }) => {
      released.push(database);
      return {};
    },
  });
  const { address } = await server.listen('127.0.0.1:0');
  const conditions = new ConditionBoard({ clock: systemClock, log: silentLogger });
  const claimer = new SourceClaimer({ registry: address, nodeId: 'me', conditions });
  let isUp = true;
  const down = async (): Promise<void> => {
    if (isUp) await server.drain(10);
    isUp = false;
  };
  open.push(down);
  return { claimer, conditions, asked, released, down };
}

it('takes over by a slot that this node made and nobody streams from, and by no other', () => {
  const ours = { systemId: '7', slot: 'made' } as const;
  const isIdle = (state: Parameters<typeof claimed>[2], slot: { active: boolean } | undefined): boolean =>
    claimed('7', 'shop', state, slot).isSlotIdle;
  expect(isIdle(ours, { active: false })).toBe(true);
  expect(isIdle(ours, { active: true })).toBe(false);
  expect(isIdle(ours, undefined)).toBe(false);
  expect(isIdle({ systemId: '', slot: 'none' }, { active: false })).toBe(false);
});

it('captures what it holds, and frees it when it stops', async () => {
  const { claimer, asked, released } = await start((nodeId) => nodeId);
  await claimer.claim(DB, signal);
  expect(asked).toEqual([{ takeOver: true }]);
  await claimer.close();
  expect(released).toEqual(['7/shop']);
});

it('does not capture what another node holds, and does not free it', async () => {
  const { claimer, released } = await start(() => 'other');
  await expect(claimer.claim({ ...DB, isOurs: true }, signal)).rejects.toMatchObject({
    code: 'SOURCE_NOT_READY',
    message: expect.stringContaining('node other captures 7/shop'),
    remedy: expect.stringContaining('freshet sources release 7/shop --node other'),
  });
  await claimer.close();
  expect(released).toEqual([]);
});

it('goes on with what it captured before when the registry is there and not well', async () => {
  const { claimer, conditions } = await start(() => {
    throw new FreshetError('DATA_DAMAGED', 'the store is damaged');
  });
  await expect(claimer.claim(DB, signal)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
  await claimer.claim({ ...DB, isOurs: true }, signal);
  expect(conditions.list()).toMatchObject([
    { id: 'claims/7/shop', message: expect.stringContaining('the store is damaged') as string },
  ]);
  await claimer.close();
});

it('with the registry down goes on with what it captured before, and says so; what it never captured waits', async () => {
  const { claimer, conditions, down } = await start((nodeId) => nodeId);
  await down();
  await expect(claimer.claim(DB, signal)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  expect(conditions.list()).toEqual([]);
  await claimer.claim({ ...DB, isOurs: true }, signal);
  expect(conditions.list()).toMatchObject([{ id: 'claims/7/shop', code: 'UNAVAILABLE' }]);
  await claimer.close();
});
