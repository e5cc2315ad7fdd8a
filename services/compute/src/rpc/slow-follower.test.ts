/**
 * Goal: R4 at a node whose followers have stopped reading: what it holds does not grow with what goes by, those that read
 * get everything meanwhile, and a follower that reads again finds the newest rows.
 * Method: a log that makes its records as they are read, behind real gRPC; one follower stops within its pass, one
 * after it; then a hundred followers with a connection each, of which half stop. The heap is measured after a full collection,
 * before and after very many changes of few keys. FRESHET_FUZZ_RUNS multiplies the changes (10: a million).
 */
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ComputeService, type SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { Log, LogBatch } from '@freshet/log/log.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { expect, it } from 'vitest';
import type { Shard } from '../core/shard.ts';
import { singleShard } from '../core/shard-source.ts';
import { changeRecord, definitionsRecord, viewId } from '../testing/counting-fold.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { ShardRig } from '../testing/shard-rig.ts';
import { computeHandlers } from './handlers.ts';

const KEYS = 2_000;
const RUNS = Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1');
const CHANGES = 100_000 * RUNS;
const BATCH = 1_000;
/** What tail, cache, rows, pages and journal of the rig may take together, and some noise. */
const GROWTH_BYTES = 12 * 2 ** 20;
const FOLLOWERS = 100;
const CROWD_CHANGES = CHANGES / 5;
/** What a connection may hold under way, with both its ends; 0.75 MiB were measured. */
const CONNECTION_BYTES = 2 * 2 ** 20;

/** A log of one partition whose records exist when they are read: definitions, then changes of each key in turn. */
class EndlessLog {
  readonly logId = '0f'.repeat(16);
  end = 1 + KEYS;
  readonly #changes = Array.from({ length: KEYS }, (_, n) => changeRecord(0, keyBytes(int64KeyString(n))));

  describe(): Promise<{ logId: string; partitions: { start: number; end: number }[] }> {
    return Promise.resolve({ logId: this.logId, partitions: [{ start: 0, end: this.end }] });
  }

  async *read(partition: number, from: number, signal: AbortSignal): AsyncGenerator<LogBatch> {
    for (let at = from; !signal.aborted; ) {
      const to = Math.min(this.end, at + BATCH);
      if (to === at) {
        await turn();
        continue;
      }
      const entries = Array.from({ length: to - at }, (_, i) => this.#entry(at + i));
      yield { partition, entries, end: this.end };
      at = to;
      await turn();
    }
  }

  #entry(offset: number): LogBatch['entries'][number] {
    const record = offset === 0 ? definitionsRecord(1, [{ n: 0, route: 0 }]) : must(this.#changes[offset % KEYS]);
    return { offset, logTimeUs: 1_000_000 + offset, record, crc: offset };
  }
}

function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  collect();
  collect();
  return process.memoryUsage().heapUsed + process.memoryUsage().external;
}

type Frames = AsyncIterator<SubscribeChangesResponse>;

function subscribe(client: GrpcClient<typeof ComputeService>, signal: AbortSignal): Frames {
  return client.subscribeChanges({ shards: [{ shard: 0 }] }, { signal })[Symbol.asyncIterator]();
}

async function readUntil(frames: Frames, replica: ModelReplica, done: () => boolean): Promise<void> {
  while (!done()) replica.apply(must((await frames.next()).value));
}

interface Node {
  readonly rig: ShardRig;
  readonly shard: Shard;
  readonly connect: () => Frames;
  readonly close: () => Promise<void>;
}

/** A compute node of one shard behind gRPC; each follower has a connection of its own. */
async function start(log: EndlessLog): Promise<Node> {
  const frame = { bytes: 256 * 1024, pageRows: 50, keys: 5_000 };
  const rig = await ShardRig.make({ log: log as unknown as Log, limits: { frame, tailBytes: 1 << 18 } });
  const shard = await rig.open();
  const server = createGrpcServer({ log: silentLogger }).add(
    ComputeService,
    computeHandlers(singleShard(shard), { clock: rig.clock, yieldNow: () => turn(), partitions: 1 }),
  );
  const { address } = await server.listen('127.0.0.1:0');
  const clients: GrpcClient<typeof ComputeService>[] = [];
  const stop = new AbortController();
  return {
    rig,
    shard,
    connect: () => {
      const client = createGrpcClient(ComputeService, address);
      clients.push(client);
      return subscribe(client, stop.signal);
    },
    close: async () => {
      stop.abort();
      for (const client of clients) client.close();
      await server.drain(100);
      await rig.remove();
    },
  };
}

function expectNewest({ shard }: Node, replica: ModelReplica): void {
  const rows = replica.present(viewId(0));
  expect(rows.size).toBe(KEYS);
  for (const [key, { version }] of rows) expect(version).toBe(shard.version(viewId(0), key));
}

it('R4: a follower that stops reading costs no memory, and finds the newest rows when it reads again', async () => {
  const log = new EndlessLog();
  const node = await start(log);
  try {
    await node.rig.settled();
    const [early, late] = [node.connect(), node.connect()];
    const paging = new ModelReplica();
    const following = new ModelReplica();
    await readUntil(early, paging, () => paging.pages === 2);
    await readUntil(late, following, () => Number(following.cursor?.position) === log.end);
    const before = heapBytes();
    log.end += CHANGES;
    await node.rig.settled();
    expect(heapBytes() - before).toBeLessThan(GROWTH_BYTES);

    const end = (replica: ModelReplica): boolean => Number(replica.cursor?.position) === log.end;
    await readUntil(early, paging, () => end(paging));
    await readUntil(late, following, () => end(following));
    for (const replica of [paging, following]) expectNewest(node, replica);
    // Few frames bring it up to date, however many changes went by.
    expect(following.frames).toBeLessThan(300);
  } finally {
    await node.close();
  }
});

it(
  'R4: of a hundred followers half stop reading: the others get every row, and memory does not grow',
  async () => {
    const log = new EndlessLog();
    const node = await start(log);
    const atEnd = (replica: ModelReplica) => (): boolean => Number(replica.cursor?.position) === log.end;
    try {
      await node.rig.settled();
      const followers = Array.from({ length: FOLLOWERS }, () => ({
        frames: node.connect(),
        replica: new ModelReplica(),
      }));
      const stopped = followers.filter((_, n) => n % 2 === 0);
      const reading = followers.filter((_, n) => n % 2 === 1);
      // Of those that will stop, half do within their pass.
      const later = (n: number): boolean => n % 2 === 0;
      await Promise.all(
        stopped.map(({ frames, replica }, n) =>
          readUntil(frames, replica, later(n) ? atEnd(replica) : () => replica.pages === 2),
        ),
      );
      await Promise.all(reading.map(({ frames, replica }) => readUntil(frames, replica, atEnd(replica))));
      const follow = async (): Promise<number> => {
        log.end += CROWD_CHANGES;
        await Promise.all(reading.map(({ frames, replica }) => readUntil(frames, replica, atEnd(replica))));
        for (const { replica } of reading) expectNewest(node, replica);
        return heapBytes();
      };
      const before = heapBytes();
      // What fits into the connections of those that stopped goes there, both ends of which are in this process; then nothing.
      const filled = await follow();
      expect(filled - before).toBeLessThan(stopped.length * CONNECTION_BYTES + GROWTH_BYTES);
      expect((await follow()) - filled).toBeLessThan(GROWTH_BYTES);

      await Promise.all(stopped.map(({ frames, replica }) => readUntil(frames, replica, atEnd(replica))));
      for (const { replica } of stopped) expectNewest(node, replica);
    } finally {
      await node.close();
    }
  },
  120_000 * Math.max(1, RUNS),
);
