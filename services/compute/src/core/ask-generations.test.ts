/**
 * Goal: whoever lacks the beginning of a route gets a new one, by itself: a view over records that were trimmed, and a
 * shard that lost all it had while the log begins late. Nothing half is offered meanwhile, and followers keep what they
 * have. Method: a host with the engine's fold on a log in memory that is trimmed under it, a clock that the test moves,
 * and an ingest of a few lines that answers.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import type { ShardFold } from '@freshet/engine/shard-fold.ts';
import { userKey } from '@freshet/engine/testing/plans.testing.ts';
import { begin, COUNTS, define, Script, SUMS, snapshotEnd, V1, V2 } from '@freshet/engine/testing/script.testing.ts';
import { JoinPlanSchema, ViewPlanSchema } from '@freshet/gen/freshet/type/v1/plan_pb.ts';
import { assert, must } from '@freshet/kit/assert.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { GenerationAnswered, GenerationWanted } from '@freshet/log/generation-requests.ts';
import { createMemoryLog, type MemoryLog } from '@freshet/log/memory-log.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createEngineFold, ENGINE_FORMAT } from '../io/engine.ts';
import { computeHandlers } from '../rpc/handlers.ts';
import { RIG_LIMITS } from '../testing/shard-rig.ts';
import { testStorage } from '../testing/test-storage.ts';
import { askGenerations } from './ask-generations.ts';
import { Gate } from './gate.ts';
import { PassPace } from './pass-pace.ts';
import { ShardHost } from './shard-host.ts';

/** COUNTS, of rows that are joined with the table of route 2. */
const JOINED = create(ViewPlanSchema, {
  ...COUNTS,
  joins: [create(JoinPlanSchema, { table: 'catalog', route: 2 })],
  engineVersion: 2,
});

let clock: VirtualClock;
let log: MemoryLog;
let script: Script;
let asked: (readonly (readonly [route: number, above: number])[])[];
let answer: (wanted: GenerationWanted) => GenerationAnswered;
let stops: (() => Promise<void>)[];

beforeEach(() => {
  clock = new VirtualClock();
  log = createMemoryLog({ partitions: 1, clock });
  script = new Script();
  asked = [];
  answer = ({ route }) => ({ route, verdict: 'accepted', generation: 0 });
  stops = [];
});

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
});

/** Appends what the script has beyond the log. */
async function append(): Promise<void> {
  const { partitions } = await log.describe();
  await log.append(
    0,
    script.entries.slice(must(partitions[0]).end).map(({ record }) => record),
  );
}

function start(disk: MemoryDisk): ShardHost {
  const host = new ShardHost({
    log,
    ...testStorage('/data', clock, { stores: disk, files: new SimulatedDisk(), format: ENGINE_FORMAT }),
    createFold: createEngineFold,
    createDigest: ENGINE_FORMAT.createDigest,
    clock,
    logger: silentLogger,
    yieldNow: () => turn(),
    limits: RIG_LIMITS,
    pages: new Gate(2),
    passPace: new PassPace(),
  });
  const controller = new AbortController();
  const { signal } = controller;
  const asker = {
    requestGenerations: async (_node: string, _log: string, wanted: readonly GenerationWanted[]) => {
      asked.push(wanted.map(({ route, aboveGeneration }) => [route, aboveGeneration]));
      return wanted.map(answer);
    },
  };
  const loops = [host.run([0], signal), askGenerations(host, { asker, node: 'me', clock, signal, log: silentLogger })];
  stops.push(async () => {
    controller.abort();
    await Promise.all(loops);
  });
  return host;
}

async function until(what: () => boolean, advanceUs = 0): Promise<void> {
  for (let tries = 0; !what(); tries++) {
    assert(tries < 20_000, 'it comes to pass');
    if (advanceUs > 0) await clock.advance(advanceUs);
    await turn();
  }
}

const foldOf = (host: ShardHost): ShardFold | undefined => host.shard(0)?.fold as ShardFold | undefined;
const isAt = (host: ShardHost, position: number): boolean => host.shard(0)?.position === position;
const conditionsOf = async (host: ShardHost) => {
  const handlers = computeHandlers(host, { clock, yieldNow: () => turn(), partitions: 1, upkeep: host });
  const status = await handlers.getComputeStatus(
    { $typeName: 'freshet.compute.v1.GetComputeStatusRequest', digests: false },
    { signal: new AbortController().signal, peer: 'test' },
  );
  return status.conditions ?? [];
};
const idsOf = async (host: ShardHost): Promise<string[]> => (await conditionsOf(host)).map(({ id }) => id ?? '');

/** A log of a route in its third generation, whose beginning and whose definitions were trimmed, or only the former. */
async function trimmedLog(keep: 'definitions' | 'nothing'): Promise<void> {
  script.add(define(1, COUNTS)).add(begin(1, 3)).add(snapshotEnd(1, 3)).change({ sequence: 1, generation: 3 });
  if (keep === 'definitions') script.add(define(2, COUNTS)).change({ sequence: 2, generation: 3 });
  await append();
  await log.trim(0, 4);
}

describe('a view over records that the log no longer has', () => {
  it('has its route asked for anew, once, and is built of the new generation', async () => {
    script.add(define(1, COUNTS)).add(begin(1, 1)).add(snapshotEnd(1, 1)).change({ sequence: 1 });
    await append();
    const host = start(new MemoryDisk());
    await until(() => isAt(host, 4));
    await log.trim(0, 4);
    script.add(define(2, COUNTS, SUMS));
    await append();
    await until(() => asked.length > 0, 500_000);
    expect(asked).toEqual([[[1, 1]]]);
    expect(foldOf(host)?.completeViews()).toEqual([V1]);
    await clock.advance(5_000_000);
    expect(asked).toHaveLength(1);
    // Nobody does anything about it: it is asked for again, ever more seldom.
    await until(() => asked.length === 3, 1_000_000);
    script.add(begin(1, 2)).change({ sequence: 1, generation: 2 }).add(snapshotEnd(1, 2));
    await append();
    await until(() => isAt(host, 8));
    expect(foldOf(host)?.completeViews()).toEqual([V1, V2]);
    await until(() => host.conditionList.length === 0);
    await clock.advance(3_600_000_000);
    expect(asked).toHaveLength(3);
  });
});

describe('a view over a record that cannot be read', () => {
  it('is told, and has its route asked for anew', async () => {
    script.add(define(1)).add(begin(1, 1)).change({ sequence: 1 });
    await append();
    let isDamaged = false;
    const read = log.read.bind(log);
    log.read = async function* (partition, from, signal) {
      for await (const batch of read(partition, from, signal)) {
        // What the live fold could read, the build cannot: it lies otherwise on the disk by then.
        const entries = batch.entries.map((e) =>
          isDamaged && e.offset === 2 ? { ...e, record: e.record.slice(0, -3) } : e,
        );
        yield { ...batch, entries };
      }
    };
    const host = start(new MemoryDisk());
    await until(() => isAt(host, 3));
    isDamaged = true;
    script.add(define(2, COUNTS));
    await append();
    await until(() => asked.length > 0, 500_000);
    expect(asked).toEqual([[[1, 1]]]);
    expect(host.conditionList.map(({ id, code }) => `${id} ${code}`)).toEqual(['shard/0/builds DATA_DAMAGED']);
    script.add(begin(1, 2)).change({ sequence: 1, generation: 2 }).add(snapshotEnd(1, 2));
    await append();
    await until(() => foldOf(host)?.completeViews().length === 1);
    await until(() => host.conditionList.length === 0);
  });
});

describe('a shard that lost all it had, on a log that begins late', () => {
  it('R3: begins where the log does, asks for its routes, and offers nothing before they are whole', async () => {
    await trimmedLog('definitions');
    // What ingest began last is before the log's beginning, too.
    answer = ({ route, aboveGeneration }) => ({
      route,
      verdict: aboveGeneration < 3 ? 'begun' : 'accepted',
      generation: 3,
    });
    const host = start(new MemoryDisk());
    await until(() => isAt(host, 6), 100_000);
    expect(foldOf(host)?.origin).toBe(4);
    expect(foldOf(host)?.completeViews()).toEqual([]);
    expect(await idsOf(host)).toEqual(['shard/0/origin']);
    await until(() => asked.length === 2, 500_000);
    expect(asked).toEqual([[[1, 0]], [[1, 3]]]);
    script.add(begin(1, 4)).change({ sequence: 1, generation: 4, user: 2 });
    await append();
    await until(() => isAt(host, 8), 100_000);
    expect(foldOf(host)?.completeViews()).toEqual([]);
    script.add(snapshotEnd(1, 4));
    await append();
    await until(() => isAt(host, 9), 100_000);
    expect(foldOf(host)?.completeViews()).toEqual([V1]);
    expect([foldOf(host)?.row(V1, userKey(1)), foldOf(host)?.version(V1, userKey(2))]).toEqual([undefined, 7]);
    expect(await idsOf(host)).toEqual([]);
  });

  it('R1: has the rows of a view that joins read anew behind its table', async () => {
    // The log has the rows' beginning, and not the table's: with what that was before, others have joined them.
    script.add(define(1, JOINED)).add(begin(2, 1)).add(snapshotEnd(2, 1));
    script.add(define(2, JOINED)).add(begin(1, 1)).add(snapshotEnd(1, 1)).change({ sequence: 1 });
    await append();
    await log.trim(0, 3);
    const host = start(new MemoryDisk());
    await until(() => isAt(host, 7), 100_000);
    expect(foldOf(host)?.origin).toBe(3);
    await until(() => asked.length === 1, 500_000);
    expect(asked[0]).toEqual([[2, 0]]);
    expect(await idsOf(host)).toEqual(['shard/0/origin']);
    // Begun together with the table, the rows would have to be read a second time.
    script.add(begin(2, 2)).add(snapshotEnd(2, 2)).change({ sequence: 2 });
    await append();
    await until(() => isAt(host, 10), 100_000);
    await until(() => asked.length === 2, 500_000);
    expect(asked[1]).toEqual([[1, 1]]);
    expect([foldOf(host)?.completeViews(), await idsOf(host)]).toEqual([[], ['shard/0/origin']]);
    script.add(begin(1, 2)).change({ sequence: 1, generation: 2 }).add(snapshotEnd(1, 2));
    await append();
    await until(() => foldOf(host)?.completeViews().length === 1, 100_000);
    expect([foldOf(host)?.version(V1, userKey(1)), await idsOf(host)]).toEqual([11, []]);
    await clock.advance(3_600_000_000);
    expect(asked).toHaveLength(2);
  });

  it('says of how many views the tables are not known', async () => {
    const profiled = {
      ...JOINED,
      viewId: SUMS.viewId,
      joins: [create(JoinPlanSchema, { table: 'profile', route: 3 })],
    };
    script
      .add(define(1, JOINED, profiled))
      .add(begin(2, 1))
      .add(snapshotEnd(2, 1));
    script
      .add(define(1, JOINED, profiled))
      .add(begin(3, 1))
      .add(snapshotEnd(3, 1));
    script.add(begin(1, 1)).add(snapshotEnd(1, 1)).add(begin(2, 2)).add(snapshotEnd(2, 2));
    await append();
    await log.trim(0, 3);
    const host = start(new MemoryDisk());
    await until(() => isAt(host, 10), 100_000);
    await until(() => foldOf(host)?.completeViews().length === 1, 100_000);
    const told = (await conditionsOf(host)).map(({ message }) => message);
    expect(told).toEqual([
      'shard 0 lost its state, and the log begins at 3: 1 view(s) of it wait until their sources are read anew',
    ]);
  });

  it('has no rows read anew, long after, for a view that joins a table which nobody knew', async () => {
    await trimmedLog('definitions');
    const host = start(new MemoryDisk());
    await until(() => isAt(host, 6), 100_000);
    script.add(begin(1, 4)).change({ sequence: 1, generation: 4 }).add(snapshotEnd(1, 4));
    await append();
    await until(() => foldOf(host)?.completeViews().length === 1, 100_000);
    asked = [];
    // Rows that were deleted since they were read would not come again.
    script.add(define(3, COUNTS, { ...JOINED, viewId: SUMS.viewId }));
    await append();
    await until(() => isAt(host, 10), 100_000);
    await clock.advance(3_600_000_000);
    script.add(begin(2, 1)).add(begin(2, 2)).add(snapshotEnd(2, 2));
    await append();
    await until(() => foldOf(host)?.completeViews().length === 2, 100_000);
    await clock.advance(3_600_000_000);
    expect(asked.flat().filter(([route]) => route === 1)).toEqual([]);
    expect(await idsOf(host)).toEqual([]);
  });

  it('waits for definitions where the log has none any more', async () => {
    await trimmedLog('nothing');
    const host = start(new MemoryDisk());
    await until(() => foldOf(host)?.origin === 4, 100_000);
    expect(await idsOf(host)).toEqual(['shard/0/origin']);
    await clock.advance(60_000_000);
    expect(asked).toEqual([]);
    script.add(define(2, COUNTS));
    await append();
    await until(() => asked.length > 0, 500_000);
    expect(asked[0]).toEqual([[1, 0]]);
  });

  it('F3: goes on from there after a restart, and from nowhere else', async () => {
    await trimmedLog('definitions');
    const disk = new MemoryDisk();
    const host = start(disk);
    await until(() => isAt(host, 6), 100_000);
    for (const stop of stops.splice(0)) await stop();
    script.add(begin(1, 4)).add(snapshotEnd(1, 4));
    await append();
    const again = start(disk);
    await until(() => isAt(again, 8), 100_000);
    expect([foldOf(again)?.origin, foldOf(again)?.completeViews()]).toEqual([4, [V1]]);
  });

  it('is also one whose state is older than the log, when the right log did not come back for a minute', async () => {
    script.add(define(1, COUNTS)).add(begin(1, 1)).change({ sequence: 1 });
    await append();
    const disk = new MemoryDisk();
    const host = start(disk);
    await until(() => isAt(host, 3));
    for (const stop of stops.splice(0)) await stop();
    script.change({ sequence: 2 }).add(define(2, COUNTS)).change({ sequence: 3 });
    await append();
    await log.trim(0, 4);
    const again = start(disk);
    await until(() => again.conditionList.some(({ code }) => code === 'OFFSET_OUT_OF_RANGE'), 100_000);
    expect(again.repairs(0)).toBe(0);
    await until(() => isAt(again, 6), 1_000_000);
    expect([again.repairs(0), foldOf(again)?.origin, foldOf(again)?.completeViews()]).toEqual([1, 4, []]);
  });
});
