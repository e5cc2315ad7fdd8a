/**
 * Goal: each state of a disk is a clear state of the log and never a wrong record: full, nearly full, read-only, out of
 * file handles, failing, lying. Method: the program of crash-points.test.ts with each of its I/Os failing once in each
 * way; disks that fill up and are given room; a disk that lies about what it synced and then loses power.
 */
import { must } from '@freshet/kit/assert.ts';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { fuzzParameters } from '@freshet/testkit/differential/fuzz-options.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { type DiskOperation, diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { bytesOf, readSome } from './log-contract-suite.ts';
import { openSegmentLog, type SegmentLog, type SegmentLogOptions } from './segment-log.ts';
import { CrashModel } from './testing/crash-program.ts';

const ROUNDS = 12;
const LIARS = must(fuzzParameters(150).numRuns);
/** A moment in which a log refuses without trying. */
const MOMENT_US = 200_000;
const TYPED = [
  'DISK_FULL',
  'DISK_READ_ONLY',
  'DISK_FAILED',
  'TOO_MANY_OPEN_FILES',
  'LOG_HALTED',
  'UNAVAILABLE',
] as const;

/** One program in which one I/O fails once; then it goes on in the same log if that did not halt, and in the next. */
async function failOnce(seed: number, failing: DiskOperation, errno: string): Promise<'refused' | 'halted' | 'unseen'> {
  const model = new CrashModel();
  const disk = new SimulatedDisk();
  let failures = 0;
  disk.step = ({ number, path }) => {
    if (number === failing.number && failures++ === 0) throw diskFailure(errno, path);
  };
  const error = await model.run(disk, new Random(seed), ROUNDS).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error !== undefined && !isFreshetError(error, ...TYPED)) throw error;
  const log = model.current;
  let outcome: 'refused' | 'halted' | 'unseen' = error === undefined ? 'unseen' : 'refused';
  if (log !== undefined) {
    await model.clock.advance(MOMENT_US);
    if (log.fault === undefined) {
      await model.appendToAll(log);
      expect(log.refusal).toBeUndefined();
      for (const partition of [0, 1]) await model.look(log, partition);
    } else {
      outcome = 'halted';
      expect(log.fault.remedy).not.toBe('');
    }
    await log.close();
  }
  const again = await model.open(disk);
  await model.judge(again);
  await model.appendToAll(again);
  await again.close();
  return outcome;
}

describe('an I/O that fails once', () => {
  for (const errno of ['ENOSPC', 'EMFILE', 'EIO', 'EROFS']) {
    it(`L1: with ${errno}, whichever it is: a typed error, nothing lost, and the log goes on or says that it halted`, async () => {
      const operations: DiskOperation[] = [];
      const counting = new SimulatedDisk({ step: (operation) => void operations.push(operation) });
      await new CrashModel().run(counting, new Random(7), ROUNDS);
      expect(operations.some(({ kind, path }) => kind === 'remove' && path.endsWith('.log'))).toBe(true);
      const outcomes = new Map<string, Set<string>>();
      for (const operation of operations) {
        try {
          const outcome = await failOnce(7, operation, errno);
          outcomes.set(outcome, (outcomes.get(outcome) ?? new Set()).add(operation.kind));
        } catch (cause) {
          const { number, kind, path } = operation;
          throw new Error(`${errno} at I/O ${number} (${kind} ${path}): ${String(cause)}`, { cause });
        }
      }
      const passing = errno === 'ENOSPC' || errno === 'EMFILE';
      // What passes halts the log only where the content of the disk is unknown afterwards.
      const halting = [...(outcomes.get('halted') ?? [])].sort();
      if (passing) expect(halting).toEqual(['sync', 'syncDirectory']);
      else expect(halting).toEqual(expect.arrayContaining(['open', 'rename', 'sync', 'syncDirectory', 'write']));
      expect(outcomes.get('refused')?.has('open')).toBe(true);
    });
  }
});

describe('a disk without room', () => {
  const openOn = (disk: SimulatedDisk, clock: VirtualClock, options: Partial<SegmentLogOptions> = {}) =>
    openSegmentLog({
      directory: '/log',
      partitions: 2,
      clock,
      files: disk,
      segmentBytes: 4_000,
      tailBytes: 0,
      ...options,
    });

  async function appendUntilRefused(log: SegmentLog, texts: string[], before = async () => {}): Promise<unknown> {
    for (let n = 0; n < 1_000; n++) {
      await before();
      const text = `${texts.length}`.padEnd(500, '.');
      try {
        await log.append(0, [bytesOf(text)]);
      } catch (error) {
        return error;
      }
      texts.push(text);
    }
    return undefined;
  }

  async function all(log: SegmentLog): Promise<string[]> {
    const { start, end } = must((await log.describe()).partitions[0]);
    return (await readSome(log, 0, start, end - start)).map(({ text }) => text);
  }

  it('L1: refuses with DISK_FULL, keeps what it acknowledged, and goes on by itself when there is room', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 20_000 });
    const clock = new VirtualClock();
    const log = await openOn(disk, clock, { minFreeBytes: 0 });
    const texts: string[] = [];
    for (let round = 0; round < 4; round++) {
      const before = texts.length;
      expect(await appendUntilRefused(log, texts)).toMatchObject({ code: 'DISK_FULL', retryable: true });
      expect(texts.length).toBeGreaterThan(before);
      expect(log.refusal?.code).toBe('DISK_FULL');
      expect(log.fault).toBeUndefined();
      // At once again: refused without trying, so that nothing overtakes what was refused.
      const { operations } = disk;
      await expect(log.append(1, [bytesOf('x')])).rejects.toMatchObject({ code: 'DISK_FULL' });
      expect(disk.operations).toBe(operations);
      expect(await all(log)).toEqual(texts);
      disk.capacityBytes += 7_000;
      await clock.advance(MOMENT_US);
    }
    // What a refused append had written in part is gone, also where the next one is shorter.
    expect(await appendUntilRefused(log, texts)).toMatchObject({ code: 'DISK_FULL' });
    disk.capacityBytes += 7_000;
    await clock.advance(MOMENT_US);
    await log.append(0, [bytesOf('short')]);
    texts.push('short');
    await log.close();
    expect(disk.paths()).toContain('/log/clean.json');
    const again = await openOn(disk.powerCut(new Random(1)), clock, { minFreeBytes: 0 });
    expect(await all(again)).toEqual(texts);
    await again.close();
  });

  it('leaves its reserve to others, in which it can still be trimmed, and then goes on', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 60_000 });
    const clock = new VirtualClock();
    const log = await openOn(disk, clock, { minFreeBytes: 20_000 });
    const texts: string[] = [];
    while (texts.length < 200) {
      const error = await appendUntilRefused(log, texts, () => clock.advance(MOMENT_US));
      expect(error).toMatchObject({ code: 'DISK_FULL', message: expect.stringContaining('19.5 KiB are left') });
      expect(await disk.freeBytes('/')).toBeGreaterThan(19_000);
      const start = await log.trim(0, texts.length);
      expect(await all(log)).toEqual(texts.slice(start));
      expect(start).toBeGreaterThan(0);
    }
    await log.close();
  });

  it('a read-only disk halts a partition with a remedy; reading goes on', async () => {
    const disk = new SimulatedDisk();
    const clock = new VirtualClock();
    const log = await openOn(disk, clock, { minFreeBytes: 0 });
    await log.append(0, [bytesOf('safe')]);
    disk.readOnly = true;
    await expect(log.append(0, [bytesOf('late')])).rejects.toMatchObject({
      code: 'LOG_HALTED',
      remedy: expect.stringContaining('mount it for writing'),
    });
    expect(await all(log)).toEqual(['safe']);
    await log.close();
    await expect(openOn(disk, clock)).rejects.toMatchObject({ code: 'DISK_READ_ONLY', retryable: true });
    disk.readOnly = false;
    const again = await openOn(disk, clock, { minFreeBytes: 0 });
    expect(await all(again)).toEqual(['safe']);
    await again.close();
  });

  it('a reader without a file handle is told so, and reads on when there is one', async () => {
    const disk = new SimulatedDisk();
    const log = await openOn(disk, new VirtualClock(), { minFreeBytes: 0 });
    const texts = [...Array(30).keys()].map((n) => `${n}`.padEnd(500, '.'));
    for (const text of texts) await log.append(0, [bytesOf(text)]);
    disk.openFilesMax = disk.openFiles;
    await expect(readSome(log, 0, 0, 1)).rejects.toMatchObject({ code: 'TOO_MANY_OPEN_FILES', retryable: true });
    disk.openFilesMax = Infinity;
    expect(await all(log)).toEqual(texts);
    await log.close();
  });
});

describe('a disk that lies about what it synced', () => {
  it('L1: after a power cut the log gives right records or an announced error, and a clean close notices every loss', async () => {
    let lost = 0;
    let announced = 0;
    for (let seed = 0; seed < LIARS; seed++) {
      const random = new Random(seed);
      const disk = new SimulatedDisk();
      const model = new CrashModel();
      const clean = random.oneIn(2);
      const from = random.between(40, 250);
      disk.step = (operation, self) => {
        self.lies = operation.number >= from;
        // Not closed: the power goes somewhere behind.
        if (!clean && operation.number > from + random.between(20, 400))
          self.step = () => Promise.reject(diskFailure('EIO'));
      };
      await model.run(disk, new Random(seed), ROUNDS).catch(() => undefined);
      const ends = model.partitions.map(({ end }) => end);
      const after = disk.powerCut(random);
      const log = await model.open(after).catch((error: unknown) => {
        if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
        announced++;
        return undefined;
      });
      if (log === undefined) continue;
      // The same log: a log that vanished whole is made anew, with another id, and its readers are told WRONG_LOG.
      if (model.logId === undefined || log.logId === model.logId) {
        for (const [partition, { start, end }] of (await log.describe()).partitions.entries()) {
          if (end < must(ends[partition])) {
            lost++;
            expect(after.paths().includes('/data/log/clean.json')).toBe(false);
          }
          await model.look(log, partition).catch((error: unknown) => {
            if (!isFreshetError(error, 'DATA_DAMAGED')) throw error;
            announced++;
          });
          expect(start).toBeLessThanOrEqual(must(model.partitions[partition]).askedBelow);
        }
      }
      await log.close();
    }
    expect(announced).toBeGreaterThan(0);
    expect(lost).toBeGreaterThan(0);
  });
});
