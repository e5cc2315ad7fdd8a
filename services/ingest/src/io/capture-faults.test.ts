/**
 * Goal: each bad state of disk, files, slot and database is clear, loses nothing, and is left by the way that its remedy says.
 * Method: the production code over a simulated disk and a scripted database; the fault; what the status and the conditions
 * say; the remedy; and the log, folded, against the database.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { encodeRecord } from '@freshet/log/record-writer.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;
const STATE = '/ingest/postgres/shop/state.json';
let clock: VirtualClock;
let database: ScriptedDatabase;
let disk: SimulatedDisk;
let next: number;
/** By how much the database's clock is behind ours. */
let behindUs: number;

beforeEach(() => {
  clock = new VirtualClock();
  behindUs = 0;
  database = new ScriptedDatabase({ name: 'shop', nowUs: () => clock.nowUs() - behindUs, random: () => 0.5 });
  database.createTable('events', ['id', 'value']);
  disk = new SimulatedDisk();
  next = 1;
  insert(20);
});

function insert(count: number): void {
  const rows = Array.from({ length: count }, () => ({ id: String(next++), value: '1' }));
  database.commit(rows.map((row) => ({ kind: 'insert', table: 'events', row })));
}

async function start(resync?: string): Promise<ScriptedCapture> {
  const capture = await startScripted({ database, files: disk, clock, random: () => 0, resync });
  await capture.node.apply(defineScripted(database, 1n, [{ table: 'events', mode: 1 }]));
  await clock.advance(10 * SECOND);
  return capture;
}

async function stop(capture: ScriptedCapture): Promise<void> {
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
}

/** The ids that are in the log, each as often as it was folded, and the generation that they are of. */
async function folded({ log }: ScriptedCapture): Promise<{ ids: string[]; generation: number }> {
  const route = (await foldLog(log)).get(1);
  const ids = [...(route?.rows.values() ?? [])].flatMap(({ values, times }) =>
    Array<string>(times).fill(String(values[0])),
  );
  return { ids: ids.sort((a, b) => Number(a) - Number(b)), generation: route?.generation ?? 0 };
}

async function expectWhole(capture: ScriptedCapture): Promise<void> {
  await clock.advance(10 * SECOND);
  expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, problem: undefined });
  expect(capture.conditions.list()).toEqual([]);
  expect((await folded(capture)).ids).toEqual(Array.from({ length: next - 1 }, (_, i) => String(i + 1)));
}

function codes({ conditions }: ScriptedCapture): string[] {
  return conditions.list().map(({ id, code }) => `${id} ${code}`);
}

function flipBit(path: string, at: number): void {
  const bytes = disk.content(path);
  bytes[at] = (bytes[at] ?? 0) ^ 4;
  disk.setContent(path, bytes);
}

describe('a disk of the log that lied', () => {
  it('I1 L1: what was acknowledged and is lost is told, also at later starts, and read anew on request', async () => {
    let capture = await start();
    await expectWhole(capture);
    disk.step = ({ path }, self) => {
      self.lies = path.includes('/log/');
    };
    insert(10);
    await expectWhole(capture);
    capture.abandon();
    await clock.advance(SECOND);
    disk = disk.powerCut({ real: () => 0 });
    for (const ticks of [0, 50]) {
      capture = await start();
      expect(codes(capture)).toEqual(['source/shop SLOT_LOST']);
      expect(capture.source.status().problem?.message).toContain('lost records that were acknowledged');
      // The log grows beyond where it ended: that hides nothing.
      const record = encodeRecord({ case: 'tick', value: {} });
      for (let i = 0; i < ticks; i++) for (const partition of [0, 1]) await capture.log.append(partition, [record]);
      await stop(capture);
    }
    capture = await start('2026-11-23');
    await expectWhole(capture);
    expect((await folded(capture)).generation).toBe(2);
    await stop(capture);
    // Carried out once: what was told is over.
    capture = await start();
    await expectWhole(capture);
    await stop(capture);
  });
});

describe('a disk without room', () => {
  it('I1: pauses capture, says so, acknowledges nothing meanwhile, and goes on by itself', async () => {
    const capture = await start();
    await expectWhole(capture);
    const acknowledged = database.toldLsn;
    disk.capacityBytes = 0;
    insert(50);
    await clock.advance(120 * SECOND);
    expect(codes(capture)).toEqual(['source/shop/append DISK_FULL']);
    expect(database.toldLsn).toBe(acknowledged);
    disk.capacityBytes = Infinity;
    await expectWhole(capture);
    expect(database.toldLsn).toBe(database.lsn);
    await stop(capture);
  });

  it('takes the snapshot again once there is room for it', async () => {
    const capture = await startScripted({ database, files: disk, clock, random: () => 0 });
    await capture.node.apply(defineScripted(database, 1n, [{ table: 'events', mode: 1 }]));
    disk.step = ({ kind, path }, life) => {
      if (kind === 'write' && path.endsWith('.copy')) life.capacityBytes = 0;
    };
    await clock.advance(30 * SECOND);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.CONNECTING, problem: { code: 'DISK_FULL' } });
    disk.step = () => {};
    disk.capacityBytes = Infinity;
    await expectWhole(capture);
    await stop(capture);
  });
});

describe('damaged files', () => {
  it('a stage: no row of the damaged piece is used, and the snapshot is taken anew', async () => {
    const capture = await startScripted({ database, files: disk, clock, random: () => 0 });
    await capture.node.apply(defineScripted(database, 1n, [{ table: 'events', mode: 1 }]));
    let damaged = false;
    disk.step = ({ kind, path }) => {
      if (damaged || kind !== 'open' || !path.endsWith('0.copy')) return;
      if (disk.paths().includes(path) && disk.content(path).length > 20) {
        damaged = true;
        flipBit(path, 12); // the first row's id, which stays a number
      }
    };
    await expectWhole(capture);
    expect(damaged).toBe(true);
    expect((await folded(capture)).generation).toBe(2);
    await stop(capture);
  });

  it('a state file: every flipped bit is refused, with the way out; a resync goes on without it, once for each word', async () => {
    await stop(await start('first'));
    const sound = disk.content(STATE);
    for (let at = 0; at < sound.length - 1; at += 7) {
      flipBit(STATE, at);
      const refused = await start('first');
      expect(refused.source.status(), `byte ${at}`).toMatchObject({ phase: SourceState.HALTED });
      expect(codes(refused)).toEqual(['source/shop DATA_DAMAGED']);
      expect(refused.source.status().problem?.remedy).toContain('--resync');
      await stop(refused);
      disk.setContent(STATE, sound);
    }
    flipBit(STATE, 40);
    insert(5);
    const again = await start('second');
    await expectWhole(again);
    // Generations that the lost state may have used are not used again.
    const { generation } = await folded(again);
    expect(generation).toBeGreaterThan(1_000_000);
    expect(disk.paths()).toContain(`${STATE}.damaged-1`);
    await stop(again);
    const repeated = await start('second');
    await expectWhole(repeated);
    expect((await folded(repeated)).generation).toBe(generation);
    await stop(repeated);
  });

  it('the node’s own files: set aside, and made anew', async () => {
    await stop(await start());
    for (const name of ['definitions.binpb', 'node.json']) flipBit(`/ingest/${name}`, 30);
    insert(5);
    const capture = await start();
    await expectWhole(capture);
    expect(disk.paths()).toEqual(
      expect.arrayContaining(['/ingest/definitions.binpb.damaged-1', '/ingest/node.json.damaged-1']),
    );
    await stop(capture);
  });
});

describe('a clock that is not the database’s', () => {
  it('holds capture off, and ticks with it, until the clocks agree', async () => {
    behindUs = 365 * 86_400 * SECOND;
    const capture = await start();
    expect(capture.source.status()).toMatchObject({ phase: SourceState.HALTED, problem: { code: 'CLOCK_JUMP' } });
    expect(capture.source.clockAgreed).toBe(false);
    behindUs = 0;
    await expectWhole(capture);
    expect(capture.source.clockAgreed).toBe(true);
    await stop(capture);
  });
});

describe('a database that is not what it was', () => {
  it('I1: has lost the slot while it was streamed from: nothing is skipped in silence, and a resync goes on', async () => {
    const capture = await start();
    await expectWhole(capture);
    database.dropSlot();
    insert(5);
    await clock.advance(30 * SECOND);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.HALTED, problem: { code: 'SLOT_LOST' } });
    await stop(capture);
    const again = await start('today');
    await expectWhole(again);
    expect((await folded(again)).generation).toBe(2);
    await stop(again);
  });

  it.each([
    ['is another cluster', () => (database.systemId = 'other')],
    ['failed over', () => (database.timeline = 2)],
  ])('I1: %s: it is not followed until somebody says so', async (_, change) => {
    const capture = await start();
    await expectWhole(capture);
    change();
    database.breakStreams();
    insert(5);
    await clock.advance(30 * SECOND);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.HALTED, problem: { code: 'SLOT_LOST' } });
    expect(capture.source.status().problem?.remedy).toContain('--resync');
    await stop(capture);
    const again = await start('today');
    await expectWhole(again);
    await stop(again);
  });

  it('is away for long, and comes back', async () => {
    const capture = await start();
    database.isUp = false;
    database.crash();
    insert(5);
    await clock.advance(3_600 * SECOND);
    expect(capture.source.status()).toMatchObject({
      phase: SourceState.CONNECTING,
      problem: { code: 'SOURCE_UNREACHABLE' },
    });
    database.isUp = true;
    await expectWhole(capture);
    await stop(capture);
  });
});
