/**
 * Goal: whoever reads the log from where it begins learns the definitions in force, also where it was trimmed past them; and
 * they are not written more often than that. Method: the production code over a simulated disk and a scripted database; files of
 * the log are trimmed by hand, and the definitions in each partition are counted.
 */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
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
