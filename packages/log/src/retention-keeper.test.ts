/**
 * Goal: the keeper trims what it may, once a minute, says what it cannot, once, and lives through failing trims. Method:
 * a virtual clock over the log in memory, where each append is a segment, and over one whose trims fail.
 */
import { createLogger } from '@freshet/kit/logger.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { bytesOf } from './log-contract-suite.ts';
import { createMemoryLog } from './memory-log.ts';
import { createRetentionKeeper, type RetentionKeeper } from './retention-keeper.ts';
import { openSegmentLog } from './segment-log.ts';

const MINUTE_US = 60_000_000;

function lines(): { logger: ReturnType<typeof createLogger>; texts: () => string[] } {
  const found: string[] = [];
  const logger = createLogger({ name: 'test', write: (line) => found.push(JSON.parse(line).message ?? line) });
  return { logger, texts: () => found };
}

async function running(keeper: RetentionKeeper, act: () => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const ran = keeper.run(stop.signal);
  await act();
  stop.abort();
  await ran;
}

describe('the keeper', () => {
  it('L2: trims by age each minute, up to the checkpoint as it is then', async () => {
    const clock = new VirtualClock();
    const log = createMemoryLog({ partitions: 2, clock });
    let allowed: number | undefined;
    const keeper = createRetentionKeeper({
      log,
      limits: { ageUs: 3 * MINUTE_US },
      clock,
      allowedBelow: (partition) => (partition === 0 ? allowed : undefined),
    });
    await running(keeper, async () => {
      for (let minute = 0; minute < 10; minute++) {
        for (const partition of [0, 1]) await log.append(partition, [bytesOf(`${minute}`)]);
        await clock.advance(MINUTE_US);
      }
      expect((await log.describe()).partitions).toEqual([
        { start: 0, end: 10 },
        { start: 0, end: 10 },
      ]);
      expect(keeper.state.overruns.map(({ reason, partition }) => [reason, partition])).toEqual([
        ['no-checkpoint', 0],
        ['no-checkpoint', 1],
      ]);
      allowed = 4;
      await clock.advance(MINUTE_US);
      expect((await log.describe()).partitions[0]).toEqual({ start: 4, end: 10 });
      expect(keeper.state.overruns[0]).toMatchObject({ reason: 'checkpoint-behind', partition: 0 });
      allowed = 10;
      await clock.advance(MINUTE_US);
      expect(keeper.state).toMatchObject({
        partitions: [
          { partition: 0, start: 6, end: 10, allowedBelow: 10 },
          { partition: 1, start: 0, end: 10, allowedBelow: undefined },
        ],
        fault: undefined,
      });
      expect(keeper.state.partitions[0]?.oldestLogTimeUs).toBe(1_700_000_000_000_000 + 6 * MINUTE_US);
      expect(keeper.state.trimmedBytes).toBeGreaterThan(0);
    });
    expect(clock.sleeping).toBe(0);
  });

  it('tells an overrun when it begins, not each minute, and when all are over', async () => {
    const clock = new VirtualClock();
    const log = createMemoryLog({ partitions: 1, clock });
    const { logger, texts } = lines();
    let allowed: number | undefined;
    const keeper = createRetentionKeeper({ log, limits: { bytes: 100 }, clock, logger, allowedBelow: () => allowed });
    for (let n = 0; n < 5; n++) await log.append(0, [bytesOf('x'.repeat(50))]);
    await running(keeper, async () => {
      await clock.advance(5 * MINUTE_US);
      expect(texts().filter((text) => text.includes('more than its limit of 100 B')).length).toBe(1);
      allowed = 5;
      await clock.advance(2 * MINUTE_US);
      expect(texts().filter((text) => text.includes('within its limits again')).length).toBe(1);
    });
    expect((await log.describe()).partitions[0]?.start).toBe(4);
  });

  it('removes what a failed trim left, also when nothing more is to go', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await openSegmentLog({ directory: '/log', partitions: 1, clock, files: disk, segmentBytes: 1_000 });
    for (let n = 0; n < 10; n++) await log.append(0, [bytesOf(`${n}`.padEnd(500, '.'))]);
    const files = (): number => disk.paths().filter((path) => path.endsWith('.log')).length;
    expect(files()).toBeGreaterThan(3);
    disk.step = ({ kind }) => {
      if (kind === 'remove') throw diskFailure('EIO');
    };
    const keeper = createRetentionKeeper({ log, limits: { bytes: 0 }, clock, allowedBelow: () => 10 });
    for (let minute = 0; minute < 2; minute++) {
      await keeper.apply();
      expect(keeper.state.fault).toMatchObject({ code: 'DISK_FAILED' });
    }
    disk.step = () => {};
    await keeper.apply();
    expect(keeper.state.fault).toBeUndefined();
    expect(files()).toBe(1);
    await log.close();
  });

  it('goes on after a trim that failed, and shows it meanwhile', async () => {
    const clock = new VirtualClock();
    const log = createMemoryLog({ partitions: 2, clock });
    for (let n = 0; n < 4; n++) for (const partition of [0, 1]) await log.append(partition, [bytesOf('x')]);
    let broken = true;
    const failing = {
      partitionCount: 2,
      segments: (partition: number) => log.segments(partition),
      trim: (partition: number, below: number) =>
        broken && partition === 0
          ? Promise.reject(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
          : log.trim(partition, below),
    };
    const keeper = createRetentionKeeper({ log: failing, limits: { bytes: 0 }, clock, allowedBelow: () => 4 });
    await keeper.apply();
    expect(keeper.state.fault).toMatchObject({ code: 'DISK_FAILED', place: 'partition 0' });
    expect((await log.describe()).partitions.map(({ start }) => start)).toEqual([0, 3]);
    broken = false;
    await keeper.apply();
    expect(keeper.state.fault).toBeUndefined();
    expect((await log.describe()).partitions.map(({ start }) => start)).toEqual([3, 3]);
  });
});
