/**
 * Goal: an apply that was acknowledged is in force after any crash, one that was not is wholly there or not at all, no
 * generation and no audit entry is ever given to two applies that anybody heard of, and a disk that fails for a while
 * is told and used again. Method: a disk in memory that is stopped at every operation in turn, with what was not synced
 * kept, half kept or lost; the production keeper and topology on it.
 */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { type Definitions, DefinitionsSchema } from '@freshet/gen/freshet/registry/v1/definition_pb.ts';
import { NodeSchema, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import { ContractSchema, SourceMode } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { MemoryDisk, type StoreStep } from '@freshet/store/memory-store.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import type { TableDescriber } from '../core/contracts.ts';
import { DefinitionKeeper } from '../core/definition-keeper.ts';
import { Topology } from '../core/topology.ts';
import { RegistryStore } from './registry-store.ts';

const DIRECTORY = '/registry';
const { signal } = new AbortController();

function definitions(view: string): Definitions {
  const window = { kind: { case: 'rolling' as const, value: { lengthUs: 60_000_000n } } };
  return create(DefinitionsSchema, {
    entities: [{ name: 'user', key: [{ name: 'user_id', kind: Kind.INT64 }] }],
    sources: [
      {
        name: 'clicks',
        mode: SourceMode.APPEND,
        origin: { case: 'postgres', value: { database: 'default', schema: 'public', table: 'clicks' } },
      },
    ],
    views: [{ name: view, entity: 'user', source: 'clicks', features: [{ name: 'n', aggregate: 'count', window }] }],
  });
}

const tables: TableDescriber = {
  describe: async (questions) =>
    questions.map(({ source }) => ({
      contract: create(ContractSchema, {
        source,
        version: 1,
        columns: [{ name: 'user_id', type: { kind: Kind.INT64 } }],
      }),
      problems: [],
    })),
};

interface Registry {
  readonly store: RegistryStore;
  readonly keeper: DefinitionKeeper;
  readonly topology: Topology;
  readonly conditions: ConditionBoard;
}

async function start(disk: Stores, directory = DIRECTORY): Promise<Registry> {
  const clock = new VirtualClock();
  const log = silentLogger;
  const conditions = new ConditionBoard({ clock, log });
  const store = await RegistryStore.open(disk, directory);
  const topology = await Topology.open({ store, clock, log, conditions });
  return {
    store,
    topology,
    conditions,
    keeper: await DefinitionKeeper.open({ store, tables, clock, log, conditions }),
  };
}

async function apply({ keeper }: Registry, view: string): Promise<bigint> {
  const { hash } = await keeper.plan(definitions(view), signal);
  return keeper.apply(definitions(view), hash, { peer: 'test' }, signal);
}

function node(nodeId: string): Parameters<Topology['announce']>[0] {
  return create(NodeSchema, { nodeId, role: Role.COMPUTE, address: '127.0.0.1:1' });
}

/** A disk that stops everything at its operation number `at`. */
function stoppingDisk(at: number): { disk: MemoryDisk; stopped: Promise<true>; steps: () => number; goOn: () => void } {
  let steps = 0;
  let limit = at;
  const { promise: stopped, resolve } = Promise.withResolvers<true>();
  const disk = new MemoryDisk({
    before: async () => {
      steps += 1;
      if (steps < limit) return;
      resolve(true);
      await new Promise<never>(() => {});
    },
  });
  return {
    disk,
    stopped,
    steps: () => steps,
    goOn: () => {
      limit = Infinity;
    },
  };
}

const VIEWS = ['a', 'b', 'c', 'd'] as const;

/** Applies one view after the other with nodes coming in between; resolves with true when it got to the end. */
async function life(disk: MemoryDisk, acknowledged: (generation: bigint) => void): Promise<true> {
  const registry = await start(disk);
  for (const view of VIEWS) {
    registry.topology.announce(node(`n-${view}`));
    acknowledged(await apply(registry, view));
  }
  await registry.topology.settle();
  await registry.store.close();
  return true;
}

it('keeps what it acknowledged over a crash at every operation of the disk, and nothing by half', async () => {
  const whole = stoppingDisk(Infinity);
  await life(whole.disk, () => {});
  expect(whole.steps()).toBeGreaterThan(10);
  const outcomes = new Set<string>();
  for (let at = 1; at <= whole.steps(); at++) {
    for (const share of [0, 0.5, 1]) {
      const { disk, stopped, goOn } = stoppingDisk(at);
      let acknowledged = 0n;
      await Promise.race([life(disk, (generation) => (acknowledged = generation)), stopped]);
      disk.crash((unsynced) => Math.floor(unsynced * share));
      goOn();
      const registry = await start(disk);
      const { generation } = registry.keeper;
      const place = `stopped at ${at}, ${share} kept`;
      expect([acknowledged, acknowledged + 1n], place).toContain(generation);
      outcomes.add(generation === acknowledged ? 'acknowledged' : 'one more');
      const view = VIEWS[Number(generation) - 1];
      expect(registry.keeper.current.written?.views.map(({ name }) => name) ?? [], place).toEqual(
        view === undefined ? [] : [view],
      );
      // It goes on from there, each generation once.
      expect(await apply(registry, 'later'), place).toBe(generation + 1n);
      const audit = await registry.store.audit(100);
      expect(
        audit.map((entry) => Number(entry.generation)),
        place,
      ).toEqual(Array.from({ length: Number(generation) + 1 }, (_, i) => Number(generation) + 1 - i));
    }
  }
  expect(outcomes).toEqual(new Set(['acknowledged', 'one more']));
});

it('on LevelDB, whichever byte of its log is flipped, has the newest apply or says that it is damaged', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'freshet-registry-store-'));
  try {
    const path = join(directory, 'store');
    const written = await start(levelStores, path);
    await apply(written, 'a');
    await apply(written, 'b');
    await written.topology.settle();
    await written.store.close();
    const log = join(path, must(readdirSync(path).find((file) => file.endsWith('.log'))));
    const bytes = readFileSync(log);
    const outcomes = { whole: 0, damaged: 0 };
    for (let at = 0; at < bytes.length; at += 11) {
      const copy = join(directory, `copy-${at}`);
      cpSync(path, copy, { recursive: true });
      const flipped = Buffer.from(bytes);
      flipped[at]! ^= 0x10;
      writeFileSync(join(copy, basename(log)), flipped);
      try {
        const { store, keeper } = await start(levelStores, copy);
        expect(keeper.generation, `byte ${at}`).toBe(2n);
        outcomes.whole += 1;
        await store.close();
      } catch (error) {
        expect(error, `byte ${at}`).toMatchObject({ code: 'DATA_DAMAGED' });
        outcomes.damaged += 1;
      }
      rmSync(copy, { recursive: true });
    }
    // Only the record after the last apply may be lost without a word.
    expect(outcomes.damaged).toBeGreaterThan(outcomes.whole * 5);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

it('says that nothing can be applied while the disk is full, and applies again once it is not', async () => {
  let full = false;
  const before = async ({ kind }: StoreStep): Promise<void> => {
    if (full && kind === 'sync') throw new FreshetError('DISK_FULL', 'the disk is full', { remedy: 'free some room' });
  };
  const registry = await start(new MemoryDisk({ before }));
  await apply(registry, 'a');
  full = true;
  for (let i = 0; i < 3; i++) await expect(apply(registry, 'b')).rejects.toMatchObject({ code: 'DISK_FULL' });
  expect(registry.keeper.generation).toBe(1n);
  expect(registry.conditions.list()).toMatchObject([
    { id: 'definitions/not-kept', code: 'DISK_FULL', remedy: 'free some room' },
  ]);
  full = false;
  expect(await apply(registry, 'c')).toBe(2n);
  expect(registry.conditions.list()).toEqual([]);
  expect((await registry.store.load())?.written?.views[0]?.name).toBe('c');
  expect((await registry.store.audit(10)).map(({ generation }) => generation)).toEqual([2n, 1n]);
});

it('tells that the nodes cannot be kept, and keeps them again once they can', async () => {
  let failing = true;
  const before = async ({ kind }: StoreStep): Promise<void> => {
    if (failing && kind === 'write') throw new FreshetError('DISK_READ_ONLY', 'the disk is read-only');
  };
  const disk = new MemoryDisk({ before });
  const { topology, conditions, store } = await start(disk);
  topology.announce(node('a'));
  await topology.settle();
  expect(conditions.list()).toMatchObject([{ id: 'nodes/not-kept', code: 'DISK_READ_ONLY' }]);
  failing = false;
  topology.announce(node('b'));
  await topology.settle();
  expect(conditions.list()).toEqual([]);
  expect((await store.loadNodes()).map(({ nodeId }) => nodeId)).toEqual(['a', 'b']);
});

it('refuses to start on damaged definitions or a damaged file, but not on damaged nodes', async () => {
  const flipped = (sealed: Buffer): Buffer => {
    const copy = Buffer.from(sealed);
    copy[copy.length >> 1]! ^= 1;
    return copy;
  };
  const written = async (): Promise<MemoryDisk> => {
    const disk = new MemoryDisk();
    await life(disk, () => {});
    return disk;
  };
  const announced = { code: 'DATA_DAMAGED', place: DIRECTORY, remedy: expect.stringContaining('from a copy') };
  const damaged = await written();
  damaged.damage(DIRECTORY, 'current', flipped);
  await expect(start(damaged)).rejects.toMatchObject(announced);
  const lost = await written();
  lost.lose(DIRECTORY, 'current', true);
  await expect(start(lost)).rejects.toMatchObject(announced);
  // What is simply not there has no checksum that could be wrong.
  const forgotten = await written();
  forgotten.lose(DIRECTORY, 'current', false);
  await expect(start(forgotten)).rejects.toMatchObject({
    ...announced,
    message: expect.stringContaining('only 0 are there'),
  });
  const older = await written();
  older.lose(DIRECTORY, 'audit/0000000000000003', false);
  await expect(start(older)).rejects.toMatchObject(announced);
  const nodes = await written();
  nodes.damage(DIRECTORY, 'nodes', flipped);
  expect((await start(nodes)).keeper.generation).toBe(4n);
});
