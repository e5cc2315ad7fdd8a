/**
 * Goal: a start with an index knows what a start that reads the whole file knows, reads little, and believes no index that is
 * wrong; nothing is lost or doubled wherever the machine or the process ends (C1, I1).
 * Method: random entries, releases and ends of the process on a simulated disk; at each start the same disk is opened once more
 * without its index and both are compared. Power cuts at each I/O of a script that writes, rewrites and indexes.
 */
import { ConditionBoard } from '@freshet/kit/conditions.ts';
import { silentLogger } from '@freshet/kit/logger.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { diskFailure, SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { VirtualClock } from '@freshet/testkit/virtual-clock.ts';
import { describe, expect, it } from 'vitest';
import { placeName, type QuarantineEntry } from '../core/quarantine.ts';
import { QuarantineFile } from './quarantine-file.ts';
import type { QuarantineLimits } from './quarantine-opening.ts';
import { watchQuarantine } from './quarantine-watch.ts';

const PATH = '/d/quarantine.jsonl';
const INDEX = `${PATH}.index`;
const OFTEN: QuarantineLimits = { indexEveryBytes: 1_500 };
const SEEDS = Math.round(40 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));
const { signal } = new AbortController();

function entry(major: bigint, more: Partial<QuarantineEntry> = {}): QuarantineEntry {
  const place = { route: 1, generation: 1, lane: 2, major, minor: 0, part: 0 };
  const about = { source: 's', table: 'shop/public.t', operation: 1, detail: 'größer', contractVersion: 1 };
  return {
    ...place,
    ...about,
    reason: 'bad_value',
    atUs: 1,
    committedUs: null,
    values: { a: 'x'.repeat(40) },
    ...more,
  };
}

const TABLE = { held: 'table', reason: 'shape' } as const;

/** All that is asked of the quarantine. */
async function known(file: QuarantineFile): Promise<unknown> {
  const lanes = [1, 2, 3].flatMap((route) => [1, 2].map((lane) => ({ route, generation: 1, lane })));
  const entries: string[] = [];
  for await (const { entry: one, next } of file.entries()) entries.push(`${placeName(one)} ${next}`);
  return {
    count: file.count,
    entries,
    held: file.held.map(({ hold, ...rest }) => ({ ...rest, hold: hold.places })),
    alone: file.alone,
    newest: lanes.map((lane) => [file.newestOf(lane), file.newestAlone(lane)]),
  };
}

/** Opens the disk with its index, and a copy of it without; resolves with the first when both know the same. */
async function openBoth(disk: SimulatedDisk): Promise<QuarantineFile> {
  const whole = disk.copy();
  if (whole.paths().includes(INDEX)) whole.takeAway(INDEX);
  const file = await QuarantineFile.open(disk, PATH, OFTEN);
  const other = await QuarantineFile.open(whole, PATH, OFTEN);
  expect(await known(file)).toEqual(await known(other));
  expect(await file.verify(signal)).toBeUndefined();
  return file;
}

function someEntry(random: Random, major: bigint): QuarantineEntry {
  const route = random.between(1, 3);
  const kind = random.between(0, 4);
  const keys = [`0${random.between(1, 5)}`];
  if (kind === 0) return entry(major, { route, ...TABLE });
  if (kind === 1) return entry(major, { route, held: 'key', keys, reason: 'unknown_label' });
  if (kind === 2) return entry(major, { route, late: true });
  return entry(major, { route, lane: random.between(1, 2) });
}

async function live(random: Random, disk: SimulatedDisk, from: bigint): Promise<bigint> {
  const file = await openBoth(disk);
  let major = from;
  for (let i = random.between(1, 12); i > 0; i--) {
    const what = random.between(0, 5);
    if (what === 0) await file.remove((one) => one.major % 3n === BigInt(random.between(0, 2)));
    else if (what === 1) {
      const releasing = { partition: 0, record: 'AAAA' };
      await file.rewrite((one) => (one.held === undefined && one.major % 2n === 0n ? { ...one, releasing } : one));
    } else await file.append(Array.from({ length: random.between(1, 4) }, () => someEntry(random, ++major)));
  }
  if (random.between(0, 1) === 0) await file.close();
  return major;
}

describe('the index of the quarantine', () => {
  it('tells what the file would, after any appends, releases and ends', async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const random = new Random(`index/${seed}`);
      let disk = new SimulatedDisk();
      let major = 0n;
      for (let lives = 0; lives < 6; lives++) {
        try {
          major = await live(random, disk, major);
        } catch (error) {
          throw new Error(`seed ${seed}, life ${lives}: ${String(error)}`, { cause: error });
        }
        disk = random.between(0, 1) === 0 ? disk.kill() : disk.powerCut(random);
      }
    }
  });

  it('spares a start the reading of what it tells of', async () => {
    const disk = new SimulatedDisk();
    const limits = { indexEveryBytes: 64 * 1024 };
    const first = await QuarantineFile.open(disk, PATH, limits);
    for (let i = 0; i < 40; i++)
      await first.append(Array.from({ length: 100 }, (_, j) => entry(BigInt(i * 100 + j), TABLE)));
    const bytes = disk.content(PATH).length;
    expect(bytes).toBeGreaterThan(800_000);
    let after = disk.kill();
    let reads = 0;
    after.step = ({ kind, path }) => {
      if (kind === 'read' && path === PATH) reads += 1;
    };
    const again = await QuarantineFile.open(after, PATH, limits);
    // The last line of the index, what came since in pieces of 64 KiB, and the end.
    expect(reads).toBeLessThanOrEqual(4);
    expect([again.count, again.readWhole, again.heldOf(1, 1)?.count]).toEqual([4_000, undefined, 4_000]);
    // Without it all of the file is read, which is told, and the next start reads little again.
    after = after.kill();
    after.takeAway(INDEX);
    expect((await QuarantineFile.open(after, PATH, limits)).readWhole).toBe('there was none');
    expect((await QuarantineFile.open(after.kill(), PATH, limits)).readWhole).toBeUndefined();
  });

  it('is not believed when it is damaged, or of another file', async () => {
    const disk = new SimulatedDisk();
    const first = await QuarantineFile.open(disk, PATH);
    await first.append([entry(1n), entry(2n, TABLE), entry(3n, TABLE)]);
    await first.close();
    const older = disk.content(INDEX);
    for (let at = 0; at < older.length - 1; at += 7) {
      const damaged = disk.copy();
      damaged.flip(INDEX, at, 1);
      const file = await QuarantineFile.open(damaged, PATH);
      expect([file.readWhole === undefined, file.count, file.heldOf(1, 1)?.count], `byte ${at}`).toEqual([false, 3, 2]);
    }
    const second = await QuarantineFile.open(disk, PATH);
    await second.remove(({ major }) => major === 2n);
    await second.append([entry(4n, TABLE)]);
    await second.close();
    disk.setContent(INDEX, older);
    const other = await QuarantineFile.open(disk, PATH);
    expect(other.readWhole).toBe('it is not of the file as it is');
    expect([other.count, other.heldOf(1, 1)?.first.major]).toEqual([3, 3n]);
  });

  it('C1: goes when a line that it tells of is damaged, and the next start mends the file', async () => {
    const disk = new SimulatedDisk();
    const first = await QuarantineFile.open(disk, PATH);
    await first.append([entry(1n), entry(2n, TABLE), entry(3n, TABLE)]);
    await first.close();
    disk.flip(PATH, 30, 1);
    for (const find of [
      (file: QuarantineFile) => file.verify(signal),
      (file: QuarantineFile) => file.remove(({ major }) => major === 3n).catch((error: unknown) => error),
      async (file: QuarantineFile) => {
        try {
          for await (const _ of file.entries());
          return undefined;
        } catch (error) {
          return error;
        }
      },
    ]) {
      const copy = disk.copy();
      const file = await QuarantineFile.open(copy, PATH);
      expect([file.damage, file.count]).toEqual([undefined, 3]);
      expect(await find(file)).toMatchObject({ code: 'DATA_DAMAGED' });
      await file.append([entry(4n)]);
      await file.close();
      expect(copy.paths()).not.toContain(INDEX);
      const mended = await QuarantineFile.open(copy, PATH);
      expect([mended.damage?.lines, mended.count]).toEqual([1, 3]);
    }
    // As main does, beside the work.
    const told = disk.copy();
    const conditions = new ConditionBoard({ clock: new VirtualClock(), log: silentLogger });
    await watchQuarantine(await QuarantineFile.open(told, PATH), { conditions, logger: silentLogger }, signal);
    expect(conditions.list()).toMatchObject([{ id: 'quarantine/damaged', code: 'DATA_DAMAGED' }]);
    // Both in what it tells of and behind it.
    const both = disk.copy();
    const file = await QuarantineFile.open(both, PATH, { indexEveryBytes: 10_000 });
    await file.append([entry(4n), entry(5n)]);
    const killed = both.kill();
    const at = killed.content(PATH).lastIndexOf(0x0a, killed.content(PATH).length - 2) - 20;
    killed.flip(PATH, at, 1);
    expect((await QuarantineFile.open(killed, PATH)).damage?.lines).toBe(2);
  });

  it('C1: an end that is not there any more, or is damaged, is no torn line where it was durable by what it tells', async () => {
    const disk = new SimulatedDisk();
    const first = await QuarantineFile.open(disk, PATH);
    await first.append([entry(1n), entry(2n, TABLE), entry(3n, TABLE)]);
    await first.close();
    const bytes = disk.content(PATH);
    const lastLine = bytes.lastIndexOf(0x0a, bytes.length - 2) + 1;
    for (const [spoil, lines, count] of [
      [(of: SimulatedDisk) => of.flip(PATH, lastLine + 20, 1), 1, 2],
      [(of: SimulatedDisk) => of.setContent(PATH, bytes.subarray(0, lastLine + 5)), 1, 2],
      [(of: SimulatedDisk) => of.setContent(PATH, bytes.subarray(0, lastLine)), 1, 2],
      [(of: SimulatedDisk) => of.setContent(PATH, new Uint8Array(0)), 3, 0],
    ] as const) {
      const copy = disk.copy();
      spoil(copy);
      const spoilt = copy.content(PATH);
      const file = await QuarantineFile.open(copy, PATH);
      expect(file.damage).toEqual({ lines, keptAt: `${PATH}.damaged-1` });
      expect([file.count, copy.content(`${PATH}.damaged-1`)]).toEqual([count, spoilt]);
      await file.close();
      expect((await QuarantineFile.open(copy, PATH)).damage).toBeUndefined();
    }
  });

  it('C1: an end that is lost is told by the next start too, wherever the one that found it is killed', async () => {
    const disk = new SimulatedDisk();
    const first = await QuarantineFile.open(disk, PATH);
    await first.append([entry(1n), entry(2n, TABLE), entry(3n, TABLE)]);
    await first.close();
    const bytes = disk.content(PATH);
    const spoilt = bytes.subarray(0, bytes.lastIndexOf(0x0a, bytes.length - 2) + 1);
    disk.setContent(PATH, spoilt);
    let isOver = false;
    for (let point = 0; !isOver; point++) {
      const copy = disk.copy();
      const kills: SimulatedDisk[] = [];
      let left = point;
      copy.step = (_, of) => {
        if (left-- === 0) kills.push(of.kill());
      };
      await QuarantineFile.open(copy, PATH).catch(() => undefined);
      const [killed] = kills;
      isOver = killed === undefined;
      if (killed === undefined) continue;
      const { damage, count } = await QuarantineFile.open(killed, PATH);
      const kept = `${PATH}.damaged-1`;
      const isKept = killed.paths().includes(kept) && Buffer.compare(killed.content(kept), spoilt) === 0;
      expect([count, damage !== undefined || isKept], `killed at ${point}`).toEqual([2, true]);
    }
  });

  it('C1: damage that an erase or a release meets while ingest runs is a condition, not only told to who asked', async () => {
    for (const meet of [
      (file: QuarantineFile) => file.remove(({ major }) => major === 3n),
      (file: QuarantineFile) => file.entries().next(),
    ]) {
      const disk = new SimulatedDisk();
      const file = await QuarantineFile.open(disk, PATH);
      const conditions = new ConditionBoard({ clock: new VirtualClock(), log: silentLogger });
      await watchQuarantine(file, { conditions, logger: silentLogger }, signal);
      await file.append([entry(1n), entry(2n), entry(3n)]);
      expect(conditions.list()).toEqual([]);
      disk.flip(PATH, 30, 1);
      await expect(meet(file)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
      expect(conditions.list()).toMatchObject([
        { id: 'quarantine/damaged', code: 'DATA_DAMAGED', remedy: expect.stringMatching(/^Start ingest again/) },
      ]);
    }
  });

  it('goes before the file is replaced, also when nobody knows whether it was written', async () => {
    const disk = new SimulatedDisk();
    const file = await QuarantineFile.open(disk, PATH, { indexEveryBytes: 1 });
    let [isNamed, isToFail] = [false, false];
    let isThereAtSwap: boolean | undefined;
    disk.step = ({ kind, path }) => {
      if (kind === 'rename' && path.startsWith(INDEX)) {
        // The first gets its name, and then nothing more of the index comes to the disk.
        if (isNamed) throw diskFailure('EIO', path);
        isNamed = isToFail = true;
      } else if (kind === 'syncDirectory' && isToFail) {
        isToFail = false;
        throw diskFailure('EIO', path);
      } else if (kind === 'rename') isThereAtSwap = disk.paths().includes(INDEX);
    };
    await file.append([entry(1n), entry(2n, TABLE)]);
    await file.append([]);
    expect([isNamed, isToFail, disk.paths().includes(INDEX)]).toEqual([true, false, true]);
    expect(await file.remove(({ major }) => major === 1n)).toBe(1);
    expect(isThereAtSwap).toBe(false);
    await file.close();
  });

  it('C1, I1: a power cut at any I/O loses nothing that was promised and doubles nothing', async () => {
    for (let at = 0; at < 400; at++) if (!(await powerFailsAt(at))) return;
    throw new Error('the script does not end');
  });
});

/** Whether there was such an I/O. */
async function powerFailsAt(at: number): Promise<boolean> {
  const random = new Random(`power/${at}`);
  let after: SimulatedDisk | undefined;
  const disk = new SimulatedDisk({
    step: ({ number }, life) => {
      if (number === at) after = life.powerCut(random);
    },
  });
  const promised = new Set<bigint>();
  const gone = new Set<bigint>();
  let going = new Set<bigint>();
  try {
    const file = await QuarantineFile.open(disk, PATH, { indexEveryBytes: 600 });
    for (let major = 1n; major <= 18n; major += 2n) {
      await file.append([entry(major, TABLE), entry(major + 1n)]);
      promised.add(major).add(major + 1n);
      if (major % 6n !== 5n) continue;
      going = new Set([major - 3n, major]);
      await file.remove((one) => going.has(one.major));
      for (const one of going) gone.add(one);
    }
    await file.close();
  } catch (error) {
    if (after === undefined) throw error;
  }
  if (after === undefined) return false;
  const again = await openBoth(after);
  expect(again.damage, `I/O ${at}`).toBeUndefined();
  const found: bigint[] = [];
  for await (const { entry: one } of again.entries()) found.push(one.major);
  expect(new Set(found).size, `I/O ${at}`).toBe(found.length);
  for (const one of promised) {
    if (!going.has(one) && !gone.has(one)) expect(found, `I/O ${at}`).toContain(one);
    if (gone.has(one)) expect(found, `I/O ${at}`).not.toContain(one);
  }
  await again.close();
  return true;
}
