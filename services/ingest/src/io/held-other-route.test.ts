/**
 * Goal: when definitions that follow a change of a held table take its rows by another route, the new route has every row once,
 * what was held of the old one goes only then, and where the old one stays, it has every row once as well (C1, F3, I1).
 * Method: crash-point enumeration against the production code on a simulated disk and a scripted database, as in
 * held-releases.test.ts: the I/Os are numbered, and the script is run again for some, ended there, opened again and run on.
 * FRESHET_FUZZ_RUNS=10 takes ten times as many points.
 */
import { clone } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type DefinitionSet, RoutePlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;
const POINTS = Math.round(30 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));
/** The table's route until the change, and the one that begins with it. */
const [OLD, NEW] = [1, 2];

class World {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly database: ScriptedDatabase;
  disk: SimulatedDisk;
  readonly #keepsOld: boolean;
  #column = 'value';
  #next = 1;

  constructor(seed: string, disk: SimulatedDisk, keepsOld: boolean) {
    this.random = new Random(seed);
    this.disk = disk;
    this.#keepsOld = keepsOld;
    const random = (): number => this.random.real();
    this.database = new ScriptedDatabase({ name: 'shop', nowUs: () => this.clock.nowUs(), random });
    this.database.createTable('events', ['id', 'value']);
  }

  rename(): void {
    this.database.renameColumn('events', 'value', 'amount');
    this.#column = 'amount';
  }

  async traffic(commits: number): Promise<void> {
    for (let i = 0; i < commits; i++) {
      const n = this.#next++;
      const ids = Array.from({ length: this.random.between(1, 4) }, (_, k) => String(n * 10 + k));
      const insert = (id: string) => ({
        kind: 'insert' as const,
        table: 'events',
        row: { id, [this.#column]: String(n) },
      });
      this.database.commit(ids.map(insert));
      await this.clock.advance(this.random.between(0, 3) * 300_000);
    }
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

  apply(capture: ScriptedCapture, generation: bigint): Promise<void> {
    return this.moving('applying', capture.node.apply(this.#define(generation)));
  }

  #define(generation: bigint): DefinitionSet {
    const set = defineScripted(this.database, generation, [{ table: 'events', mode: 1 }]);
    if (generation === 1n) return set;
    const fresh = clone(RoutePlanSchema, must(set.routes[0]));
    fresh.route = NEW;
    set.routes.splice(0, this.#keepsOld ? 0 : 1);
    set.routes.push(fresh);
    return set;
  }

  async script(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 1n);
      await this.clock.advance(3 * SECOND);
      await this.traffic(3);
      this.rename();
      await this.traffic(5);
      await this.clock.advance(2 * SECOND);
      await this.apply(capture, 2n);
      await this.traffic(6);
      await this.clock.advance(15 * SECOND);
      await this.traffic(2);
      await this.moving('stopping', capture.stop());
    } finally {
      capture.abandon();
      this.database.breakStreams();
      await this.clock.advance(10 * SECOND);
    }
  }

  async runOn(): Promise<void> {
    const capture = await this.start();
    try {
      await this.apply(capture, 3n);
      await this.traffic(1);
      const isWhole = (): boolean => {
        const { phase, durableLsn, routes } = capture.source.status();
        const streams = phase === SourceState.STREAMING && routes.includes(NEW);
        return streams && durableLsn === this.database.lsn && capture.quarantine.count === 0;
      };
      for (let i = 0; i < 120 && !isWhole(); i++) await this.clock.advance(SECOND);
      expect(isWhole()).toBe(true);
      await this.moving('reading', this.#check(capture));
    } finally {
      await this.moving('stopping', capture.stop());
    }
  }

  async #check(capture: ScriptedCapture): Promise<void> {
    const folded = await foldLog(capture.log);
    const wanted = [...this.database.rows('events')].map(([id, row]) => [id, row['amount'] ?? row['value']] as const);
    for (const route of this.#keepsOld ? [OLD, NEW] : [NEW]) {
      const rows = [...(folded.get(route)?.rows.values() ?? [])];
      expect(new Map(rows.map(({ values }) => [values[0], values[1]])), `route ${route}`).toEqual(new Map(wanted));
      expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
    }
  }
}

async function crashAt(seed: string, keepsOld: boolean, point: number): Promise<void> {
  const chance = new Random(`${seed}/${point}`);
  const disk = new SimulatedDisk();
  const world = new World(seed, disk, keepsOld);
  let after: SimulatedDisk | undefined;
  disk.step = async ({ number }, life) => {
    if (number === point) after = chance.real() < 0.5 ? life.kill() : life.powerCut(chance);
  };
  await world.script().catch((error: unknown) => {
    if (after === undefined) throw error;
  });
  if (after === undefined) return;
  world.disk = after;
  await world.runOn();
}

describe('a held table whose rows are taken by another route', () => {
  it('C1: keeps what is held until that has the table, and then drops it', async () => {
    const world = new World('held', new SimulatedDisk(), false);
    const capture = await world.start();
    await world.apply(capture, 1n);
    await world.clock.advance(3 * SECOND);
    await world.traffic(2);
    world.rename();
    await world.traffic(4);
    await world.clock.advance(3 * SECOND);
    const held = capture.quarantine.count;
    expect(held).toBeGreaterThan(0);
    const applying = world.apply(capture, 2n);
    // The counts while the new route is not live, and since it is.
    const counts = { before: new Set<number>(), since: new Set<number>() };
    for (let i = 0; i < 2_000 && !counts.since.has(0); i++) {
      const isLive = capture.source.status().routes.includes(NEW);
      (isLive ? counts.since : counts.before).add(capture.quarantine.count);
      await world.clock.advance(10_000);
    }
    await applying;
    expect([...counts.before]).toEqual([held]);
    expect(counts.since.has(0)).toBe(true);
    await world.moving('stopping', capture.stop());
    await world.runOn();
  });

  it.each([false, true])(
    'C1, F3, I1: loses and doubles nothing by an end at any I/O; the old one stays: %s',
    async (keepsOld) => {
      const disk = new SimulatedDisk();
      const seed = `other route ${keepsOld}`;
      await new World(seed, disk, keepsOld).script();
      const ios = disk.operations;
      expect(ios).toBeGreaterThan(100);
      for (let at = 0; at < ios; at += Math.max(1, ios / POINTS)) {
        const point = Math.floor(at);
        try {
          await crashAt(seed, keepsOld, point);
        } catch (error) {
          throw new Error(`at I/O ${point} of ${ios}: ${String(error)}`, { cause: error });
        }
      }
    },
  );
});
