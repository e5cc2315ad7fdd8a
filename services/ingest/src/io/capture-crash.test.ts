/**
 * Goal: wherever ingest is killed or its machine loses power, what is in the log, folded, is what the source committed:
 * nothing that was acknowledged upstream is missing at once, and nothing is missing or doubled once it ran on.
 * Method: crash-point enumeration. A script of transactions against the production code on a simulated disk and a scripted
 * database; the I/Os are numbered, and the script is run again for each, ended there, opened again and run on.
 * FRESHET_FUZZ_RUNS=10 takes ten times as many points; CI takes some of every region.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const TABLES = [
  { table: 'events', mode: 1 },
  { table: 'items', mode: 2 },
] as const;
/** Comes with later definitions, when it has rows: it is built beside the stream of the others. */
const ALL = [...TABLES, { table: 'late', mode: 2 }] as const;
const SECOND = 1_000_000;
const POINTS = Math.round(150 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));

/** The world of one run: the database and time outlive every crash of ingest. */
class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: ScriptedDatabase;
  disk: SimulatedDisk;
  /** Ids of events by the end of the commit that brought them. */
  readonly events: { id: string; endLsn: bigint }[] = [];
  readonly #slow: Random;
  #next = 1;

  constructor(seed: string, disk: SimulatedDisk) {
    this.random = new Random(seed);
    this.#slow = this.random.branch('slow');
    this.disk = disk;
    this.database = new ScriptedDatabase({
      name: 'shop',
      nowUs: () => this.clock.nowUs(),
      random: () => this.random.real(),
    });
    this.database.createTable('events', ['id', 'value']);
    this.database.createTable('items', ['id', 'value']);
    this.database.createTable('late', ['id', 'value']);
    for (let i = 0; i < 6; i++) this.commit();
  }

  /** One transaction over both tables. */
  commit(): void {
    const n = this.#next++;
    const events = Array.from({ length: this.random.between(1, 5) }, (_, i) => String(n * 10 + i));
    const items = this.database.rows('items');
    const item = String(this.random.between(1, 6));
    const exists = items.has(item);
    const row = { id: item, value: String(n) };
    const endLsn = this.database.commit([
      ...events.map((id) => ({ kind: 'insert' as const, table: 'events', row: { id, value: String(n) } })),
      exists && this.random.oneIn(3)
        ? { kind: 'delete', table: 'items', id: item }
        : { kind: exists ? 'update' : 'insert', table: 'items', row },
      { kind: this.database.rows('late').has(item) ? 'update' : 'insert', table: 'late', row },
    ]);
    for (const id of events) this.events.push({ id, endLsn });
  }

  start(): Promise<ScriptedCapture> {
    const { database, disk: files, clock, random } = this;
    return this.moving('opening', startScripted({ database, files, clock, random: () => random.real() }));
  }

  /** Waits while time goes on: the disk takes its time. */
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

  /** Some I/Os take long: long enough for an acknowledgement to be sent meanwhile. */
  async slowness(): Promise<void> {
    if (this.#slow.oneIn(12)) await this.clock.sleep(this.#slow.between(1, 2_500));
  }

  /** The script: definitions, a snapshot, commits, lost connections, new definitions, a stop in order. */
  async script(): Promise<void> {
    const capture = await this.start();
    try {
      await this.moving('applying', capture.node.apply(defineScripted(this.database, 1n, TABLES)));
      for (let i = 0; i < 12; i++) {
        this.commit();
        await this.clock.advance(this.random.between(0, 3) * 400_000);
        // More of them, while the new route is built: what was acknowledged when is drawn by the disk's slowness.
        for (let more = i >= 8 ? 4 : 0; more > 0; more--) {
          this.commit();
          await this.clock.advance(this.random.between(0, 3) * 1_000);
        }
        // In the middle of the build that the ones before began: another contract cuts it off.
        if (i === 9) await this.moving('applying', capture.node.apply(defineScripted(this.database, 3n, ALL)));
        // The first commits come while the snapshots are taken; then there is time for acknowledgements.
        if (i === 3 || i === 9) await this.clock.advance(20 * SECOND);
        if (i === 4) this.database.breakStreams();
        if (i === 6) this.database.checkpoint();
        if (i === 7) this.database.crash();
        if (i === 8) await this.moving('applying', capture.node.apply(defineScripted(this.database, 2n, ALL)));
      }
      await this.clock.advance(3 * SECOND);
      await this.stop(capture);
    } catch (error) {
      capture.abandon();
      throw error;
    } finally {
      // A killed process leaves; its connections break with it.
      capture.abandon();
      this.database.breakStreams();
      await this.clock.advance(10 * SECOND);
    }
  }

  stop(capture: ScriptedCapture): Promise<void> {
    return this.moving('stopping', capture.stop());
  }

  /** Nothing that was acknowledged upstream is missing from the log as it was found. */
  async checkAcknowledged(capture: ScriptedCapture, toldLsn: bigint): Promise<void> {
    const folded = (await foldLog(capture.log)).get(1);
    const ids = new Set([...(folded?.rows.values() ?? [])].map(({ values }) => values[0]));
    const acknowledged = this.events.filter(({ endLsn }) => endLsn <= toldLsn);
    expect(acknowledged.filter(({ id }) => !ids.has(id))).toEqual([]);
  }

  /** The log, folded, is the database. */
  async checkWhole(capture: ScriptedCapture): Promise<void> {
    const folded = await foldLog(capture.log);
    for (const [i, { table }] of ALL.entries()) {
      const rows = [...(folded.get(i + 1)?.rows.values() ?? [])];
      const found = new Map(rows.map(({ values }) => [values[0], values[1]]));
      const expected = new Map([...this.database.rows(table)].map(([id, row]) => [id, row['value']]));
      expect(found, table).toEqual(expected);
      if (table === 'events') expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
    }
  }

  /** Whether it says that all is in the log. The slot begins before the snapshots do: its position alone says little. */
  isWhole({ source, node }: ScriptedCapture): boolean {
    const { phase, durableLsn, routes } = source.status();
    const streams = phase === SourceState.STREAMING && routes.length === ALL.length && node.writtenGeneration === 4n;
    return streams && durableLsn === this.database.lsn;
  }

  /** Opens again, checks, runs on until everything is in the log, checks. */
  async runOn(): Promise<void> {
    // Before the start: what runs on acknowledges more while its log is read.
    const { toldLsn } = this.database;
    const capture = await this.start();
    try {
      await this.moving('reading', this.checkAcknowledged(capture, toldLsn));
      await this.moving('applying', capture.node.apply(defineScripted(this.database, 4n, ALL)));
      this.commit();
      for (let i = 0; i < 120 && !this.isWhole(capture); i++) await this.clock.advance(SECOND);
      expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, durableLsn: this.database.lsn });
      await this.moving('reading', this.checkWhole(capture));
    } finally {
      await this.stop(capture);
    }
  }
}

/** How many I/Os the script makes when nothing ends it. */
async function countIos(seed: string): Promise<number> {
  const disk = new SimulatedDisk();
  const world = new World(seed, disk);
  disk.step = () => world.slowness();
  await world.script();
  return disk.operations;
}

async function crashAt(seed: string, point: number, how: 'power cut' | 'kill'): Promise<void> {
  const chance = new Random(`${seed}/${point}`);
  const disk = new SimulatedDisk();
  const world = new World(seed, disk);
  let after: SimulatedDisk | undefined;
  disk.step = async ({ number }, life) => {
    if (number === point) after = how === 'kill' ? life.kill() : life.powerCut(chance);
    else await world.slowness();
  };
  await world.script().catch((error: unknown) => {
    if (after === undefined) throw error;
  });
  if (after === undefined) return;
  world.disk = after;
  after.step = () => world.slowness();
  await world.runOn();
}

describe('ingest that is ended at any I/O', () => {
  it.each(['power cut', 'kill'] as const)('I1, F3, L1: loses and doubles nothing by a %s', async (how) => {
    const seed = how;
    const ios = await countIos(seed);
    expect(ios).toBeGreaterThan(100);
    const step = Math.max(1, ios / POINTS);
    for (let at = 0; at < ios; at += step) {
      const point = Math.floor(at);
      try {
        await crashAt(seed, point, how);
      } catch (error) {
        throw new Error(`${how} at I/O ${point} of ${ios}: ${String(error)}`, { cause: error });
      }
    }
  });
});
