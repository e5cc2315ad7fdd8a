/**
 * Goal: rows that were put aside alone are judged again when somebody asks for it, and each is folded once or stays, wherever
 * ingest is ended meanwhile (C1, F3, I1).
 * Method: crash-point enumeration against the production code on a simulated disk and a scripted database: a snapshot has rows
 * that break a rule, the stream has rows whose time is ahead, and releases are asked for while it goes on. The I/Os are
 * numbered, and the script is run again for each, ended there, opened again and run on. FRESHET_FUZZ_RUNS=10 takes ten times as
 * many points.
 */
import { create } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { ValueRuleSchema } from '@freshet/gen/freshet/type/v1/contract_pb.ts';
import type { DefinitionSet } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { placeName, type QuarantineEntry } from '../core/quarantine.ts';
import type { AloneOutcome, ReleaseWish } from '../core/release-alone.ts';
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
const AHEAD_US = 60 * SECOND;
const POINTS = Math.round(60 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));

class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: ScriptedDatabase;
  disk: SimulatedDisk;
  /** Bounds of the next start. */
  limits: Pick<ScriptedCaptureOptions, 'inFlightBytesMax' | 'quarantineBytesMax'> = {};
  #next = 1;

  constructor(seed: string, disk: SimulatedDisk) {
    this.random = new Random(seed);
    this.disk = disk;
    this.database = new ScriptedDatabase({
      name: 'shop',
      nowUs: () => this.clock.nowUs(),
      random: () => this.random.real(),
    });
    this.database.createTable('events', ['id', 'value', 'at']);
    this.database.createTable('items', ['id', 'value', 'at']);
    for (let i = 0; i < 6; i++) this.insert(i % 2 === 0 ? 5_000 : 1, 0);
  }

  define(generation: bigint, ruled = true): DefinitionSet {
    const definitions = defineScripted(this.database, generation, TABLES);
    for (const { source } of definitions.routes) must(source).eventTimeColumn = 'at';
    const rule = { case: 'expression', value: 'value < 1000' } as const;
    const events = must(definitions.routes[0]?.source);
    if (ruled) events.rules.push(create(ValueRuleSchema, { name: 'small', rule }));
    return definitions;
  }

  at(aheadUs: number): string {
    return new Date((this.clock.nowUs() + aheadUs) / 1_000).toISOString().replace('T', ' ').replace('Z', '+00');
  }

  insert(value: number, aheadUs: number): string {
    const id = String(this.#next++);
    const row = { id, value: String(value), at: this.at(aheadUs) };
    this.database.commit([{ kind: 'insert', table: 'events', row }]);
    return id;
  }

  async traffic(commits: number): Promise<void> {
    for (let i = 0; i < commits; i++) {
      this.insert(1, this.random.between(0, 2) === 0 ? AHEAD_US : 0);
      await this.clock.advance(this.random.between(0, 3) * 300_000);
    }
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

  apply(capture: ScriptedCapture, generation: bigint, ruled = true): Promise<void> {
    return this.moving('applying', capture.node.apply(this.define(generation, ruled)));
  }

  desk(capture: ScriptedCapture): QuarantineDesk {
    return new QuarantineDesk({
      quarantine: capture.quarantine,
      releases: () => [capture.source.held],
      readAnew: (route, aboveGeneration, reason) =>
        capture.requests.ask('test', [{ route, aboveGeneration, reason }], () =>
          capture.source.newestGeneration(route),
        ),
      clock: this.clock,
      logger: silentLogger,
    });
  }

  /** What became of the rows that were put aside alone. */
  release(capture: ScriptedCapture, source: string, wish: ReleaseWish): Promise<AloneOutcome | undefined> {
    const desk = this.desk(capture);
    const asked = async (): Promise<AloneOutcome | undefined> => {
      let last: AloneOutcome | undefined;
      for await (const { alone } of desk.release(source, wish, new AbortController().signal)) last = alone ?? last;
      return last;
    };
    return this.moving('releasing', asked());
  }

  async script(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 1n);
      await this.clock.advance(3 * SECOND);
      await this.traffic(6);
      await this.release(capture, 'events', {});
      await this.release(capture, 'events', { reasons: new Set(['rule']), ignoresRules: true });
      this.database.breakStreams();
      await this.traffic(3);
      await this.clock.advance(AHEAD_US);
      await this.traffic(3);
      await this.release(capture, 'events', {});
      await this.traffic(2);
      await this.moving('stopping', capture.stop());
    } finally {
      capture.abandon();
      this.database.breakStreams();
      await this.clock.advance(10 * SECOND);
    }
  }

  /** That each row of the database is folded once or put aside, by the newest generation, and no row is both. */
  async check(capture: ScriptedCapture, generation = 1): Promise<void> {
    const folded = await foldLog(capture.log);
    const found = [...(folded.get(1)?.rows.values() ?? [])].map(({ values, times }) => `${values[0]}: ${times}`);
    for (const entry of await entriesOf(capture))
      if (entry.generation === generation) found.push(`${entry.values['id']}: 1`);
    const wanted = [...this.database.rows('events').keys()].map((id) => `${id}: 1`);
    expect(found.sort()).toEqual(wanted.sort());
  }

  async runOn(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 2n);
      this.insert(1, 0);
      const isWhole = (): boolean => {
        const { phase, durableLsn } = capture.source.status();
        const streams = phase === SourceState.STREAMING && capture.node.writtenGeneration === 2n;
        return (
          streams && durableLsn === this.database.lsn && capture.quarantine.alone.every((one) => one.releasing === 0)
        );
      };
      for (let i = 0; i < 120 && !isWhole(); i++) await this.clock.advance(SECOND);
      expect(isWhole()).toBe(true);
      await this.moving('reading', this.check(capture));
      await this.release(capture, 'events', { ignoresRules: true });
      expect(capture.quarantine.count).toBe(0);
      await this.moving('reading', this.check(capture));
    } finally {
      await this.moving('stopping', capture.stop());
    }
  }
}

async function entriesOf({ quarantine }: ScriptedCapture): Promise<QuarantineEntry[]> {
  const entries: QuarantineEntry[] = [];
  for await (const { entry } of quarantine.entries()) entries.push(entry);
  return entries;
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

describe('rows that were put aside alone', () => {
  it('are judged by the rules and the clock of now: what passes is folded, what does not stays as it was', async () => {
    const world = new World('judged', new SimulatedDisk());
    const { clock } = world;
    const capture = await world.start();
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    const late = world.insert(1, AHEAD_US);
    const later = world.insert(2, 3 * AHEAD_US);
    await clock.advance(3 * SECOND);
    expect(capture.quarantine.aloneOf(1, 1)).toMatchObject({ count: 5, releasing: 0 });
    const before = await entriesOf(capture);
    expect(await world.release(capture, 'events', {})).toEqual({
      released: 0,
      left: 5,
      why: expect.stringContaining('rule small') as string,
      readAnew: false,
    });
    expect(await entriesOf(capture)).toEqual(before);
    await clock.advance(AHEAD_US);
    // By its id, by a reason, and by a flag; the clock has come to the first.
    const [, , , first, second] = before.map(placeName);
    expect(await world.release(capture, 'events', { ids: new Set([must(second)]) })).toMatchObject({
      released: 0,
      left: 1,
      why: expect.stringContaining('ahead of the clock') as string,
    });
    expect(await world.release(capture, 'events', { reasons: new Set(['event_time_ahead']) })).toMatchObject({
      released: 1,
      left: 1,
    });
    const ids = (await entriesOf(capture)).map(({ values }) => values['id']);
    expect(ids).toEqual(['1', '3', '5', later]);
    expect(before.find((entry) => placeName(entry) === first)?.values['id']).toBe(late);
    expect(await world.release(capture, 'events', { ignoresRules: true })).toMatchObject({ released: 4, left: 0 });
    expect(capture.quarantine.count).toBe(0);
    await world.moving('reading', world.check(capture));
    expect(await world.release(capture, 'events', {})).toBeUndefined();
    await world.moving('stopping', capture.stop());
  });

  it('pass once definitions have other rules', async () => {
    const world = new World('other rules', new SimulatedDisk());
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    await world.apply(capture, 2n, false);
    await world.clock.advance(3 * SECOND);
    expect(await world.release(capture, 'events', {})).toMatchObject({ released: 3, left: 0, why: '' });
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('of a generation before stay when they are asked for, and it is said why', async () => {
    const world = new World('read anew', new SimulatedDisk());
    const { clock } = world;
    const capture = await world.start();
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    const anew = [{ route: 1, aboveGeneration: 1, reason: 'the test wants it' }];
    await capture.requests.ask('test', anew, (route) => capture.source.newestGeneration(route));
    const isAnew = (): boolean => capture.quarantine.aloneOf(1, 2)?.count === 3;
    for (let i = 0; i < 60 && !isAnew(); i++) await clock.advance(SECOND);
    await clock.advance(5 * SECOND);
    expect(await world.release(capture, 'events', { ignoresRules: true })).toMatchObject({
      released: 3,
      left: 3,
      why: expect.stringContaining('before its table was read anew') as string,
    });
    expect(capture.quarantine.alone).toMatchObject([{ generation: 1, count: 3 }]);
    expect(await world.release(capture, 'events', {})).toMatchObject({ released: 0, left: 3 });
    // A release that was cut short by the new generation had noted what becomes of them.
    const releasing = { partition: 0, record: 'AAAA' };
    await world.moving(
      'noting',
      capture.quarantine.rewrite((entry) => ({ ...entry, releasing })),
    );
    expect(await world.release(capture, 'events', {})).toMatchObject({ released: 0, left: 3 });
    await world.moving('reading', world.check(capture, 2));
    await world.moving('stopping', capture.stop());
  });

  it('of a mutable source never replace a newer image: the table is read anew instead', async () => {
    const world = new World('mutable', new SimulatedDisk());
    const { clock, database } = world;
    const item = (id: string, value: string, aheadUs: number) => ({ id, value, at: world.at(aheadUs) });
    const capture = await world.start();
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    database.commit([{ kind: 'insert', table: 'items', row: item('1', '1', 0) }]);
    database.commit([{ kind: 'insert', table: 'items', row: item('2', '1', AHEAD_US) }]);
    database.commit([{ kind: 'update', table: 'items', row: item('1', '2', AHEAD_US) }]);
    database.commit([{ kind: 'update', table: 'items', row: item('1', '3', 0) }]);
    database.commit([{ kind: 'delete', table: 'items', id: '2' }]);
    await clock.advance(AHEAD_US);
    expect(capture.quarantine.aloneOf(2, 1)?.count).toBe(2);
    const values = async (): Promise<unknown[]> => {
      const folded = await world.moving('reading', foldLog(capture.log));
      return [...(folded.get(2)?.rows.values() ?? [])].map((row) => row.values.slice(0, 2));
    };
    expect(await world.release(capture, 'items', { ignoresRules: true })).toMatchObject({
      released: 0,
      left: 2,
      why: expect.stringContaining('may be older') as string,
      readAnew: false,
    });
    expect(await values()).toEqual([['1', '3']]);
    expect(capture.quarantine.aloneOf(2, 1)?.count).toBe(2);
    expect(await world.release(capture, 'items', { readAnew: true })).toMatchObject({ left: 2, readAnew: true });
    for (let i = 0; i < 60 && capture.quarantine.alone.some(({ route }) => route === 2); i++)
      await clock.advance(SECOND);
    expect(capture.quarantine.alone.filter(({ route }) => route === 2)).toEqual([]);
    expect(capture.source.newestGeneration(2)).toBe(2);
    expect(await values()).toEqual([['1', '3']]);
    await world.moving('stopping', capture.stop());
  });

  it('F3: are folded once when they were brought and could not be taken out of the file', async () => {
    const world = new World('no room to rewrite', new SimulatedDisk());
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    let rewritings = 0;
    world.disk.step = ({ path }) => {
      // What is released is noted, and in the log.
      if (!path.endsWith('quarantine.jsonl.new') || rewritings === 5) return;
      const noted = (capture.quarantine.aloneOf(1, 1)?.releasing ?? 0) > 0;
      if (!noted) return;
      rewritings += 1;
      throw diskFailure('ENOSPC', path);
    };
    expect(await world.release(capture, 'events', { ignoresRules: true })).toMatchObject({ released: 3, left: 0 });
    expect(rewritings).toBe(5);
    expect(capture.quarantine.count).toBe(0);
    expect(capture.conditions.list()).toEqual([]);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('C1: stay in the file until their records are durable in the log', async () => {
    const world = new World('a slow log', new SimulatedDisk());
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    const written = Promise.withResolvers<void>();
    world.disk.step = ({ path }) => (path.includes('/log/') ? written.promise : undefined);
    const releasing = world.release(capture, 'events', { ignoresRules: true });
    await world.clock.advance(10 * SECOND);
    expect(capture.quarantine.aloneOf(1, 1)).toMatchObject({ count: 3, releasing: 3 });
    const ids = (await entriesOf(capture)).slice(0, 1).map(placeName);
    await expect(world.desk(capture).discardEntries(ids)).rejects.toThrow(/is being released/);
    written.resolve();
    expect(await releasing).toMatchObject({ released: 3, left: 0 });
    expect(capture.quarantine.count).toBe(0);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('C1: make room in a quarantine that is full of them, and what waited for it comes', async () => {
    const world = new World('full', new SimulatedDisk());
    const { clock } = world;
    world.limits = { quarantineBytesMax: 8 * 1024, inFlightBytesMax: 4 * 1024 };
    const capture = await world.start();
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    for (let i = 0; i < 60; i++) world.insert(1, AHEAD_US);
    await clock.advance(5 * SECOND);
    expect(capture.conditions.list()).toContainEqual(
      expect.objectContaining({ id: 'source/shop/append', code: 'DISK_FULL' }),
    );
    await clock.advance(AHEAD_US);
    const isWhole = (): boolean =>
      capture.quarantine.count === 0 && capture.source.status().durableLsn === world.database.lsn;
    for (let i = 0; i < 20 && !isWhole(); i++) {
      await world.release(capture, 'events', { ignoresRules: true });
      await clock.advance(3 * SECOND);
    }
    expect(isWhole()).toBe(true);
    expect(capture.conditions.list()).toEqual([]);
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it('F3: stay while their commit may come again, which nothing would tell then', async () => {
    const world = new World('beside a build', new SimulatedDisk());
    const { clock, database } = world;
    const capture = await world.start();
    await world.apply(capture, 1n);
    await clock.advance(3 * SECOND);
    const built = Promise.withResolvers<void>();
    world.disk.step = ({ path }) => (path.includes('/stages/') ? built.promise : undefined);
    database.createTable('late', ['id', 'value', 'at']);
    const more = defineScripted(database, 2n, [...TABLES, { table: 'late', mode: 1 }]);
    for (const { source } of more.routes) must(source).eventTimeColumn = 'at';
    await world.moving('applying', capture.node.apply(more));
    await clock.advance(5 * SECOND);
    world.insert(1, AHEAD_US);
    await clock.advance(5 * SECOND);
    // The snapshot's rows come no more; the stream's commit is not acknowledged beside a build.
    expect(await world.release(capture, 'events', { ignoresRules: true })).toMatchObject({
      released: 3,
      left: 1,
      why: expect.stringContaining('may come again') as string,
    });
    built.resolve();
    await clock.advance(30 * SECOND);
    expect(await world.release(capture, 'events', { ignoresRules: true })).toMatchObject({ released: 1, left: 0 });
    await world.moving('reading', world.check(capture));
    await world.moving('stopping', capture.stop());
  });

  it.each(['power cut', 'kill'] as const)('C1, F3, I1: are lost or doubled by no %s at any I/O', async (how) => {
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
