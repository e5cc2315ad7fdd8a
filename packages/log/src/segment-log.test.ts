/**
 * Goal: the embedded log keeps the contract on real files, over restarts, with small segments and little memory, and
 * refuses what it must. Method: the contract suite in several sizes; then directories that are opened again and again,
 * files that fail on demand, and directories that are not as they should be.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type DiskFile, type FileSystem, nodeFileSystem } from './file-system.ts';
import type { Log } from './log.ts';
import { bytesOf, readSome, runLogContractSuite } from './log-contract-suite.ts';
import { openSegmentLog, type SegmentLog, type SegmentLogOptions } from './segment-log.ts';
import { sealJson } from './whole-file.ts';

function runWith(name: string, sizes: Partial<SegmentLogOptions>): void {
  runLogContractSuite(name, async ({ partitions, clock }) => {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-log-'));
    const log = await openSegmentLog({ directory, partitions, clock, ...sizes });
    const close = async (): Promise<void> => {
      await log.close();
      await rm(directory, { recursive: true });
    };
    return { log, reader: log, close };
  });
}

runWith('a log in segment files', {});
runWith('a log in small segments without a tail in memory', { segmentBytes: 4_000, tailBytes: 0 });
runWith('a log with a short tail in memory', { segmentBytes: 50_000, tailBytes: 3_000 });

let directory: string;
let clock: VirtualClock;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-log-'));
  clock = new VirtualClock();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

function open(options: Partial<SegmentLogOptions> = {}): Promise<SegmentLog> {
  return openSegmentLog({ directory, partitions: 2, clock, ...options });
}

async function texts(log: Log, partition = 0): Promise<string[]> {
  const { end } = (await log.describe()).partitions[partition]!;
  return (await readSome(log, partition, 0, end)).map((entry) => entry.text);
}

describe('over restarts', () => {
  it('L1: everything acknowledged is there again, with its offsets, times and log id', async () => {
    let logId = '';
    const written: string[] = [];
    for (let round = 0; round < 5; round++) {
      const log = await open({ segmentBytes: 300 });
      expect(await texts(log)).toEqual(written);
      if (round > 0) expect(log.logId).toBe(logId);
      logId = log.logId;
      for (let n = 0; n < 7; n++) {
        const text = `${round}.${n}`.padEnd(40, '.');
        expect((await log.append(0, [bytesOf(text)])).firstOffset).toBe(written.length);
        written.push(text);
      }
      await log.close();
    }
    expect((await readdir(join(directory, 'partition-0000'))).length).toBeGreaterThan(5);
  });

  it('log time does not go back, though the clock did while the log was closed', async () => {
    const first = await open();
    const { logTimeUs } = await first.append(0, [bytesOf('a')]);
    await first.close();
    clock = new VirtualClock(logTimeUs - 60_000_000);
    const second = await open();
    expect((await second.append(0, [bytesOf('b')])).logTimeUs).toBe(logTimeUs);
    await second.close();
  });

  it('a clock that leapt is taken at its word by the next opening', async () => {
    const first = await open();
    await first.append(0, [bytesOf('a')]);
    clock.setWallUs(clock.nowUs() + 3_600_000_000);
    await expect(first.append(0, [bytesOf('b')])).rejects.toMatchObject({ code: 'CLOCK_JUMP' });
    expect(first.fault?.code).toBe('CLOCK_JUMP');
    await first.close();
    const second = await open();
    expect((await second.append(0, [bytesOf('b')])).logTimeUs).toBe(clock.nowUs());
    await second.close();
  });

  it('the number of partitions is fixed for life', async () => {
    await (await open()).close();
    await expect(open({ partitions: 3 })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      remedy: /set partitions to 2/,
    });
    await expect(open({ partitions: 0 })).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
  });

  it('a log of a later format, or one that lost its log.json, is refused', async () => {
    const log = await open();
    await log.append(0, [bytesOf('a')]);
    await log.close();
    const path = join(directory, 'log.json');
    const text = await readFile(path, 'utf8');
    await writeFile(path, sealJson({ format: 3, logId: log.logId, partitions: 2 }));
    await expect(open()).rejects.toMatchObject({ code: 'INVALID_CONFIG', place: path });
    for (const damaged of ['not JSON', text.replace('s":2', 's":4'), text.replace(log.logId.slice(0, 4), 'zzzz'), '']) {
      await writeFile(path, damaged);
      await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: path });
    }
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: path });
    await rm(path);
    await expect(open()).rejects.toMatchObject({ code: 'DATA_DAMAGED', place: path });
    await writeFile(path, text);
    await (await open()).close();
  });
});

describe('when the disk fails', () => {
  /** This machine's disk, except that the next write or sync of a file fails, when told so. */
  function failing(): { files: FileSystem; failNext: (what: 'write' | 'sync', half?: boolean) => void } {
    let next: { what: 'write' | 'sync'; half: boolean } | undefined;
    const wrap = (file: DiskFile): DiskFile => ({
      read: (target, position) => file.read(target, position),
      truncate: (length) => file.truncate(length),
      length: () => file.length(),
      close: () => file.close(),
      write: async (parts, position) => {
        if (next?.what !== 'write') return file.write(parts, position);
        const { half } = next;
        next = undefined;
        if (half) await file.write([parts[0]!.subarray(0, 30)], position);
        throw new Error('EIO: i/o error');
      },
      sync: async () => {
        if (next?.what !== 'sync') return file.sync();
        next = undefined;
        throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' });
      },
    });
    return {
      files: { ...nodeFileSystem, open: async (path, mode) => wrap(await nodeFileSystem.open(path, mode)) },
      failNext: (what, half = false) => {
        next = { what, half };
      },
    };
  }

  for (const [what, half] of [
    ['write', false],
    ['write', true],
    ['sync', false],
  ] as const) {
    it(`L1: a failed ${what}${half ? ' that wrote half' : ''} halts its partition; what was durable stays readable`, async () => {
      const { files, failNext } = failing();
      const log = await open({ files });
      await log.append(0, [bytesOf('safe')]);
      await log.append(1, [bytesOf('other')]);
      failNext(what, half);
      const lost = await Promise.allSettled([log.append(0, [bytesOf('lost 1')]), log.append(0, [bytesOf('lost 2')])]);
      for (const result of lost) expect(result).toMatchObject({ reason: { code: 'LOG_HALTED', retryable: false } });
      await expect(log.append(0, [bytesOf('late')])).rejects.toMatchObject({ code: 'LOG_HALTED' });
      expect(log.fault?.code).toBe('LOG_HALTED');
      expect(await texts(log, 0)).toEqual(['safe']);
      await log.append(1, [bytesOf('goes on')]);
      expect(log.pendingBytes).toBe(0);
      await log.close();
      const again = await open();
      expect(await texts(again, 0)).toEqual(['safe']);
      expect(await texts(again, 1)).toEqual(['other', 'goes on']);
      await again.close();
    });
  }

  it('nothing is readable before it is durable', async () => {
    const gate = Promise.withResolvers<void>();
    const open_: FileSystem['open'] = async (path, mode) => {
      const file = await nodeFileSystem.open(path, mode);
      const sync = async (): Promise<void> => {
        if (path.includes('partition-0000/0') && mode === 'write') await gate.promise;
        await file.sync();
      };
      return {
        read: file.read.bind(file),
        write: file.write.bind(file),
        truncate: file.truncate.bind(file),
        length: file.length.bind(file),
        close: file.close.bind(file),
        sync,
      };
    };
    const log = await open({ files: { ...nodeFileSystem, open: open_ } });
    const append = log.append(0, [bytesOf('slow')]);
    await log.append(1, [bytesOf('quick')]);
    expect((await log.describe()).partitions).toEqual([
      { start: 0, end: 0 },
      { start: 0, end: 1 },
    ]);
    await expect(readSome(log, 0, 1, 1)).rejects.toMatchObject({ code: 'OFFSET_OUT_OF_RANGE' });
    gate.resolve();
    await append;
    expect(await texts(log)).toEqual(['slow']);
    await log.close();
  });
});

describe('back-pressure', () => {
  it('R4: beyond the limit appends are refused, later ones too until there is room, and order is kept', async () => {
    const log = await open({ pendingBytesMax: 10_000 });
    const record = (n: number, size: number): Uint8Array => bytesOf(`${n}`.padEnd(size, '.'));
    const results = await Promise.allSettled([
      log.append(0, [record(0, 4_000)]),
      log.append(0, [record(1, 4_000)]),
      log.append(0, [record(2, 4_000)]),
      log.append(0, [record(3, 10)]),
      log.append(1, [record(4, 10)]),
    ]);
    expect(results.map((result) => result.status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
      'rejected',
    ]);
    for (const result of results.slice(2))
      expect(result).toMatchObject({ reason: { code: 'UNAVAILABLE', retryable: true } });
    await log.room(new AbortController().signal);
    for (const n of [2, 3]) await log.append(0, [record(n, 10)]);
    expect((await texts(log)).map((text) => Number.parseInt(text, 10))).toEqual([0, 1, 2, 3]);
    await log.close();
  });

  it('an append larger than the limit passes when it is alone', async () => {
    const log = await open({ pendingBytesMax: 100 });
    await log.append(0, [new Uint8Array(1_000).fill(1), new Uint8Array(1_000).fill(2)]);
    expect((await log.describe()).partitions[0]).toEqual({ start: 0, end: 2 });
    await log.close();
  });

  it('waiting for room ends with room, or with the signal', async () => {
    const log = await open({ pendingBytesMax: 100 });
    const append = log.append(0, [new Uint8Array(90).fill(1)]);
    const controller = new AbortController();
    const aborted = log.room(controller.signal);
    controller.abort();
    await aborted;
    await log.room(new AbortController().signal);
    expect(log.pendingBytes).toBe(0);
    await append;
    await log.close();
  });
});

describe('a directory that cannot be used', () => {
  it('is refused with its path when a file is in its place', async () => {
    const place = join(directory, 'file');
    await writeFile(place, '');
    await expect(open({ directory: place })).rejects.toMatchObject({ code: 'INVALID_CONFIG', place });
  });

  it.each([
    ['ENOSPC', 'DISK_FULL'],
    ['EDQUOT', 'DISK_FULL'],
    ['EIO', 'DISK_FAILED'],
    ['EROFS', 'DISK_READ_ONLY'],
    ['EMFILE', 'TOO_MANY_OPEN_FILES'],
  ])(
    'L1: is not called bad configuration when the disk says %s, is worth another try, and loses nothing',
    async (errno, code) => {
      const log = await open();
      await log.append(0, [bytesOf('a')]);
      await log.close();
      const files: FileSystem = {
        ...nodeFileSystem,
        open: async (path, mode) => {
          const file = await nodeFileSystem.open(path, mode);
          file.sync = () => Promise.reject(Object.assign(new Error(`${errno}: it failed`), { code: errno }));
          return file;
        },
      };
      await expect(open({ files })).rejects.toMatchObject({
        code,
        retryable: true,
        place: directory,
      });
      const again = await open();
      expect(await texts(again)).toEqual(['a']);
      await again.close();
    },
  );
});

describe('one process per directory', () => {
  it('a second opening is refused while the first is open', async () => {
    const log = await open();
    await expect(open()).rejects.toMatchObject({ code: 'STORE_LOCKED', place: directory });
    await log.close();
    await (await open()).close();
  });

  it('a failed opening leaves no lock', async () => {
    await (await open()).close();
    await expect(open({ partitions: 5 })).rejects.toMatchObject({ code: 'INVALID_CONFIG' });
    await (await open()).close();
  });

  it('the lock of a process that is gone is taken over, by one of many', async () => {
    await (await open()).close();
    // Our own number with another start time: a number given anew, as the first process of a container gets.
    for (const stale of [`{"pid":${process.pid},"started":"1"}`, '{"pid":4194303}', 'garbage', '']) {
      await writeFile(join(directory, 'LOCK'), stale);
      const tries = await Promise.allSettled([open(), open(), open(), open()]);
      const winners = tries.filter((result) => result.status === 'fulfilled');
      expect(winners.length).toBe(1);
      for (const result of tries) if (result.status === 'rejected') expect(result.reason.code).toBe('STORE_LOCKED');
      await winners[0]!.value.close();
      expect((await readdir(directory)).filter((name) => name.startsWith('LOCK'))).toEqual([]);
    }
  });

  it('a process that ended and was not yet reaped holds no lock', async () => {
    // The shell becomes a sleep that never asks for its child's result.
    const parent = spawn('sh', ['-c', 'sleep 0 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] });
    const [line] = await once(parent.stdout, 'data');
    const pid = Number(String(line));
    await expect.poll(async () => (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.[0]).toBe('Z');
    const started = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ')[19];
    await writeFile(join(directory, 'LOCK'), JSON.stringify({ pid, started }));
    await (await open()).close();
    parent.kill();
  });
});
