/**
 * Goal: a row of an entity that is erased while rows are released from the quarantine never comes to the log behind the Erase
 * record, where it would live again, however the two meet and wherever ingest is ended meanwhile; and nobody else's row is lost
 * or doubled (C1, F3).
 * Method: the production code on a simulated disk whose I/Os take their time, and a scripted database. A release is begun, and
 * the erase at each of its I/Os; also with the process killed some I/Os later, opened again, and the erase asked for again.
 * FRESHET_FUZZ_RUNS=10 takes ten times as many points.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { Kind } from '@freshet/gen/freshet/type/v1/value_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { encodeKey } from '@freshet/values/key.ts';
import { partitionOf } from '@freshet/values/partition.ts';
import { describe, expect, it } from 'vitest';
import type { ReleaseWish } from '../core/release-alone.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';
import { captured } from './captured.ts';
import { Eraser } from './eraser.ts';
import { QuarantineDesk } from './quarantine-desk.ts';

const TABLES = [
  { table: 'events', mode: 1 },
  { table: 'items', mode: 1 },
] as const;
const SECOND = 1_000_000;
const AHEAD_US = 60 * SECOND;
const POINTS = Math.round(30 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));
const ROWS = 6;
/** The id of the row whose entity is erased: one of those in the quarantine. */
const VICTIM = ROWS + 3;

type How = 'held' | 'alone';

class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: ScriptedDatabase;
  readonly how: How;
  disk = new SimulatedDisk();
  readonly victim: number;
  #generation = 0n;
  #isReleasing = false;
  #next = 1;

  constructor(seed: string, how: How, victim = VICTIM) {
    this.victim = victim;
    this.random = new Random(seed);
    this.how = how;
    this.database = new ScriptedDatabase({
      name: 'shop',
      nowUs: () => this.clock.nowUs(),
      random: () => this.random.real(),
    });
    for (const { table } of TABLES) this.database.createTable(table, ['id', 'value', 'at']);
  }

  get key(): Uint8Array {
    return encodeKey([Kind.INT64], [BigInt(this.victim)]);
  }

  /** A commit of so many rows. */
  insert(column: string, aheadUs: number, rows = 1): void {
    const at = new Date((this.clock.nowUs() + aheadUs) / 1_000).toISOString().replace('T', ' ').replace('Z', '+00');
    const row = () => ({ id: String(this.#next++), [column]: '1', at });
    this.database.commit(
      Array.from({ length: rows }, () => ({ kind: 'insert' as const, table: 'events', row: row() })),
    );
  }

  start(): Promise<ScriptedCapture> {
    this.#isReleasing = false;
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
    for (let i = 0; i < 3_000 && !settled; i++) await this.clock.advance(100_000);
    if (!settled) throw new Error(`${what} does not end`);
    return settling;
  }

  /** The definitions over the table as it is. */
  apply(capture: ScriptedCapture): Promise<void> {
    const definitions = defineScripted(this.database, ++this.#generation, TABLES);
    for (const { source } of definitions.routes) must(source).eventTimeColumn = 'at';
    return this.moving('applying', capture.node.apply(definitions));
  }

  /** Rows in the log, and rows in the quarantine, all of them acknowledged. */
  async fill(rows = ROWS): Promise<ScriptedCapture> {
    const capture = await this.start();
    await this.apply(capture);
    await this.clock.advance(3 * SECOND);
    for (let i = 0; i < ROWS; i++) this.insert('value', 0);
    if (this.how === 'held') this.database.renameColumn('events', 'value', 'amount');
    for (let i = 0; i < ROWS; i++)
      this.insert(this.how === 'held' ? 'amount' : 'value', this.how === 'held' ? 0 : AHEAD_US, rows / ROWS);
    await this.clock.advance(5 * SECOND);
    expect(capture.quarantine.count).toBe(rows);
    if (this.how === 'alone') await this.clock.advance(AHEAD_US);
    return capture;
  }

  /** Begins the release of what is in the quarantine. */
  async release(capture: ScriptedCapture, wish: ReleaseWish = {}): Promise<void> {
    if (this.how === 'held') {
      await this.apply(capture);
      return;
    }
    const desk = new QuarantineDesk({
      quarantine: capture.quarantine,
      releases: () => [capture.source.held],
      readAnew: () => Promise.reject(new Error('nothing is read anew')),
      clock: this.clock,
      logger: silentLogger,
    });
    const asked = async (): Promise<void> => {
      for await (const _ of desk.release('events', wish, new AbortController().signal));
    };
    this.#isReleasing = true;
    asked()
      .catch(() => {}) // a killed process
      .finally(() => {
        this.#isReleasing = false;
      });
  }

  /** Erases the victim as main does; asked for again for as long as it cannot be. */
  async erase(capture: ScriptedCapture, { disk = this.disk, waits = true } = {}): Promise<void> {
    const { clock, database, key: entityKey } = this;
    const eraser = new Eraser({
      directory: '/ingest',
      files: disk,
      log: capture.log,
      quarantine: capture.quarantine,
      holders: () => [],
      captured: async (_name, signal) => {
        if (waits) await captured({ database, status: () => capture.source.status(), clock }, signal);
      },
      definitions: () => capture.node.definitions,
      clock,
      makeSalt: () => new Uint8Array(16).fill(7),
      yieldNow: () => Promise.resolve(),
    });
    for (let tries = 0; ; tries++) {
      try {
        const wish = { eraseId: 'e1', entity: 'entity', entityKey, setAside: true };
        for await (const _ of eraser.erase(wish, new AbortController().signal));
        return;
      } catch (error) {
        if (tries === 100 || !isFreshetError(error, 'UNAVAILABLE', 'DISK_FULL')) throw error;
        await clock.sleep(300);
      }
    }
  }

  async settle(capture: ScriptedCapture): Promise<void> {
    const { quarantine, source } = capture;
    const isOver = (): boolean =>
      !this.#isReleasing &&
      source.status().phase === SourceState.STREAMING &&
      quarantine.held.length === 0 &&
      quarantine.alone.every(({ releasing }) => releasing === 0);
    for (let i = 0; i < 120 && !isOver(); i++) await this.clock.advance(SECOND);
    expect(isOver()).toBe(true);
  }

  /** That no row of the victim is behind the Erase record, and every other row is folded once or stayed where it was. */
  async check(capture: ScriptedCapture): Promise<void> {
    const kinds = await this.moving('reading', kindsOf(capture.log, this.key));
    expect(kinds.filter((kind) => kind === 'erase')).toEqual(['erase']);
    expect(kinds.slice(kinds.indexOf('erase')).filter((kind) => kind === 'victim')).toEqual([]);
    const folded = await this.moving('reading', foldLog(capture.log));
    const found = [...(folded.get(1)?.rows.values() ?? [])].map(({ values, times }) => `${values[0]}: ${times}`);
    for await (const { entry } of capture.quarantine.entries()) found.push(`${entry.values['id']}: 1`);
    const wanted = [...this.database.rows('events').keys()]
      .filter((id) => Number(id) !== this.victim)
      .map((id) => `${id}: 1`);
    expect(found.sort()).toEqual(wanted.sort());
  }
}

/** The records of the victim's partition: its own rows, Erase records, and others. */
async function kindsOf(log: ScriptedCapture['log'], key: Uint8Array): Promise<string[]> {
  const partition = partitionOf(key, log.partitionCount);
  const { end } = must((await log.describe()).partitions[partition]);
  const kinds: string[] = [];
  for await (const { entries } of log.read(partition, 0, new AbortController().signal)) {
    for (const { record } of entries) {
      const { kind } = fromBinary(LogRecordSchema, record.slice());
      const isVictim = kind.case === 'change' && Buffer.compare(kind.value.entityKey, key) === 0;
      kinds.push(isVictim ? 'victim' : String(kind.case));
    }
    if (kinds.length >= end) break;
  }
  return kinds;
}

/** How many I/Os a release has, alone. */
async function iosOfRelease(how: How): Promise<number> {
  const world = new World('counted', how);
  const capture = await world.fill();
  const before = world.disk.operations;
  await world.release(capture);
  await world.settle(capture);
  const { operations } = world.disk;
  await world.moving('stopping', capture.stop());
  return operations - before;
}

/** Begins an erase at an I/O of a release; kills the process so many I/Os later, if it is to be. */
async function meet(how: How, at: number, killAfter?: number): Promise<void> {
  const world = new World(`${how}/${at}/${killAfter}`, how);
  const { clock, random, disk } = world;
  const capture = await world.fill();
  const begins = disk.operations + at;
  let erasing: Promise<unknown> | undefined;
  let after: SimulatedDisk | undefined;
  disk.step = async ({ number }, life) => {
    if (number === begins)
      erasing = Promise.resolve()
        .then(() => world.erase(capture, { disk: life }))
        .catch((error) => error);
    if (killAfter !== undefined && number === begins + killAfter) after = life.kill();
    if (random.between(0, 3) === 0) await clock.sleep(random.between(1, 400));
  };
  await world.release(capture).catch((error: unknown) => {
    if (after === undefined) throw error;
  });
  for (let i = 0; i < 300 && after === undefined; i++) await clock.advance(100_000);
  if (after === undefined) {
    expect(await world.moving('erasing', erasing ?? world.erase(capture))).toBeUndefined();
    disk.step = () => {};
    await world.settle(capture);
    await world.check(capture);
    await world.moving('stopping', capture.stop());
    return;
  }
  capture.abandon();
  world.database.breakStreams();
  await clock.advance(10 * SECOND);
  world.disk = after;
  const again = await world.start();
  await world.apply(again);
  await clock.advance(10 * SECOND);
  await world.settle(again);
  await world.moving('erasing', world.erase(again));
  await world.settle(again);
  await world.check(again);
  await world.moving('stopping', again.stop());
}

describe.each(['held', 'alone'] as const)('an erase and a release of rows that are %s', (how) => {
  it('leave nothing of the entity behind the Erase record, whenever they meet', async () => {
    const ios = await iosOfRelease(how);
    expect(ios).toBeGreaterThan(20);
    for (let at = 0; at < ios; at += Math.max(1, ios / POINTS)) await told(how, Math.floor(at));
  });

  it('leave nothing behind it either when the process is killed in between', async () => {
    const ios = await iosOfRelease(how);
    const random = new Random(how);
    for (let at = 0; at < ios; at += Math.max(1, ios / POINTS)) await told(how, Math.floor(at), random.between(1, 60));
  });
});

async function told(how: How, at: number, killAfter?: number): Promise<void> {
  try {
    await meet(how, at, killAfter);
  } catch (error) {
    throw new Error(`an erase at I/O ${at}, killed after ${killAfter}: ${String(error)}`, { cause: error });
  }
}

describe('an erase', () => {
  it('waits for a row that was read from the quarantine and is queued for the log', async () => {
    const world = new World('a slow log', 'alone');
    const { clock, disk, database } = world;
    const capture = await world.fill();
    const isWritten = Promise.withResolvers<void>();
    let writes = 0;
    disk.step = async ({ kind, path }) => {
      if (kind !== 'write' || !path.includes('/log/')) return;
      writes += 1;
      await isWritten.promise;
    };
    // Rows of another table are on their way: what is released comes behind them in each partition.
    const item = (id: number) => ({ id: String(id), value: '1', at: '2023-11-14 00:00:00+00' });
    database.commit(
      Array.from({ length: 8 }, (_, i) => ({ kind: 'insert' as const, table: 'items', row: item(i + 1) })),
    );
    for (let i = 0; i < 50 && writes < 2; i++) await clock.advance(10_000);
    expect(writes).toBe(2);
    await world.release(capture);
    for (let i = 0; i < 50 && capture.quarantine.alone[0]?.releasing !== ROWS; i++) await clock.advance(100_000);
    await clock.advance(SECOND);
    const erasing = world.erase(capture, { waits: false });
    for (let i = 0; i < 100; i++) await clock.advance(0);
    isWritten.resolve();
    await world.moving('erasing', erasing);
    await world.settle(capture);
    await world.check(capture);
    await world.moving('stopping', capture.stop());
  });

  it('is not met by a release that goes on reading the file from before', async () => {
    const rows = 600 * ROWS;
    const world = new World('a long file', 'held', ROWS + rows);
    const { clock, disk } = world;
    const capture = await world.fill(rows);
    let reads = 0;
    const isErased = Promise.withResolvers<void>();
    disk.step = async ({ kind, path }) => {
      // Far before the victim, which is the last.
      if (kind === 'read' && path.endsWith('quarantine.jsonl') && ++reads === 3) await isErased.promise;
    };
    await world.release(capture);
    for (let i = 0; i < 50 && reads < 3; i++) await clock.advance(100_000);
    const erasing = world.erase(capture, { waits: false });
    for (let i = 0; i < 50 && capture.quarantine.count === rows; i++) await clock.advance(0);
    expect(capture.quarantine.count).toBe(rows - 1);
    isErased.resolve();
    await world.moving('erasing', erasing);
    await world.settle(capture);
    await world.check(capture);
    await world.moving('stopping', capture.stop());
  });

  it('waits until what it takes out of the quarantine cannot come again', async () => {
    const world = new World('unacknowledged', 'held', 2 * ROWS + 2);
    const { clock, disk, database } = world;
    const capture = await world.fill();
    world.insert('amount', 0);
    const acknowledged = (): bigint => capture.source.status().acknowledgedLsn;
    for (let i = 0; i < 500 && acknowledged() < database.lsn; i++) await clock.advance(10_000);
    // The next is acknowledged in a second.
    world.insert('amount', 0);
    for (let i = 0; i < 50 && capture.quarantine.count < ROWS + 2; i++) await clock.advance(10_000);
    expect(acknowledged() < database.lsn).toBe(true);
    let isDone = false;
    const erasing = world.erase(capture).finally(() => {
      isDone = true;
    });
    for (let i = 0; i < 1_000 && !isDone; i++) await clock.advance(10_000);
    await erasing;
    world.disk = disk.kill();
    capture.abandon();
    database.breakStreams();
    await clock.advance(10 * SECOND);
    const again = await world.start();
    await clock.advance(5 * SECOND);
    await world.apply(again);
    await clock.advance(5 * SECOND);
    await world.settle(again);
    await world.check(again);
    await world.moving('stopping', again.stop());
  });

  it('takes the only row that is held, and the table flows', async () => {
    const world = new World('the only one', 'held');
    const capture = await world.fill();
    const isVictim = ({ values }: { values: Readonly<Record<string, unknown>> }): boolean =>
      values['id'] === String(VICTIM);
    await world.moving(
      'dropping',
      capture.quarantine.remove((entry) => !isVictim(entry)),
    );
    let taken: Promise<number> | undefined;
    // Between the look at what is held and its release.
    world.disk.step = ({ path }) => {
      if (!path.endsWith('state.json.new')) return;
      taken ??= capture.quarantine.remove(isVictim);
    };
    await world.release(capture);
    await world.settle(capture);
    expect(await world.moving('dropping', must(taken))).toBe(1);
    world.insert('amount', 0);
    await world.clock.advance(5 * SECOND);
    const folded = await world.moving('reading', foldLog(capture.log));
    expect([...(folded.get(1)?.rows.values() ?? [])].map(({ values }) => values[0])).toContain(String(2 * ROWS + 1));
    await world.moving('stopping', capture.stop());
  });
});
