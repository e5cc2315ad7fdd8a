/**
 * Goal: the service as callers see it: over real gRPC, with requests that are wrong and callers that go away.
 * Method: two shards on logs in memory behind kit's server, called by kit's client.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { createGrpcClient, type GrpcClient } from '@freshet/kit/grpc/client.ts';
import { createGrpcServer, type GrpcServer } from '@freshet/kit/grpc/server.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { singleShard } from '../core/shard-source.ts';
import { changeRecord, definitionsRecord, viewId } from '../testing/counting-fold.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { ShardRig } from '../testing/shard-rig.ts';
import { computeHandlers } from './handlers.ts';

let rig: ShardRig;
let server: GrpcServer;
let client: GrpcClient<typeof ComputeService>;

beforeEach(async () => {
  rig = await ShardRig.make();
  await rig.open();
  server = createGrpcServer({ log: silentLogger }).add(
    ComputeService,
    computeHandlers(singleShard(rig.shard), { clock: rig.clock, yieldNow: () => turn(), partitions: 1 }),
  );
  const { address } = await server.listen('127.0.0.1:0');
  client = createGrpcClient(ComputeService, address);
  await rig.log.append(0, [definitionsRecord(1, [{ n: 0, route: 0 }]), changeRecord(0, keyBytes(int64KeyString(5)))]);
  await rig.settled();
});

afterEach(async () => {
  client.close();
  await server.drain(100);
  await rig.remove();
});

async function first(request: Parameters<typeof client.subscribeChanges>[0]): Promise<unknown> {
  const controller = new AbortController();
  for await (const frame of client.subscribeChanges(request, { signal: controller.signal })) return frame;
  return undefined;
}

describe('SubscribeChanges', () => {
  it('R1: streams a pass, then changes, until the caller goes', async () => {
    const replica = new ModelReplica();
    const controller = new AbortController();
    let appended = false;
    for await (const frame of client.subscribeChanges({ shards: [{ shard: 0 }] }, { signal: controller.signal })) {
      replica.apply(frame);
      if (Number(replica.cursor?.position) === 2 && !appended) {
        appended = true;
        await rig.log.append(0, [changeRecord(0, keyBytes(int64KeyString(5)))]);
      }
      if (Number(replica.cursor?.position) === 3) break;
    }
    expect(replica.present(viewId(0)).get(int64KeyString(5))).toMatchObject({ version: 2 });
    controller.abort();
    while (rig.shard.followers > 0) await turn();
  });

  it('names a shard that does not run here', async () => {
    await expect(first({ shards: [{ shard: 0 }, { shard: 7 }] })).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      place: 'shards[1]',
      message: expect.stringContaining('shard 7'),
    });
  });

  it.each([
    ['no shard', { shards: [] }],
    ['a shard named twice', { shards: [{ shard: 0 }, { shard: 0 }] }],
    ['a position without a log', { shards: [{ shard: 0, position: 5n }] }],
    ['a position beyond all', { shards: [{ shard: 0, position: 2n ** 63n, logId: new Uint8Array(16) }] }],
    ['a log id that is too long', { shards: [{ shard: 0, logId: new Uint8Array(17) }] }],
    ['an endless interval', { shards: [{ shard: 0 }], coalesceUs: 10n ** 12n }],
  ])('refuses %s', async (_, request) => {
    await expect(first(request)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('ends with UNAVAILABLE when the node drains', async () => {
    const frames = client.subscribeChanges({ shards: [{ shard: 0 }] })[Symbol.asyncIterator]();
    await frames.next();
    const rest = (async () => {
      for (;;) if ((await frames.next()).done) return;
    })();
    rest.catch(() => undefined);
    await server.drain(100);
    await expect(rest).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });
});

describe('GetComputeStatus', () => {
  it('tells of rows that were left out, as a condition too', async () => {
    expect((await client.getComputeStatus({})).conditions).toEqual([]);
    const { fold } = rig.shard;
    const stats = fold.stats();
    fold.stats = () => ({ ...stats, unknownContracts: 3 });
    const { shards, conditions } = await client.getComputeStatus({});
    expect(shards[0]?.unknownContracts).toBe(3n);
    expect(conditions).toMatchObject([{ id: 'shard/0/contracts', message: expect.stringContaining('left out 3 row') }]);
  });

  it('F1: says where the shards are, with a digest when asked', async () => {
    const { shards, nowUs } = await client.getComputeStatus({});
    expect(nowUs).toBe(BigInt(rig.clock.nowUs()));
    expect(shards).toHaveLength(1);
    expect(shards[0]).toMatchObject({ shard: 0, position: 2n, logEnd: 2n, definitionsGeneration: 1n, followers: 0 });
    expect(shards[0]?.digest).toHaveLength(0);
    const digested = await client.getComputeStatus({ digests: true });
    expect(digested.shards[0]).toMatchObject({ position: 2n, committed: 2n });
    expect(digested.shards[0]?.digest.length).toBeGreaterThan(0);
  });
});
