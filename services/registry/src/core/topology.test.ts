/**
 * Goal: followers see who is live, whole, now and at each change, also when a lease runs out by itself. Method: a
 * virtual clock.
 */
import { create } from '@bufbuild/protobuf';
import { type Node, NodeSchema, Role } from '@freshet/gen/freshet/registry/v1/registry_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { type NodeStore, Topology } from './topology.ts';

function node(nodeId: string, role: Role): Node {
  return create(NodeSchema, { nodeId, role, address: '127.0.0.1:1' });
}

/** The clock's methods, to be put together with others. */
function handOf(clock: VirtualClock): Clock {
  return {
    nowUs: () => clock.nowUs(),
    monotonicUs: () => clock.monotonicUs(),
    sleep: (ms, signal) => clock.sleep(ms, signal),
  };
}

const board = new ConditionBoard({ clock: { nowUs: () => 0 }, log: silentLogger });

class MemoryStore implements NodeStore {
  nodes: readonly Node[] = [];

  async loadNodes(): Promise<readonly Node[]> {
    return this.nodes;
  }

  async saveNodes(nodes: readonly Node[]): Promise<void> {
    this.nodes = nodes;
  }
}

describe('Topology', () => {
  it('tells followers now, at each change and when a lease runs out', async () => {
    const clock = new VirtualClock();
    const topology = await Topology.open({
      store: new MemoryStore(),
      clock,
      log: silentLogger,
      conditions: board,
      leaseUs: 9_000_000,
    });
    const stop = new AbortController();
    const running = topology.run(stop.signal);
    const seen: string[][] = [];
    const following = (async () => {
      for await (const nodes of topology.follow(stop.signal)) seen.push(nodes.map((n) => n.nodeId));
    })();
    await clock.advance(0);
    topology.announce(node('compute-1', Role.COMPUTE));
    await clock.advance(5_000_000);
    topology.announce(node('ingest-1', Role.INGEST));
    await clock.advance(3_999_000);
    topology.announce(node('ingest-1', Role.INGEST));
    expect(topology.nodesOf(Role.COMPUTE)).toHaveLength(1);
    await clock.advance(1_000);
    await clock.advance(0);
    expect(topology.nodesOf(Role.COMPUTE)).toHaveLength(0);
    topology.leave('ingest-1');
    await clock.advance(0);
    stop.abort();
    await Promise.all([running, following]);
    expect(seen).toEqual([[], ['compute-1'], ['compute-1', 'ingest-1'], ['ingest-1'], []]);
  });

  it('a step of the wall clock neither ends a lease nor makes it last', async () => {
    for (const stepUs of [86_400_000_000, -86_400_000_000]) {
      const clock = new VirtualClock();
      const options = { store: new MemoryStore(), clock, log: silentLogger, conditions: board, leaseUs: 9_000_000 };
      const topology = await Topology.open(options);
      const stop = new AbortController();
      const running = topology.run(stop.signal);
      topology.announce(node('compute-1', Role.COMPUTE));
      clock.setWallUs(clock.nowUs() + stepUs);
      await clock.advance(8_999_999);
      expect(topology.nodesOf(Role.COMPUTE)).toHaveLength(1);
      await clock.advance(1);
      expect(topology.nodesOf(Role.COMPUTE)).toHaveLength(0);
      stop.abort();
      await running;
    }
  });

  it('a registry that did not run for a while does not tell that everybody is gone', async () => {
    for (const stoppedUs of [4_000_000, 8_000_000, 60_000_000]) {
      const clock = new VirtualClock();
      // As after SIGCONT: the clock has moved on, and calls that waited are heard before timers.
      let skippedUs = 0;
      const stopped = { ...handOf(clock), monotonicUs: () => clock.monotonicUs() + skippedUs };
      const options = { store: new MemoryStore(), clock: stopped, log: silentLogger, conditions: board };
      const topology = await Topology.open({ ...options, leaseUs: 9_000_000 });
      const stop = new AbortController();
      const running = topology.run(stop.signal);
      for (const id of ['a', 'b']) topology.announce(node(id, Role.COMPUTE));
      await clock.advance(5_500_000);
      skippedUs = stoppedUs;
      topology.announce(node('a', Role.COMPUTE));
      expect(topology.nodesOf(Role.COMPUTE)).toHaveLength(2);
      await clock.advance(8_900_000);
      topology.announce(node('a', Role.COMPUTE));
      expect(topology.nodesOf(Role.COMPUTE)).toHaveLength(2);
      await clock.advance(200_000);
      expect(topology.nodesOf(Role.COMPUTE).map((n) => n.nodeId)).toEqual(['a']);
      stop.abort();
      await running;
    }
  });

  it('R4: a slow follower gets the newest topology, not the history', async () => {
    const topology = await Topology.open({
      store: new MemoryStore(),
      clock: new VirtualClock(),
      log: silentLogger,
      conditions: board,
    });
    const stop = new AbortController();
    const follower = topology.follow(stop.signal)[Symbol.asyncIterator]();
    await follower.next();
    for (let i = 0; i < 1000; i++) topology.announce(node(`n${String(i).padStart(4, '0')}`, Role.SERVE));
    expect((await follower.next()).value).toHaveLength(1000);
    stop.abort();
    expect((await follower.next()).done).toBe(true);
  });

  it('after a restart knows who was there, for one lease', async () => {
    const clock = new VirtualClock();
    const store = new MemoryStore();
    const options = { store, clock, log: silentLogger, conditions: board, leaseUs: 9_000_000 };
    const before = await Topology.open(options);
    for (const id of ['a', 'b', 'c']) before.announce(node(id, Role.COMPUTE));
    before.leave('c');
    await before.settle();
    await clock.advance(8_000_000);
    const after = await Topology.open(options);
    expect(after.nodesOf(Role.COMPUTE).map((n) => n.nodeId)).toEqual(['a', 'b']);
    await clock.advance(8_999_999);
    after.announce(node('a', Role.COMPUTE));
    await clock.advance(1);
    expect(after.nodesOf(Role.COMPUTE).map((n) => n.nodeId)).toEqual(['a']);
    await after.settle();
    expect(store.nodes.map((n) => n.nodeId)).toEqual(['a']);
  });

  it('starts without the nodes of the last run when they cannot be read', async () => {
    const store: NodeStore = {
      loadNodes: async () => Promise.reject(new Error('damaged')),
      saveNodes: async () => Promise.reject(new Error('disk full')),
    };
    const topology = await Topology.open({ store, clock: new VirtualClock(), log: silentLogger, conditions: board });
    topology.announce(node('a', Role.SERVE));
    await topology.settle();
    expect(topology.nodesOf(Role.SERVE)).toHaveLength(1);
  });
});

describe('two nodes with one id', () => {
  const start = async () => {
    const clock = new VirtualClock();
    const conditions = new ConditionBoard({ clock, log: silentLogger });
    const topology = await Topology.open({ store: new MemoryStore(), clock, log: silentLogger, conditions });
    const told = () => conditions.list().map(({ id, message, remedy }) => `${id}: ${message}; ${remedy}`);
    const hear = async (run: string, address = `127.0.0.1:${run === 'a' ? 1 : 2}`) => {
      topology.announce(create(NodeSchema, { nodeId: 'serve-1', role: Role.SERVE, address }), run);
      await clock.advance(1_500_000);
    };
    return { clock, topology, told, hear };
  };

  it('are told while they announce in turns, and no longer than a lease', async () => {
    const { told, hear } = await start();
    for (const run of ['a', 'b', 'a', 'b']) await hear(run);
    expect(told()).toEqual([]);
    await hear('a');
    expect(told()).toEqual([
      expect.stringMatching(
        /^nodes\/serve-1\/twice: two nodes announce themselves as serve-1: at 127.0.0.1:1 and 127.0.0.1:2; .*node-id/,
      ),
    ]);
    for (let i = 0; i < 7; i++) await hear('b');
    expect(told()).toEqual([]);
  });

  it('are told no more once both left', async () => {
    const { topology, told, hear } = await start();
    for (const run of ['a', 'b', 'a', 'b', 'a']) await hear(run);
    expect(told()).toHaveLength(1);
    for (const _ of 'ab') topology.leave('serve-1');
    expect(told()).toEqual([]);
  });

  it('are not one that was started again, also when its last call comes late', async () => {
    const { told, hear } = await start();
    for (const run of ['a', 'a', 'b', 'a', 'b', 'b', 'b', 'b', 'b', 'b', 'b', 'c', 'b', 'c', 'c']) await hear(run);
    expect(told()).toEqual([]);
  });

  it('are told by their addresses when they do not say which run they are', async () => {
    const { told, hear } = await start();
    for (let i = 0; i < 6; i++) await hear('', `127.0.0.1:${1 + (i % 2)}`);
    expect(told()).toHaveLength(1);
  });

  it('are told no more when both are gone', async () => {
    const { clock, topology, told, hear } = await start();
    for (const run of ['a', 'b', 'a', 'b', 'a']) await hear(run);
    expect(told()).toHaveLength(1);
    await clock.advance(9_000_000);
    expect(topology.size).toBe(0);
    expect(told()).toEqual([]);
  });
});
