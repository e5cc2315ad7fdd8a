/**
 * Goal: whoever reads the log from where it begins learns the definitions in force, also where it was trimmed past them; and
 * they are not written more often than that. Method: the production code over a simulated disk and a scripted database; files of
 * the log are trimmed by hand, and the definitions in each partition are counted.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { defineScripted, type ScriptedCapture, startScripted } from '../testing/scripted-capture.ts';
import { ScriptedDatabase } from '../testing/scripted-database.ts';

const SECOND = 1_000_000;

/** The generations of the definitions that each partition has, in order. */
async function definitionsIn({ log }: ScriptedCapture): Promise<number[][]> {
  const { partitions } = await log.describe();
  return Promise.all(
    partitions.map(async ({ start, end }, partition) => {
      const found: number[] = [];
      if (start === end) return found;
      const ended = new AbortController();
      for await (const { entries } of log.read(partition, start, ended.signal)) {
        for (const { record } of entries) {
          const { kind } = fromBinary(LogRecordSchema, record);
          if (kind.case === 'definitions') found.push(Number(kind.value.generation));
        }
        if ((entries.at(-1)?.offset ?? 0) + 1 >= end) ended.abort();
      }
      return found;
    }),
  );
}

it('writes the definitions again where the log was trimmed past them, once, over restarts', async () => {
  const clock = new VirtualClock();
  const random = new Random('kept');
  const database = new ScriptedDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => random.real() });
  database.createTable('events', ['id', 'value']);
  const files = new SimulatedDisk();
  const start = (): Promise<ScriptedCapture> =>
    startScripted({ database, files, clock, random: () => random.real(), segmentBytes: 4_096 });
  const stop = async (capture: ScriptedCapture): Promise<void> => {
    const stopping = capture.stop();
    await clock.advance(10 * SECOND);
    await stopping;
  };
  const first = await start();
  await first.node.apply(defineScripted(database, 7n, [{ table: 'events', mode: 1 }]));
  await clock.advance(10 * SECOND);
  for (let id = 1; id <= 400; id++) {
    database.commit([{ kind: 'insert', table: 'events', row: { id: String(id), value: '1' } }]);
    if (id % 20 === 0) await clock.advance(SECOND);
  }
  const { partitions } = await first.log.describe();
  await first.log.trim(0, partitions[0]?.end ?? 0);
  expect((await first.log.describe()).partitions[0]?.start).toBeGreaterThan(10);
  const before = await definitionsIn(first);
  expect(before[0]).toEqual([]);
  expect(before[1]).toContain(7);
  await clock.advance(15 * SECOND);
  expect(await definitionsIn(first)).toEqual([[7], before[1]]);
  await clock.advance(60 * SECOND);
  await stop(first);
  const second = await start();
  await clock.advance(60 * SECOND);
  expect(await definitionsIn(second)).toEqual([[7], before[1]]);
  await stop(second);
});

it('L1: says so when the log was put back to an older copy, and writes the definitions again though it had written them', async () => {
  const clock = new VirtualClock();
  const database = new ScriptedDatabase({ name: 'shop', nowUs: () => clock.nowUs(), random: () => 0.5 });
  database.createTable('events', ['id', 'value']);
  const files = new SimulatedDisk();
  const errors: string[] = [];
  const logger = { ...silentLogger, error: (message: string) => void errors.push(message) };
  const start = (): Promise<ScriptedCapture> => startScripted({ database, files, clock, random: () => 0.5, logger });
  const stop = async (capture: ScriptedCapture): Promise<void> => {
    const stopping = capture.stop();
    await clock.advance(10 * SECOND);
    await stopping;
  };
  const first = await start();
  await first.node.apply(defineScripted(database, 1n, [{ table: 'events', mode: 1 }]));
  await clock.advance(10 * SECOND);
  await stop(first);
  const isOfLog = (path: string): boolean => path.startsWith('/ingest/log/');
  const older = new Map(files.paths().flatMap((path) => (isOfLog(path) ? [[path, files.content(path)]] : [])));
  const second = await start();
  await second.node.apply(defineScripted(database, 2n, [{ table: 'events', mode: 1 }]));
  await clock.advance(10 * SECOND);
  expect((await definitionsIn(second)).map((all) => all.at(-1))).toEqual([2, 2]);
  await stop(second);
  expect(errors).toEqual([]);
  for (const path of files.paths()) if (isOfLog(path)) files.takeAway(path);
  for (const [path, content] of older) files.setContent(path, content);
  const third = await start();
  await clock.advance(10 * SECOND);
  expect(errors).toContainEqual(expect.stringMatching(/^the log lost records that were durable: partition 0 ended at/));
  expect((await definitionsIn(third)).map((all) => all.at(-1))).toEqual([2, 2]);
  await stop(third);
});
