/**
 * Goal: records that are erased are gone from every file, and nothing else about the log changes: offsets, log times and
 * checksums of every record, the bytes of the others, appends, trims, scrubs, and opening it again after any crash.
 * Method: logs of many small segments with random lengths on a simulated disk; what a reader sees before and after; the
 * power cut after each of the disk's operations while records are erased.
 */
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crcOfErased } from './erased-record.ts';
import type { LogEntry } from './log.ts';
import { bytesOf } from './log-contract-suite.ts';
import { openSegmentLog, type SegmentLog } from './segment-log.ts';

const MARKER = 'MARKER';
const NO_PAUSE = (): Promise<void> => Promise.resolve();
const marked = { marker: bytesOf(MARKER), kept: () => new Uint8Array(0) };

function open(disk: SimulatedDisk, tailBytes = 0): Promise<SegmentLog> {
  return openSegmentLog({
    directory: '/log',
    partitions: 1,
    clock: new VirtualClock(),
    segmentBytes: 600,
    tailBytes,
    minFreeBytes: 0,
    files: disk,
    makeLogId: () => 'ab'.repeat(16),
  });
}

async function entries(log: SegmentLog): Promise<LogEntry[]> {
  const { partitions } = await log.describe();
  const { start = 0, end = 0 } = partitions[0] ?? {};
  const found: LogEntry[] = [];
  if (start === end) return found;
  const stop = new AbortController();
  for await (const batch of log.read(0, start, stop.signal)) {
    for (const entry of batch.entries) found.push({ ...entry, record: entry.record.slice() });
    if (found.length >= end - start) break;
  }
  return found;
}

async function filesWith(disk: SimulatedDisk, text: string): Promise<string[]> {
  const found: string[] = [];
  for (const directory of ['/log', '/log/partition-0000']) {
    for (const { name, kind } of await disk.list(directory)) {
      if (kind !== 'file') continue;
      const file = await disk.open(`${directory}/${name}`, 'read');
      const bytes = Buffer.alloc(await file.length());
      await file.read(bytes, 0);
      await file.close();
      if (bytes.includes(text)) found.push(`${directory}/${name}`);
    }
  }
  return found;
}

const isMarked = (entry: LogEntry): boolean => Buffer.from(entry.record).includes(MARKER);

const records = fc.array(
  fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 8, max: 200 })), { minLength: 1, maxLength: 4 }),
  { minLength: 1, maxLength: 25 },
);

function recordOf(isOne: boolean, length: number, n: number): Uint8Array {
  return bytesOf(`${isOne ? MARKER : 'OTHERS'}${n}`.padEnd(length, '.'));
}

describe('erasing records', () => {
  it('F1, R3: leaves fillers of the same offset, log time and checksum, and no byte of them in any file', async () => {
    await fc.assert(
      fc.asyncProperty(records, fc.nat(100), fc.boolean(), async (appends, at, inMemory) => {
        const disk = new SimulatedDisk();
        const log = await open(disk, inMemory ? 1e6 : 0);
        let n = 0;
        for (const some of appends)
          await log.append(
            0,
            some.map(([isOne, length]) => recordOf(isOne, length, n++)),
          );
        const below = Math.floor((at / 100) * n);
        const before = await entries(log);
        const result = await log.erase(0, { ...marked, below }, NO_PAUSE);
        expect(result.records).toBe(before.filter((entry) => entry.offset < below && isMarked(entry)).length);
        await log.append(0, [bytesOf('appended afterwards')]);
        const judge = (after: readonly LogEntry[]): void => {
          expect(after).toHaveLength(n + 1);
          for (const [i, was] of before.entries()) {
            const is = after[i]!;
            expect([is.offset, is.logTimeUs, is.crc]).toEqual([was.offset, was.logTimeUs, was.crc]);
            if (was.offset < below && isMarked(was)) expect(crcOfErased(is.record)).toBe(was.crc);
            else expect(is.record).toEqual(was.record);
          }
        };
        judge(await entries(log));
        const kept = before.some((entry) => entry.offset >= below && isMarked(entry));
        if (!kept) expect(await filesWith(disk, MARKER)).toEqual([]);
        await log.scrub(NO_PAUSE);
        expect(log.damage).toEqual([]);
        expect(await log.erase(0, { ...marked, below }, NO_PAUSE)).toEqual({ records: 0, segments: [] });
        await log.close();
        const again = await open(disk);
        judge(await entries(again));
        await again.scrub(NO_PAUSE);
        expect(again.damage).toEqual([]);
        await again.close();
      }),
      { numRuns: 60 },
    );
  });

  it('L1: a power cut at any of its steps leaves the records or their fillers, and erasing again ends it', async () => {
    let cuts = 0;
    for (let step = 0; ; step++) {
      const disk = new SimulatedDisk();
      const log = await open(disk);
      for (let n = 0; n < 12; n++) await log.append(0, [recordOf(n % 3 === 0, 90, n)]);
      const before = await entries(log);
      let left = step;
      let after: SimulatedDisk | undefined;
      disk.step = ({ changes }) => {
        if (changes && left-- === 0) after = disk.powerCut(new Random(`${step}`));
      };
      await log.erase(0, { ...marked, below: 12 }, NO_PAUSE).catch(() => undefined);
      if (after === undefined) break;
      cuts++;
      const again = await open(after);
      const there = await entries(again);
      expect(there.map(({ offset, crc }) => [offset, crc])).toEqual(before.map(({ offset, crc }) => [offset, crc]));
      await again.erase(0, { ...marked, below: 12 }, NO_PAUSE);
      expect((await entries(again)).filter(isMarked)).toEqual([]);
      await again.append(0, [bytesOf('goes on')]);
      await again.close();
      expect(await filesWith(after, MARKER)).toEqual([]);
    }
    expect(cuts).toBeGreaterThan(10);
  });

  it('goes on with the others when a segment is damaged, and tells it', async () => {
    const disk = new SimulatedDisk();
    const log = await open(disk);
    for (let n = 0; n < 12; n++) await log.append(0, [recordOf(true, 150, n)]);
    const path = '/log/partition-0000/00000000000000000000.log';
    const file = await disk.open(path, 'write');
    await file.write([Uint8Array.of(0x55)], 120);
    await file.close();
    await expect(log.erase(0, { ...marked, below: 12 }, NO_PAUSE)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    expect(await filesWith(disk, MARKER)).toEqual([path]);
    await log.close();
  });

  it('appends go on while records are erased', async () => {
    const disk = new SimulatedDisk();
    const log = await open(disk);
    for (let n = 0; n < 6; n++) await log.append(0, [recordOf(true, 90, n)]);
    const appends = Array.from({ length: 30 }, (_, n) => log.append(0, [recordOf(false, 90, n)]));
    await Promise.all([log.erase(0, { ...marked, below: 6 }, NO_PAUSE), ...appends]);
    const all = await entries(log);
    expect(all.map(({ offset }) => offset)).toEqual(Array.from({ length: 36 }, (_, n) => n));
    expect(all.filter(isMarked)).toEqual([]);
    await log.close();
  });
});
