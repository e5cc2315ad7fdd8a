/**
 * Goal: a change of definitions leaves the stream alone: the connection stays, what is live flows on, only what changed begins,
 * and nothing is lost, doubled or half, however changes, builds, hand-overs and failures stand to each other (F3, I1, I2).
 * Method: the production code over a simulated disk and a scripted database that counts its streams; single changes by hand, and
 * generated histories of commits, changes, broken streams and a slow disk, the log folded and compared with the tables.
 */
import { create } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import { type DefinitionSet, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { assertFuzz } from '@freshet/testkit/differential/fuzz-options.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import type { ReplicationStream, SnapshotReader, TableToStage } from '../core/source-database.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;
const ALL = [
  { table: 'events', mode: 1 },
  { table: 'items', mode: 2 },
  { table: 'late', mode: 2 },
] as const;

/** Counts streams and snapshots; copies of tables wait while it is held. */
class CountingDatabase extends ScriptedDatabase {
  streams = 0;
  snapshots = 0;
  isHeld = false;
  readonly #waiting: (() => void)[] = [];

  release(): void {
    this.isHeld = false;
    for (const wake of this.#waiting.splice(0)) wake();
  }

  override openStream(slotName: string): Promise<ReplicationStream> {
    this.streams += 1;
    return super.openStream(slotName);
  }

  override snapshot<T>(
    slotName: string,
    signal: AbortSignal,
    work: (reader: SnapshotReader, fromLsn: bigint) => Promise<T>,
  ): Promise<T> {
    this.snapshots += 1;
    return super.snapshot(slotName, signal, (reader, fromLsn) => {
      const copy = (table: TableToStage): AsyncIterable<Uint8Array> => this.#held(reader.copy(table), signal);
      return work({ ...reader, copy }, fromLsn);
    });
  }

  async *#held(bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (this.isHeld) {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    if (signal.aborted) throw new FreshetError('CANCELLED', 'the snapshot was given up');
    yield* bytes;
  }
}

let clock: VirtualClock;
let random: Random;
let database: CountingDatabase;
let disk: SimulatedDisk;
let next: number;
let generation: bigint;

function world(seed: string): void {
  clock = new VirtualClock();
  random = new Random(seed);
  disk = new SimulatedDisk();
  [next, generation] = [1, 0n];
  database = new CountingDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => random.real() });
  for (const { table } of ALL) database.createTable(table, ['id', 'value']);
  for (let i = 0; i < 5; i++) commit();
}

beforeEach(() => world('revisions'));

function commit(): void {
  const n = String(next++);
  const id = String(random.between(1, 9));
  const row = { id, value: n };
  const upsert = (table: string) => ({
    kind: database.rows(table).has(id) ? ('update' as const) : ('insert' as const),
    table,
    row,
  });
  database.commit([
    { kind: 'insert', table: 'events', row: { id: n, value: n } },
    upsert('items'),
    random.oneIn(4) && database.rows('late').has(id) ? { kind: 'delete', table: 'late', id } : upsert('late'),
  ]);
}

/** The next definitions, over the first tables or those that are named; `version` of the contracts, where it is not another. */
function definitions(tables: readonly string[], version = 1, reads: readonly string[] = []): DefinitionSet {
  generation += 1n;
  const set = defineScripted(database, generation, ALL);
  for (const { source } of set.routes) must(source?.contract).version = version;
  set.routes = set.routes.filter(({ source }) => tables.includes(source?.name ?? ''));
  for (const { route, source } of set.routes) {
    const columns = source?.contract?.columns.filter(({ name }) => reads.includes(name)) ?? [];
    if (columns.length > 0) set.views.push(create(ViewPlanSchema, { name: `v${route}`, route, columns }));
  }
  return set;
}

async function start(): Promise<ScriptedCapture> {
  return startScripted({ database, files: disk, clock, random: () => random.real() });
}

async function apply(capture: ScriptedCapture, set: DefinitionSet, us = SECOND): Promise<void> {
  const applying = capture.node.apply(set);
  await clock.advance(us);
  await applying;
}

async function stop(capture: ScriptedCapture): Promise<void> {
  database.release();
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
}

/** The log, folded, is the wanted tables, each event once. */
async function expectWhole({ log }: ScriptedCapture, tables: readonly string[]): Promise<void> {
  const folding = foldLog(log);
  await clock.advance(SECOND);
  const folded = await folding;
  for (const [i, { table }] of ALL.entries()) {
    if (!tables.includes(table)) continue;
    const rows = [...(folded.get(i + 1)?.rows.values() ?? [])];
    const found = new Map(rows.map(({ values }) => [values[0], values[1]]));
    expect(found, table).toEqual(new Map([...database.rows(table)].map(([id, row]) => [id, row['value']])));
    if (table === 'events') expect(rows.filter(({ times }) => times !== 1)).toEqual([]);
  }
}

const generations = ({ source }: ScriptedCapture): number[] => ALL.map((_, i) => source.newestGeneration(i + 1));

describe('definitions that change while a database is streamed', () => {
  it('F3: come into force by one stream: routes come and go, those that stay keep their generation', async () => {
    const capture = await start();
    await apply(capture, definitions(['events', 'items']), 10 * SECOND);
    const changes = [
      ['events', 'items', 'late'],
      ['events', 'items'],
      ['events', 'late'],
      ['events', 'items', 'late'],
    ];
    for (const tables of changes) {
      commit();
      await apply(capture, definitions(tables));
      for (let i = 0; i < 4; i++) {
        commit();
        await clock.advance(SECOND);
      }
      await expectWhole(capture, tables);
      const routes = ALL.flatMap(({ table }, i) => (tables.includes(table) ? [i + 1] : []));
      expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes, durableLsn: database.lsn });
    }
    // Items left once and late twice at most: each came back as another generation, and only they were read again.
    expect(generations(capture)).toEqual([1, 2, 2]);
    expect(database).toMatchObject({ streams: 1, snapshots: 4 });
    await stop(capture);
  });

  it('bring another contract to routes that go on, and name it from the next row on', async () => {
    const capture = await start();
    await apply(capture, definitions(['events', 'items'], 1), 10 * SECOND);
    await apply(capture, definitions(['events', 'items'], 2));
    commit();
    await clock.advance(SECOND);
    await expectWhole(capture, ['events', 'items']);
    expect(generations(capture)).toEqual([1, 1, 0]);
    expect(database).toMatchObject({ streams: 1, snapshots: 1 });
    await stop(capture);
  });

  it('leave a build alone that they do not concern, and cut off one that they do', async () => {
    const capture = await start();
    await apply(capture, definitions(['events']), 10 * SECOND);
    database.isHeld = true;
    await apply(capture, definitions(['events', 'late']));
    expect(database.snapshots).toBe(2);
    // Another route is wanted beside it: it waits for its turn.
    await apply(capture, definitions(['events', 'items', 'late']));
    expect(database.snapshots).toBe(2);
    // What is read of its table is another.
    await apply(capture, definitions(['events', 'items', 'late'], 1, ['value']));
    expect(database.snapshots).toBe(3);
    // Nobody wants it.
    await apply(capture, definitions(['events', 'items'], 1, ['value']));
    commit();
    database.release();
    await clock.advance(10 * SECOND);
    await expectWhole(capture, ['events', 'items']);
    expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes: [1, 2] });
    expect(database.streams).toBe(1);
    await stop(capture);
  });

  it('are built also when others came into force during a build that they did not concern', async () => {
    const capture = await start();
    await apply(capture, definitions(['events']), 10 * SECOND);
    database.isHeld = true;
    await apply(capture, definitions(['events', 'items']));
    await apply(capture, definitions(['events', 'items']));
    database.release();
    await clock.advance(10 * SECOND);
    await apply(capture, definitions(['events', 'items', 'late']), 20 * SECOND);
    expect(capture.source.status().routes).toEqual([1, 2, 3]);
    await expectWhole(capture, ['events', 'items', 'late']);
    await stop(capture);
  });

  it('are tried again when they cannot come into force now, and what is live flows on', async () => {
    const capture = await start();
    await apply(capture, definitions(['events', 'items']), 10 * SECOND);
    let isFull = true;
    disk.step = ({ path }) => {
      if (isFull && path.includes('/postgres/shop/state.json')) throw diskFailure('ENOSPC', path);
    };
    await apply(capture, definitions(['events', 'late']), 3 * SECOND);
    commit();
    await clock.advance(3 * SECOND);
    const raised = (): string[] => capture.conditions.list().map(({ id }) => id);
    expect(raised()).toContain('source/shop/change');
    await expectWhole(capture, ['events']);
    isFull = false;
    await clock.advance(20 * SECOND);
    expect(raised()).not.toContain('source/shop/change');
    expect(capture.source.status().routes).toEqual([1, 3]);
    await expectWhole(capture, ['events', 'late']);
    expect(database.streams).toBe(1);
    await stop(capture);
  });

  it('a request for another generation is met by the same stream', async () => {
    const capture = await start();
    await apply(capture, definitions(['events', 'items']), 10 * SECOND);
    const wanted = [{ route: 2, aboveGeneration: 1, reason: 'the log was trimmed' }];
    const asking = capture.requests.ask('compute', wanted, (route) => capture.source.newestGeneration(route));
    await clock.advance(10 * SECOND);
    await asking;
    commit();
    await clock.advance(SECOND);
    expect(generations(capture)).toEqual([1, 2, 0]);
    await expectWhole(capture, ['events', 'items']);
    expect(database.streams).toBe(1);
    await stop(capture);
  });

  it('F3, I1: whatever changes, and whatever breaks meanwhile, is whole in the end', async () => {
    const step = fc.record({
      commits: fc.nat({ max: 6 }),
      waitUs: fc.nat({ max: 6_000 }),
      breaks: fc.nat({ max: 25 }),
      tables: fc.subarray(['items', 'late']),
      version: fc.nat({ max: 1 }),
      reads: fc.subarray(['value']),
      changes: fc.boolean(),
    });
    const histories = fc.record({ seed: fc.nat(), steps: fc.array(step, { maxLength: 25 }) });
    await assertFuzz(60, histories, async ({ seed, steps }) => {
      world(String(seed));
      disk.step = async () => {
        if (random.oneIn(4)) await clock.sleep(random.between(1, 4));
      };
      const starting = start();
      await clock.advance(SECOND);
      const capture = await starting;
      await apply(capture, definitions(['events', 'items']), 20 * SECOND);
      let [tables, version, broken] = [['events', 'items'], 1, false];
      for (const { commits, waitUs, breaks, ...change } of steps) {
        for (let i = 0; i < commits; i++) commit();
        if (change.changes) {
          tables = ['events', ...change.tables];
          version += change.version;
          await apply(capture, definitions(tables, version, change.reads), waitUs + 50_000);
        } else {
          await clock.advance(waitUs);
        }
        if (breaks <= 1) broken = true;
        if (breaks === 0) database.breakStreams();
        if (breaks === 1) database.crash();
      }
      commit();
      await clock.advance(120 * SECOND);
      const routes = ALL.flatMap(({ table }, i) => (tables.includes(table) ? [i + 1] : []));
      expect(capture.source.status()).toMatchObject({ phase: SourceState.STREAMING, routes, durableLsn: database.lsn });
      expect(generations(capture)[0]).toBe(1);
      if (!broken) expect(database.streams).toBe(1);
      await expectWhole(capture, tables);
      await stop(capture);
    });
  });
});
