/**
 * A shard, its log and some replicas, taken through steps in any order, with the means to say at every frame whether a
 * replica has what it must have. What the rows must be comes from outside (`Replay`).
 */
import { setTimeout as delay } from 'node:timers/promises';
import { must } from '@freshet/kit/assert.ts';
import fc from 'fast-check';
import { expect } from 'vitest';
import { FRAME_LIMITS } from '../core/shard-limits.ts';
import { ModelReplica, type ModelRow } from './model-replica.ts';
import { type RigOptions, ShardRig, type Subscription, wholeViews } from './shard-rig.ts';

export const REPLICAS = 3;

/** What happens beside records being appended. */
export type Happening =
  | { readonly do: 'tick' | 'commit' | 'crash' | 'settle' }
  | {
      readonly do: 'subscribe';
      readonly replica: number;
      readonly wanted: readonly number[];
      readonly coalesce: boolean;
    }
  /** keep: the replica writes what it has to its disk; goBack: it crashes, and has what it kept. */
  | { readonly do: 'disconnect' | 'catchUp' | 'keep' | 'goBack'; readonly replica: number }
  | { readonly do: 'pull'; readonly replica: number; readonly frames: number };

const replica = fc.nat(REPLICAS - 1);

/** Happenings; `views` draws indexes of views. */
export function happenings(views: fc.Arbitrary<number[]>): fc.WeightedArbitrary<Happening>[] {
  const alone = (what: 'tick' | 'commit' | 'crash' | 'settle'): fc.Arbitrary<Happening> => fc.constant({ do: what });
  return [
    { weight: 1, arbitrary: alone('tick') },
    { weight: 4, arbitrary: fc.oneof(alone('commit'), alone('crash'), alone('settle')) },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('subscribe' as const),
        replica,
        wanted: fc.oneof(fc.constant([]), views),
        coalesce: fc.boolean(),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('disconnect' as const), replica }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('catchUp' as const), replica }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('keep' as const, 'goBack' as const), replica }) },
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('pull' as const), replica, frames: fc.integer({ min: 1, max: 8 }) }),
    },
  ];
}

/** Limits small enough that tail and journal run out and that a few keys fill several frames, or not. */
export const smallLimits = fc.record({
  tailBytes: fc.constantFrom(0, 1_000, 1 << 20),
  cacheBytes: fc.constantFrom(0, 2_000, 1 << 20),
  journal: fc.record({ ageUs: fc.constant(3_600_000_000), bytes: fc.constantFrom(0, 1_000, 1 << 20) }),
  frame: fc.constantFrom(FRAME_LIMITS, { bytes: 100, pageRows: 3, keys: 2 }, { bytes: 1_000, pageRows: 10, keys: 6 }),
});

/** The rows that must be. */
export interface Replay {
  /** Rows of a view at a position of the log, made from its first record. */
  rows(viewId: string, position: number): Promise<Map<string, ModelRow>>;
  /** Whether the key's row goes at the position or later. */
  goesFrom(viewId: string, key: string, position: number): boolean;
}

export class ShardWorld {
  readonly rig: ShardRig;
  readonly replicas = Array.from({ length: REPLICAS }, () => new ModelReplica());
  readonly logTimes: number[] = [];
  /** Passes' pages that were seen, to know that a test met them. */
  pages = 0;
  readonly #replay: Replay;
  readonly #viewIdOf: (index: number) => string;
  readonly #tick: () => Uint8Array;
  readonly #subscriptions: (Subscription | undefined)[] = [];
  readonly #kept = Array.from({ length: REPLICAS }, () => new ModelReplica());
  readonly #wanted: (readonly string[])[] = Array.from({ length: REPLICAS }, () => []);

  constructor(rig: ShardRig, replay: Replay, options: { viewIdOf: (index: number) => string; tick: () => Uint8Array }) {
    this.rig = rig;
    this.#replay = replay;
    this.#viewIdOf = options.viewIdOf;
    this.#tick = options.tick;
  }

  /** Appends records; resolves when they are in the log, not when they are folded. */
  async append(records: readonly Uint8Array[]): Promise<void> {
    if (records.length === 0) return;
    const { logTimeUs } = await this.rig.log.append(0, records);
    for (const _ of records) this.logTimes.push(logTimeUs);
  }

  async happen(what: Happening): Promise<void> {
    switch (what.do) {
      case 'tick':
        await this.#appendTick();
        return;
      case 'commit':
        await this.rig.commit();
        return;
      case 'settle':
        await this.rig.settled();
        return;
      case 'crash':
        for (let i = 0; i < REPLICAS; i++) await this.#disconnect(i);
        await this.rig.crash();
        await this.rig.open();
        return;
      case 'subscribe':
        await this.#disconnect(what.replica);
        this.#wanted[what.replica] = what.wanted.map(this.#viewIdOf);
        this.#subscribe(what.replica, what.coalesce ? 1_000 : 0);
        return;
      case 'disconnect':
        await this.#disconnect(what.replica);
        return;
      case 'keep':
        this.#kept[what.replica] = must(this.replicas[what.replica]).copy();
        return;
      case 'goBack':
        await this.#disconnect(what.replica);
        this.replicas[what.replica] = must(this.#kept[what.replica]).copy();
        return;
      case 'catchUp':
        if (this.#subscriptions[what.replica] === undefined) this.#subscribe(what.replica, 0);
        await this.#appendTick();
        await this.rig.settled();
        await this.#catchUp(what.replica);
        return;
      case 'pull':
        for (let i = 0; i < what.frames; i++) await this.#pull(what.replica);
        return;
    }
  }

  /** Lets everything come to rest and compares everything with everything. */
  async finish(): Promise<void> {
    await this.#appendTick();
    await this.rig.settled();
    const end = this.logTimes.length;
    const { fold } = this.rig.shard;
    for (const [index, model] of this.replicas.entries()) {
      await this.#disconnect(index);
      this.#subscribe(index, 0);
      await this.#catchUp(index);
      const due = this.#due(index);
      expect(Number(model.cursor?.position)).toBe(end);
      expect(wholeViews(model)).toEqual(due);
      for (const id of due) {
        const rows = model.present(id);
        expect(rows).toEqual(await this.#replay.rows(id, end));
        for (const [key, row] of rows) {
          const now = must(fold.row(id, key));
          expect(row).toEqual({ version: now.version, row: Buffer.from(now.bytes).toString('latin1') });
        }
      }
      await this.#disconnect(index);
    }
    await this.#checkDigest();
  }

  /** Time goes on, and the log says so: whatever was not worth a frame of its own is told then. */
  async #appendTick(): Promise<void> {
    await this.rig.clock.advance(1_000_000);
    await this.append([this.#tick()]);
  }

  /** The views that the replica is to have. */
  #due(index: number): string[] {
    const wanted = must(this.#wanted[index]);
    return [...this.rig.shard.fold.completeViews()].filter((id) => wanted.length === 0 || wanted.includes(id));
  }

  /** Pulls until the replica has everything; the shard must have settled. */
  async #catchUp(index: number): Promise<void> {
    const model = must(this.replicas[index]);
    const end = this.logTimes.length;
    const isThere = (): boolean =>
      Number(model.cursor?.position) === end && wholeViews(model).join() === this.#due(index).join();
    // Commits and pages are real I/O: a quiet moment says nothing. A coalescing subscription waits for the clock.
    for (let tries = 0; tries < 5_000 && !isThere(); tries++) {
      if (await this.#pull(index)) continue;
      await this.rig.clock.advance(1_000);
      await delay(1);
    }
  }

  /** F1: a fold of the same log in one go has the same digest. */
  async #checkDigest(): Promise<void> {
    const other = await ShardRig.make({ ...this.rig.options, log: this.rig.log });
    try {
      await other.open();
      await other.settled();
      expect(await other.shard.digest()).toEqual(await this.rig.shard.digest());
    } finally {
      await other.remove();
    }
  }

  #subscribe(index: number, coalesceUs: number): void {
    this.#subscriptions[index] = this.rig.subscribe(must(this.replicas[index]), this.#wanted[index], coalesceUs);
  }

  async #disconnect(index: number): Promise<void> {
    const subscription = this.#subscriptions[index];
    this.#subscriptions[index] = undefined;
    await subscription?.close();
  }

  async #pull(index: number): Promise<boolean> {
    const frame = await this.#subscriptions[index]?.pull();
    if (frame === undefined) return false;
    const model = must(this.replicas[index]);
    const before = model.cursor?.position;
    model.apply(frame);
    if (frame.unavailable !== undefined) return true;
    if (frame.pass !== undefined) this.pages += 1;
    if (model.cursor?.position !== before || frame.pass === undefined) await this.#check(model);
    return true;
  }

  /** R1 at the replica's own position. */
  async #check(model: ModelReplica): Promise<void> {
    const position = Number(model.cursor?.position ?? 0n);
    if (position > 0) expect(model.completeThroughUs).toBe(this.logTimes[position - 1]);
    for (const id of wholeViews(model)) {
      const expected = await this.#replay.rows(id, position);
      for (const [key, state] of expected) {
        const row = model.rows.get(id)?.get(key);
        // A page of later state lacks what went since: newer than the position, as all of it may be.
        if (row === undefined && this.#replay.goesFrom(id, key, position)) continue;
        expect(row, `${id} ${position}: a row of version ${state.version}`).toBeDefined();
        const had = must(row);
        expect(had.version).toBeGreaterThanOrEqual(state.version);
        if (had.version < position) expect(had).toEqual(state);
      }
      for (const [key, { version }] of model.present(id)) {
        if (version < position) expect(expected.has(key), `${id} ${position}: a row of ${version} is gone`).toBe(true);
      }
    }
  }
}

/** Makes a world, lives in it, and cleans up. Returns what `live` returns. */
export async function inWorld<T>(options: RigOptions, live: (rig: ShardRig) => Promise<T>): Promise<T> {
  const rig = await ShardRig.make(options);
  try {
    await rig.open();
    return await live(rig);
  } finally {
    await rig.remove();
  }
}
