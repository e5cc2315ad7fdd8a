/**
 * A replica: follows changes, applies rows, keeps them on disk, and answers reads from memory. What a serve node and a
 * model server with features in its own process share.
 *
 * Owns: putting the parts together. The parts: replica-state.ts (what is known), replica-store.ts and disk-keeper.ts
 * (disk), follower.ts (network), replica-watch.ts (what is not as it should be), row-reader.ts (reads).
 *
 * Static stability: everything that reads need is on its own disk. It starts and serves without upstream or registry,
 * and whatever the disk does later, it follows and serves from memory.
 */
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { ComputeService } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import type { Condition } from '@freshet/gen/freshet/type/v1/condition_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import type { Clock } from '@freshet/kit/clock.ts';
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { createGrpcClient } from '@freshet/kit/grpc/client.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { Stores } from '@freshet/store/key-value-store.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import type { Catalog } from './catalog.ts';
import { confirmErased, type ErasedAnswer, type ErasedQuestion } from './confirm-erased.ts';
import type { ChangesClient } from './connections.ts';
import { DeadRows } from './dead-rows.ts';
import { DiskKeeper } from './disk-keeper.ts';
import { Follower } from './follower.ts';
import type { ReplicaState, Shard, StateCounts } from './replica-state.ts';
import { ReplicaStore } from './replica-store.ts';
import { type PendingGeneration, ReplicaWatch } from './replica-watch.ts';
import { RowReader } from './row-reader.ts';
import type { Upstream } from './upstreams.ts';

export interface ReplicaOptions {
  /** Where the replica keeps its store; made if it is not there. */
  readonly directory: string;
  readonly clock: Clock;
  readonly log: Logger;
  /** Where stores lie; by default LevelDB. */
  readonly stores?: Stores | undefined;
  /** Opens a connection to a node; by default gRPC. */
  readonly connect?: ((address: string) => ChangesClient) | undefined;
  /** Lets others run for a turn. */
  readonly yieldNow?: (() => Promise<unknown>) | undefined;
  /** A number in [0, 1), for jitter. */
  readonly random?: (() => number) | undefined;
  /** Where the replica says what is not as it should be; by default a board of its own. */
  readonly conditions?: ConditionBoard | undefined;
  /** The least time between frames of a shard, microseconds; 0: as soon as folded. */
  readonly coalesceUs?: number | undefined;
  /** How often the disk is written, milliseconds. */
  readonly flushIntervalMs?: number | undefined;
  /** The most rows whose values are kept decoded. */
  readonly maxSteps?: number | undefined;
  /** Bytes that rows may take in memory, about; 0: any. See replica-watch.ts. */
  readonly memoryBudgetBytes?: number | undefined;
  /** How often the store's files are looked through for damage, milliseconds; 0: only at the start. */
  readonly scrubIntervalMs?: number | undefined;
  /** How many bytes of them a second. */
  readonly scrubBytesPerS?: number | undefined;
}

/** How a shard of a replica is. */
export interface ShardReport {
  readonly shard: number;
  /** Hex. */
  readonly logId: string;
  readonly position: number;
  readonly completeThroughUs: number;
  readonly connected: boolean;
  /** The node that it is followed from; undefined while it is not. */
  readonly upstream: string | undefined;
  /** Why it is not followed; empty while it is. */
  readonly reason: string;
  /** By a clock that does not jump: since completeness last moved, or since the start. */
  readonly standstillUs: number;
  readonly catchingUp: boolean;
  /** Its rows were lost to the disk: its keys cannot be read until they are there again. */
  readonly healing: boolean;
  /** View ids in hex. */
  readonly building: readonly string[];
  /** The ids, in hex, of views whose rows stand still upstream, because their routes begin anew. */
  readonly standing: readonly string[];
}

/** What happened since the process started. */
export interface ReplicaCounts extends StateCounts {
  /** What the disk damaged, as it was told: each loss of rows, and each store that was put aside. */
  damages: number;
}

const WATCH_MS = 500;

interface Parts {
  readonly store: ReplicaStore;
  readonly state: ReplicaState;
  readonly conditions: ConditionBoard;
  readonly damages: { count: number };
}

export class Replica {
  readonly #store: ReplicaStore;
  readonly #state: ReplicaState;
  readonly #conditions: ConditionBoard;
  readonly #disk: DiskKeeper;
  readonly #follower: Follower;
  readonly #clock: Clock;
  readonly #watch: ReplicaWatch;
  readonly reader: RowReader;
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;
  readonly #dead: DeadRows;
  readonly #sweeping: Promise<void>;
  readonly #damages: { readonly count: number };

  private constructor(options: ReplicaOptions, { store, state, conditions, damages }: Parts) {
    const { clock, log } = options;
    this.#store = store;
    this.#state = state;
    this.#conditions = conditions;
    this.#damages = damages;
    this.#clock = clock;
    this.reader = new RowReader(options.maxSteps);
    this.#disk = new DiskKeeper({
      store,
      state,
      clock,
      log,
      conditions,
      flushIntervalMs: options.flushIntervalMs ?? 200,
      scrubIntervalMs: options.scrubIntervalMs ?? 3_600_000,
      scrubBytesPerS: options.scrubBytesPerS ?? 16 * 1024 * 1024,
    });
    this.#follower = new Follower({
      state,
      clock,
      log,
      connect: options.connect ?? ((address) => createGrpcClient(ComputeService, address)),
      random: options.random ?? Math.random,
      yieldNow: options.yieldNow ?? turn,
      pressure: () => this.#disk.pressure(),
      coalesceUs: options.coalesceUs ?? 0,
    });
    const link = (shard: number): ReturnType<Follower['report']> => this.#follower.report(shard);
    this.#watch = new ReplicaWatch({ state, conditions, link, budgetBytes: options.memoryBudgetBytes ?? 0 });
    this.#watching = this.#watchLoop();
    this.#dead = new DeadRows(state);
    this.#sweeping = this.#dead.run(clock, options.yieldNow ?? turn, this.#stop.signal);
  }

  /**
   * Opens the directory and loads what is there. What the disk lost or damaged is left out, and told as a condition.
   * Throws STORE_LOCKED, INVALID_CONFIG, or what the disk says.
   */
  static async open(options: ReplicaOptions): Promise<Replica> {
    const { clock, log } = options;
    const conditions = options.conditions ?? new ConditionBoard({ clock, log });
    const directory = join(options.directory, 'replica');
    const damages = { count: 0 };
    const onDamage = (message: string): void => {
      damages.count += 1;
      log.warn('the disk has damaged the replica', { what: message });
      const remedy = 'nothing for now: it heals itself; look at the disk if it happens again';
      conditions.raise('replica/damage', { code: 'DATA_DAMAGED', message, remedy, place: directory });
    };
    const store = await ReplicaStore.open({ stores: options.stores ?? levelStores, directory, onDamage });
    try {
      return new Replica(options, { store, state: await store.load(), conditions, damages });
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

  /** Bytes of memory that rows take, about. */
  get rowBytes(): number {
    return this.#state.bytes;
  }

  get counts(): ReplicaCounts {
    return { ...this.#state.counts, damages: this.#damages.count };
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
    return [...this.#state.shards.values()].map((shard) => this.#report(shard)).sort((a, b) => a.shard - b.shard);
  }

  /** Views whose rows of a new generation have come in some shards, and are waited for in the others. */
  get pendingGenerations(): readonly PendingGeneration[] {
    return this.#watch.pending;
  }

  /** What is not as it should be. */
  get conditions(): Condition[] {
    return this.#conditions.list();
  }

  /** Writes what is not on disk yet. Throws what the disk says. */
  flush(): Promise<void> {
    return this.#disk.flush();
  }

  /**
   * Confirms that nothing of an erased entity is held, once the replica is past the Erase record. Throws WRONG_LOG, what the
   * disk says, and the signal's reason when that comes first.
   */
  confirmErased(question: ErasedQuestion, signal: AbortSignal): Promise<ErasedAnswer> {
    const place = { state: this.#state, dead: this.#dead, disk: this.#disk, clock: this.#clock };
    return confirmErased(place, question, AbortSignal.any([signal, this.#stop.signal]));
  }

  /** Looks through the store's files now; what is damaged is written anew from memory. Throws what the disk says. */
  scrub(): Promise<void> {
    return this.#disk.scrub();
  }

  /** Stops following, writes what is left, closes the store. */
  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    await this.#follower.stop();
    await this.#watching;
    await this.#sweeping;
    try {
      await this.#disk.close();
    } finally {
      await this.#store.close();
    }
  }

  #report({ served, incoming, lost }: Shard): ShardReport {
    const link = this.#follower.report(served.shard);
    return {
      shard: served.shard,
      logId: served.logId,
      position: served.position,
      completeThroughUs: served.completeThroughUs,
      connected: link?.upstream !== undefined,
      upstream: link?.upstream,
      reason: link === undefined ? 'no node offers it' : link.reason,
      standstillUs: link?.standstillUs ?? 0,
      catchingUp: served.catchingUp || served.position === 0 || incoming !== undefined,
      healing: lost,
      building: [...served.building],
      standing: [...served.standing],
    };
  }

  async #watchLoop(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#watch.look({ wallUs: this.#clock.nowUs(), monotonicUs: this.#clock.monotonicUs() });
      await this.#clock.sleep(WATCH_MS, signal).catch(() => undefined);
    }
  }
}
