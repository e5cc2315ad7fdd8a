/**
 * Goal: whatever the disk does under a replica that runs, it follows and serves, says what is wrong, and mends it.
 * Method: a whole replica under a clock moved by hand, on a disk in memory that is full, read-only, or damaged.
 */
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { MemoryDisk, type StoreStep } from '@freshet/store/memory-store.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { FakeNodes } from './fake-nodes.testing.ts';
import { countView, definitions, keysOf, ModelShard } from './replica.testing.ts';
import { Replica } from './replica.ts';

let clock: VirtualClock;
let nodes: FakeNodes;
let disk: MemoryDisk;
let before: (step: StoreStep) => Promise<void>;
let model: ModelShard;

beforeEach(() => {
  clock = new VirtualClock();
  nodes = new FakeNodes((ms, signal) => clock.sleep(ms, signal));
  before = () => Promise.resolve();
  disk = new MemoryDisk({ before: (step) => before(step) });
  model = new ModelShard(0, 9, [1]);
  append(5);
  nodes.nodes.set('a:1', { models: [model] });
});

function append(count: number): void {
  const keys = keysOf(0, 1, count);
  for (const key of keys) model.records.push({ view: 1, key, drops: false });
}

async function start(upstream = true): Promise<Replica> {
  const replica = await Replica.open({
    directory: 'data',
    stores: disk,
    clock,
    log: silentLogger,
    connect: (address) => nodes.connect(address),
    random: () => 0.5,
    scrubIntervalMs: 3_600_000,
  });
  replica.define(definitions(1, [countView(1)]));
  replica.learnShardCount(1);
  if (upstream) replica.setUpstreams([{ address: 'a:1', shards: [0] }]);
  await pass(3);
  return replica;
}

async function pass(seconds: number): Promise<void> {
  for (let i = 0; i < seconds * 4; i++) await clock.advance(250_000);
}

async function stop(replica: Replica): Promise<void> {
  const closed = replica.close().catch(() => undefined);
  await pass(2);
  await closed;
}

const position = (replica: Replica): number => replica.shards()[0]?.position ?? -1;

describe("a replica's disk", () => {
  it.each(['DISK_FULL', 'DISK_READ_ONLY', 'DISK_FAILED'] as const)(
    'R1: with %s it follows and serves from memory, and says so; then it writes on',
    async (code) => {
      const replica = await start();
      expect(position(replica)).toBe(5);
      before = ({ kind }) =>
        kind === 'write' || kind === 'open' ? Promise.reject(new FreshetError(code, 'no')) : Promise.resolve();
      append(7);
      await pass(5);
      expect(position(replica)).toBe(12);
      expect(replica.conditions.map((condition) => condition.id)).toEqual(['replica/disk']);
      expect(replica.conditions[0]?.code).toBe(code);
      expect(replica.catalog.services.has('all')).toBe(true);
      before = () => Promise.resolve();
      await pass(40);
      expect(replica.conditions).toEqual([]);
      disk.kill();
      const again = await start(false);
      expect(position(again)).toBe(12);
      expect(again.rowCount).toBe(7);
      await stop(again);
      await stop(replica);
    },
  );

  it('R4: followers wait for a disk that is slow, and not for one that fails', async () => {
    const replica = await start();
    let go = (): void => {};
    const slow = new Promise<void>((resolve) => {
      go = resolve;
    });
    before = ({ kind }) => (kind === 'write' ? slow : Promise.resolve());
    append(90_000);
    await pass(3);
    append(1);
    await pass(3);
    expect(position(replica)).toBe(90_005);
    before = ({ kind }) => (kind === 'write' ? Promise.reject(new FreshetError('DISK_FULL', 'no')) : Promise.resolve());
    go();
    await pass(5);
    append(1);
    await pass(3);
    expect(position(replica)).toBe(90_007);
    expect(replica.conditions.map(({ id }) => id)).toEqual(['replica/disk']);
    before = () => Promise.resolve();
    await stop(replica);
  });

  it('R1: with a disk that never comes back it starts again from what it wrote last', async () => {
    const replica = await start();
    before = ({ kind }) => (kind === 'write' ? Promise.reject(new FreshetError('DISK_FULL', 'no')) : Promise.resolve());
    append(7);
    await pass(5);
    expect(position(replica)).toBe(12);
    before = () => Promise.resolve();
    disk.kill();
    const again = await start(false);
    expect(position(again)).toBe(5);
    expect(again.rowCount).toBe(5);
    expect(again.conditions).toEqual([]);
    await stop(again);
    await stop(replica);
  });

  it('R1, R3: damage under a replica that runs is found in the background, and mended from memory', async () => {
    const replica = await start();
    const [directory] = disk.directories as [string];
    const row = disk.keysOf(directory).find((key) => key.startsWith('r')) as string;
    disk.lose(directory, row, true);
    await pass(3700);
    expect(replica.conditions.map(({ id }) => id)).toEqual(['replica/damage']);
    expect(replica.shards()[0]).toMatchObject({ healing: false, position: 5 });
    expect(nodes.asked).toHaveLength(1);
    expect(disk.directories).toHaveLength(2);
    expect(replica.counts).toEqual({ damages: 1, heals: 0, bootstraps: 1 });
    await stop(replica);
    const again = await start(false);
    expect(again.rowCount).toBe(5);
    expect(again.conditions).toEqual([]);
    expect(again.shards()[0]).toMatchObject({ healing: false, position: 5 });
    await stop(again);
  });

  it('R3: damage that is found when it starts is told, and comes again from upstream', async () => {
    await stop(await start());
    const [directory] = disk.directories as [string];
    const row = disk.keysOf(directory).find((key) => key.startsWith('r')) as string;
    disk.damage(directory, row, (sealed) => sealed.fill(1, 0, 1));
    const cutOff = await start(false);
    expect(cutOff.conditions.map(({ id }) => id)).toEqual(['replica/damage', 'replica/shard/0/healing']);
    expect(cutOff.shards()[0]).toMatchObject({ healing: true, position: 0 });
    // The loss, and the store that was put aside for it.
    expect(cutOff.counts).toMatchObject({ damages: 2, heals: 0 });
    await stop(cutOff);
    const healed = await start();
    expect(healed.shards()[0]).toMatchObject({ healing: false, position: 5 });
    expect(healed.conditions).toEqual([]);
    expect(healed.counts).toMatchObject({ damages: 0, heals: 1 });
    await stop(healed);
  });
});
