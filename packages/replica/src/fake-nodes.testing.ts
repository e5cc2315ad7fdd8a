/**
 * For tests: nodes that stream a shard's changes as a script says, each a list of frames and what comes after them.
 */

import { create } from '@bufbuild/protobuf';
import type { ShardCursor, SubscribeChangesResponse } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { SubscribeChangesResponseSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { toErrorDetail } from '@freshet/kit/grpc/error-mapping.ts';
import type { ChangesClient } from './connections.ts';
import { type ModelShard, numbered } from './replica.testing.ts';

/** How a node is. */
export interface Node {
  /** The shards as it has them, by number. */
  models: readonly ModelShard[];
  /** It cannot be reached. */
  isDown?: boolean;
  /** It takes the call and says nothing. */
  isSilent?: boolean;
  /** It does not fold any more; it still says something every second. */
  standsAt?: number;
  /** Shards that cannot be followed there for now. */
  unavailable?: ReadonlySet<number>;
}

/** Subscriptions that were asked for. */
export interface Asked {
  readonly address: string;
  readonly shard: number;
  readonly position: number;
}

export class FakeNodes {
  readonly nodes = new Map<string, Node>();
  readonly asked: Asked[] = [];
  /** Streams that are open, by "address shard". */
  readonly open = new Set<string>();
  readonly #sleep: (ms: number, signal: AbortSignal) => Promise<void>;

  constructor(sleep: (ms: number, signal: AbortSignal) => Promise<void>) {
    this.#sleep = sleep;
  }

  connect(address: string): ChangesClient {
    return {
      close: () => {},
      subscribeChanges: ({ shards = [] }, { signal }) =>
        numbered(this.#stream(address, shards[0] as ShardCursor, signal)),
    };
  }

  async *#stream(address: string, cursor: ShardCursor, signal: AbortSignal): AsyncGenerator<SubscribeChangesResponse> {
    const { shard } = cursor;
    const name = `${address} ${shard}`;
    this.asked.push({ address, shard, position: Number(cursor.position) });
    this.open.add(name);
    try {
      let sent = cursor;
      for (;;) {
        const node = this.nodes.get(address);
        if (node === undefined || node.isDown) throw new FreshetError('UNAVAILABLE', `${address} is down`);
        const model = node.models[shard];
        if (model === undefined) throw new FreshetError('INVALID_REQUEST', 'no such shard');
        if (node.unavailable?.has(shard)) yield unavailable(sent);
        else if (node.isSilent !== true) {
          if (Buffer.from(sent.logId).toString('hex') !== model.logId) sent = model.cursor(0);
          const to = Math.max(node.standsAt ?? model.end, Number(sent.position));
          if (sent.position === 0n) yield* model.pass(sent, to, 3);
          else {
            const lacking = model.views.filter((view) => !sent.views.some((id) => id[0] === view));
            for (const view of lacking) yield* model.passOf(view, Number(sent.position), sent, to, 3);
            yield* model.live(Number(sent.position), to);
          }
          sent = model.cursor(to);
        }
        await this.#sleep(1000, signal);
      }
    } finally {
      this.open.delete(name);
    }
  }
}

function unavailable(cursor: ShardCursor): SubscribeChangesResponse {
  return create(SubscribeChangesResponseSchema, {
    shard: cursor.shard,
    logId: cursor.logId,
    after: cursor.position,
    cursor,
    unavailable: toErrorDetail(new FreshetError('DATA_DAMAGED', 'the shard is halted')),
  });
}
