/**
 * Goal: entries of a lane stay in order in the quarantine's file, each once, and none that was promised is lost, when a power cut
 * loses some of a write and keeps what is behind it, or damage does (C1, I1): releases go by that order.
 * Method: single holes by hand; then random lanes and writes on a simulated disk that loses power or is killed at any I/O, the
 * mending and putting in order included, several times over, with everything sent again from before what was promised.
 */
import { must } from '@freshet/kit/assert.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { describe, expect, it } from 'vitest';
import { comparePlaces, laneName, placeName, type QuarantineEntry, type RowPlace } from '../core/quarantine.ts';
import { QuarantineFile } from './quarantine-file.ts';
import type { QuarantineLimits } from './quarantine-opening.ts';

const PATH = '/d/quarantine.jsonl';
const INDEX = `${PATH}.index`;
const SEEDS = Math.round(150 * Number(process.env['FRESHET_FUZZ_RUNS'] ?? '1'));

function entry(major: bigint, more: Partial<QuarantineEntry> = {}): QuarantineEntry {
  return {
    ...{
      route: 1,
      generation: 1,
      lane: 2,
      major,
      minor: 0,
      part: 0,
      source: 's',
      table: 'shop/public.t',
      operation: 1,
    },
    ...{ reason: 'shape', detail: 'größer', contractVersion: 1, atUs: 1, committedUs: null, held: 'table' },
    values: { a: 'x'.repeat(40) },
    ...more,
  };
}

const alone = (major: bigint, more: Partial<QuarantineEntry> = {}): QuarantineEntry =>
  entry(major, { held: undefined, reason: 'bad_value', ...more });

async function entriesOf(file: QuarantineFile): Promise<QuarantineEntry[]> {
  const found: QuarantineEntry[] = [];
  for await (const { entry: one } of file.entries()) found.push(one);
  return found;
}

async function majorsOf(file: QuarantineFile, lane: Partial<RowPlace> = {}): Promise<number[]> {
  const { route = 1, lane: number = 2 } = lane;
  return (await entriesOf(file))
    .filter((one) => one.route === route && one.lane === number)
    .map(({ major }) => Number(major));
}

/** Flips a byte in each of these lines of the file, of which no index tells. */
function damage(disk: SimulatedDisk, ...lines: number[]): void {
  if (disk.paths().includes(INDEX)) disk.takeAway(INDEX);
  let begins = 0;
  for (const [number, line] of Buffer.from(disk.content(PATH)).toString('latin1').split('\n').entries()) {
    if (lines.includes(number)) disk.flip(PATH, begins + 30, 1);
    begins += line.length + 1;
  }
}

async function written(...entries: QuarantineEntry[]): Promise<SimulatedDisk> {
  const disk = new SimulatedDisk();
  const file = await QuarantineFile.open(disk, PATH);
  await file.append(entries);
  await file.close();
  return disk;
}

describe('a hole in the quarantine', () => {
  it('C1: what was lost and comes again goes before what was kept behind it, each once, also after another start', async () => {
    const disk = await written(...[1n, 2n, 3n, 4n, 5n, 6n].map((major) => entry(major)));
    damage(disk, 1, 2, 4);
    let file = await QuarantineFile.open(disk, PATH);
    expect(file.damage?.lines).toBe(3);
    expect(await majorsOf(file)).toEqual([1, 4, 6]);
    // The process ends before anything comes again: that it may is not forgotten, with or without an index.
    for (const isClosed of [false, true]) {
      if (isClosed) await file.close();
      file = await QuarantineFile.open(disk, PATH);
      expect([file.damage, file.newestOf({ route: 1, generation: 1, lane: 2 })?.major]).toEqual([undefined, 1n]);
    }
    expect(disk.paths()).toContain(INDEX);
    await file.append([entry(1n), entry(2n)]);
    expect(await majorsOf(file)).toEqual([1, 2, 4, 6]);
    expect(file.heldOf(1, 1)).toMatchObject({ count: 4, newest: { major: 6n } });
    file = await QuarantineFile.open(disk, PATH);
    await file.append([2n, 3n, 4n, 5n].map((major) => entry(major)));
    await file.append([entry(6n), entry(7n)]);
    expect(await majorsOf(file)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    await file.append([entry(8n)]);
    await file.close();
    file = await QuarantineFile.open(disk, PATH);
    expect([file.newestOf({ route: 1, generation: 1, lane: 2 })?.major, file.count]).toEqual([8n, 8]);
    await file.append([entry(3n), entry(8n)]);
    expect(file.count).toBe(8);
  });

  it('C1: when the first held row was lost, it is the first again, and holds from there', async () => {
    const disk = await written(...[5n, 6n, 7n].map((major) => entry(major)), entry(6n, { route: 2 }));
    damage(disk, 0);
    const file = await QuarantineFile.open(disk, PATH);
    expect(file.heldOf(1, 1)).toMatchObject({ first: { major: 6n }, offset: 0 });
    const { rewrites } = file;
    await file.append([entry(5n)]);
    expect(file.heldOf(1, 1)).toMatchObject({ first: { major: 5n }, offset: 0, count: 3 });
    expect(file.heldOf(1, 1)?.hold.places.table).toMatchObject({ major: 5n });
    // Whoever reads it finds out.
    expect(file.rewrites).toBe(rewrites + 1);
  });

  it('asks no place of lanes that lost nothing, nor of entries that are late, and takes what is newer', async () => {
    const disk = await written(alone(1n), alone(2n), alone(9n, { lane: 1 }), alone(5n), alone(4n, { late: true }));
    damage(disk, 1);
    const file = await QuarantineFile.open(disk, PATH);
    const { rewrites } = file;
    await file.append([alone(9n, { lane: 1 }), alone(10n, { lane: 1 }), alone(3n, { late: true })]);
    await file.append([alone(6n)]);
    expect(file.rewrites).toBe(rewrites);
    expect(await majorsOf(file)).toEqual([1, 5, 4, 3, 6]);
    expect(await majorsOf(file, { lane: 1 })).toEqual([9, 10]);
    expect(file.newestAlone({ route: 1, generation: 1, lane: 2 })?.major).toBe(6n);
  });

  it('C1: damage among what was promised costs what was damaged, and nothing behind it', async () => {
    const disk = await written(...[1n, 2n, 3n, 4n].map((major) => entry(major)));
    damage(disk, 1);
    const file = await QuarantineFile.open(disk, PATH);
    await file.append([entry(5n)]);
    expect(await majorsOf(file)).toEqual([1, 3, 4, 5]);
    expect(await file.remove(({ major }) => major <= 3n)).toBe(2);
    expect(await majorsOf(file)).toEqual([4, 5]);
  });

  it('C1, I1: puts nothing in its place by halves when the disk is full, and all of it when there is room', async () => {
    const disk = await written(...[1n, 2n, 3n, 4n].map((major) => entry(major)));
    damage(disk, 1);
    // Of its size it may be no more, and what was lost needs no room of others.
    const file = await QuarantineFile.open(disk, PATH, { bytesMax: disk.content(PATH).length });
    disk.capacityBytes = disk.usedBytes + 100;
    await expect(file.append([entry(2n), entry(3n)])).rejects.toMatchObject({ code: 'DISK_FULL', retryable: true });
    expect(await majorsOf(file)).toEqual([1, 3, 4]);
    disk.capacityBytes = Infinity;
    await file.append([entry(2n), entry(3n)]);
    expect(await majorsOf(file)).toEqual([1, 2, 3, 4]);
  });

  it('C1: a file that a killed process put in place, and did not see there durably, stays when the power is cut later', async () => {
    for (const chance of [0, 0.999]) {
      let disk = await written(entry(1n), entry(2n));
      const file = await QuarantineFile.open(disk, PATH);
      const after: SimulatedDisk[] = [];
      let isRenamed = false;
      disk.step = ({ kind }, of) => {
        if (isRenamed && kind === 'syncDirectory' && after.length === 0) after.push(of.kill());
        isRenamed ||= kind === 'rename';
      };
      await expect(file.remove(({ major }) => major === 1n)).rejects.toThrow();
      disk = must(after[0]);
      await (await QuarantineFile.open(disk, PATH)).append([entry(3n)]);
      expect(await majorsOf(await QuarantineFile.open(disk.powerCut({ real: () => chance }), PATH))).toEqual([2, 3]);
    }
  });

  it('C1, I1: keeps every lane in order, each row once and all that was promised, through power cuts at any I/O', async () => {
    let holes = 0;
    for (let seed = 0; seed < SEEDS; seed++) {
      try {
        holes += await cutAndGoOn(new Random(`holes/${seed}`));
      } catch (error) {
        throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
      }
    }
    expect(holes).toBeGreaterThan(SEEDS / 10);
  });
});

/** Rows of some lanes, in the order of the stream; some are taken out once they are promised. Resolves with how often a hole was mended. */
async function cutAndGoOn(random: Random): Promise<number> {
  const rows = Array.from({ length: 60 }, (_, i) => someRow(random, BigInt(i + 1)));
  const limits: QuarantineLimits = { indexEveryBytes: random.pick([1, 2_000, 100_000]) };
  const gone = new Set<string>();
  let [disk, promised, holes] = [new SimulatedDisk(), 0, 0];
  for (let life = 0; promised < rows.length; life++) {
    let after: SimulatedDisk | undefined;
    // In the end it is let alone.
    const at = life < 8 ? disk.operations + random.between(5, 60) : Number.POSITIVE_INFINITY;
    const isKilled = random.oneIn(4);
    disk.step = ({ number, kind, path }, of) => {
      // Mostly before a sync of the file: some of a write is lost then.
      const isBefore = kind === 'sync' && path === PATH && number < at && random.oneIn(3);
      if (life < 8 && after === undefined && (number === at || isBefore))
        after = isKilled ? of.kill() : of.powerCut(random);
    };
    try {
      const file = await QuarantineFile.open(disk, PATH, limits);
      if (file.damage !== undefined) holes += 1;
      await look(file, rows.slice(0, promised), gone);
      // Before the first that was not promised, as far as it may be.
      for (let next = Math.max(0, promised - random.between(0, 10)); next < rows.length; ) {
        const groups = Array.from({ length: random.between(1, 3) }, () => {
          const group = rows.slice(next, next + random.between(1, 8));
          next += group.length;
          return file.append(group.filter((row) => !gone.has(placeName(row))));
        });
        for (const result of await Promise.allSettled(groups)) if (result.status === 'rejected') throw result.reason;
        promised = Math.max(promised, next);
        if (!random.oneIn(4)) continue;
        // As a release: from the first of a lane on, what is promised.
        const { route } = random.pick(rows);
        const upTo = BigInt(random.between(0, Math.max(0, promised - 10)));
        for (const row of rows) if (row.route === route && row.major <= upTo) gone.add(placeName(row));
        await file.remove((one) => gone.has(placeName(one)));
      }
      await look(file, rows, gone);
      await file.close();
    } catch (error) {
      if (after === undefined) throw error;
    }
    disk = after ?? disk.kill();
  }
  return holes;
}

function someRow(random: Random, major: bigint): QuarantineEntry {
  const place = { route: random.between(1, 2), lane: random.between(1, 2) };
  const values = { a: 'x'.repeat(random.between(0, 600)) };
  return random.oneIn(2) ? entry(major, { ...place, values }) : alone(major, { ...place, values });
}

async function look(
  file: QuarantineFile,
  promised: readonly QuarantineEntry[],
  gone: ReadonlySet<string>,
): Promise<void> {
  const found = await entriesOf(file);
  for (const lane of Map.groupBy(found, laneName).values()) {
    for (const [i, one] of lane.entries()) if (i > 0) expect(comparePlaces(lane[i - 1] ?? one, one)).toBeLessThan(0);
  }
  expect(file.count).toBe(found.length);
  const places = new Set(found.map(placeName));
  for (const row of promised) if (!gone.has(placeName(row))) expect(places).toContain(placeName(row));
}
