/**
 * Goal: routes that are built beside live ones disturb nothing: live rows come to the log while a table is read and appended,
 * a build's failure is its own; and nothing of the built routes is lost, doubled or out of order, however the two streams
 * stand to each other when one takes over from the other.
 * Method: the production code over a simulated disk and a scripted database, whose copy of a table the test holds open; the
 * hand-over by generated histories, cut anywhere.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { assertFuzz } from '@freshet/testkit/differential/fuzz-options.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ReplicationStream, SnapshotReader, TableToStage } from '../core/source-database.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;
const EVENTS = { table: 'events', mode: 1 } as const;
const ITEMS = { table: 'items', mode: 2 } as const;

/** A database whose copies of tables wait while it is held, or fail. */
class HeldDatabase extends ScriptedDatabase {
  isHeld = false;
  isBehind = false;
  refusal: FreshetError | undefined;
  readonly #waiting: (() => void)[] = [];

  release(): void {
    this.isHeld = false;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  /** After what a copy gives, and before it is told, there is always another commit that the live stream has. */
  override async openCopy(slotName: string): Promise<ReplicationStream> {
    const stream = await super.openCopy(slotName);
    if (!this.isBehind) return stream;
    const read = stream.read.bind(stream);
    stream.read = async (signal) => {
      const messages = await read(signal);
      commit();
      await clock.sleep(5);
      return messages;
    };
    return stream;
  }

  override snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: (reader: SnapshotReader, fromLsn: bigint) => Promise<T>,
  ): Promise<T> {
    return super.snapshot(slotName, signal, (reader, fromLsn) => {
      const copy = (table: TableToStage): AsyncIterable<Uint8Array> => this.#held(reader.copy(table));
      return work({ ...reader, copy }, fromLsn);
    });
  }

  async *#held(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    if (this.refusal !== undefined) throw this.refusal;
    if (this.isHeld) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    yield* bytes;
  }
}

let clock: VirtualClock;
let random: Random;
let database: HeldDatabase;
let disk: SimulatedDisk;
let next: number;

function world(seed: string): void {
  clock = new VirtualClock();
  random = new Random(seed);
  disk = new SimulatedDisk();
  next = 1;
  database = new HeldDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => random.real() });
  database.createTable('events', ['id', 'value']);
  database.createTable('items', ['id', 'value']);
  for (let i = 0; i < 5; i++) commit();
}

beforeEach(() => world('beside'));

/** An event, and an upsert of an item. */
function commit(): void {
  const n = String(next++);
  const id = String(random.between(1, 9));
  const kind = database.rows('items').has(id) ? 'update' : 'insert';
  database.commit([
    { kind: 'insert', table: 'events', row: { id: n, value: n } },
    { kind, table: 'items', row: { id, value: n } },
  ]);
}

async function start(): Promise<ScriptedCapture> {
  const capture = await startScripted({ database, files: disk, clock, random: () => random.real() });
  await capture.node.apply(defineScripted(database, 1n, [EVENTS]));
  await clock.advance(10 * SECOND);
  return capture;
}

async function stop(capture: ScriptedCapture): Promise<void> {
  database.release();
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
}

/** The log, folded, is the tables, each event once. */
async function expectWhole({ log }: ScriptedCapture): Promise<void> {
  const folded = await foldLog(log);
  for (const [i, { table }] of [EVENTS, ITEMS].entries()) {
    const rows = [...(folded.get(i + 1)?.rows.values() ?? [])];
    const found = new Map(rows.map(({ values }) => [values[0], values[1]]));
    expect(found).toEqual(new Map([...database.rows(table)].map(([id, row]) => [id, row['value']])));
    if (table === 'events') expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
  }
}

const countEvents = async ({ log }: ScriptedCapture): Promise<number> => (await foldLog(log)).get(1)?.rows.size ?? 0;

describe('a route that is built beside live ones', () => {
  it('I1: leaves the stream alone, and the slot where the build needs it', async () => {
    const capture = await start();
    const { toldLsn } = database;
    database.isHeld = true;
    await capture.node.apply(defineScripted(database, 2n, [EVENTS, ITEMS]));
    await clock.advance(5 * SECOND);
    const point = database.lsn;
    for (let i = 0; i < 20; i++) {
      commit();
      await clock.advance(SECOND);
    }
    expect(await countEvents(capture)).toBe(25);
    const snapshot = { step: 'reading', rows: 0, rowsExpected: expect.any(Number) };
    expect(capture.source.status()).toMatchObject({ phase: SourceState.SNAPSHOT, routes: [1], snapshot });
    expect(database.toldLsn).toBeGreaterThanOrEqual(toldLsn);
    expect(database.toldLsn).toBeLessThanOrEqual(point);
    database.release();
    await clock.advance(10 * SECOND);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1, 2] });
    expect(capture.source.status().snapshot).toBeUndefined();
    expect(database.toldLsn).toBe(database.lsn);
    await expectWhole(capture);
    commit();
    await clock.advance(SECOND);
    await expectWhole(capture);
    await stop(capture);
  });

  it('leaves what is live alone when its table cannot be read, tells so, and goes on when it can', async () => {
    const capture = await start();
    database.refusal = new FreshetError('SOURCE_NOT_READY', 'permission denied for table items', { remedy: 'GRANT' });
    await capture.node.apply(defineScripted(database, 2n, [EVENTS, ITEMS]));
    await clock.advance(5 * SECOND);
    commit();
    await clock.advance(SECOND);
    expect(await countEvents(capture)).toBe(6);
    const raised = (): string[] => capture.conditions.list().map(({ id }) => id);
    expect(raised()).toContain('source/shop/build');
    database.refusal = undefined;
    await clock.advance(20 * SECOND);
    expect(raised()).not.toContain('source/shop/build');
    await expectWhole(capture);
    await stop(capture);
  });

  it('comes to an end where the live stream is always further', async () => {
    const capture = await start();
    database.isBehind = true;
    const applying = capture.node.apply(defineScripted(database, 2n, [EVENTS, ITEMS]));
    for (let i = 0; i < 400; i++) await clock.advance(10_000);
    await applying;
    expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1, 2] });
    await expectWhole(capture);
    await stop(capture);
  });

  it('F3: is whole and in order however the streams stand to each other, and whatever breaks', async () => {
    const step = fc.record({
      commits: fc.nat({ max: 12 }),
      waitUs: fc.nat({ max: 4_000 }),
      breaks: fc.nat({ max: 12 }),
    });
    const histories = fc.record({ seed: fc.nat(), steps: fc.array(step, { maxLength: 25 }) });
    await assertFuzz(40, histories, async ({ seed, steps }) => {
      world(String(seed));
      disk.step = async () => {
        if (random.oneIn(4)) await clock.sleep(random.between(1, 4));
      };
      const starting = start();
      await clock.advance(20 * SECOND);
      const capture = await starting;
      database.isHeld = true;
      const applying = capture.node.apply(defineScripted(database, 2n, [EVENTS, ITEMS]));
      await clock.advance(SECOND);
      await applying;
      for (let i = 0; i < 10; i++) commit();
      await clock.advance(SECOND);
      database.release();
      for (const { commits, waitUs, breaks } of steps) {
        for (let i = 0; i < commits; i++) commit();
        await clock.advance(waitUs);
        if (breaks === 0) database.breakStreams();
        if (breaks === 1) database.crash();
      }
      await clock.advance(120 * SECOND);
      expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1, 2] });
      const whole = expectWhole(capture);
      await clock.advance(SECOND);
      await whole;
      await stop(capture);
    });
  });
});
