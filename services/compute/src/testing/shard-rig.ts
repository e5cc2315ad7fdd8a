/**
 * One shard on a log in memory and a real LevelDB in a temporary directory, driven by hand: it can be crashed between
 * any two steps and opened again, and subscriptions are pulled frame by frame.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import {
  type SubscribeChangesResponse,
  SubscribeChangesResponseSchema,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { toHex } from '@freshet/kit/hex.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { Log } from '@freshet/log/log.ts';
import { createMemoryLog } from '@freshet/log/memory-log.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import type { CreateFold, StateDigest } from '../core/fold-port.ts';
import { Gate } from '../core/gate.ts';
import { PassPace } from '../core/pass-pace.ts';
import { runLoops } from '../core/run-loops.ts';
import { Shard } from '../core/shard.ts';
import { FRAME_LIMITS, type ShardLimits } from '../core/shard-limits.ts';
import { singleShard } from '../core/shard-source.ts';
import { ShardStore, type ShardStoreOptions } from '../io/shard-store.ts';
import { computeHandlers } from '../rpc/handlers.ts';
import { countingVersion, createCountingDigest, createCountingFold } from './counting-fold.ts';
import type { ModelReplica } from './model-replica.ts';

export interface RigOptions {
  readonly limits?: Partial<ShardLimits> | undefined;
  readonly createFold?: CreateFold | undefined;
  readonly createDigest?: ((meta: Uint8Array) => StateDigest) | undefined;
  readonly log?: Log | undefined;
  readonly stores?: Stores | undefined;
  readonly versionOf?: ((state: Uint8Array) => number) | undefined;
  /** Left out: pages never rest, as nobody moves the clock for them. */
  readonly passPace?: PassPace | undefined;
}

export const RIG_LIMITS: ShardLimits = {
  cacheBytes: 1 << 20,
  commitBytes: 1 << 20,
  commitIntervalMs: 1_000_000,
  tailBytes: 1 << 20,
  rowCacheBytes: 1 << 20,
  journal: { ageUs: 3_600_000_000, bytes: 1 << 20 },
  frame: FRAME_LIMITS,
};

/** An open subscription. */
export class Subscription {
  readonly #frames: AsyncIterator<SubscribeChangesResponse>;
  readonly #controller: AbortController;
  #pending: Promise<IteratorResult<SubscribeChangesResponse>> | undefined;

  constructor(frames: AsyncIterable<SubscribeChangesResponse>, controller: AbortController) {
    this.#frames = frames[Symbol.asyncIterator]();
    this.#controller = controller;
  }

  /** The next frame if it comes without anything else happening; else undefined. */
  async pull(patience = 40): Promise<SubscribeChangesResponse | undefined> {
    this.#pending ??= this.#frames.next();
    let result: IteratorResult<SubscribeChangesResponse> | undefined;
    this.#pending.then(
      (value) => {
        result = value;
      },
      () => undefined,
    );
    for (let i = 0; i < patience && result === undefined; i++) await turn();
    if (result === undefined) return undefined;
    this.#pending = undefined;
    assert(result.done !== true, 'a subscription does not end by itself');
    return result.value;
  }

  /** The next frame, however long it takes. */
  async next(): Promise<SubscribeChangesResponse> {
    this.#pending ??= this.#frames.next();
    const result = await this.#pending;
    this.#pending = undefined;
    assert(result.done !== true, 'a subscription does not end by itself');
    return result.value;
  }

  async close(): Promise<void> {
    this.#controller.abort();
    await this.#pending?.catch(() => undefined);
    await this.#frames.return?.();
  }
}

export class ShardRig {
  readonly clock = new VirtualClock();
  readonly log: Log;
  readonly #directory: string;
  readonly options: RigOptions;
  #running: { shard: Shard; storage: ShardStore; stop: AbortController; loops: Promise<void> } | undefined;

  private constructor(directory: string, options: RigOptions) {
    this.#directory = directory;
    this.options = options;
    this.log = options.log ?? createMemoryLog({ partitions: 1, clock: this.clock });
  }

  static async make(options: RigOptions = {}): Promise<ShardRig> {
    return new ShardRig(await mkdtemp(join(tmpdir(), 'freshet-shard-')), options);
  }

  get shard(): Shard {
    return must(this.#running).shard;
  }

  get path(): string {
    return join(this.#directory, '0');
  }

  get storeOptions(): ShardStoreOptions {
    return {
      stores: this.options.stores ?? levelStores,
      directory: this.path,
      shard: 0,
      yieldNow: () => turn(),
      versionOf: this.options.versionOf ?? countingVersion,
    };
  }

  async open(): Promise<Shard> {
    const storage = await ShardStore.open(this.storeOptions);
    const shard = new Shard({
      shard: 0,
      log: this.log,
      storage,
      createFold: this.options.createFold ?? createCountingFold,
      createDigest: this.options.createDigest ?? createCountingDigest,
      clock: this.clock,
      logger: silentLogger,
      yieldNow: () => turn(),
      pages: new Gate(2),
      passPace: this.options.passPace ?? new PassPace(1),
      limits: { ...RIG_LIMITS, ...this.options.limits },
    });
    const stop = new AbortController();
    const loops = runLoops(shard, stop.signal);
    loops.catch((error: unknown) => shard.fail(error));
    this.#running = { shard, storage, stop, loops };
    return shard;
  }

  /** Ends the shard as a crash would: nothing is committed any more. */
  async crash(): Promise<void> {
    const running = must(this.#running);
    this.#running = undefined;
    running.stop.abort();
    await running.loops;
    running.shard.fail(new Error('crashed'));
    await running.storage.close();
  }

  /** Resolves when the shard has folded the whole log and completed its builds. */
  async settled(): Promise<void> {
    const { shard } = this;
    for (;;) {
      const { partitions } = await this.log.describe();
      if (shard.position === must(partitions[0]).end && shard.fold.builds().length === 0) return;
      if (shard.failure !== undefined) throw shard.failure;
      await turn();
    }
  }

  async commit(): Promise<void> {
    await this.shard.digest();
  }

  subscribe(replica: ModelReplica, wanted: readonly string[] = [], coalesceUs = 0): Subscription {
    const controller = new AbortController();
    const handlers = computeHandlers(singleShard(this.shard), {
      clock: this.clock,
      yieldNow: () => turn(),
      partitions: 1,
    });
    replica.reconnected();
    const frames = handlers.subscribeChanges(
      {
        $typeName: 'freshet.compute.v1.SubscribeChangesRequest',
        shards: [
          replica.cursor ?? {
            $typeName: 'freshet.compute.v1.ShardCursor',
            shard: 0,
            logId: new Uint8Array(0),
            position: 0n,
            recordCrc: 0,
            views: [],
            aheadPosition: 0n,
            aheadCrc: 0,
          },
        ],
        views: wanted.map((id) => Buffer.from(id, 'hex')),
        coalesceUs: BigInt(coalesceUs),
      },
      { signal: controller.signal, peer: 'test' },
    );
    return new Subscription(asReceived(frames as AsyncIterable<SubscribeChangesResponse>), controller);
  }

  async remove(): Promise<void> {
    if (this.#running !== undefined) await this.crash();
    await rm(this.#directory, { recursive: true, force: true });
  }
}

/** Frames as they are on the other side of the wire. */
export async function* asReceived(
  frames: AsyncIterable<SubscribeChangesResponse>,
): AsyncGenerator<SubscribeChangesResponse> {
  const schema = SubscribeChangesResponseSchema;
  for await (const frame of frames) yield fromBinary(schema, toBinary(schema, frame));
}

/** The views that a replica has whole. */
export function wholeViews(replica: ModelReplica): string[] {
  return (replica.cursor?.views ?? []).map(toHex);
}
