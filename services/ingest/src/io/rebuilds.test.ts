/**
 * Goal: what is lost again each time that it is read anew is read anew later and later, says so, holds up nothing else, and
 * goes on by itself once it lasts.
 * Method: the production code over a simulated disk and a scripted database: one whose slot is invalidated during each snapshot,
 * and one whose stream does not tell what its catalog says; hours in a clock of the test's.
 */
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ReplicationStream, SnapshotReader, StreamMessage } from '../core/source-database.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;

class FailingDatabase extends ScriptedDatabase {
  snapshots = 0;
  /** Whether the slot is invalidated by each snapshot. */
  invalidates = false;
  /** Whether the stream says that rows of items are not to be told apart. */
  disagrees = false;

  override async snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: (reader: SnapshotReader, fromLsn: bigint) => Promise<T>,
  ): Promise<T> {
    this.snapshots += 1;
    const done = await super.snapshot(slotName, signal, work);
    if (this.invalidates) this.slotFacts = { walStatus: 'lost' };
    return done;
  }

  override async openStream(slotName: string): Promise<ReplicationStream> {
    return this.#told(await super.openStream(slotName));
  }

  override async openCopy(slotName: string): Promise<ReplicationStream> {
    return this.#told(await super.openCopy(slotName));
  }

  #told(stream: ReplicationStream): ReplicationStream {
    const read = stream.read.bind(stream);
    stream.read = async (signal) => [...(await read(signal))].map((message) => this.#untold(message));
    return stream;
  }

  #untold(told: StreamMessage): StreamMessage {
    if (!this.disagrees || told.kind !== 'change' || told.message.kind !== 'relation') return told;
    const { relation } = told.message;
    if (relation.table !== 'items') return told;
    const columns = relation.columns.map((column) => ({ ...column, identity: false }));
    return { ...told, message: { ...told.message, relation: { ...relation, replicaIdentity: 'n', columns } } };
  }
}

let clock: VirtualClock;
let database: FailingDatabase;
let next: number;

beforeEach(() => {
  clock = new VirtualClock();
  next = 1;
  database = new FailingDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => 0.5 });
  for (const table of ['events', 'items']) database.createTable(table, ['id', 'value']);
  commit();
});

function commit(): void {
  const row = { id: String(next++), value: '1' };
  database.commit(['events', 'items'].map((table) => ({ kind: 'insert', table, row })));
}

async function start(tables: readonly string[]): Promise<ScriptedCapture> {
  const capture = await startScripted({ database, files: new SimulatedDisk(), clock, random: () => 0.999 });
  const all = [{ table: 'events', mode: 1 } as const, { table: 'items', mode: 2 } as const];
  const definitions = defineScripted(
    database,
    1n,
    all.filter(({ table }) => tables.includes(table)),
  );
  await capture.node.apply(definitions);
  await clock.advance(10 * SECOND);
  return capture;
}

async function minutes(count: number): Promise<void> {
  for (let i = 0; i < count * 6; i++) {
    commit();
    await clock.advance(10 * SECOND);
  }
}

async function stop(capture: ScriptedCapture): Promise<void> {
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
}

async function expectWhole({ log }: ScriptedCapture, tables: readonly string[]): Promise<void> {
  const folded = await foldLog(log);
  for (const [i, table] of tables.entries()) {
    const ids = [...(folded.get(i + 1)?.rows.values() ?? [])].map(({ values }) => values[0]);
    expect(new Set(ids), table).toEqual(new Set(database.rows(table).keys()));
  }
}

describe('what is lost each time that it is read anew', () => {
  it('a slot that is invalidated during each snapshot: is read anew ever later, says so, and goes on once it lasts', async () => {
    database.invalidates = true;
    const capture = await start(['events']);
    await minutes(60);
    // At once, then after 5, 10, 20, 40, 80, 160, 320 s, and every ten minutes: not every five seconds.
    expect(database.snapshots).toBeGreaterThan(8);
    expect(database.snapshots).toBeLessThan(18);
    const problem = capture.conditions.list().find(({ id }) => id === 'source/shop');
    expect(problem).toMatchObject({
      code: 'SLOT_LOST',
      message: expect.stringMatching(/was invalidated.*times in a row/) as string,
      remedy: expect.stringMatching(/read anew in \d+ s.*max_slot_wal_keep_size/) as string,
    });
    database.invalidates = false;
    await minutes(15);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, durableLsn: database.lsn });
    await expectWhole(capture, ['events']);
    // It has lived: the next loss is met at once.
    const { snapshots } = database;
    database.dropSlot();
    await minutes(1);
    expect(database.snapshots).toBe(snapshots + 1);
    await stop(capture);
  });

  it('a table whose catalog and stream disagree: waits ever longer by itself, and the others flow', async () => {
    const capture = await start(['events', 'items']);
    expect(capture.source.status().routes).toEqual([1, 2]);
    database.disagrees = true;
    database.breakStreams();
    const { snapshots } = database;
    await minutes(60);
    expect(database.snapshots - snapshots).toBeGreaterThan(5);
    expect(database.snapshots - snapshots).toBeLessThan(18);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, durableLsn: database.lsn });
    await expectWhole(capture, ['events']);
    expect(capture.conditions.list().find(({ id }) => id === 'source/shop/waiting/2')).toMatchObject({
      message: expect.stringMatching(/did not tell for a while which row.*times in a row.*the others flow/) as string,
      remedy: expect.stringMatching(/read anew in \d+ s/) as string,
    });
    database.disagrees = false;
    await minutes(15);
    expect(capture.source.status().routes).toEqual([1, 2]);
    await expectWhole(capture, ['events', 'items']);
    expect(capture.conditions.list()).toEqual([]);
    await stop(capture);
  });

  it('a table that is replaced again and again: waits ever longer, and is read anew once its time has come', async () => {
    const capture = await start(['events', 'items']);
    for (let i = 0; i < 4; i++) {
      database.recreateTable('items');
      await minutes(1);
    }
    await minutes(30);
    expect(capture.source.status().routes).toEqual([1, 2]);
    await expectWhole(capture, ['events', 'items']);
    expect(capture.conditions.list().filter(({ id }) => id.includes('waiting'))).toEqual([]);
    await stop(capture);
  });

  it('a table in order again, of which a release stopped at such rows: begins anew once', async () => {
    const capture = await start(['items']);
    database.disagrees = true;
    database.breakStreams();
    commit();
    await clock.advance(4 * SECOND);
    await capture.source.held.ask(1, 'release');
    await clock.advance(2 * SECOND);
    expect(capture.quarantine.heldOf(1, 1)?.reason).toBe('identity');
    const { snapshots } = database;
    database.disagrees = false;
    await minutes(10);
    expect(database.snapshots).toBe(snapshots + 1);
    expect(capture.source.status().routes).toEqual([1]);
    await expectWhole(capture, ['items']);
    expect(capture.quarantine.count).toBe(0);
    await stop(capture);
  });
});
