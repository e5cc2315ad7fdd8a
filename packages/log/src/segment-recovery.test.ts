/**
 * Goal: opening a log finds exactly what was acknowledged, cuts what was torn and refuses what was damaged. Method:
 * every byte of the last frame cut off, every byte of the file flipped, files removed and cut, each time reopened and
 * compared with what was written. A killed process is a log without its clean.json (log-crash.test.ts kills real ones).
 */
import { cp, mkdtemp, open as openFile, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { frameBytes } from './frame.ts';
import { bytesOf, readSome } from './log-contract-suite.ts';
import { SEGMENT_HEADER_BYTES as HEAD } from './segment-header.ts';
import { openSegmentLog, type SegmentLog } from './segment-log.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-log-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function open(segmentBytes = 1_000_000): Promise<SegmentLog> {
  return openSegmentLog({ directory, partitions: 1, clock: new VirtualClock(), segmentBytes, tailBytes: 0 });
}

const segment = (offset = 0): string => join(directory, 'partition-0000', `${String(offset).padStart(20, '0')}.log`);

/** Writes records, one append each, and leaves the log as a killed process would, or closed cleanly. */
async function write(
  texts: readonly string[],
  options: { clean?: boolean; segmentBytes?: number } = {},
): Promise<void> {
  const log = await open(options.segmentBytes);
  for (const text of texts) await log.append(0, [bytesOf(text)]);
  await log.close();
  if (options.clean !== true) await rm(join(directory, 'clean.json'));
}

async function read(log: SegmentLog): Promise<string[]> {
  const { end } = (await log.describe()).partitions[0]!;
  return (await readSome(log, 0, 0, end)).map((entry) => entry.text);
}

/** Opens, reads everything and closes; leaves no clean.json. */
async function reopen(): Promise<string[]> {
  const log = await open();
  try {
    return await read(log);
  } finally {
    await log.close();
    await rm(join(directory, 'clean.json'));
  }
}

async function flip(path: string, at: number): Promise<void> {
  const file = await openFile(path, 'r+');
  const byte = new Uint8Array(1);
  await file.read(byte, 0, 1, at);
  byte[0]! ^= 0x04;
  await file.write(byte, 0, 1, at);
  await file.close();
}

describe('a torn tail', () => {
  it('L1: at every byte of the last frame is cut, the records before are there, and writing goes on', async () => {
    await write(['first', 'second', 'third']);
    const whole = await readFile(segment());
    const kept = HEAD + frameBytes(5) + frameBytes(6);
    for (let length = kept; length < whole.length; length++) {
      await writeFile(segment(), whole.subarray(0, length));
      const log = await open();
      expect(await read(log)).toEqual(['first', 'second']);
      expect((await log.append(0, [bytesOf('again')])).firstOffset).toBe(2);
      expect(await read(log)).toEqual(['first', 'second', 'again']);
      await log.close();
      await rm(join(directory, 'clean.json'));
    }
  });

  it('of zeros, of noise, or of a frame with a wrong checksum is cut', async () => {
    await write(['first', 'second']);
    const whole = await readFile(segment());
    const tails = [new Uint8Array(1), new Uint8Array(5_000), new Uint8Array(700).fill(0xa5)];
    for (const tail of tails) {
      await writeFile(segment(), Buffer.concat([whole, tail]));
      expect(await reopen()).toEqual(['first', 'second']);
      expect((await readFile(segment())).equals(whole)).toBe(true);
    }
    await flip(segment(), whole.length - 1);
    expect(await reopen()).toEqual(['first']);
  });

  it('that is all of a new segment leaves the end, and log time, of the segment before', async () => {
    await write(['first', 'second'.padEnd(100, '.')], { segmentBytes: 150 });
    await truncate(segment(1), HEAD + 10);
    const log = await open();
    expect((await log.describe()).partitions[0]).toEqual({ start: 0, end: 1 });
    expect((await log.append(0, [bytesOf('again')])).firstOffset).toBe(1);
    expect(await read(log)).toEqual(['first', 'again']);
    await log.close();
  });
});

describe('damage', () => {
  it('L1: a flip in any byte before the last frame is refused, and says where and what to do', async () => {
    await write(['first', 'second', 'third']);
    const second = HEAD + frameBytes(5);
    for (let at = 0; at < second + frameBytes(6); at++) {
      await flip(segment(), at);
      const place = at < HEAD ? segment() : `${segment()}, byte ${at < second ? HEAD : second}`;
      await expect(open()).rejects.toMatchObject({
        code: 'DATA_DAMAGED',
        place,
        remedy: expect.stringContaining('put the file back'),
      });
      await flip(segment(), at);
    }
    expect(await reopen()).toEqual(['first', 'second', 'third']);
  });

  it('after a clean close, any byte flipped or cut off or added is refused, the last frame’s too', async () => {
    await write(['first', 'second'], { clean: true });
    const whole = await readFile(segment());
    const refused = () => expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    for (let at = 0; at < whole.length; at++) {
      await flip(segment(), at);
      await refused();
      await writeFile(segment(), whole.subarray(0, at));
      await refused();
      await writeFile(segment(), whole);
    }
    await writeFile(segment(), Buffer.concat([whole, new Uint8Array(1)]));
    await refused();
    await rm(segment());
    await refused();
    await writeFile(segment(), whole);
    expect(await reopen()).toEqual(['first', 'second']);
  });

  it('in an earlier segment is told to whoever reads it; the rest is read and written', async () => {
    const texts = [...Array(12).keys()].map((n) => `${n}`.padEnd(60, '.'));
    await write(texts, { segmentBytes: 300 });
    const original = await mkdtemp(join(tmpdir(), 'freshet-log-'));
    await cp(directory, original, { recursive: true });
    const damages: (() => Promise<void>)[] = [
      () => flip(segment(2), 0),
      () => flip(segment(2), 5),
      () => flip(segment(2), HEAD),
      () => flip(segment(2), HEAD + 5),
      () => flip(segment(2), HEAD + 30),
      () => flip(segment(2), HEAD + 100),
      () => truncate(segment(2), HEAD + frameBytes(60)),
      () => truncate(segment(2), HEAD + frameBytes(60) + 3),
      () => truncate(segment(2), HEAD),
      () => truncate(segment(2), 3),
      () => truncate(segment(2), 0),
      () => rm(segment(2)),
    ];
    for (const damage of damages) {
      await damage();
      const log = await open(300);
      await expect(readSome(log, 0, 0, 12)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
      await expect(readSome(log, 0, 2, 2)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
      expect((await readSome(log, 0, 4, 8)).map((entry) => entry.text)).toEqual(texts.slice(4));
      expect((await log.append(0, [bytesOf('more')])).firstOffset).toBe(12);
      await log.close();
      await rm(directory, { recursive: true });
      await cp(original, directory, { recursive: true });
    }
    await rm(original, { recursive: true });
  });

  it('of the first segment or of a partition’s directory missing is refused', async () => {
    await write(
      [...Array(6).keys()].map((n) => `${n}`.padEnd(60, '.')),
      { segmentBytes: 300 },
    );
    await rm(segment(0));
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: segment(0) });
    await rm(join(directory, 'partition-0000'), { recursive: true });
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: join(directory, 'partition-0000') });
  });
});
