/**
 * Goal: a shard is followed from whichever node can be, without beginning anew, without storms, and without disturbing
 * the other shards.
 * Method: a whole replica under a clock moved by hand, on a disk in memory, with nodes that are dead, silent, halted for
 * one shard, behind, or on another log.
 */
import { silentLogger } from '@freshet/kit/logger.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeNodes, type Node } from './fake-nodes.testing.ts';
import { countView, definitions, keysOf, ModelShard, viewId } from './replica.testing.ts';
import { Replica, type ReplicaOptions } from './replica.ts';

const SHARDS = 2;
let clock: VirtualClock;
let nodes: FakeNodes;
let replica: Replica;

beforeEach(() => {
  clock = new VirtualClock();
  nodes = new FakeNodes((ms, signal) => clock.sleep(ms, signal));
});
afterEach(async () => {
  const closed = replica.close();
  await clock.advance(60_000_000);
  await closed;
});

function models(log = 9, rows = 4): ModelShard[] {
  return Array.from({ length: SHARDS }, (_, shard) => {
    const model = new ModelShard(shard, log, [1]);
    for (const key of keysOf(shard, SHARDS, rows)) model.records.push({ view: 1, key, drops: false });
    return model;
  });
}

/** A replica that follows the nodes, each of which offers all shards. */
async function start(all: Record<string, Node>, options: Partial<ReplicaOptions> = {}): Promise<void> {
  for (const [address, node] of Object.entries(all)) nodes.nodes.set(address, node);
  replica = await Replica.open({
    directory: 'data',
    stores: new MemoryDisk(),
    clock,
    log: silentLogger,
    connect: (address) => nodes.connect(address),
    random: () => 0.5,
    ...options,
  });
  replica.define(definitions(1, [countView(1)]));
  replica.learnShardCount(SHARDS);
  replica.setUpstreams(Object.keys(all).map((address) => ({ address, shards: [0, 1] })));
  await pass(3);
}

/** Seconds pass. */
async function pass(seconds: number): Promise<void> {
  for (let i = 0; i < seconds * 4; i++) await clock.advance(250_000);
}

function append(all: readonly ModelShard[], count = 1): void {
  for (const model of all) {
    const [key] = keysOf(model.shard, SHARDS, 1) as [string];
    for (let i = 0; i < count; i++) model.records.push({ view: 1, key, drops: false });
  }
}

const positions = (): number[] => replica.shards().map(({ position }) => position);
const upstreams = (): (string | undefined)[] => replica.shards().map(({ upstream }) => upstream);
const conditions = (): string[] => replica.conditions.map(({ id }) => id);
/** Subscriptions that began at nothing. */
const bootstraps = (): number => nodes.asked.filter(({ position }) => position === 0).length;

describe('following', () => {
  it('R1: turns from a node that is down to another, at its cursor, and both shards go on', async () => {
    const all = models();
    await start({ 'a:1': { models: all }, 'b:1': { models: all } });
    expect(new Set(upstreams())).toEqual(new Set(['a:1', 'b:1']));
    expect(bootstraps()).toBe(2);
    nodes.nodes.set('a:1', { models: all, isDown: true });
    append(all, 2);
    await pass(3);
    expect(upstreams()).toEqual(['b:1', 'b:1']);
    expect(positions()).toEqual([6, 6]);
    expect(bootstraps()).toBe(2);
  });

  it('turns from a node that is halted for one shard, for that shard alone', async () => {
    const all = models();
    const a: Node = { models: all };
    await start({ 'a:1': a });
    replica.setUpstreams(['a:1', 'b:1'].map((address) => ({ address, shards: [0, 1] })));
    nodes.nodes.set('b:1', { models: all });
    await pass(1);
    expect(upstreams()).toEqual(['a:1', 'a:1']);
    const before = nodes.asked.length;
    a.unavailable = new Set([1]);
    append(all);
    await pass(3);
    expect(upstreams()).toEqual(['a:1', 'b:1']);
    expect(positions()).toEqual([5, 5]);
    expect(nodes.asked.slice(before)).toEqual([{ address: 'b:1', shard: 1, position: 4 }]);
  });

  it('waits with a halted shard where there is no other node, and says so', async () => {
    const all = models();
    const a: Node = { models: all, unavailable: new Set([1]) };
    await start({ 'a:1': a });
    await pass(20);
    expect(positions()).toEqual([4, 0]);
    expect(replica.shards()[1]).toMatchObject({ connected: false, reason: 'a:1: the shard is halted' });
    expect(conditions()).toContain('replica/upstream');
    a.unavailable = new Set();
    await pass(12);
    expect(positions()).toEqual([4, 4]);
    expect(conditions()).not.toContain('replica/upstream');
  });

  it('asks a node again that is silent, also if it is the only one', async () => {
    const all = models();
    const a: Node = { models: all };
    await start({ 'a:1': a });
    a.isSilent = true;
    await pass(8);
    expect(nodes.asked).toHaveLength(SHARDS);
    await pass(4);
    expect(nodes.asked).toHaveLength(2 * SHARDS);
    expect(replica.shards()[0]?.reason).toContain('silent');
  });

  it('leaves a node that is silent, and one that stands still while another does not', async () => {
    const all = models();
    const a: Node = { models: all };
    await start({ 'a:1': a, 'b:1': { models: all, isDown: true } });
    expect(upstreams()).toEqual(['a:1', 'a:1']);
    const begun = bootstraps();
    nodes.nodes.set('b:1', { models: all });
    a.isSilent = true;
    append(all);
    await pass(9);
    expect(positions()).toEqual([4, 4]);
    await pass(4);
    expect(positions()).toEqual([5, 5]);
    expect(upstreams()).toEqual(['b:1', 'b:1']);
    // Now it is the other one that has stopped to fold; it still speaks.
    a.isSilent = false;
    nodes.nodes.set('b:1', { models: all, standsAt: 5 });
    append(all);
    await pass(25);
    expect(positions()).toEqual([6, 6]);
    expect(upstreams()).toEqual(['a:1', 'a:1']);
    expect(bootstraps()).toBe(begun);
  });

  it('leaves a node that lost a view that is served, for one that has it, and keeps its rows meanwhile', async () => {
    const all = models();
    // The same log, folded by a node that lost its state and knows of no view.
    const emptied = all.map(({ shard, records }) => Object.assign(new ModelShard(shard, 9, []), { records }));
    const a: Node = { models: all };
    await start({ 'a:1': a, 'b:1': { models: all, isDown: true } });
    const begun = bootstraps();
    const read = (): (readonly [number, number])[] =>
      (replica.catalog.views.get('view1')?.tables ?? []).map(({ rows, completeThroughUs }) => [
        rows.size,
        completeThroughUs,
      ]);
    a.models = emptied;
    append(all);
    await pass(5);
    expect(upstreams()).toEqual(['a:1', 'a:1']);
    // The shard moves on, the view's rows stand still. Alone, the node is better than none.
    expect(positions()).toEqual([5, 5]);
    await pass(30);
    expect(upstreams()).toEqual(['a:1', 'a:1']);
    expect(read()).toEqual([
      [4, 4_000],
      [4, 4_000],
    ]);
    nodes.nodes.set('b:1', { models: all });
    for (let second = 0; second < 25; second++) {
      append(all);
      await pass(1);
    }
    expect(upstreams()).toEqual(['b:1', 'b:1']);
    expect(positions()).toEqual([30, 30]);
    expect(read()).toEqual([
      [4, 30_000],
      [4, 30_000],
    ]);
    expect(bootstraps()).toBe(begun);
  });

  it('stays with a node that lacks a view which the definitions do not have any more', async () => {
    const all = models();
    const a: Node = { models: all };
    await start({ 'a:1': a, 'b:1': { models: all, isDown: true } });
    replica.define(definitions(2, [countView(2)]));
    a.models = all.map(({ shard, records }) => Object.assign(new ModelShard(shard, 9, []), { records }));
    nodes.nodes.set('b:1', { models: a.models });
    const before = nodes.asked.filter(({ address }) => address === 'a:1').length;
    for (let second = 0; second < 40; second++) {
      append(all);
      await pass(1);
    }
    expect(upstreams()).toEqual(['a:1', 'a:1']);
    expect(nodes.asked.filter(({ address }) => address === 'a:1')).toHaveLength(before);
  });

  it('R3: does not begin anew with a node of another log while one with ours may come back', async () => {
    const all = models();
    const other = models(8, 6);
    await start({ 'a:1': { models: all } });
    replica.setUpstreams(['a:1', 'b:1'].map((address) => ({ address, shards: [0, 1] })));
    nodes.nodes.set('b:1', { models: other });
    nodes.nodes.set('a:1', { models: all, isDown: true });
    await pass(5);
    expect(replica.shards().every(({ logId, catchingUp }) => logId === viewId(9) && !catchingUp)).toBe(true);
    nodes.nodes.set('a:1', { models: all });
    append(all);
    await pass(5);
    expect(positions()).toEqual([5, 5]);
    expect(bootstraps()).toBe(2);
    // It never comes back: the other log is better than none.
    nodes.nodes.set('a:1', { models: all, isDown: true });
    await pass(60);
    expect(replica.shards().map(({ logId }) => logId)).toEqual([viewId(8), viewId(8)]);
    expect(positions()).toEqual([6, 6]);
  });

  it('R4: asks nodes that are down about once a second, and not all at once', async () => {
    const all = models();
    await start({ 'a:1': { models: all, isDown: true } });
    await pass(10);
    const before = nodes.asked.length;
    await pass(60);
    const asked = nodes.asked.length - before;
    expect(asked).toBeGreaterThan(60);
    expect(asked).toBeLessThan(60 * SHARDS * 2);
    expect(conditions()).toContain('replica/upstream');
  });

  it('R4: a replica without memory for more takes no more, serves on, says so, and goes on when there is room', async () => {
    const all = models();
    const budget = 8 * 600;
    await start({ 'a:1': { models: all } }, { memoryBudgetBytes: budget });
    expect(conditions()).toEqual([]);
    for (const model of all) {
      for (const key of keysOf(model.shard, SHARDS, 30)) model.records.push({ view: 1, key, drops: false });
    }
    await pass(10);
    // What came at once was taken; from then on nothing is.
    const stood = positions();
    append(all, 3);
    await pass(20);
    expect(positions()).toEqual(stood);
    expect(conditions()).toContain('replica/memory');
    expect(replica.catalog.services.has('all')).toBe(true);
    const asked = nodes.asked.length;
    await pass(20);
    expect(nodes.asked.length - asked).toBeLessThan(20);
  });
});
