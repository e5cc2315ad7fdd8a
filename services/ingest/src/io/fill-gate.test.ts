/**
 * Goal: rows behind values that were computed anew come to no fold before a contract knows of it, wherever ingest is ended
 * meanwhile, while the table is streamed and while it is built beside; then each comes once, in order (C1, F3, I1).
 * Method: crash-point enumeration against the production code on a simulated disk and a scripted database, as in
 * held-releases.test.ts: values of an append table and of a mutable one are multiplied under traffic. What the log has is looked
 * at before the change is accepted and in the end. FRESHET_FUZZ_RUNS=10 takes ten times as many points.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import type { DatabaseSession, ReplicationStream } from '../core/source-database.ts';
import type { TableFill } from '../core/table-fill.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const EVENTS = { table: 'events', mode: 1 } as const;
const ITEMS = { table: 'items', mode: 2 } as const;
const SECOND = 1_000_000;
const POINTS = Math.round(60 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));

/** What happens between a snapshot and the rows that are caught up behind it. */
class Beside extends ScriptedDatabase {
  beforeCopy: (() => void) | undefined;

  /** So often it says yet that nobody sees a commit which it told of, nor what that did. */
  unseen = 0;
  #before: ReadonlyMap<number, TableFill> = new Map();

  async hide(times: number): Promise<void> {
    this.#before = await super.look(new AbortController().signal, (session) => session.fills([]));
    this.unseen = times;
  }

  override look<T>(signal: AbortSignal, work: (session: DatabaseSession) => Promise<T>): Promise<T> {
    return super.look(signal, (session) => {
      const seen: DatabaseSession['seen'] = async () => {
        this.unseen -= 1;
        const isSeen = this.unseen <= 0;
        return () => isSeen;
      };
      const fills: DatabaseSession['fills'] = async (oids) => (this.unseen > 0 ? this.#before : session.fills(oids));
      return work({ ...session, seen, fills });
    });
  }

  override openCopy(slotName: string): Promise<ReplicationStream> {
    const happens = this.beforeCopy;
    this.beforeCopy = undefined;
    happens?.();
    return super.openCopy(slotName);
  }
}

class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: Beside;
  disk: SimulatedDisk;
  tables: readonly (typeof EVENTS | typeof ITEMS)[] = [EVENTS, ITEMS];
  /** Events as they were inserted, by id; `since`: those of after the change. */
  readonly inserted = new Map<string, string>();
  readonly since = new Set<string>();
  isAccepted = false;
  #factor = 1;
  #next = 1;

  constructor(seed: string, disk = new SimulatedDisk()) {
    this.random = new Random(seed);
    this.disk = disk;
    const random = (): number => this.random.real();
    this.database = new Beside({ name: 'shop', nowUs: () => this.clock.nowUs(), random });
    this.database.createTable('events', ['id', 'value']);
    this.database.createTable('items', ['id', 'value']);
  }

  rescale(): void {
    for (const table of ['events', 'items']) this.database.computeAnew(table, 'value', 100);
    this.#factor *= 100;
  }

  commit(): void {
    const n = this.#next++;
    const value = String(n * this.#factor);
    const ids = Array.from({ length: this.random.between(1, 4) }, (_, i) => String(n * 10 + i));
    const item = String(this.random.between(1, 4));
    const exists = this.database.rows('items').has(item);
    for (const id of ids) {
      this.inserted.set(id, value);
      if (this.#factor > 1) this.since.add(id);
    }
    this.database.commit([
      ...ids.map((id) => ({ kind: 'insert' as const, table: 'events', row: { id, value } })),
      { kind: exists ? 'update' : 'insert', table: 'items', row: { id: item, value } },
    ]);
  }

  start(): Promise<ScriptedCapture> {
    const { database, disk: files, clock, random } = this;
    return this.moving('opening', startScripted({ database, files, clock, random: () => random.real() }));
  }

  async moving<T>(what: string, work: Promise<T>): Promise<T> {
    let settled = false;
    const settling = work.finally(() => {
      settled = true;
    });
    settling.catch(() => {}); // looked at below
    await this.clock.advance(0);
    for (let i = 0; i < 2_000 && !settled; i++) await this.clock.advance(100_000);
    if (!settled) throw new Error(`${what} does not end`);
    return settling;
  }

  /** By the tables as they are; `accepts`: with what was computed anew. */
  apply({ node, source }: ScriptedCapture, generation: bigint, accepts = false): Promise<void> {
    this.isAccepted ||= accepts;
    const definitions = defineScripted(this.database, generation, this.tables, accepts ? source : undefined);
    return this.moving('applying', node.apply(definitions));
  }

  async traffic(commits: number): Promise<void> {
    for (let i = 0; i < commits; i++) {
      this.commit();
      await this.clock.advance(this.random.between(0, 3) * 300_000);
    }
  }

  async script(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 1n);
      await this.clock.advance(3 * SECOND);
      await this.traffic(3);
      this.rescale();
      await this.traffic(5);
      this.database.breakStreams();
      await this.traffic(2);
      // Another version of the contract, which knows nothing of it, releases nothing.
      await this.apply(capture, 2n);
      await this.traffic(3);
      await this.moving('reading', this.checkUnaccepted(capture));
      await this.apply(capture, 3n, true);
      await this.traffic(4);
      await this.clock.advance(15 * SECOND);
      await this.traffic(2);
      await this.moving('stopping', capture.stop());
    } finally {
      capture.abandon();
      this.database.breakStreams();
      await this.clock.advance(10 * SECOND);
    }
  }

  async #events({ log }: ScriptedCapture): Promise<{ id: string; value: string; times: number }[]> {
    const rows = [...((await foldLog(log)).get(1)?.rows.values() ?? [])];
    return rows.map(({ values, times }) => ({ id: String(values[0]), value: String(values[1]), times }));
  }

  /** Rows of before are in the log as they were inserted, unless its snapshot is of after the change: then there is nothing to accept. */
  #wanted(folded: readonly { readonly id: string; readonly value: string }[]): ReadonlyMap<string, string | null> {
    const old = folded.filter(({ id }) => !this.since.has(id));
    if (old.some(({ id, value }) => value === this.inserted.get(id))) return this.inserted;
    return new Map([...this.database.rows('events')].map(([id, row]) => [id, row['value'] ?? null]));
  }

  async checkUnaccepted(capture: ScriptedCapture): Promise<void> {
    const folded = await this.#events(capture);
    if (this.#wanted(folded) !== this.inserted) return;
    expect(folded.filter(({ id }) => this.since.has(id))).toEqual([]);
  }

  async check(capture: ScriptedCapture): Promise<void> {
    const folded = await this.#events(capture);
    expect(new Map(folded.map(({ id, value }) => [id, value]))).toEqual(this.#wanted(folded));
    expect(folded.filter(({ times }) => times !== 1)).toEqual([]);
    const items = [...((await foldLog(capture.log)).get(2)?.rows.values() ?? [])];
    const wanted = [...this.database.rows('items')].map(([id, row]) => [id, row['value']] as const);
    expect(new Map(items.map(({ values }) => [values[0], values[1]]))).toEqual(new Map(wanted));
  }

  async settled(capture: ScriptedCapture, isDone: () => boolean): Promise<void> {
    const isSettled = (): boolean => {
      const { phase, durableLsn } = capture.source.status();
      return phase === SourceState.STREAMING && durableLsn === this.database.lsn && isDone();
    };
    for (let i = 0; i < 120 && !isSettled(); i++) await this.clock.advance(SECOND);
    expect(isSettled()).toBe(true);
  }

  async runOn(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 4n);
      this.commit();
      await this.settled(capture, () => true);
      if (!this.isAccepted) await this.moving('reading', this.checkUnaccepted(capture));
      await this.apply(capture, 5n, true);
      this.commit();
      await this.settled(capture, () => capture.quarantine.count === 0 && capture.node.writtenGeneration === 5n);
      await this.moving('reading', this.check(capture));
    } finally {
      await this.moving('stopping', capture.stop());
    }
  }
}

async function crashAt(seed: string, point: number, how: 'power cut' | 'kill'): Promise<void> {
  const chance = new Random(`${seed}/${point}`);
  const disk = new SimulatedDisk();
  const world = new World(seed, disk);
  let after: SimulatedDisk | undefined;
  disk.step = async ({ number }, life) => {
    if (number === point) after = how === 'kill' ? life.kill() : life.powerCut(chance);
  };
  await world.script().catch((error: unknown) => {
    if (after === undefined) throw error;
  });
  if (after === undefined) return;
  world.disk = after;
  await world.runOn();
}

describe('values that are computed anew under a stream', () => {
  it.each(['power cut', 'kill'] as const)('C1, F3, I1: come to no fold unaccepted by a %s at any I/O', async (how) => {
    const disk = new SimulatedDisk();
    await new World(how, disk).script();
    const ios = disk.operations;
    expect(ios).toBeGreaterThan(100);
    const step = Math.max(1, ios / POINTS);
    for (let at = 0; at < ios; at += step) {
      const point = Math.floor(at);
      try {
        await crashAt(how, point, how);
      } catch (error) {
        throw new Error(`${how} at I/O ${point} of ${ios}: ${String(error)}`, { cause: error });
      }
    }
  });
});

it('C1, F3: are seen between a snapshot and what is caught up behind it', async () => {
  const world = new World('beside');
  const { database } = world;
  for (let i = 0; i < 5; i++) world.commit();
  const capture = await world.start();
  world.tables = [ITEMS];
  await world.apply(capture, 1n);
  await world.settled(capture, () => true);
  world.tables = [EVENTS, ITEMS];
  database.beforeCopy = () => {
    world.commit();
    world.rescale();
    world.commit();
  };
  await world.apply(capture, 2n);
  await world.settled(capture, () => capture.source.status().routes.length === 2);
  await world.moving('reading', world.checkUnaccepted(capture));
  expect(capture.quarantine.held).toMatchObject([{ route: 1, reason: 'values' }]);
  await world.traffic(3);
  await world.moving('reading', world.checkUnaccepted(capture));
  await world.apply(capture, 3n, true);
  await world.traffic(2);
  await world.settled(capture, () => capture.quarantine.count === 0);
  await world.moving('reading', world.check(capture));
  await world.moving('stopping', capture.stop());
});

it('C1: are asked for before rows behind a description, and what cannot be saved lets none through', async () => {
  const world = new World('asked');
  const capture = await world.start();
  world.tables = [EVENTS];
  await world.apply(capture, 1n);
  await world.settled(capture, () => true);
  world.commit();
  await world.settled(capture, () => true);
  world.rescale();
  world.disk.step = ({ path }) => {
    if (path.includes('state.json')) throw diskFailure('ENOSPC', path);
  };
  world.commit();
  await world.clock.advance(5 * SECOND);
  await world.moving('reading', world.checkUnaccepted(capture));
  expect(capture.quarantine.count).toBe(0);
  world.disk.step = () => {};
  await world.settled(capture, () => capture.quarantine.count > 0);
  await world.moving('reading', world.checkUnaccepted(capture));
  await world.moving('stopping', capture.stop());
});

it('C1: waits until others see what the stream told of already', async () => {
  const world = new World('unseen');
  const capture = await world.start();
  world.tables = [EVENTS];
  await world.apply(capture, 1n);
  await world.settled(capture, () => true);
  await world.database.hide(10);
  world.rescale();
  world.commit();
  await world.settled(capture, () => capture.quarantine.count > 0);
  expect(world.database.unseen).toBeLessThanOrEqual(0);
  await world.moving('reading', world.checkUnaccepted(capture));
  await world.moving('stopping', capture.stop());
});
