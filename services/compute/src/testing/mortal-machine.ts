/**
 * A machine with one node of one shard on it, that lives through a history and dies at one I/O of it: just before it is done,
 * the process is killed, or the machine crashes and keeps some of what was not synced. The node is started again on what is
 * left, and the history goes on. A follower reads all the time and comes back to each life with its cursor.
 *
 * Owns the lives. Does not own what happens in them (a History says that), nor what must be true at the end.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import {
  SubscribeChangesRequestSchema,
  type SubscribeChangesResponse,
} from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { MemoryDisk, type StoreStep } from '@freshet/store/memory-store.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import type { CheckpointFormat } from '../core/checkpoint.ts';
import type { CreateFold } from '../core/fold-port.ts';
import type { ForgetRequest } from '../core/forget-entity.ts';
import { Gate } from '../core/gate.ts';
import { PassPace } from '../core/pass-pace.ts';
import { ShardHost } from '../core/shard-host.ts';
import type { SweepPace } from '../core/sweep-loop.ts';
import { shardDirectory } from '../io/node-storage.ts';
import { computeHandlers } from '../rpc/handlers.ts';
import { ModelReplica, type ModelRow } from './model-replica.ts';
import { asReceived, RIG_LIMITS } from './shard-rig.ts';
import { SteppedLog } from './stepped-log.ts';
import { testStorage } from './test-storage.ts';

const DATA = '/data';
/** Where the shard's store is. */
export const MORTAL_STORE = shardDirectory(DATA, 0);

/** What is done once the records of a stage are folded. An act that a death cut short is done again in the next life. */
export type Act =
  | 'commit'
  | 'checkpoint'
  /** The clock goes on until all that is stored was looked through at least once; then a commit. */
  | 'sweep'
  | 'nothing'
  /** Of an Erase record; each try lets one record more be seen. */
  | { readonly forget: Pick<ForgetRequest, 'offset' | 'key'> }
  | { readonly harm: (stores: MemoryDisk) => void };

export interface Stage {
  /** How many records there are by then. */
  readonly show: number;
  readonly act: Act;
}

export interface History {
  readonly records: readonly Uint8Array[];
  readonly timeUsOf?: ((offset: number) => number) | undefined;
  readonly stages: readonly Stage[];
  readonly createFold: CreateFold;
  readonly format: CheckpointFormat;
  readonly sweep?: SweepPace | undefined;
  /** Views that are complete at the end. */
  readonly views: number;
  /** Whether a row need not be there; none by default. */
  readonly isDead?: ((viewId: string, row: ModelRow) => boolean) | undefined;
}

/** What there is at the end: rows as the follower has them, by view and key. */
export interface Ending {
  readonly digest: string;
  readonly rows: Map<string, Map<string, string>>;
  /** How often the shard was made anew. */
  readonly repairs: number;
}

/** Steps of a store that change it, or what of it outlives a crash. */
const CHANGES: ReadonlySet<StoreStep['kind']> = new Set(['open', 'write', 'sync', 'clear', 'aside']);

/** How many of so many unsynced batches a crash of the machine keeps; undefined: the process is killed, and keeps all. */
export type Keep = ((unsynced: number) => number) | undefined;

/** What outlives the processes that run on it. */
export class MortalMachine {
  readonly clock = new VirtualClock();
  readonly log: SteppedLog;
  readonly replica = new ModelReplica();
  readonly stores: MemoryDisk;
  files = new SimulatedDisk();
  ios = 0;
  /** The numbers of those that change what is stored: a death at another one leaves what a death at the next of these does. */
  readonly changing: number[] = [];
  deaths = 0;
  #isDead = false;
  #life = new AbortController();
  #stage = 0;
  readonly #history: History;
  readonly #dieAt: number;
  readonly #keep: Keep;

  constructor(history: History, dieAt: number, keep: Keep) {
    this.#history = history;
    this.log = new SteppedLog(history.records, history.timeUsOf);
    this.#dieAt = dieAt;
    this.#keep = keep;
    this.stores = new MemoryDisk({ before: ({ kind }) => this.#io(CHANGES.has(kind)) });
    this.files.step = ({ changes }) => this.#io(changes);
  }

  /** Lives through the history; returns what there is at its end. */
  async live(): Promise<Ending> {
    let repairs = 0;
    for (;;) {
      this.#isDead = false;
      this.#life = new AbortController();
      const host = this.#start();
      const running = host.run([0], this.#life.signal).catch((error: unknown) => {
        if (!this.#isDead) throw error;
      });
      running.catch(() => undefined);
      const following = this.#follow(host);
      try {
        await Promise.race([this.#go(host), running]);
        repairs += host.repairs(0);
        const found = this.#isDead
          ? undefined
          : await this.#end(host).catch((error: unknown) => this.#unlessDead(error));
        if (found !== undefined && !this.#isDead) return { ...found, repairs };
      } finally {
        this.#life.abort();
        await running;
        await following;
      }
    }
  }

  #unlessDead(error: unknown): undefined {
    if (!this.#isDead) throw error;
  }

  #start(): ShardHost {
    const { createFold, format, sweep } = this.#history;
    return new ShardHost({
      log: this.log,
      ...testStorage(DATA, this.clock, { stores: this.stores, files: this.files, checkpointsKept: 2, format }),
      createFold,
      createDigest: format.createDigest,
      clock: this.clock,
      logger: silentLogger,
      yieldNow: () => turn(),
      limits: { ...RIG_LIMITS, cacheBytes: 0, sweep },
      pages: new Gate(2),
      passPace: new PassPace(),
    });
  }

  async #go(host: ShardHost): Promise<void> {
    for (; this.#stage < this.#history.stages.length; this.#stage++) {
      const { show, act } = must(this.#history.stages[this.#stage]);
      this.log.show(show);
      if (await this.#until(() => isAt(host, this.log.end))) await this.#act(host, act);
      if (this.#isDead) return;
    }
  }

  async #act(host: ShardHost, act: Act): Promise<void> {
    if (act === 'nothing') return;
    const digest = (): Promise<unknown> => must(host.shard(0)).digest();
    if (act === 'commit') await this.#insist(host, digest);
    else if (act === 'checkpoint') await this.#insist(host, () => host.takeCheckpoint(0));
    else if (act === 'sweep') {
      await this.#sweep();
      await this.#insist(host, digest);
    } else if ('harm' in act) act.harm(this.stores);
    else {
      const request = { logId: this.log.logId, shard: 0, setAside: true, ...act.forget };
      await this.#insist(host, async () => {
        await digest();
        // The journal keeps its newest entry until there is a newer one.
        this.log.show(this.log.end + 1);
        return host.forget(request, this.#life.signal);
      });
    }
  }

  /** Done until it is done: what is damaged makes it fail, and the shard anew. */
  async #insist(host: ShardHost, work: () => Promise<unknown>): Promise<void> {
    for (let tries = 0; !this.#isDead; tries++) {
      assert(tries < 10, 'it is done at last');
      let done: 'yes' | 'no' | undefined;
      work().then(
        () => {
          done = 'yes';
        },
        () => {
          done = 'no';
        },
      );
      await this.#until(() => done !== undefined);
      if (done === 'yes' || !(await this.#until(() => isAt(host, this.log.end)))) return;
    }
  }

  async #sweep(): Promise<void> {
    const endUs = this.clock.monotonicUs() + 3_000 * must(this.#history.sweep).roundMs;
    while (this.clock.monotonicUs() < endUs && !this.#isDead) {
      await this.clock.advance(100_000);
      for (let turns = 0; turns < 3; turns++) await turn();
    }
  }

  /** Waits, with the clock going on now and then; false when the node died meanwhile. */
  async #until(what: () => boolean): Promise<boolean> {
    for (let turns = 1; !what(); turns++) {
      if (this.#isDead) return false;
      // A third repair within the hour (a power cut, damage, a lost key) waits a minute: 100 s are more than that.
      assert(turns < 10_000, 'it comes to pass');
      if (turns % 100 === 0) await this.clock.advance(1_000_000);
      await turn();
    }
    return !this.#isDead;
  }

  async #end(host: ShardHost): Promise<Omit<Ending, 'repairs'>> {
    const { end } = this.log;
    const { views, isDead } = this.#history;
    await this.#until(() => isAt(host, end));
    const shard = must(host.shard(0));
    const { digest } = await shard.digest();
    await this.#until(
      () => Number(this.replica.cursor?.position) === end && this.replica.cursor?.views.length === views,
    );
    const rows = new Map<string, Map<string, string>>();
    for (const id of shard.fold.completeViews()) {
      const there = [...this.replica.present(id)].filter(([, row]) => isDead?.(id, row) !== true);
      const texts = there.map(([key, row]) => [key, `${row.version} ${row.row}`] as const);
      rows.set(id, new Map(texts.sort(([a], [b]) => (a < b ? -1 : 1))));
    }
    return { digest: Buffer.from(digest).toString('latin1'), rows };
  }

  /** A follower that reads all the time and comes back to each life with its cursor. */
  async #follow(host: ShardHost): Promise<void> {
    const { signal } = this.#life;
    const handlers = computeHandlers(host, { clock: this.clock, yieldNow: () => turn(), partitions: 1 });
    this.replica.reconnected();
    const shards = [this.replica.cursor ?? { shard: 0 }];
    const request = create(SubscribeChangesRequestSchema, { shards });
    try {
      const frames = handlers.subscribeChanges(request, { signal, peer: '' });
      for await (const frame of asReceived(frames as AsyncIterable<SubscribeChangesResponse>))
        this.replica.apply(frame);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async #io(changes: boolean): Promise<void> {
    if (this.#isDead) throw new Error('dead');
    if (changes) this.changing.push(this.ios);
    if (this.ios++ !== this.#dieAt) return;
    this.deaths += 1;
    this.#isDead = true;
    this.#life.abort();
    const keep = this.#keep;
    if (keep === undefined) {
      this.stores.kill();
      this.files = this.files.kill();
    } else {
      this.stores.crash(keep);
      this.files = this.files.powerCut(new Random(this.#dieAt));
    }
    this.files.step = ({ changes }) => this.#io(changes);
    throw new Error('dead');
  }
}

function isAt(host: ShardHost, position: number): boolean {
  const shard = host.shard(0);
  return shard?.position === position && shard.fold.builds().length === 0 && shard.fold.broken === undefined;
}

/** A bit of a stored value flips. */
export function damageAt(stores: MemoryDisk, key: string | undefined): void {
  if (key === undefined) return;
  stores.damage(MORTAL_STORE, key, (sealed) => {
    sealed[0] = (sealed[0] ?? 0) ^ 4;
    return sealed;
  });
}
