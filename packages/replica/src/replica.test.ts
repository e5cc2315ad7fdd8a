/**
 * Goal: a replica as a whole follows, keeps, restarts, reconnects, and serves with nothing upstream.
 * Method: upstreams in this process that stream what ModelShard says and can be cut off at any time; a real LevelDB.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { systemClock } from '@freshet/kit/clock.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ChangesClient } from './connections.ts';
import { countView, definitions, keysOf, ModelShard, numbered } from './replica.testing.ts';
import { Replica } from './replica.ts';
import { rowKeyOfText } from './row-key.ts';

const SHARDS = 2;
let directory = '';
const open: Replica[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'replica-'));
});
afterEach(async () => {
  for (const replica of open.splice(0)) await replica.close();
  await rm(directory, { recursive: true, force: true });
});

/** Nodes by address: the shards of each, and whether it can be reached. */
class Mesh {
  readonly models = Array.from({ length: SHARDS }, (_, shard) => new ModelShard(shard, 9, [1]));
  readonly up = new Set<string>();
  readonly subscribed: { address: string; positions: number[] }[] = [];
  #wake: (() => void)[] = [];

  append(shard: number, count: number): void {
    const keys = keysOf(shard, SHARDS, 5);
    for (let i = 0; i < count; i++) this.models[shard]!.records.push({ view: 1, key: keys[i % 5]!, drops: false });
    this.#notify();
  }

  cut(address: string): void {
    this.up.delete(address);
    this.#notify();
  }

  connect(address: string): ChangesClient {
    return {
      close: () => {},
      subscribeChanges: (request, { signal }) => numbered(this.#stream(address, request.shards ?? [], signal)),
    };
  }

  async *#stream(
    address: string,
    cursors: readonly { shard?: number; position?: bigint }[],
    signal: AbortSignal,
  ): AsyncGenerator<SubscribeChangesResponse> {
    this.#check(address);
    const at = new Map(cursors.map((cursor) => [cursor.shard ?? 0, Number(cursor.position ?? 0n)]));
    this.subscribed.push({ address, positions: [...at.values()] });
    signal.addEventListener('abort', () => this.#notify(), { once: true });
    while (!signal.aborted) {
      this.#check(address);
      for (const [shard, position] of at) {
        const model = this.models[shard]!;
        if (model.end <= position) continue;
        const to = model.end;
        yield* position === 0 ? model.pass(model.cursor(0), to, 2) : model.live(position, to);
        at.set(shard, to);
      }
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  #check(address: string): void {
    if (!this.up.has(address)) throw new FreshetError('UNAVAILABLE', `${address} is down`);
  }

  #notify(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }
}

async function start(mesh: Mesh): Promise<Replica> {
  const replica = await Replica.open({
    directory,
    clock: systemClock,
    log: silentLogger,
    connect: (address) => mesh.connect(address),
    flushIntervalMs: 5,
  });
  open.push(replica);
  return replica;
}

function offer(replica: Replica, ...addresses: string[]): void {
  replica.learnShardCount(SHARDS);
  replica.setUpstreams(addresses.map((address) => ({ address, shards: [0, 1] })));
}

function positions(replica: Replica): number[] {
  return replica.shards().map(({ position }) => position);
}

const until = (check: () => void): Promise<void> => vi.waitFor(check, { timeout: 10_000, interval: 5 });

describe('Replica', () => {
  it('R1: follows, and after a restart resumes from its cursors', async () => {
    const mesh = new Mesh();
    mesh.up.add('a:1');
    mesh.append(0, 7);
    mesh.append(1, 3);
    const first = await start(mesh);
    first.define(definitions(1, [countView(1)]));
    offer(first, 'a:1');
    await until(() => expect(positions(first)).toEqual([7, 3]));
    expect(first.catalog.services.has('all')).toBe(true);
    mesh.append(0, 2);
    await until(() => expect(positions(first)).toEqual([9, 3]));
    expect(first.shards().every(({ connected }) => connected)).toBe(true);
    await first.close();
    const second = await start(mesh);
    offer(second, 'a:1');
    mesh.append(1, 1);
    await until(() => expect(positions(second)).toEqual([9, 4]));
    expect(mesh.subscribed.slice(-2).flatMap(({ positions: at }) => at)).toEqual([9, 3]);
  });

  it('serves with no upstream and no registry', async () => {
    const mesh = new Mesh();
    mesh.up.add('a:1');
    mesh.append(0, 5);
    mesh.append(1, 5);
    const first = await start(mesh);
    first.define(definitions(1, [countView(1)]));
    offer(first, 'a:1');
    await until(() => expect(positions(first)).toEqual([5, 5]));
    await first.close();
    const alone = await start(new Mesh());
    const view = alone.catalog.services.get('all')!.outputs[0]!.view;
    expect(alone.reader.read(view.tables[0]!, view.layout, rowKeyOfText(keysOf(0, SHARDS, 5)[4]!), 0).value(0)).toBe(4);
    expect(alone.rowCount).toBe(10);
    expect(alone.shards().some(({ connected }) => connected)).toBe(false);
  });

  it('R1: goes to another node when its own fails, and comes back from the same cursor when all do', async () => {
    const mesh = new Mesh();
    mesh.up.add('a:1').add('b:1');
    mesh.append(0, 4);
    mesh.append(1, 4);
    const replica = await start(mesh);
    offer(replica, 'a:1', 'b:1');
    await until(() => expect(positions(replica)).toEqual([4, 4]));
    mesh.cut('a:1');
    mesh.append(0, 1);
    mesh.append(1, 1);
    await until(() => expect(positions(replica)).toEqual([5, 5]));
    mesh.cut('b:1');
    mesh.append(0, 1);
    await until(() => expect(replica.shards().some(({ connected }) => connected)).toBe(false));
    mesh.up.add('a:1');
    await until(() => expect(positions(replica)).toEqual([6, 5]));
  });

  it('R1: follows a shard by one stream at a time, also while the one before is slow to end', async () => {
    const active = new Set<string>();
    const seen: string[][] = [];
    const connect = (address: string): ChangesClient => ({
      close: () => {},
      async *subscribeChanges(_request, { signal }) {
        active.add(address);
        seen.push([...active]);
        await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
        await new Promise((resolve) => setTimeout(resolve, 30));
        active.delete(address);
        yield* [];
      },
    });
    const replica = await Replica.open({ directory, clock: systemClock, log: silentLogger, connect });
    open.push(replica);
    replica.learnShardCount(1);
    for (const address of ['a:1', 'b:1', 'c:1']) {
      replica.setUpstreams([{ address, shards: [0] }]);
      await vi.waitFor(() => expect(active.has(address)).toBe(true), { timeout: 5_000 });
    }
    expect(seen).toEqual([['a:1'], ['b:1'], ['c:1']]);
  });

  it('R4: waits for its disk when much is to be written, and gets it all', async () => {
    const mesh = new Mesh();
    mesh.up.add('a:1');
    const keys = keysOf(0, SHARDS, 30_000);
    for (const key of keys) mesh.models[0]!.records.push({ view: 1, key, drops: false });
    mesh.append(1, 1);
    // Pages of two rows would be fifteen thousand frames.
    const pass = mesh.models[0]!.pass.bind(mesh.models[0]);
    mesh.models[0]!.pass = (sent, asOf) => pass(sent, asOf, 5000);
    const replica = await start(mesh);
    replica.define(definitions(1, [countView(1)]));
    offer(replica, 'a:1');
    await until(() => expect(positions(replica)).toEqual([30_000, 1]));
    expect(replica.rowCount).toBe(30_001);
    await replica.close();
    expect((await start(new Mesh())).rowCount).toBe(30_001);
  });
});
