/**
 * Goal: the quarantine keeps each entry once, durably and in order, through repetitions, torn writes, a full disk and damage.
 * Method: entries written, the file cut or damaged, and opened again; a simulated disk that loses power at each I/O.
 */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFileSystem } from '@freshet/log/file-system.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { QuarantineEntry } from '../core/quarantine.ts';
import { QuarantineFile } from './quarantine-file.ts';

let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-quarantine-'));
  path = join(directory, 'quarantine.jsonl');
});
afterEach(() => rmSync(directory, { recursive: true }));

function entry(lane: number, major: bigint): QuarantineEntry {
  return {
    route: 1,
    generation: 1,
    lane,
    major,
    minor: 0,
    part: 0,
    source: 's',
    table: 'shop/public.t',
    operation: 1,
    reason: 'bad_value',
    detail: 'über\nline',
    contractVersion: 1,
    atUs: 1,
    committedUs: null,
    values: { a: 'ü\n\t😀', b: null },
  };
}

function majors(): string[] {
  const text = readFileSync(path, 'utf8');
  return text === ''
    ? []
    : text
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line.slice(9)) as { major: string }).major);
}

describe('QuarantineFile', () => {
  it('C1, R4: takes no more than it may hold, throws nothing away, and goes on once there is room', async () => {
    const small = await QuarantineFile.open(nodeFileSystem, path, { bytesMax: 1_000 });
    await small.append([entry(1, 1n), entry(1, 2n)]);
    const full = small.append([entry(1, 3n), entry(1, 4n)]);
    await expect(full).rejects.toMatchObject({ code: 'DISK_FULL', retryable: true });
    expect([majors(), small.count]).toEqual([['1', '2'], 2]);
    await small.close();
    const larger = await QuarantineFile.open(nodeFileSystem, path, { bytesMax: 10_000 });
    await larger.append([entry(1, 3n), entry(1, 4n)]);
    expect(majors()).toEqual(['1', '2', '3', '4']);
    await larger.close();
  });

  it('knows which lanes have rows that were put aside alone without being read', async () => {
    const alone = { route: 1, generation: 1, lane: 2 };
    const first = await QuarantineFile.open(nodeFileSystem, path);
    await first.append([entry(2, 5n), { ...entry(2, 6n), held: 'table' }, { ...entry(1, 1n), held: 'table' }]);
    expect([first.newestAlone(alone), first.newestOf(alone)]).toMatchObject([{ major: 5n }, { major: 6n }]);
    expect(first.newestAlone({ ...alone, lane: 1 })).toBeUndefined();
    await first.close();
    const again = await QuarantineFile.open(nodeFileSystem, path);
    expect([again.newestAlone(alone), again.newestOf(alone)]).toMatchObject([{ major: 5n }, { major: 6n }]);
    await again.close();
  });

  it('knows the newest that was put aside alone, also behind a late one', async () => {
    const lane = { route: 1, generation: 1, lane: 2 };
    const first = await QuarantineFile.open(nodeFileSystem, path);
    await first.append([entry(2, 5n), { ...entry(2, 3n), late: true }]);
    expect([first.newestAlone(lane)?.major, first.newestOf(lane)?.major]).toEqual([5n, 5n]);
    await first.close();
    const again = await QuarantineFile.open(nodeFileSystem, path);
    expect([again.newestAlone(lane)?.major, again.newestOf(lane)?.major]).toEqual([5n, 5n]);
    await again.close();
    rmSync(`${path}.index`);
    const whole = await QuarantineFile.open(nodeFileSystem, path);
    expect([whole.newestAlone(lane)?.major, whole.newestOf(lane)?.major]).toEqual([5n, 5n]);
    await whole.close();
  });

  it('tells how many rows are held of a route and how large they are, from the first write on and after a restart', async () => {
    const held = (major: bigint): QuarantineEntry => ({ ...entry(2, major), held: 'table' });
    const first = await QuarantineFile.open(nodeFileSystem, path);
    await first.append([entry(1, 1n), held(5n)]);
    await first.append([held(6n), { ...held(7n), route: 2 }]);
    const lines = readFileSync(path, 'utf8').split(/(?<=\n)/);
    const bytes = Buffer.byteLength(`${lines[1]}${lines[2]}`);
    expect(first.heldOf(1, 1)).toMatchObject({ count: 2, bytes, offset: Buffer.byteLength(`${lines[0]}`) });
    await first.close();
    const again = await QuarantineFile.open(nodeFileSystem, path);
    expect(again.heldOf(1, 1)).toMatchObject({ count: 2, bytes });
    await again.remove(({ major }) => major === 5n);
    expect(again.heldOf(1, 1)).toMatchObject({ count: 1, bytes: Buffer.byteLength(`${lines[2]}`) });
    await again.close();
  });

  it('keeps entries in order and passes over what it has, also after a restart', async () => {
    const first = await QuarantineFile.open(nodeFileSystem, path);
    await Promise.all([
      first.append([entry(1, 1n), entry(1, 2n ** 60n)]),
      first.append([entry(2, 1n)]),
      first.append([entry(1, 2n)]),
    ]);
    await first.close();
    const second = await QuarantineFile.open(nodeFileSystem, path);
    expect(second.count).toBe(3);
    await second.append([entry(1, 1n), entry(1, 2n ** 60n), entry(1, 2n ** 60n + 1n)]);
    await second.append([entry(2, 1n)]);
    await second.close();
    expect(majors()).toEqual(['1', (2n ** 60n).toString(), '1', (2n ** 60n + 1n).toString()]);
  });

  it('takes nothing after a failed write, also not what that write had: it is not durable', async () => {
    const file = await QuarantineFile.open(nodeFileSystem, path);
    await file.append([entry(1, 1n)]);
    await file.close(); // every write fails from here on
    await expect(file.append([entry(1, 2n)])).rejects.toThrow();
    await expect(file.append([entry(1, 2n)])).rejects.toThrow();
    await expect(file.append([])).rejects.toThrow();
    expect(file.count).toBe(1);
    const again = await QuarantineFile.open(nodeFileSystem, path);
    await again.append([entry(1, 2n)]);
    await again.close();
    expect(majors()).toEqual(['1', '2']);
  });

  it('tells the places of entries, of this run and of those before', async () => {
    const first = await QuarantineFile.open(nodeFileSystem, path);
    await first.append([entry(1, 1n), entry(2, 1n)]);
    await first.close();
    const second = await QuarantineFile.open(nodeFileSystem, path);
    const pending = second.append([entry(1, 2n ** 60n)]);
    expect(await second.places(({ lane, values }) => lane === 1 && values['a'] === entry(1, 1n).values['a'])).toEqual(
      new Set(['1/1/1/1/0/0', `1/1/1/${2n ** 60n}/0/0`]),
    );
    await pending;
    await second.close();
  });

  it('C1: tells of a damaged line that it meets while it gathers places, and gathers the others', async () => {
    const disk = new SimulatedDisk();
    const file = await QuarantineFile.open(disk, '/q/quarantine.jsonl');
    await file.append([entry(1, 1n), entry(1, 2n), entry(1, 3n)]);
    disk.flip('/q/quarantine.jsonl', 20, 1);
    expect(await file.places(() => true)).toEqual(new Set(['1/1/1/2/0/0', '1/1/1/3/0/0']));
    const nothing = Promise.resolve('nothing');
    expect(await Promise.race([file.damageMet, nothing])).toMatchObject({ code: 'DATA_DAMAGED' });
    await file.close();
    expect((await QuarantineFile.open(disk, '/q/quarantine.jsonl')).damage?.lines).toBe(1);
  });

  it('cuts a torn last line at every length of it', async () => {
    const file = await QuarantineFile.open(nodeFileSystem, path);
    await file.append([entry(1, 1n)]);
    const whole = readFileSync(path).length;
    await file.append([entry(1, 2n)]);
    await file.close();
    const bytes = readFileSync(path);
    for (let length = whole; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length));
      // With it the line is known to have been durable (quarantine-index.test.ts).
      rmSync(`${path}.index`, { force: true });
      const again = await QuarantineFile.open(nodeFileSystem, path);
      expect(again.count).toBe(1);
      await again.append([entry(1, 2n)]);
      await again.close();
      expect(readFileSync(path)).toEqual(bytes);
    }
    truncateSync(path, 0);
    const empty = await QuarantineFile.open(nodeFileSystem, path);
    expect(empty.count).toBe(0);
    await empty.close();
  });

  it('C1: keeps a damaged file aside as it is and its sound lines in use, and takes again what may come again', async () => {
    const file = await QuarantineFile.open(nodeFileSystem, path);
    await file.append([entry(1, 1n), entry(1, 2n), entry(2, 7n)]);
    await file.close();
    const bytes = readFileSync(path);
    const second = bytes.indexOf(0x0a) + 20;
    bytes[second] = (bytes[second] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    // Of what an index tells of it is found later (quarantine-index.test.ts).
    rmSync(`${path}.index`);
    const mended = await QuarantineFile.open(nodeFileSystem, path);
    expect(mended.damage).toEqual({ lines: 1, keptAt: `${path}.damaged-1` });
    expect(readFileSync(`${path}.damaged-1`)).toEqual(bytes);
    expect(mended.count).toBe(2);
    expect(majors()).toEqual(['1', '7']);
    // The damaged line may have been one that was never acknowledged: its row comes again, and must not be passed over.
    await mended.append([entry(1, 2n)]);
    await mended.close();
    expect(majors()).toEqual(['1', '7', '2']);
    expect((await QuarantineFile.open(nodeFileSystem, path)).damage).toBeUndefined();
  });

  it('C1: entries that come after some were taken out are in the file that has its name, or are refused', async () => {
    const disk = new SimulatedDisk();
    const file = await QuarantineFile.open(disk, '/q/quarantine.jsonl');
    await file.append([entry(1, 1n), entry(1, 2n), entry(1, 3n)]);
    const syncDirectory = disk.syncDirectory.bind(disk);
    let syncs = 0;
    // The last one, once the file has its name.
    disk.syncDirectory = async (path) => {
      if (++syncs === 2) throw Object.assign(new Error('EIO'), { code: 'EIO' });
      await syncDirectory(path);
    };
    await expect(file.remove(({ major }) => major === 2n)).rejects.toMatchObject({ code: 'LOG_HALTED' });
    expect(syncs).toBe(2);
    await expect(file.append([entry(1, 4n)])).rejects.toMatchObject({ code: 'LOG_HALTED' });
    await file.close();
    const again = await QuarantineFile.open(disk, '/q/quarantine.jsonl');
    await again.append([entry(1, 4n)]);
    expect(again.count).toBe(3);
    await again.close();
  });

  it('C1: a line that was damaged since it was opened does not go with those that are taken out', async () => {
    const file = await QuarantineFile.open(nodeFileSystem, path);
    await file.append([entry(1, 1n), entry(1, 2n), entry(1, 3n)]);
    const bytes = readFileSync(path);
    bytes[20] = (bytes[20] ?? 0) ^ 1;
    writeFileSync(path, bytes);
    await expect(file.remove(({ major }) => major === 2n)).rejects.toMatchObject({ code: 'DATA_DAMAGED' });
    await file.append([entry(1, 4n)]);
    await file.close();
    const again = await QuarantineFile.open(nodeFileSystem, path);
    expect(again.damage).toMatchObject({ lines: 1 });
    expect(await again.remove(({ major }) => major === 2n)).toBe(1);
    expect(again.count).toBe(2);
    await again.close();
  });

  it('goes on after a full disk, with whole lines only, and repeats of what was refused are refused with it', async () => {
    const disk = new SimulatedDisk();
    const file = await QuarantineFile.open(disk, '/q/quarantine.jsonl');
    await file.append([entry(1, 1n)]);
    disk.capacityBytes = disk.content('/q/quarantine.jsonl').length + 10;
    const refused = await Promise.allSettled([file.append([entry(1, 2n)]), file.append([entry(1, 2n)])]);
    expect(refused.map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await expect(file.append([entry(1, 2n)])).rejects.toMatchObject({ code: 'DISK_FULL', retryable: true });
    disk.capacityBytes = Infinity;
    await file.append([entry(1, 2n)]);
    await file.append([entry(1, 3n)]);
    await file.close();
    const again = await QuarantineFile.open(disk, '/q/quarantine.jsonl');
    expect(again.damage).toBeUndefined();
    expect(again.count).toBe(3);
  });

  it('I1: keeps what it acknowledged, whenever the power fails, and never half a line', async () => {
    for (let at = 0; at < 60; at++) {
      for (let seed = 0; seed < 4; seed++) await powerFailsAt(at, seed);
    }
  });
});

async function powerFailsAt(at: number, seed: number): Promise<void> {
  const random = new Random(`${at}/${seed}`);
  const lives: SimulatedDisk[] = [];
  const disk = new SimulatedDisk({
    step: ({ number }, life) => {
      if (number === at) lives.push(life.powerCut(random));
    },
  });
  const acknowledged: bigint[] = [];
  try {
    const file = await QuarantineFile.open(disk, '/d/quarantine.jsonl');
    for (let major = 1n; major <= 12n; major += 2n) {
      await file.append([entry(1, major), entry(1, major + 1n)]);
      acknowledged.push(major, major + 1n);
    }
    await file.close();
  } catch (error) {
    expect(lives, String(error)).toHaveLength(1);
  }
  const [after] = lives;
  if (after === undefined) return;
  const again = await QuarantineFile.open(after, '/d/quarantine.jsonl');
  for (let major = 1n; major <= 12n; major++) await again.append([entry(1, major)]);
  const places = await again.places(() => true);
  for (const major of acknowledged) expect(places).toContain(`1/1/1/${major}/0/0`);
  expect(places.size).toBe(12);
  await again.close();
}
