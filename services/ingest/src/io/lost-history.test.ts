/**
 * Goal: a database whose history is lost is read anew by itself, as a new generation, and says so; one that only was away is
 * not; and nothing that may be somebody else's is touched. What a person wants to decide, with --on-lost-history halt, is
 * capture-faults.test.ts.
 * Method: the production code over a simulated disk and a scripted database; the loss; the log, folded, against the database.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;
const DAY = 86_400 * SECOND;
let clock: VirtualClock;
let database: ScriptedDatabase;
let disk: SimulatedDisk;
let next: number;

beforeEach(() => {
  clock = new VirtualClock();
  database = new ScriptedDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => 0.5 });
  database.createTable('events', ['id', 'value']);
  database.createTable('items', ['id', 'value']);
  disk = new SimulatedDisk();
  next = 1;
  insert(20);
});

/** Rows of the append source, and as many of the mutable one, of which every second one changes and every fifth goes. */
function insert(count: number): void {
  for (let i = 0; i < count; i++) {
    const id = String(next++);
    database.commit(['events', 'items'].map((table) => ({ kind: 'insert', table, row: { id, value: '1' } })));
    if (next % 2 === 0) database.commit([{ kind: 'update', table: 'items', row: { id, value: '2' } }]);
    if (next % 5 === 0) database.commit([{ kind: 'delete', table: 'items', id }]);
  }
}

async function start(): Promise<ScriptedCapture> {
  const capture = await startScripted({ database, files: disk, clock, random: () => 0 });
  const tables = [{ table: 'events', mode: 1 } as const, { table: 'items', mode: 2 } as const];
  await capture.node.apply(defineScripted(database, 1n, tables));
  await clock.advance(10 * SECOND);
  return capture;
}

async function stop(capture: ScriptedCapture): Promise<void> {
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
}

async function generations({ log }: ScriptedCapture): Promise<(number | undefined)[]> {
  const routes = await foldLog(log);
  return [1, 2].map((route) => routes.get(route)?.generation);
}

/** The log, folded, is the database. */
async function expectWhole(capture: ScriptedCapture): Promise<void> {
  expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, problem: undefined });
  const routes = await foldLog(capture.log);
  for (const [route, table] of [
    [1, 'events'],
    [2, 'items'],
  ] as const) {
    const rows = [...(routes.get(route)?.rows.values() ?? [])].map(({ values, times }) => [...values, times]);
    const wanted = [...database.rows(table).values()].map(({ id, value }) => [id, value, 1]);
    const byId = (a: unknown[], b: unknown[]): number => Number(a[0]) - Number(b[0]);
    expect(rows.sort(byId)).toEqual(wanted.sort(byId));
  }
}

const LOSSES: readonly [string, RegExp, () => void][] = [
  ['the slot was dropped', /is gone/, () => database.dropSlot()],
  [
    'the slot was invalidated',
    /was invalidated/,
    () => {
      database.slotFacts = { walStatus: 'lost' };
      database.breakStreams();
    },
  ],
  [
    'it failed over',
    /on timeline 2/,
    () => {
      database.timeline = 2;
      database.breakStreams();
    },
  ],
];

describe('a lost history', () => {
  it.each(LOSSES)('F2: %s: everything is read anew, by itself, and it says so', async (_name, says, lose) => {
    const capture = await start();
    await expectWhole(capture);
    insert(3);
    lose();
    insert(3);
    // Only once it has been seen twice.
    await clock.advance(4 * SECOND);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.HALTED, problem: { code: 'SLOT_LOST' } });
    await clock.advance(20 * SECOND);
    expect(await generations(capture)).toEqual([2, 2]);
    insert(5);
    await clock.advance(10 * SECOND);
    await expectWhole(capture);
    const [notice] = capture.conditions.list();
    expect(notice).toMatchObject({ id: 'source/shop/history', code: 'SLOT_LOST' });
    expect(notice?.message).toMatch(says);
    expect(notice?.message).toMatch(/captured up to [0-9A-F/]+, and was read anew at [0-9A-F/]+/);
    await stop(capture);
  });

  it('F2: put back to an earlier state: what was undone is gone, what came instead is there', async () => {
    const capture = await start();
    const putBack = database.copy();
    insert(30);
    await clock.advance(10 * SECOND);
    await expectWhole(capture);
    putBack();
    next = 100;
    insert(3);
    await clock.advance(30 * SECOND);
    expect(await generations(capture)).toEqual([2, 2]);
    await expectWhole(capture);
    expect(capture.conditions.list()).toMatchObject([{ id: 'source/shop/history' }]);
    await stop(capture);
  });

  it('F2: put back to an earlier state, and written on beyond where it was captured before anybody looked', async () => {
    const capture = await start();
    const putBack = database.copy();
    insert(30);
    await clock.advance(10 * SECOND);
    const capturedLsn = database.lsn;
    await expectWhole(capture);
    putBack();
    next = 100;
    while (database.lsn <= capturedLsn) insert(3);
    await clock.advance(30 * SECOND);
    expect(await generations(capture)).toEqual([2, 2]);
    await expectWhole(capture);
    expect(capture.conditions.list()).toMatchObject([
      { id: 'source/shop/history', message: expect.stringMatching(/put back to an earlier state/) },
    ]);
    await stop(capture);
  });

  it('F2: put back, and written on, while less was acknowledged than the log has', async () => {
    const capture = await start();
    const putBack = database.copy();
    insert(10);
    // In the log, and not acknowledged yet.
    await clock.advance(SECOND / 10);
    const capturedLsn = database.lsn;
    expect(capture.source.status().durableLsn).toBe(capturedLsn);
    putBack();
    next = 100;
    while (database.lsn <= capturedLsn) insert(3);
    await clock.advance(30 * SECOND);
    expect(await generations(capture)).toEqual([2, 2]);
    await expectWhole(capture);
    await stop(capture);
  });

  it('F2: put back and failed over, after the log was read for what may come again: is read anew once', async () => {
    const capture = await start();
    const putBack = database.copy();
    insert(100);
    await clock.advance(SECOND / 10);
    // The log is read, for what may come again.
    database.breakStreams();
    await clock.advance(3 * SECOND);
    putBack();
    database.timeline = 2;
    next = 200;
    insert(3);
    await clock.advance(60 * SECOND);
    expect(await generations(capture)).toEqual([2, 2]);
    insert(3);
    await clock.advance(10 * SECOND);
    await expectWhole(capture);
    await stop(capture);
  });

  it('F2: a database that crashed tells again what its slot forgot, and nothing is read anew', async () => {
    const capture = await start();
    database.checkpoint();
    insert(30);
    await clock.advance(10 * SECOND);
    database.crash();
    insert(30);
    await clock.advance(10 * SECOND);
    database.crash();
    await clock.advance(30 * SECOND);
    insert(3);
    await clock.advance(10 * SECOND);
    expect(await generations(capture)).toEqual([1, 1]);
    await expectWhole(capture);
    expect(capture.conditions.list()).toEqual([]);
    await stop(capture);
  });

  it('a table that was made anew is read anew, the other goes on', async () => {
    const capture = await start();
    database.recreateTable('items');
    await clock.advance(20 * SECOND);
    insert(5);
    await clock.advance(20 * SECOND);
    expect(await generations(capture)).toEqual([1, 2]);
    await expectWhole(capture);
    expect(capture.conditions.list()).toMatchObject([{ id: 'source/shop/history' }]);
    await stop(capture);
  });

  it('is told over restarts, for a day', async () => {
    const capture = await start();
    database.dropSlot();
    await clock.advance(30 * SECOND);
    await stop(capture);
    const again = await start();
    expect(again.conditions.list()).toMatchObject([{ id: 'source/shop/history' }]);
    await clock.advance(DAY + 60 * SECOND);
    expect(again.conditions.list()).toEqual([]);
    expect(await generations(again)).toEqual([2, 2]);
    await stop(again);
  });
});

describe('a disk of the log that lied', () => {
  it('I1 L1: what was acknowledged and is lost is read anew, by itself', async () => {
    const capture = await start();
    disk.step = ({ path }, self) => {
      self.lies = path.includes('/log/');
    };
    insert(10);
    await clock.advance(10 * SECOND);
    capture.abandon();
    await clock.advance(SECOND);
    disk = disk.powerCut({ real: () => 0 });
    const again = await start();
    await clock.advance(20 * SECOND);
    expect(await generations(again)).toEqual([2, 2]);
    await expectWhole(again);
    expect(again.conditions.list()).toMatchObject([{ id: 'source/shop/history' }]);
    await stop(again);
  });
});

describe('what is no lost history', () => {
  it('a database that is away, breaks connections or forgets acknowledgements', async () => {
    const capture = await start();
    for (let i = 0; i < 20; i++) {
      insert(2);
      if (i % 3 === 0) database.crash();
      else database.breakStreams();
      database.isUp = i % 2 === 0;
      await clock.advance(7 * SECOND);
    }
    database.isUp = true;
    await clock.advance(30 * SECOND);
    expect(await generations(capture)).toEqual([1, 1]);
    await expectWhole(capture);
    expect(capture.conditions.list()).toEqual([]);
    await stop(capture);
  });

  it('what is otherwise when it is looked up again', async () => {
    const capture = await start();
    database.timeline = 2;
    database.breakStreams();
    await clock.advance(4 * SECOND);
    expect(capture.source.status()).toMatchObject({ problem: { code: 'SLOT_LOST' } });
    database.timeline = 1;
    await clock.advance(30 * SECOND);
    expect(await generations(capture)).toEqual([1, 1]);
    await expectWhole(capture);
    await stop(capture);
  });
});

describe('what may be somebody else’s', () => {
  it.each<[string, () => void]>([
    [
      'a slot of our name in another cluster',
      () => {
        database.systemId = '8';
      },
    ],
    [
      'another cluster without a slot of ours',
      () => {
        database.systemId = '8';
        database.dropSlot();
      },
    ],
    [
      'a slot of our name of another plugin',
      () => {
        database.slotFacts = { plugin: 'test_decoding' };
      },
    ],
    [
      'a slot that moved, and is read',
      () => {
        database.slotFacts = { active: true, confirmedLsn: database.lsn + 100n };
      },
    ],
  ])('is left alone: %s', async (_name, lose) => {
    const capture = await start();
    lose();
    database.breakStreams();
    await clock.advance(120 * SECOND);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.HALTED, problem: { code: 'SLOT_LOST' } });
    expect(await generations(capture)).toEqual([1, 1]);
    await stop(capture);
  });
});
