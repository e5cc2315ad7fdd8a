/**
 * What every log keeps, as tests that any implementation runs: the one in memory, the one in segment files, and either
 * of them read over gRPC. Goal: a caller may take one for the other. Method: each test opens a fresh log on a virtual
 * clock; nothing asserts on real time.
 */
import { must } from '@freshet/kit/assert.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { crc32c } from '@freshet/store/crc32c.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { commitMark, dataViewOf, encodeFrame, frameBytes, RECORD_BYTES_MAX } from './frame.ts';
import { BATCH_BYTES } from './limits.ts';
import type { Log, LogEntry, LogReader } from './log.ts';

/** A log, and a reader of it, which may be the log itself. */
export interface OpenedLog {
  readonly log: Log;
  readonly reader: LogReader;
  /** Closes both and removes what they left. */
  close(): Promise<void>;
}

export type OpenLog = (options: { partitions: number; clock: VirtualClock }) => Promise<OpenedLog>;

/** An entry with a record of its own, for keeping. */
export interface KeptEntry extends LogEntry {
  readonly text: string;
}

/** Reads exactly so many records. */
export async function readSome(
  reader: LogReader,
  partition: number,
  from: number,
  count: number,
): Promise<KeptEntry[]> {
  const found: KeptEntry[] = [];
  if (count === 0) return found;
  for await (const batch of reader.read(partition, from, new AbortController().signal)) {
    expect(batch.partition).toBe(partition);
    for (const entry of batch.entries) {
      const record = entry.record.slice();
      found.push({ ...entry, record, text: new TextDecoder().decode(record) });
    }
    expect(batch.end).toBeGreaterThanOrEqual(from + found.length);
    if (found.length >= count) break;
  }
  return found.slice(0, count);
}

export function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** Runs the contract. */
export function runLogContractSuite(name: string, openLog: OpenLog): void {
  describe(`${name} keeps the log's contract:`, () => {
    const clock = { now: new VirtualClock() };
    let opened: OpenedLog;
    beforeEach(async () => {
      clock.now = new VirtualClock();
      opened = await openLog({ partitions: 3, clock: clock.now });
    });
    afterEach(() => opened.close());
    const open = (): OpenedLog => opened;
    orderTests(open);
    batchTests(open);
    followTests(open);
    timeTests(open, () => clock.now);
    refusalTests(open);
    trimTests(open);
    closeTests(open);
  });
}

function orderTests(open: () => OpenedLog): void {
  it('offsets are contiguous from 0, in the order of the appends, each partition by itself', async () => {
    const { log, reader } = open();
    for (let n = 0; n < 20; n++) {
      const result = await log.append(n % 2, [bytesOf(`a${n}`), bytesOf(`b${n}`)]);
      expect(result.firstOffset).toBe(Math.floor(n / 2) * 2);
    }
    for (const partition of [0, 1]) {
      const entries = await readSome(reader, partition, 0, 20);
      expect(entries.map((entry) => entry.offset)).toEqual([...Array(20).keys()]);
      const expected = [...Array(20).keys()].map((i) => `${i % 2 ? 'b' : 'a'}${Math.floor(i / 2) * 2 + partition}`);
      expect(entries.map((entry) => entry.text)).toEqual(expected);
    }
  });

  it('L1: concurrent appends keep the order of the calls and lose nothing', async () => {
    const { log, reader } = open();
    const appends = [...Array(300).keys()].map((n) => log.append(n % 3, [bytesOf(`${n}`)]));
    const results = await Promise.all(appends);
    expect(results.map((result) => result.firstOffset)).toEqual([...Array(300).keys()].map((n) => Math.floor(n / 3)));
    for (const partition of [0, 1, 2]) {
      const entries = await readSome(reader, partition, 0, 100);
      expect(entries.map((entry) => Number(entry.text))).toEqual([...Array(100).keys()].map((i) => i * 3 + partition));
    }
  });

  it('an acknowledged record is readable at once', async () => {
    const { log, reader } = open();
    for (let n = 0; n < 10; n++) {
      const { firstOffset } = await log.append(0, [bytesOf(`${n}`)]);
      const { partitions } = await reader.describe();
      expect(partitions[0]).toEqual({ start: 0, end: firstOffset + 1 });
      expect((await readSome(reader, 0, firstOffset, 1))[0]?.text).toBe(`${n}`);
    }
  });

  it('describes the same log always', async () => {
    const { log, reader } = open();
    const before = await reader.describe();
    expect(before.logId).toMatch(/^[0-9a-f]{32}$/);
    expect(before.logId).toBe(log.logId);
    expect(before.partitions).toEqual([0, 1, 2].map(() => ({ start: 0, end: 0 })));
    await log.append(1, [bytesOf('x')]);
    expect((await reader.describe()).partitions).toEqual([0, 1, 0].map((end) => ({ start: 0, end })));
  });

  it('an entry tells the checksum of its frame', async () => {
    const { log, reader } = open();
    await log.append(2, [bytesOf('one'), bytesOf('two')]);
    for (const [index, entry] of (await readSome(reader, 2, 0, 2)).entries()) {
      const frame = new Uint8Array(frameBytes(entry.record.length));
      encodeFrame(frame, dataViewOf(frame), 0, entry.offset, entry.logTimeUs, commitMark(index, 2), entry.record);
      expect(entry.crc).toBe(crc32c(frame, 8, frame.length));
    }
  });
}

function batchTests(open: () => OpenedLog): void {
  it('F3: any cut into appends reads back from any offset as the same records', async () => {
    const { log, reader } = open();
    const texts: string[] = [];
    const size = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(size, fc.double({ min: 0, max: 1, noNaN: true }), async (lengths, place) => {
        const records = lengths.map((length, index) => `${texts.length + index}:`.padEnd(length, 'x'));
        await log.append(0, records.map(bytesOf));
        texts.push(...records);
        const from = Math.floor(place * texts.length);
        const entries = await readSome(reader, 0, from, texts.length - from);
        expect(entries.map((entry) => entry.text)).toEqual(texts.slice(from));
        expect(entries.map((entry) => entry.offset)).toEqual(entries.map((_, index) => from + index));
      }),
      { numRuns: 30 },
    );
  });

  it('R4: batches are bounded, and a record larger than a batch comes whole', async () => {
    const { log, reader } = open();
    const large = new Uint8Array(BATCH_BYTES * 3).fill(7);
    await log.append(
      0,
      [...Array(3000).keys()].map((n) => bytesOf(`${n}`.padEnd(500, '.'))),
    );
    await log.append(0, [bytesOf('before'), large, bytesOf('after')]);
    let next = 0;
    for await (const batch of reader.read(0, 0, new AbortController().signal)) {
      const bytes = batch.entries.reduce((sum, entry) => sum + frameBytes(entry.record.length), 0);
      expect(bytes <= BATCH_BYTES || batch.entries.length === 1).toBe(true);
      expect(must(batch.entries[0]).offset).toBe(next);
      next += batch.entries.length;
      const found = batch.entries.find((entry) => entry.record.length === large.length);
      if (found !== undefined) expect(Buffer.from(found.record).equals(large)).toBe(true);
      if (next === 3003) break;
    }
  });
}

function followTests(open: () => OpenedLog): void {
  it('a reader at the end is given what comes later', async () => {
    const { log, reader } = open();
    await log.append(0, [bytesOf('before')]);
    const found = readSome(reader, 0, 1, 3);
    await log.append(0, [bytesOf('one')]);
    await log.append(1, [bytesOf('elsewhere')]);
    await log.append(0, [bytesOf('two'), bytesOf('three')]);
    expect((await found).map((entry) => entry.text)).toEqual(['one', 'two', 'three']);
  });

  it('many readers at once each see everything, while records come', async () => {
    const { log, reader } = open();
    const readers = [...Array(8).keys()].map(() => readSome(reader, 0, 0, 200));
    for (let n = 0; n < 100; n++) await log.append(0, [bytesOf(`${n}a`), bytesOf(`${n}b`)]);
    const expected = [...Array(200).keys()].map((n) => `${Math.floor(n / 2)}${n % 2 ? 'b' : 'a'}`);
    for (const found of await Promise.all(readers)) expect(found.map((entry) => entry.text)).toEqual(expected);
  });

  it('an abort ends a waiting read quietly, and one that is given batches', async () => {
    const { log, reader } = open();
    await log.append(0, [bytesOf('one')]);
    for (const from of [0, 1]) {
      const controller = new AbortController();
      const iterator = reader.read(0, from, controller.signal)[Symbol.asyncIterator]();
      if (from === 0) expect((await iterator.next()).done).toBe(false);
      const next = iterator.next();
      await new Promise((resolve) => setImmediate(resolve));
      controller.abort();
      expect((await next).done).toBe(true);
      expect((await iterator.next()).done).toBe(true);
    }
  });

  it('an abort before the first batch ends the read quietly', async () => {
    const { log, reader } = open();
    await log.append(0, [bytesOf('one')]);
    const batches: unknown[] = [];
    for await (const batch of reader.read(0, 0, AbortSignal.abort())) batches.push(batch);
    expect(batches).toEqual([]);
  });

  it('a reader may leave in the middle and another goes on from there', async () => {
    const { log, reader } = open();
    for (let n = 0; n < 10; n++) await log.append(0, [bytesOf(`${n}`)]);
    const found: string[] = [];
    while (found.length < 10) found.push(...(await readSome(reader, 0, found.length, 1)).map((entry) => entry.text));
    expect(found).toEqual([...Array(10).keys()].map(String));
  });
}

function timeTests(open: () => OpenedLog, clock: () => VirtualClock): void {
  it('log time is the clock’s, one for all records of an append', async () => {
    const { log, reader } = open();
    const { logTimeUs } = await log.append(0, [bytesOf('a'), bytesOf('b')]);
    expect(logTimeUs).toBe(clock().nowUs());
    await clock().advance(1_500_000);
    const second = await log.append(0, [bytesOf('c')]);
    expect(second.logTimeUs).toBe(logTimeUs + 1_500_000);
    const times = (await readSome(reader, 0, 0, 3)).map((entry) => entry.logTimeUs);
    expect(times).toEqual([logTimeUs, logTimeUs, second.logTimeUs]);
  });

  it('log time never decreases when the wall clock is set back', async () => {
    const { log } = open();
    const first = await log.append(0, [bytesOf('a')]);
    clock().setWallUs(clock().nowUs() - 3_600_000_000);
    await clock().advance(1_000_000);
    expect((await log.append(0, [bytesOf('b')])).logTimeUs).toBe(first.logTimeUs);
  });

  it('log time takes no forward step that the monotonic clock does not back', async () => {
    const { log } = open();
    const first = await log.append(0, [bytesOf('a')]);
    clock().setWallUs(clock().nowUs() + 2_000_000);
    await clock().advance(1_000_000);
    const second = await log.append(0, [bytesOf('b')]);
    expect(second.logTimeUs - first.logTimeUs).toBeLessThanOrEqual(1_100_000);
    expect(second.logTimeUs - first.logTimeUs).toBeGreaterThanOrEqual(1_000_000);
  });

  it('a leap of the wall clock halts appends, and reading goes on', async () => {
    const { log, reader } = open();
    await log.append(0, [bytesOf('a')]);
    clock().setWallUs(clock().nowUs() + 3_600_000_000);
    await expect(log.append(0, [bytesOf('b')])).rejects.toMatchObject({ code: 'CLOCK_JUMP' });
    await expect(log.append(1, [bytesOf('b')])).rejects.toMatchObject({ code: 'CLOCK_JUMP' });
    expect((await readSome(reader, 0, 0, 1))[0]?.text).toBe('a');
    expect((await reader.describe()).partitions[0]).toEqual({ start: 0, end: 1 });
  });
}

function refusalTests(open: () => OpenedLog): void {
  it('offsets beyond the end, before the start, or no offsets are refused', async () => {
    const { log, reader } = open();
    await log.append(0, [bytesOf('a')]);
    for (const from of [2, -1, 1.5, Number.NaN, 2 ** 60]) {
      await expect(readSome(reader, 0, from, 1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    }
  });

  it('partitions that are not there are refused', async () => {
    const { log, reader } = open();
    await expect(readSome(reader, 3, 0, 1)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    await expect(log.append(3, [bytesOf('a')])).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  });

  it('a record over 16 MiB is refused, alone', async () => {
    const { log, reader } = open();
    const tooLarge = log.append(0, [new Uint8Array(RECORD_BYTES_MAX + 1)]);
    const fine = log.append(0, [bytesOf('fine')]);
    await expect(tooLarge).rejects.toMatchObject({ code: 'REQUEST_TOO_LARGE' });
    expect((await fine).firstOffset).toBe(0);
    expect((await readSome(reader, 0, 0, 1))[0]?.text).toBe('fine');
  });

  it('a record of 16 MiB passes', async () => {
    const { log, reader } = open();
    const record = new Uint8Array(RECORD_BYTES_MAX).fill(3);
    await log.append(0, [record]);
    const [entry] = await readSome(reader, 0, 0, 1);
    expect(Buffer.from(must(entry).record).equals(record)).toBe(true);
  });
}

/** So many appends of about so many bytes that segments of any size in these tests are several. */
async function appendLarge(log: Log, count: number): Promise<string[]> {
  const texts = [...Array(count).keys()].map((n) => `${n}`.padEnd(30_000, '.'));
  for (const text of texts) await log.append(0, [bytesOf(text)]);
  return texts;
}

function trimTests(open: () => OpenedLog): void {
  it('L2: a trim lets go of nothing at or above its offset, and what is left reads as before', async () => {
    const { log, reader } = open();
    const texts = await appendLarge(log, 8);
    let before = 0;
    for (const below of [0, 3, 5, 2, 8]) {
      const start = await log.trim(0, below);
      expect(start).toBeGreaterThanOrEqual(before);
      expect(start).toBeLessThanOrEqual(Math.max(below, before));
      before = start;
      expect((await reader.describe()).partitions[0]).toEqual({ start, end: 8 });
      const entries = await readSome(reader, 0, start, 8 - start);
      expect(entries.map((entry) => entry.text)).toEqual(texts.slice(start));
      for (let from = 0; from < start; from++) {
        const error = await readSome(reader, 0, from, 1).catch((thrown: unknown) => thrown);
        expect(error).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
      }
    }
    expect((await log.append(0, [bytesOf('more')])).firstOffset).toBe(8);
    expect((await readSome(reader, 0, 8, 1))[0]?.text).toBe('more');
    expect((await reader.describe()).partitions[1]).toEqual({ start: 0, end: 0 });
  });

  it('a reader that is trimmed past ends with OFFSET_OUT_OF_RANGE and a remedy, after right records only', async () => {
    const { log, reader } = open();
    const texts = await appendLarge(log, 40);
    const found: string[] = [];
    const read = async (): Promise<void> => {
      for await (const batch of reader.read(0, 0, new AbortController().signal)) {
        for (const entry of batch.entries) found.push(new TextDecoder().decode(entry.record));
        await log.trim(0, 40);
        if (found.length === 40) return;
      }
    };
    const error = await read().catch((thrown: unknown) => thrown);
    expect(found).toEqual(texts.slice(0, found.length));
    const { start } = must((await reader.describe()).partitions[0]);
    if (found.length === 40) return; // All of it was on its way before the trim.
    expect(error).toMatchObject({ code: 'OFFSET_OUT_OF_RANGE', remedy: expect.stringContaining('checkpoint') });
    expect(start).toBeGreaterThan(found.length);
  });

  it('segments tell what there is, without a gap, and a trim takes the oldest', async () => {
    const { log } = open();
    expect(log.segments(1).reduce((sum, { end, firstOffset }) => sum + end - firstOffset, 0)).toBe(0);
    await appendLarge(log, 6);
    const start = await log.trim(0, 4);
    const segments = log.segments(0);
    expect(segments[0]?.firstOffset).toBe(start);
    expect(segments.at(-1)?.end).toBe(6);
    for (const [index, segment] of segments.entries()) {
      expect(segment.firstOffset).toBe(segments[index - 1]?.end ?? start);
      expect(segment.bytes).toBeGreaterThan(30_000 * (segment.end - segment.firstOffset));
      expect(segment.newestLogTimeUs).toBe((await readSome(log, 0, segment.end - 1, 1))[0]?.logTimeUs);
    }
  });

  it('a trim beyond the end, or of no partition, is refused', async () => {
    const { log } = open();
    await log.append(0, [bytesOf('a')]);
    for (const below of [2, Number.NaN]) {
      await expect(log.trim(0, below)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    }
    await expect(log.trim(3, 0)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
    expect((await log.describe()).partitions[0]).toEqual({ start: 0, end: 1 });
  });
}

function closeTests(open: () => OpenedLog): void {
  it('closing lets appends under way finish, refuses new ones and ends reads with an error', async () => {
    const { log, reader } = open();
    await log.append(0, [bytesOf('before')]);
    const waiting = readSome(reader, 0, 1, 2).catch((error: unknown) => error);
    const under = log.append(0, [bytesOf('under way')]);
    const closed = log.close();
    await expect(under).resolves.toMatchObject({ firstOffset: 1 });
    await closed;
    await expect(log.append(0, [bytesOf('late')])).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    expect(isFreshetError(await waiting, 'UNAVAILABLE')).toBe(true);
    await log.close();
  });
}
