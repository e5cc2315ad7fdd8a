/**
 * Goal: a route that somebody needs from its beginning begins anew, once, whatever stops ingest in between.
 * Method: the production code over a simulated disk and a scripted database; requests as the RPC brings them; the log read
 * as a shard reads it.
 */
import { create, fromBinary } from '@bufbuild/protobuf';
import { SourceState } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import {
  GenerationVerdict,
  LogRecordSchema,
  RequestGenerationsRequestSchema,
} from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { must } from '@freshet/kit/assert.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import type { GenerationAnswered } from '@freshet/log/generation-requests.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { beforeEach, describe, expect, it } from 'vitest';
import { requestGenerations } from '../rpc/request-generations.ts';
import { foldLog } from '../testing/folded-log.ts';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';
import { GenerationRequests } from './generation-requests.ts';

const SECOND = 1_000_000;
let clock: VirtualClock;
let database: ScriptedDatabase;
let disk: SimulatedDisk;

beforeEach(() => {
  clock = new VirtualClock();
  database = new ScriptedDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => 0.5 });
  for (const table of ['events', 'orders']) {
    database.createTable(table, ['id', 'value']);
    database.commit([{ kind: 'insert', table, row: { id: '1', value: '1' } }]);
  }
  disk = new SimulatedDisk();
});

async function start(): Promise<ScriptedCapture> {
  const capture = await startScripted({ database, files: disk, clock, random: () => 0 });
  const tables = [{ table: 'events', mode: 1 } as const, { table: 'orders', mode: 1 } as const];
  await capture.node.apply(defineScripted(database, 1n, tables));
  await clock.advance(10 * SECOND);
  return capture;
}

async function stop(capture: ScriptedCapture): Promise<void> {
  const stopping = capture.stop();
  await clock.advance(10 * SECOND);
  await stopping;
}

function ask(capture: ScriptedCapture, route: number, aboveGeneration: number): Promise<GenerationAnswered[]> {
  const { node, source, requests } = capture;
  const newest = (r: number): number | undefined =>
    node.databaseOf(r) === undefined ? undefined : source.newestGeneration(r);
  return requests.ask('compute-1', [{ route, aboveGeneration, reason: 'the log is trimmed' }], newest);
}

async function generations({ log }: ScriptedCapture): Promise<number[]> {
  const routes = await foldLog(log);
  return [1, 2].map((route) => routes.get(route)?.generation ?? 0);
}

describe('a request for a new generation', () => {
  it('is carried out once: the route begins anew, the other goes on, and the answer says what is so', async () => {
    const capture = await start();
    expect(await ask(capture, 1, 1)).toEqual([{ route: 1, verdict: 'accepted', generation: 1 }]);
    await clock.advance(10 * SECOND);
    expect(await generations(capture)).toEqual([2, 1]);
    expect(await ask(capture, 1, 1)).toEqual([{ route: 1, verdict: 'begun', generation: 2 }]);
    await clock.advance(10 * SECOND);
    expect(await generations(capture)).toEqual([2, 1]);
    database.commit([{ kind: 'insert', table: 'events', row: { id: '2', value: '1' } }]);
    await clock.advance(10 * SECOND);
    expect((await foldLog(capture.log)).get(1)?.rows.size).toBe(2);
    expect(capture.source.status().phase).toBe(SourceState.STREAMING);
    await stop(capture);
  });

  it('survives a kill before it was carried out', async () => {
    const capture = await start();
    database.isUp = false;
    database.breakStreams();
    await ask(capture, 2, 1);
    capture.abandon();
    disk = disk.kill();
    await clock.advance(10 * SECOND);
    database.isUp = true;
    const again = await start();
    expect(await generations(again)).toEqual([1, 2]);
    await stop(again);
  });

  it('is not lost to a power cut once it was answered, though whoever took it first was killed before it was durable', async () => {
    const asked = [{ route: 1, aboveGeneration: 4, reason: 'trimmed' }];
    const openOn = (files: SimulatedDisk): Promise<GenerationRequests> =>
      GenerationRequests.open({ files, path: '/n/generations.json', logId: 'ab', logger: silentLogger });
    const first = await openOn(disk);
    const kills: SimulatedDisk[] = [];
    let isRenamed = false;
    disk.step = ({ kind }, of) => {
      if (isRenamed && kind === 'syncDirectory' && kills.length === 0) kills.push(of.kill());
      isRenamed ||= kind === 'rename';
    };
    await expect(first.ask('compute-1', asked, () => 1)).rejects.toThrow();
    const killed = must(kills[0]);
    // It has it already, and writes nothing.
    expect(await (await openOn(killed)).ask('compute-1', asked, () => 1)).toMatchObject([{ verdict: 'accepted' }]);
    expect((await openOn(killed.powerCut({ real: () => 0.999 }))).of(1)?.above).toBe(4);
  });

  it('never uses a generation that somebody has seen', async () => {
    const capture = await start();
    expect(await ask(capture, 1, 7)).toMatchObject([{ verdict: 'accepted' }]);
    await clock.advance(10 * SECOND);
    expect(await generations(capture)).toEqual([8, 1]);
    await stop(capture);
  });

  it('takes no number with which generations would end for good, and can begin another after the highest that it takes', async () => {
    const capture = await start();
    for (const above of [2 ** 30, 2 ** 32 - 1]) {
      await expect(ask(capture, 1, above)).rejects.toMatchObject({
        code: 'INVALID_REQUEST',
        place: 'above_generation',
      });
    }
    expect(capture.requests.of(1)).toBeUndefined();
    await ask(capture, 1, 2 ** 30 - 1);
    await clock.advance(10 * SECOND);
    expect(await generations(capture)).toEqual([2 ** 30, 1]);
    database.recreateTable('events');
    await clock.advance(60 * SECOND);
    expect(await generations(capture)).toEqual([2 ** 30 + 1, 1]);
    await stop(capture);
  });

  it('builds nothing for a source that has not the route, and ends the stream of none', async () => {
    const capture = await start();
    const [open, copy] = [database.openStream.bind(database), database.openCopy.bind(database)];
    let streams = 0;
    let builds = 0;
    database.openStream = (slotName) => {
      streams += 1;
      return open(slotName);
    };
    database.openCopy = (slotName) => {
      builds += 1;
      return copy(slotName);
    };
    const wanted = [{ route: 9, aboveGeneration: 0, reason: 'of another database' }];
    expect(await capture.requests.ask('compute-1', wanted, () => 0)).toMatchObject([{ verdict: 'accepted' }]);
    await clock.advance(10 * SECOND);
    expect(builds).toBe(0);
    await ask(capture, 1, 1);
    await clock.advance(10 * SECOND);
    expect(builds).toBe(1);
    expect(streams).toBe(0);
    await stop(capture);
  });

  it('knows only routes of the definitions', async () => {
    const capture = await start();
    expect(await ask(capture, 9, 1)).toEqual([{ route: 9, verdict: 'unknown', generation: 0 }]);
    expect(capture.requests.of(9)).toBeUndefined();
    await stop(capture);
  });

  it('brings the definitions to the log again, before the beginning', async () => {
    const capture = await start();
    await ask(capture, 1, 1);
    await clock.advance(10 * SECOND);
    const kinds: string[] = [];
    const { partitions } = await capture.log.describe();
    for await (const { entries, end } of capture.log.read(0, 0, new AbortController().signal)) {
      for (const { record } of entries) {
        const { kind } = fromBinary(LogRecordSchema, record);
        if (kind.case === 'routeBegin') kinds.push(`${kind.value.route}.${kind.value.generation}`);
        if (kind.case === 'definitions') kinds.push(`definitions ${kind.value.generation}`);
      }
      if ((entries.at(-1)?.offset ?? 0) >= end - 1) break;
    }
    expect(partitions).toHaveLength(2);
    expect(kinds).toEqual(['definitions 1', 'definitions 1', '1.1', '2.1', 'definitions 1', '1.2']);
    await stop(capture);
  });
});

describe('RequestGenerations', () => {
  it('R3: refuses a request about another log', async () => {
    const handle = requestGenerations({ logId: 'ab'.repeat(16) }, (_node, wanted) =>
      Promise.resolve(wanted.map(({ route }) => ({ route, verdict: 'accepted', generation: 3 }))),
    );
    const request = (logId: string) =>
      create(RequestGenerationsRequestSchema, {
        nodeId: 'compute-1',
        logId: Buffer.from(logId, 'hex'),
        routes: [{ route: 4, aboveGeneration: 3, reason: 'trimmed' }],
      });
    await expect(handle(request('cd'.repeat(16)))).rejects.toMatchObject({ code: 'WRONG_LOG' });
    const routes = [{ route: 4, verdict: GenerationVerdict.ACCEPTED, generation: 3 }];
    expect(await handle(request('ab'.repeat(16)))).toEqual({ routes });
  });
});
