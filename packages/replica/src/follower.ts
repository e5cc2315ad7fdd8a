/**
 * Follows changes from upstream nodes: one stream per node, for the shards assigned to it, reopened for ever.
 *
 * Owns: the streams, their retries (jittered, backing off), moving a shard to another node that offers it when its own
 * fails. Does not own: what frames mean (replica-state.ts).
 *
 * Invariant R1: a stream is opened at the shards' cursors and its frames are applied in their order; a frame that does
 * not continue ends the stream, and the next one starts from the cursors again.
 */

import { setImmediate as turn } from 'node:timers/promises';
import type { MessageInitShape } from '@bufbuild/protobuf';
import type {
  SubscribeChangesRequestSchema,
  SubscribeChangesResponse,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { FreshetError, isAbort } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import { retry } from '@freshet/kit/retry.ts';
import type { ReplicaState } from './replica-state.ts';
import { type Assignment, assignShards, type Upstream } from './upstreams.ts';

/** A connection to a node that streams changes. */
export interface ChangesClient {
  subscribeChanges(
    request: MessageInitShape<typeof SubscribeChangesRequestSchema>,
    options: { signal: AbortSignal },
  ): AsyncIterable<SubscribeChangesResponse>;
  close(): void;
}

const SUSPECT_US = 2_000_000;
// A node that restarts is back within a second or two; what is lost by asking often is little.
const RETRY_MS_MAX = 1_000;

export interface FollowerOptions {
  readonly state: ReplicaState;
  readonly clock: Clock;
  readonly log: Logger;
  readonly connect: (address: string) => ChangesClient;
  /** Resolves when the disk keeps up; called after every frame. */
  readonly pressure: () => Promise<void> | undefined;
  /** The least time between frames of a shard, microseconds. */
  readonly coalesceUs: number;
}

interface Stream {
  readonly shards: readonly number[];
  readonly controller: AbortController;
  readonly done: Promise<void>;
  connected: boolean;
}

export class Follower {
  readonly #options: FollowerOptions;
  readonly #streams = new Map<string, Stream>();
  /** When nodes failed last, monotonic microseconds; a node that streams is not here. */
  readonly #failedUs = new Map<string, number>();
  #upstreams: readonly Upstream[] = [];
  #stopped = false;
  /** Resolves when every stream that was given up has let go of its shards. */
  #ended: Promise<unknown> = Promise.resolve();

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** Whether the stream of the shard is open. */
  connected(shard: number): boolean {
    for (const stream of this.#streams.values()) if (stream.connected && stream.shards.includes(shard)) return true;
    return false;
  }

  /** Takes who offers which shards. Streams whose shards stay the same go on. */
  setUpstreams(upstreams: readonly Upstream[]): void {
    this.#upstreams = upstreams;
    this.#assign();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const { controller } of streams) controller.abort();
    await Promise.all([this.#ended, ...streams.map(({ done }) => done)]);
  }

  #assign(): void {
    if (this.#stopped) return;
    const before: Assignment = new Map([...this.#streams].map(([address, { shards }]) => [address, shards]));
    const after = assignShards(this.#upstreams, before, this.#suspects());
    for (const [address, stream] of this.#streams) {
      if (same(after.get(address), stream.shards)) continue;
      this.#streams.delete(address);
      stream.controller.abort();
      this.#ended = Promise.allSettled([this.#ended, stream.done]);
    }
    for (const [address, shards] of after) if (!this.#streams.has(address)) this.#open(address, shards);
  }

  #open(address: string, shards: readonly number[]): void {
    const controller = new AbortController();
    const client = this.#options.connect(address);
    const { clock, log } = this.#options;
    const stream: Stream = {
      shards,
      controller,
      connected: false,
      // A stream that is given up may still be applying a frame: two at once would move each other's cursor (R1).
      done: this.#ended.then(async () => {
        try {
          await retry((healthy) => this.#follow(client, stream, () => this.#healthy(address, healthy)), {
            what: `following changes from ${address}`,
            signal: controller.signal,
            clock,
            log,
            maxDelayMs: RETRY_MS_MAX,
            retryable: (error) => this.#failed(address, controller.signal, error),
          });
        } catch (error) {
          if (!controller.signal.aborted && !isAbort(error)) throw error;
        } finally {
          client.close();
        }
      }),
    };
    this.#streams.set(address, stream);
  }

  /** Nodes that failed a short while ago. Later they are worth a try as good as any: nobody else would find them back. */
  #suspects(): ReadonlySet<string> {
    const sinceUs = this.#options.clock.monotonicUs() - SUSPECT_US;
    for (const [address, us] of this.#failedUs) if (us < sinceUs) this.#failedUs.delete(address);
    return new Set(this.#failedUs.keys());
  }

  /** Lets another node that offers the shards have them; whatever the failure was, following goes on. */
  #failed(address: string, signal: AbortSignal, error: FreshetError): boolean {
    if (error.code === 'INTERNAL')
      this.#options.log.warn('applying changes failed', { address, error: error.cause ?? error });
    this.#failedUs.set(address, this.#options.clock.monotonicUs());
    this.#assign();
    return !signal.aborted;
  }

  #healthy(address: string, healthy: () => void): void {
    this.#failedUs.delete(address);
    healthy();
  }

  async #follow(client: ChangesClient, stream: Stream, healthy: () => void): Promise<void> {
    const { state, coalesceUs, pressure } = this.#options;
    const { signal } = stream.controller;
    const request = {
      shards: stream.shards.map((shard) => state.cursor(shard)),
      coalesceUs: BigInt(coalesceUs),
    };
    try {
      for await (const frame of client.subscribeChanges(request, { signal })) {
        if (signal.aborted) return;
        const applied = state.apply(frame);
        if (applied.outcome === 'refused') throw new FreshetError('UNAVAILABLE', applied.reason);
        if (applied.rest !== undefined) for (const _ of applied.rest) await turn();
        stream.connected = true;
        healthy();
        await pressure();
      }
    } finally {
      stream.connected = false;
      state.disconnected(stream.shards);
    }
    throw new FreshetError('UNAVAILABLE', 'the stream ended');
  }
}

function same(a: readonly number[] | undefined, b: readonly number[]): boolean {
  return a !== undefined && a.length === b.length && a.every((shard, i) => shard === b[i]);
}
