/**
 * Goal: what a stream says of one shard becomes the replica's, and nothing that it took back stays.
 * Method: a link on a stream that a test writes frame by frame.
 */
import { create } from '@bufbuild/protobuf';
import {
  type SubscribeChangesResponse,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { Connections } from './connections.ts';
import { countView, definitions, keysOf, ModelShard, numbered, viewId } from './replica.testing.ts';
import { ReplicaState } from './replica-state.ts';
import { rowKeyText } from './row-key.ts';
import { ShardLink } from './shard-link.ts';

function history(keys: readonly string[]): ModelShard {
  const model = new ModelShard(0, 9, [1]);
  for (const key of keys) model.records.push({ view: 1, key, drops: false });
  return model;
}

it('R3: half a bootstrap is forgotten when its shard stops in the middle of the stream: the next life may be of another history', async () => {
  const keys = keysOf(0, 1, 4);
  const lost = history(keys);
  const now = history(keys.slice(0, 1));
  const [page] = lost.pass(lost.cursor(0), lost.end, 3);
  const unavailable = create(SubscribeChangesResponseSchema, {
    shard: 0,
    logId: lost.cursor(0).logId,
    cursor: lost.cursor(0),
    unavailable: toErrorDetail(new FreshetError('WRONG_LOG', 'the log lost records')),
  });
  const state = new ReplicaState();
  state.learnShardCount(1);
  state.define(definitions(1, [countView(1)]));
  let taken = (): void => undefined;
  const done = new Promise<void>((resolve) => {
    taken = resolve;
  });
  async function* frames(signal: AbortSignal): AsyncGenerator<SubscribeChangesResponse> {
    yield must(page);
    expect(state.shards.get(0)?.served.table(viewId(1)).rowCount).toBe(3);
    yield unavailable;
    yield* now.pass(now.cursor(0), now.end, 3);
    taken();
    await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  }
  const clock = new VirtualClock();
  const link = new ShardLink(0, {
    state,
    connections: new Connections(() => ({
      close: () => {},
      subscribeChanges: (_, { signal }) => numbered(frames(signal)),
    })),
    clock,
    log: silentLogger,
    random: () => 0.5,
    yieldNow: () => Promise.resolve(),
    pressure: () => undefined,
    coalesceUs: 0,
  });
  link.offer(['a:1']);
  await done;
  const { served } = must(state.shards.get(0));
  expect(served.position).toBe(1);
  expect([...served.table(viewId(1)).rows.keys()].map(rowKeyText)).toEqual(keys.slice(0, 1));
  await link.stop();
});
