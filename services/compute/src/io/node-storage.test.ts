/**
 * Goal: a store that is to be removed is removed, whenever the process dies in between, and nothing else is (docs/rfd/0003-erase.md).
 * Method: real stores, and a disk that fails at each operation of the removal in turn, which is then a crash: what lies there is
 * opened by another process.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@freshet/kit/clock.ts';
import { type FileSystem, nodeFileSystem } from '@freshet/log/file-system.ts';
import { MemoryDisk } from '@freshet/store/memory-store.ts';
import { Random } from '@freshet/testkit/simulation/random.ts';
import { SimulatedDisk } from '@freshet/testkit/simulation/simulated-disk.ts';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { testStorage } from '../testing/test-storage.ts';

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'freshet-node-storage-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** A disk that takes so many operations that change it, and then none. */
function diskUntil(operations: number): { files: FileSystem; isDead: () => boolean } {
  let left = operations;
  const changing = new Set<string | symbol>([
    'rename',
    'remove',
    'removeDirectory',
    'syncDirectory',
    'makeDirectory',
    'open',
  ]);
  const files = new Proxy(nodeFileSystem, {
    get: (target, name) => {
      const method = Reflect.get(target, name) as (...args: unknown[]) => Promise<unknown>;
      if (!changing.has(name)) return method.bind(target);
      return async (...args: unknown[]) => {
        if (left-- <= 0) throw Object.assign(new Error('the process is dead'), { code: 'EIO' });
        return method.apply(target, args);
      };
    },
  });
  return { files, isDead: () => left < 0 };
}

async function openAndClose(): Promise<void> {
  const store = await testStorage(root, systemClock).openStorage(0);
  await store.close();
}

const asides = async (): Promise<string[]> =>
  (await readdir(join(root, 'shards'))).filter((name) => !['0', '0.discarding.new'].includes(name)).sort();

it('what is discarded goes, whenever the process died in between, and what was put aside before stays', async () => {
  let crashes = 0;
  for (let operations = 0; ; operations++) {
    await rm(root, { recursive: true, force: true });
    await openAndClose();
    await testStorage(root, systemClock).setAside(0);
    await openAndClose();
    const { files, isDead } = diskUntil(operations);
    await testStorage(root, systemClock, { files })
      .discard(0)
      .catch(() => undefined);
    if (isDead()) crashes++;
    await openAndClose();
    // The store is not put aside yet, or nothing is left of it.
    expect(await asides(), `after ${operations} operations`).toEqual(['0.aside-0001']);
    if (!isDead()) break;
  }
  expect(crashes).toBeGreaterThan(4);
});

it('F1: what was discarded does not come back by a power cut, nor the note by which what is put aside later would go', async () => {
  const isNote = (path: string): boolean => path.endsWith('0.discarding');
  const isAside = (path: string): boolean => path.includes('/0.aside-0001/');
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(`discard/${seed}`);
    const disk = new SimulatedDisk();
    await disk.makeDirectory('/d/shards/0.aside-0001');
    disk.setContent('/d/shards/0.aside-0001/1.ldb', Uint8Array.of(1));
    disk.setContent('/d/shards/0.discarding', Buffer.from('[]'));
    let left = random.between(0, 12);
    const cuts: SimulatedDisk[] = [];
    disk.step = (_, of) => {
      if (left-- === 0) cuts.push(of.powerCut(random));
    };
    const storage = testStorage('/d', systemClock, { files: disk, stores: new MemoryDisk() });
    await storage.openStorage(0).catch(() => undefined);
    const isDone = cuts.length === 0;
    const paths = (cuts[0] ?? disk.powerCut(random)).paths();
    expect([paths.some(isAside) && !paths.some(isNote), isDone && paths.length > 0], `seed ${seed}`).toEqual([
      false,
      false,
    ]);
  }
});
