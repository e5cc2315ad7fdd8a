/**
 * Goal: what a subscriber meets at a node whose shards halt, lag, are cut, or are of another history than its cursor:
 * over real gRPC, with cursors as a replica would send them.
 * Method: a host of two shards on logs in memory whose bounds a test can move, a clock that only a test moves, and
 * replicas in a few lines.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import { ComputeService, type SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { LogReader } from '@freshet/log/log.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Gate } from '../core/gate.ts';
import { PassPace } from '../core/pass-pace.ts';
import { ShardHost } from '../core/shard-host.ts';
import {
  changeRecord,
  createCountingDigest,
  createCountingFold,
  definitionsRecord,
  tickRecord,
  viewId,
} from '../testing/counting-fold.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { testStorage } from '../testing/test-storage.ts';
import { computeHandlers } from './handlers.ts';

const SHARDS = [0, 1];
const insert = (n: number): Uint8Array => changeRecord(0, keyBytes(int64KeyString(n)));
const views = (generation: number, ...ns: number[]): Uint8Array =>
  definitionsRecord(
    generation,
    ns.map((n) => ({ n, route: 0 })),
  );

/** A node: a host, its server, and a client of it. */
interface Node {
  readonly host: ShardHost;
  readonly client: GrpcClient<typeof ComputeService>;
  stop(): Promise<void>;
}

let root: string;
let clock: VirtualClock;
let nodes: Node[];
let subscriptions: Following[];

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'freshet-subscribe-'));
  clock = new VirtualClock();
  nodes = [];
  subscriptions = [];
});

afterEach(async () => {
  for (const subscription of subscriptions) await subscription.close();
  for (const node of nodes) await node.stop();
  await rm(root, { recursive: true, force: true });
});

const makeLog = (logId = '11'.repeat(16)): MemoryLog => createMemoryLog({ partitions: SHARDS.length, clock, logId });

async function startNode(log: LogReader, name: string): Promise<Node> {
  const host = new ShardHost({
    log,
    ...testStorage(join(root, name), clock),
    createFold: createCountingFold,
    createDigest: createCountingDigest,
    clock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: RIG_LIMITS,
    pages: new Gate(2),
    passPace: new PassPace(),
  });
  const stopped = new AbortController();
  const run = host.run(SHARDS, stopped.signal);
  const server: GrpcServer = createGrpcServer({ log: silentLogger }).add(
    ComputeService,
    computeHandlers(host, { clock, yieldNow: () => turn(), partitions: SHARDS.length }),
  );
  const { address } = await server.listen('127.0.0.1:0');
  const client = createGrpcClient(ComputeService, address);
  const node: Node = {
    host,
    client,
    stop: async () => {
      nodes = nodes.filter((other) => other !== node);
      client.close();
      await server.drain(100);
      stopped.abort();
      await run;
    },
  };
  nodes.push(node);
  return node;
}

/** A subscription to both shards, read all the time by a replica of each. */
class Following {
  readonly replicas: readonly ModelReplica[] = [];
  readonly frames: SubscribeChangesResponse[] = [];
  ended: unknown;
  readonly #controller = new AbortController();
  readonly #done: Promise<void>;

  constructor({ client }: Node, options: { replicas?: readonly ModelReplica[]; wanted?: readonly string[] } = {}) {
    this.replicas = options.replicas ?? SHARDS.map(() => new ModelReplica());
    for (const replica of this.replicas) replica.reconnected();
    const shards = this.replicas.map((replica, shard) => replica.cursor ?? { shard });
    const wanted = (options.wanted ?? []).map((id) => Buffer.from(id, 'hex'));
    const stream = client.subscribeChanges({ shards, views: wanted }, { signal: this.#controller.signal });
    this.#done = (async () => {
      for await (const frame of stream) {
        this.frames.push(frame);
        must(this.replicas[frame.shard]).apply(frame);
      }
    })().catch((error: unknown) => {
      this.ended = error;
    });
    subscriptions.push(this);
  }

  /** Frames that say something of rows or positions. */
  get telling(): SubscribeChangesResponse[] {
    return this.frames.filter((frame) => frame.unavailable === undefined);
  }

  /** Whether both replicas have all there is at the position, so many views. */
  has(position: number, count = 1): boolean {
    return SHARDS.every((shard) => this.at(shard) === position && this.wholeViews(shard) === count);
  }

  wholeViews(shard: number): number {
    return must(this.replicas[shard]).cursor?.views.length ?? 0;
  }

  at(shard: number): number {
    return Number(must(this.replicas[shard]).cursor?.position ?? 0n);
  }

  unavailable(shard: number): string | undefined {
    return must(this.replicas[shard]).unavailable;
  }

  keys(shard: number, view = viewId(0)): number {
    return must(this.replicas[shard]).present(view).size;
  }

  async close(): Promise<void> {
    subscriptions = subscriptions.filter((other) => other !== this);
    this.#controller.abort();
    await this.#done;
  }
}

/** Waits for what real I/O stands before, however slow the machine is; moves the clock if asked to. */
async function until(what: () => boolean, advanceUs = 0): Promise<void> {
  while (!what()) {
    if (advanceUs > 0) await clock.advance(advanceUs);
    await delay(1);
  }
}

async function appendAll(log: MemoryLog, records: readonly Uint8Array[]): Promise<void> {
  for (const shard of SHARDS) await log.append(shard, records);
}

describe('SubscribeChanges at a node with a halted shard', () => {
  it('R1: goes on with the others, tells which and why, and takes it up when it is back', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0), insert(1)]);
    let trimmed = true;
    const cut: LogReader = {
      read: (partition, from, signal) => log.read(partition, from, signal),
      describe: async () => {
        const { logId, partitions } = await log.describe();
        return { logId, partitions: partitions.map((p, i) => (i === 1 && trimmed ? { ...p, start: p.end } : p)) };
      },
    };
    const node = await startNode(cut, 'a');
    const following = new Following(node);
    await until(() => following.at(0) === 2 && following.unavailable(1) === 'OFFSET_OUT_OF_RANGE', 1_000_000);
    await log.append(0, [insert(2)]);
    await until(() => following.keys(0) === 2);
    expect(following.at(1)).toBe(0);
    trimmed = false;
    await until(() => following.at(1) === 2 && following.wholeViews(1) === 1, 1_000_000);
    expect(following.unavailable(1)).toBeUndefined();
    expect(following.keys(1)).toBe(1);
    expect(following.ended).toBeUndefined();
    // Told when it changed, not over and over.
    expect(following.frames.filter((frame) => frame.unavailable !== undefined).length).toBeLessThan(50);
  });

  it('R1: takes a shard up from its cursor when it restarted in the middle of the stream', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0), insert(1)]);
    let breaks = false;
    const breaking: LogReader = {
      describe: () => log.describe(),
      async *read(partition, from, signal) {
        for await (const batch of log.read(partition, from, signal)) {
          if (partition === 1 && breaks) {
            breaks = false;
            throw new FreshetError('WRONG_LOG', 'not what was folded');
          }
          yield batch;
        }
      },
    };
    const node = await startNode(breaking, 'a');
    const following = new Following(node);
    await until(() => following.has(2));
    const first = must(node.host.shard(1));
    breaks = true;
    await appendAll(log, [insert(2)]);
    await until(() => following.has(3), 100_000);
    expect(node.host.shard(1)).not.toBe(first);
    expect(following.unavailable(1)).toBeUndefined();
    expect(following.frames.some(({ shard, unavailable }) => shard === 1 && unavailable !== undefined)).toBe(true);
    expect([following.keys(0), following.keys(1)]).toEqual([2, 2]);
    expect(following.ended).toBeUndefined();
  });
});

describe('SubscribeChanges with a cursor', () => {
  it('R1: ahead of the node waits, says so when it takes long, and goes on without a pass', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0), insert(1), insert(2)]);
    const ahead = await startNode(log, 'a');
    const before = new Following(ahead);
    await until(() => before.has(3));
    await before.close();
    const pages = before.replicas.map((replica) => replica.pages);

    // Another node of the same log has read the first two records only.
    let heard = 2;
    const slow: LogReader = {
      describe: () => log.describe(),
      async *read(partition, from, signal) {
        for (let next = from; !signal.aborted; ) {
          await until(() => next < heard || signal.aborted);
          if (signal.aborted) return;
          for await (const batch of log.read(partition, next, signal)) {
            const entries = batch.entries.filter(({ offset }) => offset < heard);
            next += entries.length;
            yield { ...batch, entries, end: next };
            break;
          }
        }
      },
    };
    const behind = await startNode(slow, 'b');
    await until(() => SHARDS.every((shard) => behind.host.shard(shard)?.position === 2));
    const after = new Following(behind, { replicas: before.replicas });
    await until(() => after.unavailable(0) === 'UNAVAILABLE' && after.unavailable(1) === 'UNAVAILABLE', 100_000);
    expect(after.frames.every((frame) => frame.rows.length === 0)).toBe(true);
    expect(must(after.frames[0]).unavailable?.message).toContain('behind 3');
    const through = after.replicas.map((replica) => replica.completeThroughUs);
    heard = 3;
    await clock.advance(1_000_000);
    await appendAll(log, [tickRecord()]);
    heard = 4;
    await until(() => after.has(4));
    expect(after.replicas.map((replica) => replica.pages)).toEqual(pages);
    expect(after.replicas.every((replica, i) => replica.completeThroughUs > must(through[i]))).toBe(true);
    expect(after.unavailable(0)).toBeUndefined();
  });

  it('R1: and more views than before brings the new ones by a pass, the old ones by changes', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0, 1), insert(1), insert(2)]);
    const node = await startNode(log, 'a');
    const narrow = new Following(node, { wanted: [viewId(0)] });
    await until(() => narrow.has(3));
    expect(narrow.keys(0, viewId(1))).toBe(0);
    await narrow.close();
    await appendAll(log, [insert(3)]);
    const wide = new Following(node, { replicas: narrow.replicas, wanted: [viewId(0), viewId(1)] });
    await until(() => wide.keys(0, viewId(1)) === 3 && wide.at(0) === 4 && wide.keys(0) === 3);
    const paged = wide.frames.filter((frame) => frame.pass !== undefined);
    expect(paged.length).toBeGreaterThan(0);
    for (const { pass } of paged) expect(Buffer.from(pass?.viewId ?? []).toString('hex')).toBe(viewId(1));
  });

  it('R1: and fewer views than before is told so at once, and gets no more of them', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0, 1), insert(1)]);
    const node = await startNode(log, 'a');
    const wide = new Following(node);
    await until(() => wide.has(2, 2));
    await wide.close();
    await appendAll(log, [insert(2)]);
    const narrow = new Following(node, { replicas: wide.replicas, wanted: [viewId(1)] });
    await until(() => narrow.has(3));
    expect(must(narrow.telling[0]).cursor?.views.map((id) => Buffer.from(id).toString('hex'))).toEqual([viewId(1)]);
    expect(narrow.keys(0)).toBe(0);
    expect(narrow.keys(0, viewId(1))).toBe(2);
    expect(narrow.frames.some((frame) => frame.pass !== undefined)).toBe(false);
  });

  it('R3: of another log begins at 0', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0), insert(1), insert(2)]);
    const before = new Following(await startNode(log, 'a'));
    await until(() => before.has(3));
    await before.close();
    const other = makeLog('22'.repeat(16));
    await appendAll(other, [views(1, 0), insert(7)]);
    const after = new Following(await startNode(other, 'b'), { replicas: before.replicas });
    await until(() => after.has(2));
    expect(must(after.telling[0]).after).toBe(0n);
    expect(after.keys(0)).toBe(1);
  });

  it('R3: whose record is another one in a log of the same id begins at 0', async () => {
    const log = makeLog();
    await appendAll(log, [views(1, 0), insert(1)]);
    const node = await startNode(log, 'a');
    const before = new Following(node);
    await until(() => before.has(2));
    await before.close();
    const cursor = must(must(before.replicas[0]).cursor);
    cursor.recordCrc = (cursor.recordCrc + 1) >>> 0;
    await appendAll(log, [insert(2)]);
    const after = new Following(node, { replicas: before.replicas });
    await until(() => after.has(3));
    expect(after.telling.find((frame) => frame.shard === 0)?.after).toBe(0n);
    expect(after.telling.find((frame) => frame.shard === 1)?.after).toBe(2n);
    expect(after.keys(0)).toBe(2);
  });
});
