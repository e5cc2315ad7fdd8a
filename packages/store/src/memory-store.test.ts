/** Goal: the store in memory is one, and breaks as a real one does. Method: the contract suite; crashes and damage. */
import { isFreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import { MemoryDisk } from './memory-store.ts';
import { storeContractSuite } from './store-contract-suite.ts';

const OPTIONS = { what: 'the store', remedy: 'none' };
const bytes = (text: string): Buffer => Buffer.from(text, 'latin1');

storeContractSuite('in memory', async () => ({ stores: new MemoryDisk(), directory: 'disk' }));

async function written(disk: MemoryDisk): Promise<void> {
  const store = await disk.open('d', OPTIONS);
  for (const [name, sync] of [
    ['a', true],
    ['b', false],
    ['c', false],
  ] as const) {
    const batch = store.batch();
    batch.put(bytes(name), bytes(name));
    await batch.write({ sync });
  }
}

describe('MemoryDisk', () => {
  it('keeps all that was written when the process dies, and a prefix of it when the machine dies', async () => {
    const disk = new MemoryDisk();
    await written(disk);
    disk.kill();
    expect(disk.keysOf('d')).toEqual(['a', 'b', 'c']);
    expect(disk.crash(() => 1)).toBe(1);
    expect(disk.keysOf('d')).toEqual(['a', 'b']);
    expect(disk.crash(() => 0)).toBe(0);
    const store = await disk.open('d', OPTIONS);
    expect(store.getSync(bytes('b'))?.toString()).toBe('b');
  });

  it('lets a dead process do nothing more', async () => {
    const disk = new MemoryDisk();
    const store = await disk.open('d', OPTIONS);
    const batch = store.batch();
    batch.put(bytes('late'), bytes('1'));
    disk.kill();
    await expect(batch.write({ sync: true })).rejects.toThrow('dead');
    expect(() => store.getSync(bytes('late'))).toThrow('dead');
    expect(disk.keysOf('d')).toEqual([]);
  });

  it('finds a flipped bit by the value, and a lost key by the scrub at open', async () => {
    const disk = new MemoryDisk();
    await written(disk);
    disk.kill();
    const flip = (sealed: Buffer): Buffer => {
      sealed[0] = (sealed[0] ?? 0) ^ 1;
      return sealed;
    };
    expect(disk.damage('d', 'a', flip)).toBe(true);
    const store = await disk.open('d', OPTIONS);
    expect(() => store.getSync(bytes('a'))).toThrow('damaged');
    expect(isFreshetError(store.damage, 'DATA_DAMAGED')).toBe(true);
    disk.kill();
    expect(disk.lose('d', 'b', true)).toBe(true);
    await expect(disk.open('d', OPTIONS)).rejects.toThrow('checksum');
  });

  it('takes no more writes after one that failed', async () => {
    let fails = false;
    const disk = new MemoryDisk({
      before: async ({ kind }) => {
        if (fails && kind === 'write') throw new Error('no room');
      },
    });
    const store = await disk.open('d', OPTIONS);
    fails = true;
    await expect(store.batch().write({ sync: false })).rejects.toThrow('no room');
    fails = false;
    await expect(store.batch().write({ sync: false })).rejects.toThrow('no room');
  });
});
