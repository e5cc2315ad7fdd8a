/**
 * A replica: follows changes, applies rows, keeps them on disk, and answers reads from memory. What a serve node and a
 * model server with features in its own process share.
 *
 * Owns: putting the parts together, and when the disk is written. The parts: replica-state.ts (what is known),
 * replica-store.ts (disk), follower.ts (network), row-reader.ts (reads).
 *
 * Static stability: everything that reads need is on its own disk. It starts and serves without upstream or registry.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { Catalog } from './catalog.ts';
import { type ChangesClient, Follower } from './follower.ts';
import type { ReplicaState } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { RowReader } from './row-reader.ts';
import type { Upstream } from './upstreams.ts';

export interface ReplicaOptions {
  /** Where the replica keeps its LevelDB; made if it is not there. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Opens a connection to a node; by default gRPC. */
  readonly connect?: ((address: string) => ChangesClient) | undefined;
  /** The least time between frames of a shard, microseconds; 0: as soon as folded. */
  readonly coalesceUs?: number | undefined;
  /** How often the disk is written, milliseconds. */
  readonly flushIntervalMs?: number | undefined;
  /** The most rows whose values are kept decoded. */
  readonly maxSteps?: number | undefined;
}

/** How a shard of a replica is. */
export interface ShardReport {
  readonly shard: number;
  /** Hex. */
  readonly logId: string;
  readonly position: number;
  readonly completeThroughUs: number;
  readonly connected: boolean;
  readonly catchingUp: boolean;
  /** View ids in hex. */
  readonly building: readonly string[];
}

// The disk is written before its time when this much waits for it: it bounds the pause that a write's encoding makes.
const FLUSH_BYTES = 1024 * 1024;
// Followers wait for the disk when this much waits for it.
const PRESSURE_BYTES = 4 * 1024 * 1024;

export class Replica {
  readonly #store: ReplicaStore;
  readonly #state: ReplicaState;
  readonly #follower: Follower;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #flushIntervalMs: number;
  readonly reader: RowReader;
  #wake: AbortController | undefined;
  #waiting: (() => void)[] = [];
  #diskFails = false;
  #flushing: Promise<void> = Promise.resolve();
  #closed = false;
  #loop: Promise<void> = Promise.resolve();

  private constructor(options: ReplicaOptions, store: ReplicaStore, state: ReplicaState) {
    this.#store = store;
    this.#state = state;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#flushIntervalMs = options.flushIntervalMs ?? 200;
    this.reader = new RowReader(options.maxSteps);
    this.#follower = new Follower({
      state,
      clock: options.clock,
      log: options.log,
      connect: options.connect ?? ((address) => createGrpcClient(ComputeService, address)),
      pressure: () => this.#pressure(),
      coalesceUs: options.coalesceUs ?? 0,
    });
  }

  /** Opens the directory and loads what is there. Throws STORE_LOCKED or DATA_DAMAGED. */
  static async open(options: ReplicaOptions): Promise<Replica> {
    await mkdir(options.directory, { recursive: true });
    const store = await ReplicaStore.open(join(options.directory, 'replica'), options.log);
    try {
      const replica = new Replica(options, store, await store.load());
      replica.#loop = replica.#flushLoop();
      return replica;
    } catch (error) {
      await store.close();
      throw error;
    }
  }

  /** What can be read now. The object is replaced, never changed. */
  get catalog(): Catalog {
    return this.#state.catalog;
  }

  /** The newest definitions that are known. */
  get definitions(): DefinitionSet | undefined {
    return this.#state.sets[0];
  }

  get knownGeneration(): bigint {
    return this.#state.knownGeneration;
  }

  /** 0: not known yet. */
  get shardCount(): number {
    return this.#state.shardCount;
  }

  get rowCount(): number {
    return this.#state.rowCount;
  }

  /** Takes newer definitions. */
  define(set: DefinitionSet): void {
    this.#state.define(set);
  }

  /** Takes how many shards the deployment has. */
  learnShardCount(count: number): void {
    this.#state.learnShardCount(count);
  }

  /** Takes who offers which shards, and follows them. */
  setUpstreams(upstreams: readonly Upstream[]): void {
    this.#follower.setUpstreams(upstreams);
  }

  /** Every shard, by number. */
  shards(): ShardReport[] {
    return [...this.#state.shards.values()]
      .map(({ served, incoming }) => ({
        shard: served.shard,
        logId: served.logId,
        position: served.position,
        completeThroughUs: served.completeThroughUs,
        connected: this.#follower.connected(served.shard),
        catchingUp: served.catchingUp || served.position === 0 || incoming !== undefined,
        building: [...served.building],
      }))
      .sort((a, b) => a.shard - b.shard);
  }

  /** Writes what is not on disk yet. */
  async flush(): Promise<void> {
    const before = this.#flushing;
    this.#flushing = (async () => {
      await before.catch(() => undefined);
      await this.#store.flush(this.#state);
    })();
    await this.#flushing;
  }

  /** Stops following, writes what is left, closes the store. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#follower.stop();
    this.#wake?.abort();
    await this.#loop;
    try {
      await this.flush();
    } finally {
      await this.#store.close();
    }
  }

  get #dirtyBytes(): number {
    let bytes = 0;
    for (const copy of this.#state.copies()) for (const table of copy.tables.values()) bytes += table.dirtyBytes;
    return bytes;
  }

  #pressure(): Promise<void> | undefined {
    const bytes = this.#dirtyBytes;
    if (bytes < FLUSH_BYTES) return undefined;
    this.#wake?.abort();
    // With a disk that fails, memory goes on: dirty keys are bounded by the rows there are.
    if (bytes < PRESSURE_BYTES || this.#diskFails || this.#closed) return undefined;
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #flushLoop(): Promise<void> {
    while (!this.#closed) {
      const wake = new AbortController();
      this.#wake = wake;
      if (this.#dirtyBytes < FLUSH_BYTES) {
        await this.#clock.sleep(this.#flushIntervalMs, wake.signal).catch(() => undefined);
      }
      try {
        await this.flush();
        this.#diskFails = false;
      } catch (error) {
        if (!this.#diskFails) this.#log.error('the replica cannot write to its disk; it serves from memory', { error });
        this.#diskFails = true;
        await this.#clock.sleep(1000, wake.signal).catch(() => undefined);
      }
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const resolve of waiting) resolve();
    }
  }
}
