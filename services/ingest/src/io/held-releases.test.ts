/**
 * Goal: a table that broke its contract is held and released with nothing lost, doubled or out of order, wherever ingest is
 * ended meanwhile, while the tables beside it flow (C1, F3, I1).
 * Method: crash-point enumeration against the production code on a simulated disk and a scripted database: a column of a table
 * is renamed under traffic, later the definitions follow, and rows are released. The I/Os are numbered, and the script is run
 * again for each, ended there, opened again and run on. FRESHET_FUZZ_RUNS=10 takes ten times as many points.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { placeName } from '../core/quarantine.ts';
import { foldLog } from '../testing/folded-log.ts';
import {
  defineScripted,
  type ScriptedCapture,
  type ScriptedCaptureOptions,
  startScripted,
} from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';
import { QuarantineDesk } from './quarantine-desk.ts';

const TABLES = [
  { table: 'events', mode: 1 },
  { table: 'items', mode: 2 },
] as const;
const SECOND = 1_000_000;
const POINTS = Math.round(60 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));

class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: ScriptedDatabase;
  disk: SimulatedDisk;
  /** Bounds of the next start. */
  limits: Pick<ScriptedCaptureOptions, 'inFlightBytesMax' | 'quarantineBytesMax'> = {};
  #column = 'value';
  #next = 1;

  constructor(seed: string, disk: SimulatedDisk) {
    this.random = new Random(seed);
    this.disk = disk;
    this.database = new ScriptedDatabase({
      name: 'shop',
      nowUs: () => this.clock.nowUs(),
      random: () => this.random.real(),
    });
    this.database.createTable('events', ['id', 'value']);
    this.database.createTable('items', ['id', 'value']);
  }

  rename(to: string): void {
    this.database.renameColumn('events', this.#column, to);
    this.#column = to;
  }

  commit(): void {
    const n = this.#next++;
    const ids = Array.from({ length: this.random.between(1, 4) }, (_, i) => String(n * 10 + i));
    const item = String(this.random.between(1, 4));
    const exists = this.database.rows('items').has(item);
    this.database.commit([
      ...ids.map((id) => ({ kind: 'insert' as const, table: 'events', row: { id, [this.#column]: String(n) } })),
      { kind: exists ? 'update' : 'insert', table: 'items', row: { id: item, value: String(n) } },
    ]);
  }

  start(): Promise<ScriptedCapture> {
    const { database, disk: files, clock, random } = this;
    return this.moving(
      'opening',
      startScripted({ ...this.limits, database, files, clock, random: () => random.real() }),
    );
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

  apply(capture: ScriptedCapture, generation: bigint): Promise<void> {
    return this.moving('applying', capture.node.apply(defineScripted(this.database, generation, TABLES)));
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
      this.rename('amount');
      await this.traffic(5);
      this.database.breakStreams();
      await this.traffic(2);
      await this.apply(capture, 2n);
      await this.traffic(8);
      await this.clock.advance(15 * SECOND);
      await this.traffic(2);
      await this.moving('stopping', capture.stop());
    } finally {
      capture.abandon();
      this.database.breakStreams();
      await this.clock.advance(10 * SECOND);
    }
  }

  async check(capture: ScriptedCapture): Promise<void> {
    const folded = await foldLog(capture.log);
    for (const [i, { table }] of TABLES.entries()) {
      const rows = [...(folded.get(i + 1)?.rows.values() ?? [])];
      const found = new Map(rows.map(({ values }) => [values[0], values[1]]));
      const wanted = [...this.database.rows(table)].map(
        ([id, row]) => [id, row['price'] ?? row['amount'] ?? row['value']] as const,
      );
      expect(found, table).toEqual(new Map(wanted));
      if (table === 'events') expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
    }
  }

  async runOn(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 3n);
      this.commit();
      const isWhole = (): boolean => {
        const { phase, durableLsn } = capture.source.status();
        const streams = phase === SourceState.STREAMING && capture.node.writtenGeneration === 3n;
        return streams && durableLsn === this.database.lsn && capture.quarantine.count === 0;
      };
      for (let i = 0; i < 120 && !isWhole(); i++) await this.clock.advance(SECOND);
      expect(isWhole()).toBe(true);
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

describe('a table that is held', () => {
  it('C1: waits alone, is told, and is released in order as a lane of its own once the contract is another', async () => {
    const world = new World('held', new SimulatedDisk());
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    await world.traffic(3);
    world.rename('amount');
    await world.traffic(4);
    await world.clock.advance(3 * SECOND);
    const [held] = capture.quarantine.held;
    expect(held).toMatchObject({
      route: 1,
      reason: 'shape',
      contractVersion: 1,
      detail: 'column value is called amount now',
    });
    expect(capture.conditions.list().map(({ id }) => id)).toContain('source/shop/held/1');
    // The slot advances, and the table beside it is as in the database.
    expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, durableLsn: world.database.lsn });
    const folded = await world.moving('reading', foldLog(capture.log));
    expect(folded.get(2)?.rows.size).toBe(world.database.rows('items').size);
    expect(folded.get(1)?.rows.size).toBe(world.database.rows('events').size - (held?.count ?? 0));
    await world.apply(capture, 2n);
    await world.traffic(4);
    for (let i = 0; i < 60 && capture.quarantine.count > 0; i++) await world.clock.advance(SECOND);
    expect(capture.quarantine.count).toBe(0);
    await world.traffic(2);
    await world.clock.advance(3 * SECOND);
    await world.moving('reading', world.check(capture));
    expect(capture.conditions.list().map(({ id }) => id)).not.toContain('source/shop/held/1');
    await world.moving('stopping', capture.stop());
  });

  it('C1: is not switched by a release that was told to stand still, when it is another generation already', async () => {
    const world = new World('another generation', new SimulatedDisk());
    const { clock } = world;
    const capture = await world.start();
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    await world.traffic(3);
    world.rename('amount');
    await world.traffic(3);
    await clock.advance(5 * SECOND);
    const isAsked = Promise.withResolvers<void>();
    let opens = 0;
    world.disk.step = async ({ kind, path }) => {
      // The first beside the stream, the second while it stands still.
      if (kind === 'open' && path.endsWith('quarantine.jsonl') && ++opens === 2) await isAsked.promise;
    };
    await world.apply(capture, 2n);
    for (let i = 0; i < 150 && opens < 2; i++) await clock.advance(100_000);
    expect(opens).toBe(2);
    const anew = [{ route: 1, aboveGeneration: 1, reason: 'the test wants it' }];
    await capture.requests.ask('test', anew, (route) => capture.source.newestGeneration(route));
    await clock.advance(10 * SECOND);
    isAsked.resolve();
    for (let i = 0; i < 60 && capture.quarantine.count > 0; i++) await clock.advance(SECOND);
    await clock.advance(5 * SECOND);
    const state = JSON.parse(Buffer.from(world.disk.content('/ingest/postgres/shop/state.json')).toString()) as {
      routes: { route: number; generation: number; released?: unknown }[];
    };
    const [route] = state.routes.filter((one) => one.route === 1);
    expect([route?.generation, route?.released]).toEqual([2, undefined]);
    await world.traffic(3);
    await clock.advance(5 * SECOND);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('is released under a mapping, which holds for what comes, or dropped', async () => {
    const world = new World('mapped', new SimulatedDisk());
    const { clock } = world;
    const capture = await world.start();
    const desk = new QuarantineDesk({
      quarantine: capture.quarantine,
      releases: () => [capture.source.held],
      readAnew: () => Promise.reject(new Error('nothing mutable is held')),
      clock,
      logger: silentLogger,
    });
    const { signal } = new AbortController();
    const asked = async (columns: Record<string, string>): Promise<unknown> => {
      let last: unknown;
      for await (const progress of desk.release('events', { mapping: { columns, labels: {} } }, signal))
        last = progress;
      return last;
    };
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    await world.traffic(2);
    world.rename('amount');
    await world.traffic(3);
    await clock.advance(3 * SECOND);
    const first = await desk.list('events', '', 1);
    expect(first.entries).toMatchObject([{ reason: 'shape', values: { amount: '3' } }]);
    const second = await desk.list('events', first.next, 100);
    expect(new Set(second.entries.map(({ reason }) => reason))).toEqual(new Set(['behind']));
    // A name that the table has by itself cannot be another column's.
    await expect(world.moving('asking', asked({ id: 'amount' }))).rejects.toMatchObject({
      code: 'INVALID_REQUEST',
      message: 'the table has a column id of its own, so that amount cannot be read as it',
    });
    await expect(world.moving('asking', asked({ id: 'amount', value: 'amount' }))).rejects.toThrow(/cannot be both/);
    // Another name does not help: nothing is released, and it is said why.
    expect(await world.moving('asking', asked({ value: 'other' }))).toMatchObject({
      released: 0,
      isDone: false,
      blocked: { reason: 'shape', detail: 'column value is called amount now' },
    });
    expect(await world.moving('asking', asked({ value: 'amount' }))).toMatchObject({ held: 0, isDone: true });
    await world.traffic(3);
    await clock.advance(3 * SECOND);
    await world.moving('reading', world.check(capture));
    expect(capture.quarantine.count).toBe(0);
    // Renamed once more, and dropped: what was held is not folded.
    world.rename('price');
    await world.traffic(2);
    await clock.advance(3 * SECOND);
    const held = capture.quarantine.count;
    expect(held).toBeGreaterThan(0);
    const dropping = desk.discard('events', false, signal);
    expect(await world.moving('dropping', dropping)).toEqual({ discarded: held, readAnew: [] });
    expect(capture.quarantine.count).toBe(0);
    const folded = await world.moving('reading', foldLog(capture.log));
    expect(folded.get(1)?.rows.size).toBe(world.database.rows('events').size - held);
    await world.moving('stopping', capture.stop());
  });

  it('flows again once every row that was held was dropped by itself', async () => {
    const world = new World('dropped one by one', new SimulatedDisk());
    const { clock } = world;
    const capture = await world.start();
    const desk = new QuarantineDesk({
      quarantine: capture.quarantine,
      releases: () => [capture.source.held],
      readAnew: () => Promise.reject(new Error('nothing mutable is held')),
      clock,
      logger: silentLogger,
    });
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    world.rename('amount');
    await world.traffic(3);
    await clock.advance(3 * SECOND);
    const { entries } = await desk.list('events', '', 100);
    expect(entries.length).toBeGreaterThan(2);
    expect(await world.moving('dropping', desk.discardEntries(entries.map(placeName)))).toBe(entries.length);
    world.rename('value');
    await clock.advance(30 * SECOND);
    await world.traffic(3);
    await clock.advance(3 * SECOND);
    expect(capture.quarantine.count).toBe(0);
    const folded = await world.moving('reading', foldLog(capture.log));
    expect(folded.get(1)?.rows.size).toBe(world.database.rows('events').size - entries.length);
    await world.moving('stopping', capture.stop());
  });

  it('of a table that nobody captures any more is told no longer, and may be dropped', async () => {
    const world = new World('dropped route', new SimulatedDisk());
    const { clock, database } = world;
    const capture = await world.start();
    const desk = new QuarantineDesk({
      quarantine: capture.quarantine,
      releases: () => [capture.source.held],
      readAnew: () => Promise.reject(new Error('nothing mutable is held')),
      clock,
      logger: silentLogger,
    });
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    world.rename('amount');
    await world.traffic(3);
    await clock.advance(3 * SECOND);
    const { entries } = await desk.list('events', '', 100);
    const dropped = entries.slice(0, 1);
    const without = defineScripted(database, 2n, TABLES);
    without.routes.splice(0, 1);
    await world.moving('applying', capture.node.apply(without));
    await clock.advance(5 * SECOND);
    expect(capture.conditions.list().map(({ id }) => id)).not.toContain('source/shop/held/1');
    expect(await world.moving('dropping', desk.discardEntries(dropped.map(placeName)))).toBe(1);
    const { signal } = new AbortController();
    expect(await world.moving('dropping', desk.discard('events', false, signal))).toEqual({
      discarded: entries.length - 1,
      readAnew: [],
    });
    expect(capture.quarantine.count).toBe(0);
    await expect(desk.discard('events', false, signal)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await world.moving('stopping', capture.stop());
  });

  it('a release that waits for a build holds up neither what is told of other tables nor their release', async () => {
    const world = new World('beside a build', new SimulatedDisk());
    const { clock, database } = world;
    const capture = await world.start();
    const told = (): string[] => capture.conditions.list().map(({ id }) => id);
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    world.rename('amount');
    await world.traffic(3);
    // A build that does not come to its end.
    const built = Promise.withResolvers<void>();
    world.disk.step = ({ path }) => (path.includes('/stages/') ? built.promise : undefined);
    database.createTable('late', ['id', 'value']);
    const tables = [...TABLES, { table: 'late', mode: 1 } as const];
    await world.moving('applying', capture.node.apply(defineScripted(database, 2n, tables)));
    await clock.advance(5 * SECOND);
    // It waits for its switch; and another table breaks.
    database.renameColumn('items', 'value', 'price');
    database.commit([{ kind: 'insert', table: 'items', row: { id: '99', price: '1' } }]);
    await clock.advance(5 * SECOND);
    expect(told()).toEqual(expect.arrayContaining(['source/shop/held/1', 'source/shop/held/2']));
    built.resolve();
    await world.moving('applying', capture.node.apply(defineScripted(database, 3n, tables)));
    for (let i = 0; i < 60 && capture.quarantine.count > 0; i++) await clock.advance(SECOND);
    expect(capture.quarantine.count).toBe(0);
    await clock.advance(3 * SECOND);
    expect(told()).toEqual([]);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('C1: full beside a build that needs room, says what to do; with more room everything goes on', async () => {
    const world = new World('full beside a build', new SimulatedDisk());
    const { clock, database } = world;
    world.limits = { quarantineBytesMax: 8 * 1024, inFlightBytesMax: 4 * 1024 };
    const small = await world.start();
    await world.apply(small, 1n);
    await clock.advance(3 * SECOND);
    world.rename('amount');
    await world.traffic(2);
    const built = Promise.withResolvers<void>();
    world.disk.step = ({ path }) => (path.includes('/stages/') ? built.promise : undefined);
    database.createTable('late', ['id', 'value']);
    const tables = [...TABLES, { table: 'late', mode: 1 } as const];
    await world.moving('applying', small.node.apply(defineScripted(database, 2n, tables)));
    await world.traffic(40);
    await clock.advance(5 * SECOND);
    expect(small.conditions.list()).toContainEqual(
      expect.objectContaining({
        id: 'source/shop/full',
        remedy: expect.stringContaining('--quarantine-bytes-max') as string,
      }),
    );
    built.resolve();
    await world.moving('stopping', small.stop());
    world.limits = {};
    const roomy = await world.start();
    for (let i = 0; i < 60; i++) await clock.advance(SECOND);
    expect([roomy.quarantine.count, roomy.conditions.list()]).toEqual([0, []]);
    await world.moving('reading', world.check(roomy));
    await world.moving('stopping', roomy.stop());
  });

  it('F3: folds rows once that were released and could not be taken out of the file, and those that came since', async () => {
    const world = new World('no room to rewrite', new SimulatedDisk());
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    world.rename('amount');
    await world.traffic(4);
    let refused = 0;
    world.disk.step = ({ path }) => {
      if (!path.endsWith('quarantine.jsonl.new') || refused === 3) return;
      refused += 1;
      throw diskFailure('ENOSPC', path);
    };
    await world.apply(capture, 2n);
    await world.traffic(6);
    for (let i = 0; i < 60 && capture.quarantine.count > 0; i++) await world.clock.advance(SECOND);
    expect(refused).toBe(3);
    expect(capture.quarantine.count).toBe(0);
    await world.traffic(2);
    await world.clock.advance(3 * SECOND);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('C1: a quarantine that is full is emptied by a release, and what waited for room comes behind it', async () => {
    const world = new World('full', new SimulatedDisk());
    world.limits = { quarantineBytesMax: 8 * 1024, inFlightBytesMax: 4 * 1024 };
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    world.rename('amount');
    await world.traffic(40);
    await world.clock.advance(3 * SECOND);
    expect(capture.conditions.list()).toContainEqual(
      expect.objectContaining({ id: 'source/shop/append', code: 'DISK_FULL' }),
    );
    await world.apply(capture, 2n);
    // Empty for a moment does not mean that everything came: what waited for room comes behind.
    const isWhole = (): boolean =>
      capture.quarantine.count === 0 && capture.source.status().durableLsn === world.database.lsn;
    for (let i = 0; i < 120 && !isWhole(); i++) await world.clock.advance(SECOND);
    expect(isWhole()).toBe(true);
    await world.traffic(2);
    await world.clock.advance(3 * SECOND);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it.each(['power cut', 'kill'] as const)('C1, F3, I1: loses and doubles nothing by a %s at any I/O', async (how) => {
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
