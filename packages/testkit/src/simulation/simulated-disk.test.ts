/**
 * Goal: the simulated disk keeps the contract of a FileSystem, loses at a power cut what it may and nothing else, and
 * does the same for the same seed. Method: the suite that the real disk passes as well; power cuts at random over many
 * seeds, each outcome that is possible must be met and none that is not; faults and lives, one by one.
 */
import { isErrno } from '@freshet/log/file-system.ts';
import { runFileSystemSuite } from '@freshet/log/file-system-suite.ts';
import { describe, expect, it } from 'vitest';
import { Random } from './random.ts';
import { type DiskOperation, diskFailure, SimulatedDisk } from './simulated-disk.ts';

runFileSystemSuite('a simulated disk', async () => {
  const files = new SimulatedDisk();
  await files.makeDirectory('/tmp/d');
  return { files, directory: '/tmp/d', close: () => Promise.resolve() };
});

const SEEDS = 300;

async function write(disk: SimulatedDisk, path: string, bytes: Uint8Array, sync: boolean): Promise<void> {
  const file = await disk.open(path, 'overwrite');
  await file.write([bytes], 0);
  if (sync) await file.sync();
  await file.close();
}

/** What a power cut may leave of what a program did, over many seeds, as text. */
async function outcomes(act: (disk: SimulatedDisk) => Promise<void>, look: (disk: SimulatedDisk) => string) {
  const found = new Map<string, number>();
  for (let seed = 0; seed < SEEDS; seed++) {
    const disk = new SimulatedDisk();
    await act(disk);
    const outcome = look(disk.powerCut(new Random(seed)));
    found.set(outcome, (found.get(outcome) ?? 0) + 1);
  }
  return found;
}

describe('a power cut', () => {
  it('leaves everything that was synced, with its directory', async () => {
    const found = await outcomes(
      async (disk) => {
        await disk.makeDirectory('/d');
        await write(disk, '/d/a', new Uint8Array(2_000).fill(7), true);
        await disk.syncDirectory('/d');
      },
      (disk) => `${disk.paths().join()} ${[...new Set(disk.content('/d/a'))].join()} ${disk.content('/d/a').length}`,
    );
    expect([...found.keys()]).toEqual(['/d/a 7 2000']);
  });

  it('may take a file whose directory was not synced, whatever was done for its content', async () => {
    const found = await outcomes(
      (disk) => write(disk, '/a', new Uint8Array(1), true),
      (disk) => String(disk.paths()),
    );
    expect([...found.keys()].sort()).toEqual(['', '/a']);
  });

  it('leaves of unsynced content any sectors, the old or the new ones, and any length between', async () => {
    const found = await outcomes(
      async (disk) => {
        await write(disk, '/a', new Uint8Array(1_024).fill(1), true);
        await disk.syncDirectory('/');
        const file = await disk.open('/a', 'write');
        await file.write([new Uint8Array(1_536).fill(2)], 0);
      },
      (disk) => {
        const content = disk.content('/a');
        expect(content.length).toBeGreaterThanOrEqual(1_024);
        return [0, 512, 1_024].map((at) => [...new Set(content.subarray(at, at + 512))].join('|')).join(' ');
      },
    );
    for (const [outcome] of found) expect(outcome).toMatch(/^[12] [12] ([02]?)$/);
    for (const wanted of ['1 1 ', '2 2 2', '1 2 2', '2 1 2', '1 1 2', '2 2 0']) expect(found.has(wanted)).toBe(true);
  });

  it('leaves a rename wholly done or not at all', async () => {
    const found = await outcomes(
      async (disk) => {
        await write(disk, '/a', Uint8Array.of(1), true);
        await disk.syncDirectory('/');
        await write(disk, '/a.new', Uint8Array.of(2), true);
        await disk.rename('/a.new', '/a');
      },
      (disk) => `${disk.content('/a')[0]} ${disk.paths().join()}`,
    );
    // The draft may be there or not beside the old file, never beside the new one.
    expect([...found.keys()].sort()).toEqual(['1 /a', '1 /a,/a.new', '2 /a']);
  });

  it('takes back what a sync that lied was told, and what one that failed was to write', async () => {
    const lied = await outcomes(
      async (disk) => {
        await write(disk, '/a', new Uint8Array(0), true);
        await disk.syncDirectory('/');
        disk.lies = true;
        await write(disk, '/a', Uint8Array.of(1), true);
      },
      (disk) => String(disk.content('/a')),
    );
    expect([...lied.keys()].sort()).toEqual(['', '0', '1']);
    const failed = await outcomes(
      async (disk) => {
        await write(disk, '/a', new Uint8Array(600), true);
        await disk.syncDirectory('/');
        const file = await disk.open('/a', 'write');
        await file.write([Uint8Array.of(1)], 0);
        disk.step = ({ kind }) => {
          if (kind === 'sync') throw diskFailure('EIO');
        };
        await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' });
        disk.step = () => {};
        await file.write([Uint8Array.of(1)], 599);
        await file.sync();
      },
      (disk) => `${disk.content('/a')[0]} ${disk.content('/a')[599]}`,
    );
    expect([...failed.keys()].sort()).toEqual(['0 1', '1 1']);
  });

  it('does the same for the same seed', async () => {
    const run = async (seed: number): Promise<string> => {
      const disk = new SimulatedDisk();
      for (const name of ['a', 'b', 'c']) await write(disk, `/${name}`, new Uint8Array(5_000).fill(seed), name === 'a');
      const after = disk.powerCut(new Random(seed));
      return after
        .paths()
        .map((path) => `${path}${Buffer.from(after.content(path)).toString('hex')}`)
        .join();
    };
    for (let seed = 1; seed < 20; seed++) expect(await run(seed)).toBe(await run(seed));
  });
});

describe('a life', () => {
  it('that ended does nothing more, and its handles neither', async () => {
    const disk = new SimulatedDisk();
    const file = await disk.open('/a', 'create');
    const after = disk.powerCut(new Random(1));
    await expect(file.write([Uint8Array.of(1)], 0)).rejects.toThrow('/a');
    await expect(disk.list('/')).rejects.toThrow();
    expect(await after.list('/')).toBeDefined();
  });

  it('of a killed process leaves all that was written, no safer than it was', async () => {
    const seen = new Set<number>();
    for (let seed = 0; seed < 50; seed++) {
      const disk = new SimulatedDisk();
      await write(disk, '/a', Uint8Array.of(1), true);
      await disk.syncDirectory('/');
      await write(disk, '/a', Uint8Array.of(2), false);
      const killed = disk.kill();
      expect(killed.content('/a')).toEqual(Uint8Array.of(2));
      seen.add(killed.powerCut(new Random(seed)).content('/a')[0] ?? 9);
    }
    expect(seen.size).toBeGreaterThan(1);
  });

  it('ends in the middle of an I/O when the step says so, and the I/O does not happen', async () => {
    let after: SimulatedDisk | undefined;
    const disk = new SimulatedDisk({
      step: ({ kind }, self) => {
        if (kind === 'remove') after = self.kill();
      },
    });
    await write(disk, '/a', Uint8Array.of(1), true);
    await expect(disk.remove('/a')).rejects.toThrow();
    expect(after?.paths()).toEqual(['/a']);
  });

  it('numbers every I/O, on through power cuts', async () => {
    const seen: DiskOperation[] = [];
    const disk = new SimulatedDisk({ step: (operation) => void seen.push(operation) });
    await write(disk, '/a', Uint8Array.of(1), true);
    expect(seen.map(({ number, kind, changes }) => `${number} ${kind} ${changes}`)).toEqual([
      '0 open true',
      '1 write true',
      '2 sync true',
      '3 close false',
    ]);
    expect(disk.powerCut(new Random(1)).operations).toBe(4);
  });
});

describe('a fault', () => {
  it('of room: writes what fits, says ENOSPC, and goes on when there is room', async () => {
    const disk = new SimulatedDisk({ capacityBytes: 10 });
    const file = await disk.open('/a', 'create');
    await file.write([new Uint8Array(6)], 0);
    await expect(file.write([new Uint8Array(3), new Uint8Array(3)], 6)).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await file.length()).toBe(10);
    await file.write([new Uint8Array(6)], 0);
    disk.capacityBytes = 20;
    expect(await disk.freeBytes('/')).toBe(10);
    await file.write([new Uint8Array(6)], 6);
  });

  it('of writing at all: reads go on', async () => {
    const disk = new SimulatedDisk();
    await write(disk, '/a', Uint8Array.of(1), true);
    const file = await disk.open('/a', 'write');
    disk.readOnly = true;
    for (const act of [
      () => file.write([Uint8Array.of(2)], 0),
      () => file.truncate(0),
      () => disk.open('/b', 'create'),
      () => disk.rename('/a', '/b'),
      () => disk.remove('/a'),
      () => disk.open('/a', 'write'),
    ]) {
      await expect(act()).rejects.toMatchObject({ code: 'EROFS' });
    }
    const reading = await disk.open('/a', 'read');
    expect(await reading.read(new Uint8Array(1), 0)).toBe(1);
  });

  it('of handles: EMFILE until one is closed', async () => {
    const disk = new SimulatedDisk();
    disk.openFilesMax = 1;
    const file = await disk.open('/a', 'create');
    const error = await disk.open('/b', 'create').catch((thrown: unknown) => thrown);
    expect(isErrno(error, 'EMFILE')).toBe(true);
    await file.close();
    await (await disk.open('/b', 'create')).close();
    expect(disk.openFiles).toBe(0);
  });
});
