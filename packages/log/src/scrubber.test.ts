/**
 * Goal: the scrub finds what reads would find too late, at its pace, once a day, and lives through a disk that fails.
 * Method: a log on a simulated disk, a virtual clock; closed segments are damaged while the log is open.
 */
import { must } from '@freshet/kit/assert.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { bytesOf, readSome } from './log-contract-suite.ts';
import { createLogScrubber } from './scrubber.ts';
import { openSegmentLog, type SegmentLog } from './segment-log.ts';

const DAY_US = 86_400_000_000;

async function written(disk: SimulatedDisk, clock: VirtualClock): Promise<SegmentLog> {
  const log = await openSegmentLog({
    directory: '/log',
    partitions: 1,
    clock,
    files: disk,
    segmentBytes: 2_000,
    tailBytes: 0,
  });
  for (let n = 0; n < 20; n++) await log.append(0, [bytesOf(`${n}`.padEnd(500, '.'))]);
  return log;
}

function segments(disk: SimulatedDisk): string[] {
  return disk.paths().filter((path) => path.endsWith('.log'));
}

describe('the scrub', () => {
  it('finds a flipped bit in a closed segment, says where, and reads of it still end with an error', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await written(disk, clock);
    const scrubber = createLogScrubber({ log, clock, bytesPerSecond: Infinity });
    const stop = new AbortController();
    const ran = scrubber.run(stop.signal);
    await clock.advance(1_000_000);
    expect(log.damage).toEqual([]);
    const read = segments(disk)
      .slice(0, -1)
      .reduce((sum, path) => sum + disk.content(path).length, 0);
    expect(scrubber.state).toMatchObject({ bytes: read, fault: undefined });
    const path = must(segments(disk)[1]);
    const content = disk.content(path);
    content[content.length - 20]! ^= 8;
    disk.setContent(path, content);
    await clock.advance(DAY_US);
    expect(log.damage).toMatchObject([{ code: 'DATA_DAMAGED', place: expect.stringContaining(path) }]);
    const first = must(log.segments(0)[1]).firstOffset;
    const end = must(log.segments(0)[1]).end;
    expect((await readSome(log, 0, first, 1))[0]?.offset).toBe(first);
    await expect(readSome(log, 0, end - 1, 1)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    expect((await readSome(log, 0, end, 1))[0]?.offset).toBe(end);
    stop.abort();
    await ran;
    await log.close();
  });

  it('keeps its pace by the clock', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await written(disk, clock);
    const scrubber = createLogScrubber({ log, clock, bytesPerSecond: 1_000 });
    const stop = new AbortController();
    const ran = scrubber.run(stop.signal);
    await clock.advance(7_000_000);
    expect(scrubber.state.endedUs).toBeUndefined();
    await clock.advance(5_000_000);
    expect(scrubber.state.endedUs).toBeDefined();
    stop.abort();
    await ran;
    expect(clock.sleeping).toBe(0);
    await log.close();
  });

  it('goes on behind a file that is gone and one that the disk does not give, and says which', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await written(disk, clock);
    const [first = '', second = '', , fourth = ''] = segments(disk);
    disk.takeAway(first);
    disk.step = ({ kind, path }) => {
      if (kind === 'read' && path === second) throw diskFailure('EIO');
    };
    const content = disk.content(fourth);
    content[content.length - 20]! ^= 8;
    disk.setContent(fourth, content);
    await expect(readSome(log, 0, 0, 1)).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: first });
    const scrubber = createLogScrubber({ log, clock, bytesPerSecond: Infinity });
    const stop = new AbortController();
    const ran = scrubber.run(stop.signal);
    await clock.advance(1_000_000);
    expect(log.damage).toMatchObject([
      { code: 'DATA_DAMAGED', place: first },
      { code: 'DISK_FAILED', place: second },
      { code: 'DATA_DAMAGED', place: expect.stringContaining(fourth) },
    ]);
    expect(scrubber.state).toMatchObject({ endedUs: expect.any(Number), fault: undefined });
    disk.step = () => {};
    await clock.advance(DAY_US);
    expect(log.damage.map(({ place }) => place)).not.toContain(second);
    stop.abort();
    await ran;
    await log.close();
  });

  it('that a failing disk ends says so, and is whole the next day', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await written(disk, clock);
    disk.step = ({ kind, path }) => {
      if (kind === 'open' && path.endsWith('.log')) throw diskFailure('EMFILE');
    };
    const scrubber = createLogScrubber({ log, clock });
    const stop = new AbortController();
    const ran = scrubber.run(stop.signal);
    await clock.advance(1_000_000);
    expect(scrubber.state).toMatchObject({ endedUs: undefined, fault: { code: 'TOO_MANY_OPEN_FILES' } });
    disk.step = () => {};
    await clock.advance(DAY_US);
    expect(scrubber.state.fault).toBeUndefined();
    stop.abort();
    await ran;
    await log.close();
  });

  it('L2: a segment whose successor has a damaged head does not pass for older than all', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await written(disk, clock);
    const before = log.segments(0);
    await log.close();
    const path = must(segments(disk)[1]);
    disk.setContent(path, disk.content(path).fill(0, 0, 8));
    const again = await openSegmentLog({ directory: '/log', partitions: 1, clock, files: disk, segmentBytes: 2_000 });
    expect(again.damage).toHaveLength(1);
    const after = again.segments(0);
    expect(after[0]?.newestLogTimeUs).toBe(before[1]?.newestLogTimeUs);
    expect(after.slice(1)).toEqual(before.slice(1));
    await again.close();
  });

  it('a segment that is trimmed while it is scrubbed is no damage', async () => {
    const disk = new SimulatedDisk();
    const log = await written(disk, new VirtualClock());
    await log.scrub(async () => {
      await log.trim(0, 20);
    });
    expect(log.damage).toEqual([]);
    await log.close();
  });
});
