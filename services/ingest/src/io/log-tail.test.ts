/**
 * Goal: what is read of the log for rows that may come again is the part that may have them, however long the process has run.
 * Method: a real log on a simulated disk, of which it is noted where it is read from.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { openSegmentLog } from '@freshet/log/segment-log.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { expect, it } from 'vitest';
import { LogTail } from './log-tail.ts';

const ROUTES = new Set([1]);

it('R4: notes moments of the history that is captured after one with larger positions was lost', () => {
  const unasked = { describe: () => Promise.reject(new Error('unasked')), read: () => [] as never };
  const tail = new LogTail(unasked, new VirtualClock());
  tail.note(1_000n, [10]);
  tail.startOver();
  tail.note(50n, [20]);
  tail.note(60n, [30]);
  // The newest note of before what is acknowledged: what comes again is behind it.
  expect(tail.from(55n)).toEqual([20]);
});

it('R4: passes over what was appended since the last look and cannot come again', async () => {
  const files = new SimulatedDisk();
  const log = await openSegmentLog({
    directory: '/log',
    partitions: 1,
    clock: new VirtualClock(),
    files,
    minFreeBytes: 0,
  });
  const froms: number[] = [];
  const tail = new LogTail(
    {
      describe: () => log.describe(),
      read: (partition, from, signal) => {
        froms.push(from);
        return log.read(partition, from, signal);
      },
    },
    new VirtualClock(),
  );
  const commit = async (major: number): Promise<void> => {
    const change = { route: 1, generation: 1, lane: 1, sequence: { major: BigInt(major), minor: 0n, part: 0 } };
    const record = create(LogRecordSchema, { kind: { case: 'change', value: change } });
    await log.append(0, [toBinary(LogRecordSchema, record)]);
  };
  for (let major = 0; major < 10; major++) await commit(major);
  await tail.read(ROUTES, [4]);
  expect(tail.newestOf(1, 1, 1).get(0)?.major).toBe(9n);
  for (let major = 10; major < 100; major++) await commit(major);
  await tail.read(ROUTES, [90]);
  expect(tail.newestOf(1, 1, 1).get(0)?.major).toBe(99n);
  // What was read before is not read again.
  await commit(100);
  await tail.read(ROUTES, [90]);
  expect(froms).toEqual([4, 90, 100]);
  await log.close();
});

it('L2: reads on behind what is trimmed while it looks, and takes no other gap for that', async () => {
  const clock = new VirtualClock();
  const log = await openSegmentLog({
    directory: '/log',
    partitions: 1,
    clock,
    files: new SimulatedDisk(),
    minFreeBytes: 0,
    segmentBytes: 200,
  });
  for (let major = 0; major < 60; major++) {
    const change = { route: 1, generation: 1, lane: 1, sequence: { major: BigInt(major), minor: 0n, part: 0 } };
    await log.append(0, [
      toBinary(LogRecordSchema, create(LogRecordSchema, { kind: { case: 'change', value: change } })),
    ]);
  }
  let isTrimming = true;
  const tail = new LogTail(
    {
      describe: async () => {
        const before = await log.describe();
        if (isTrimming) await log.trim(0, 40);
        return before;
      },
      read: (...place) => log.read(...place),
    },
    clock,
  );
  await tail.read(ROUTES, [0]);
  expect((await log.describe()).partitions[0]?.start).toBeGreaterThan(0);
  expect(tail.newestOf(1, 1, 1).get(0)?.major).toBe(59n);
  isTrimming = false;
  const beyond = new LogTail(
    {
      describe: async () => ({ ...(await log.describe()), partitions: [{ start: 70, end: 80 }] }),
      read: log.read.bind(log),
    },
    clock,
  );
  await expect(beyond.read(ROUTES, [0])).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
  await log.close();
});
