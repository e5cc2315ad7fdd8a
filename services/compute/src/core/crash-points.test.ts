/**
 * Goal: F1, F3 and R1 whenever a node dies: the same rows, versions and digest as if it never had, and a follower that
 * misses nothing and never sees a row change at one version.
 * Method: one history of commits, checkpoints, a view that goes and comes, a value that is damaged and a key that
 * vanishes, on stores and files in memory that number every I/O. The history is run once undisturbed, then once for each
 * I/O: the process is killed just before it, or the machine crashes, keeping some of what was not synced; the node is
 * started again and the history goes on. FRESHET_FUZZ_RUNS=10 crashes the machine with every number of kept batches.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { SubscribeChangesRequestSchema } from '@freshet/gen/freshet/compute/v1/compute_pb.ts';
import { Operation } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { int64KeyString, keyBytes } from '@freshet/values/key.ts';
import { describe, expect, it } from 'vitest';
import { shardDirectory } from '../io/node-storage.ts';
import { computeHandlers } from '../rpc/handlers.ts';
import {
  changeRecord,
  createCountingDigest,
  createCountingFold,
  definitionsRecord,
  tickRecord,
} from '../testing/counting-fold.ts';
import { ModelReplica } from '../testing/model-replica.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { SteppedLog } from '../testing/stepped-log.ts';
import { testStorage } from '../testing/test-storage.ts';
import { Gate } from './gate.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost } from './shard-host.ts';

const DATA = '/data';
const STORE = shardDirectory(DATA, 0);
const EVERY_PREFIX = Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1') >= 10;

const add = (key: number): Uint8Array => changeRecord(0, keyBytes(int64KeyString(key)));
const remove = (key: number): Uint8Array => changeRecord(0, keyBytes(int64KeyString(key)), Operation.DELETE);
const views = (generation: number, ...ns: number[]): Uint8Array =>
  definitionsRecord(
    generation,
    ns.map((n) => ({ n, route: 0 })),
  );

type Stage = { readonly show: number; readonly act: 'commit' | 'checkpoint' | 'damage' | 'lose' | 'nothing' };

const RECORDS = [
  [views(1, 0), ...[1, 2, 3, 4, 5].map(add), tickRecord()],
  [add(1), add(6), remove(2)],
  [add(3), remove(4), views(2, 0, 1)],
  [add(7), add(1), tickRecord()],
  [add(3), add(5)],
  [remove(6), add(2), views(3, 1)],
  [add(8), views(4, 0, 1), add(8), tickRecord()],
];
const ends = RECORDS.map((_, i) => RECORDS.slice(0, i + 1).flat().length);
const STAGES: readonly Stage[] = [
  { show: must(ends[0]), act: 'commit' },
  { show: must(ends[1]), act: 'checkpoint' },
  { show: must(ends[2]), act: 'commit' },
  { show: must(ends[2]), act: 'damage' },
  { show: must(ends[3]), act: 'commit' },
  { show: must(ends[4]), act: 'checkpoint' },
  { show: must(ends[4]), act: 'lose' },
  { show: must(ends[5]), act: 'checkpoint' },
  { show: must(ends[6]), act: 'commit' },
  { show: must(ends[6]), act: 'nothing' },
];

/** The machine: what outlives the processes that run on it. */
class Machine {
  readonly clock = new VirtualClock();
  readonly log = new SteppedLog(RECORDS.flat());
  readonly replica = new ModelReplica();
  readonly stores: MemoryDisk;
  files = new SimulatedDisk();
  ios = 0;
  deaths = 0;
  isDead = false;
  #life = new AbortController();
  #stage = 0;
  readonly #dieAt: number;
  readonly #keep: ((unsynced: number) => number) | undefined;

  constructor(dieAt: number, keep: ((unsynced: number) => number) | undefined) {
    this.#dieAt = dieAt;
    this.#keep = keep;
    this.stores = new MemoryDisk({ before: () => this.#io() });
    this.files.step = () => this.#io();
  }

  /** Lives through the history; returns what there is at its end. */
  async live(): Promise<{ digest: string; rows: Map<string, Map<string, string>>; repairs: number }> {
    let repairs = 0;
    for (;;) {
      this.isDead = false;
      this.#life = new AbortController();
      const host = this.#start();
      const running = host.run([0], this.#life.signal).catch((error: unknown) => {
        if (!this.isDead) throw error;
      });
      running.catch(() => undefined);
      const following = this.#follow(host);
      try {
        await Promise.race([this.#go(host), running]);
        repairs += host.repairs(0);
        const found = this.isDead
          ? undefined
          : await this.#end(host).catch((error: unknown) => this.#unlessDead(error));
        if (found !== undefined && !this.isDead) return { ...found, repairs };
      } finally {
        this.#life.abort();
        await running;
        await following;
      }
    }
  }

  #unlessDead(error: unknown): undefined {
    if (!this.isDead) throw error;
  }

  #start(): ShardHost {
    return new ShardHost({
      log: this.log,
      ...testStorage(DATA, this.clock, { stores: this.stores, files: this.files, checkpointsKept: 2 }),
      createFold: createCountingFold,
      createDigest: createCountingDigest,
      clock: this.clock,
      logger: silentLogger,
      yieldNow: () => turn(),
      limits: { ...RIG_LIMITS, cacheBytes: 0 },
      pages: new Gate(2),
      passPace: new PassPace(),
    });
  }

  async #go(host: ShardHost): Promise<void> {
    for (; this.#stage < STAGES.length && !this.isDead; this.#stage++) {
      const { show, act } = must(STAGES[this.#stage]);
      this.log.show(show);
      if (!(await this.#until(() => isAt(host, show)))) return;
      if (act === 'damage') this.#damage();
      else if (act === 'lose') this.#lose();
      // What is damaged makes these fail, and the shard anew: then they are done again.
      else if (act === 'commit') await this.#insist(host, show, () => must(host.shard(0)).digest());
      else if (act === 'checkpoint') await this.#insist(host, show, () => host.takeCheckpoint(0));
    }
  }

  async #insist(host: ShardHost, position: number, work: () => Promise<unknown>): Promise<void> {
    for (let tries = 0; !this.isDead; tries++) {
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
      if (done === 'yes' || !(await this.#until(() => isAt(host, position)))) return;
    }
  }

  /** Waits, with the clock going on now and then; false when the node died meanwhile. */
  async #until(what: () => boolean): Promise<boolean> {
    for (let turns = 1; !what(); turns++) {
      if (this.isDead) return false;
      // A third repair within the hour (a power cut, damage, a lost key) waits a minute: 100 s are more than that.
      assert(turns < 10_000, 'it comes to pass');
      if (turns % 100 === 0) await this.clock.advance(1_000_000);
      await turn();
    }
    return !this.isDead;
  }

  async #end(host: ShardHost): Promise<{ digest: string; rows: Map<string, Map<string, string>> }> {
    const { end } = this.log;
    await this.#until(() => isAt(host, end));
    const { digest } = await must(host.shard(0)).digest();
    const shard = must(host.shard(0));
    await this.#until(() => Number(this.replica.cursor?.position) === end && this.replica.cursor?.views.length === 2);
    const rows = new Map<string, Map<string, string>>();
    for (const id of shard.fold.completeViews()) {
      const there = [...this.replica.present(id)].map(([key, row]) => [key, `${row.version} ${row.row}`] as const);
      rows.set(id, new Map(there.sort(([a], [b]) => (a < b ? -1 : 1))));
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
      for await (const frame of handlers.subscribeChanges(request, { signal, peer: '' })) {
        this.replica.apply(frame as never);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #damage(): void {
    const [key] = this.#stateKeys(1);
    if (key === undefined) return;
    this.stores.damage(STORE, key, (sealed) => {
      sealed[0] = (sealed[0] ?? 0) ^ 4;
      return sealed;
    });
  }

  #lose(): void {
    // Of the view that stays.
    const key = this.#stateKeys(3).at(-1);
    if (key !== undefined) this.stores.lose(STORE, key, false);
  }

  #stateKeys(key: number): string[] {
    const end = int64KeyString(key);
    return this.stores.keysOf(STORE).filter((name) => name.startsWith('s') && name.endsWith(end));
  }

  async #io(): Promise<void> {
    if (this.isDead) throw new Error('dead');
    if (this.ios++ !== this.#dieAt) return;
    this.deaths += 1;
    this.isDead = true;
    this.#life.abort();
    const keep = this.#keep;
    if (keep === undefined) {
      this.stores.kill();
      this.files = this.files.kill();
    } else {
      this.stores.crash(keep);
      this.files = this.files.powerCut(new Random(this.#dieAt));
    }
    this.files.step = () => this.#io();
    throw new Error('dead');
  }
}

function isAt(host: ShardHost, position: number): boolean {
  const shard = host.shard(0);
  return shard?.position === position && shard.fold.builds().length === 0 && shard.fold.broken === undefined;
}

describe('a node that dies', () => {
  it('F1, F3, R1: at any I/O, by itself or with its machine, goes on as if it had not', async () => {
    const undisturbed = new Machine(-1, undefined);
    const expected = await undisturbed.live();
    expect(expected.repairs).toBe(2);
    expect(undisturbed.ios).toBeGreaterThan(150);
    const kinds: ((at: number, unsynced: number) => number)[] = [(at, n) => at % (n + 1)];
    if (EVERY_PREFIX) for (let kept = 0; kept < 12; kept++) kinds.push((_, n) => Math.min(n, kept));
    const crashes = [undefined, ...kinds];
    let points = 0;
    for (const [index, kind] of crashes.entries()) {
      for (let at = 0; at < undisturbed.ios; at++) {
        const keep = kind && ((unsynced: number): number => kind(at, unsynced));
        const machine = new Machine(at, keep);
        const found = await machine.live().catch((error: unknown) => error);
        const where = `crash ${index} at I/O ${at}`;
        expect(found instanceof Error ? `${where}: ${found.stack}` : '', where).toBe('');
        expect({ ...(found as object), repairs: 0 }, where).toEqual({ ...expected, repairs: 0 });
        points += machine.deaths;
      }
    }
    expect(points).toBe(crashes.length * undisturbed.ios);
  });
});
