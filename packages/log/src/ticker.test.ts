/** Goal: quiet partitions get log time, busy ones are left alone. Method: a virtual clock over the log in memory. */
import { fromBinary } from '@bufbuild/protobuf';
import { LogRecordSchema } from '@freshet/gen/freshet/log/v1/log_pb.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { createMemoryLog } from './memory-log.ts';
import { encodeRecord } from './record-writer.ts';
import { startTicker } from './ticker.ts';

const row = encodeRecord({ case: 'routeBegin', value: { route: 1, generation: 1 } });

describe('the ticker', () => {
  it('gives every quiet partition a tick a second, and none to a busy one', async () => {
    const clock = new VirtualClock();
    const log = createMemoryLog({ partitions: 2, clock });
    const ticker = startTicker({ log, clock });
    for (let n = 0; n < 50; n++) {
      await log.append(1, [row]);
      await clock.advance(200_000);
    }
    await ticker.stop();
    const kinds = async (partition: number): Promise<(string | undefined)[]> =>
      (await log.records(partition)).map((record) => fromBinary(LogRecordSchema, record).kind.case);
    const ticks = await kinds(0);
    expect(new Set(ticks)).toEqual(new Set(['tick']));
    expect(ticks.length).toBeGreaterThanOrEqual(8);
    expect(ticks.length).toBeLessThanOrEqual(10);
    expect(new Set(await kinds(1))).toEqual(new Set(['routeBegin']));
  });

  it('writes nothing before the clock is known to be right: log time would never come back', async () => {
    const clock = new VirtualClock();
    const log = createMemoryLog({ partitions: 1, clock });
    let isRight = false;
    const ticker = startTicker({ log, clock, isClockRight: () => isRight });
    await clock.advance(60_000_000);
    expect(await log.records(0)).toEqual([]);
    isRight = true;
    await clock.advance(3_000_000);
    expect((await log.records(0)).length).toBeGreaterThan(0);
    await ticker.stop();
  });

  it('tells the first failure of a row of them, and goes on when it can again', async () => {
    const clock = new VirtualClock();
    let broken = true;
    const log = createMemoryLog({
      partitions: 3,
      clock,
      beforeAppend: () => (broken ? Promise.reject(new Error('the disk is gone')) : Promise.resolve()),
    });
    const errors: unknown[] = [];
    const ticker = startTicker({ log, clock, onError: (error) => errors.push(error) });
    await clock.advance(5_000_000);
    expect(errors.length).toBe(1);
    broken = false;
    await clock.advance(3_000_000);
    for (const partition of [0, 1, 2]) expect((await log.records(partition)).length).toBeGreaterThan(0);
    await ticker.stop();
    await clock.advance(10_000_000);
    expect(errors.length).toBe(1);
    expect(clock.sleeping).toBe(0);
  });
});
