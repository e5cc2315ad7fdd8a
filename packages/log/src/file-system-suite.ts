/**
 * What every FileSystem keeps, as tests that any implementation runs: the one of this machine, and the simulated disk.
 * Goal: what is proven on the simulated one holds for the real one. Method: one test for each promise of the interface,
 * in a directory of its own.
 */
import { join } from 'node:path';
import { isFreshetError } from '@freshet/kit/errors.ts';
import { describe, expect, it } from 'vitest';
import type { DiskFile, FileSystem } from './file-system.ts';

/** A fresh, empty directory, and what removes it. */
export type OpenDirectory = () => Promise<{ files: FileSystem; directory: string; close: () => Promise<void> }>;

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

async function contentOf(files: FileSystem, path: string): Promise<string> {
  const file = await files.open(path, 'read');
  const bytes = new Uint8Array((await file.length()) + 10);
  const read = await file.read(bytes, 0);
  await file.close();
  return new TextDecoder().decode(bytes.subarray(0, read));
}

async function put(files: FileSystem, path: string, text: string): Promise<void> {
  const file = await files.open(path, 'overwrite');
  await file.write([bytesOf(text)], 0);
  await file.sync();
  await file.close();
}

export function runFileSystemSuite(name: string, openDirectory: OpenDirectory): void {
  const test = (title: string, run: (files: FileSystem, directory: string) => Promise<void>): void => {
    it(title, async () => {
      const { files, directory, close } = await openDirectory();
      try {
        await run(files, directory);
      } finally {
        await close();
      }
    });
  };
  describe(`${name} keeps the contract of files:`, () => fileTests(test));
  describe(`${name} keeps the contract of directories:`, () => directoryTests(test));
}

type Test = (title: string, run: (files: FileSystem, directory: string) => Promise<void>) => void;

function fileTests(test: Test): void {
  test('modes: read and write want a file, create wants none, overwrite takes either and empties it', async (files, d) => {
    const path = join(d, 'a');
    for (const mode of ['read', 'write'] as const) {
      await expect(files.open(path, mode)).rejects.toMatchObject({ code: 'ENOENT' });
    }
    await expect(files.open(join(d, 'missing', 'a'), 'create')).rejects.toMatchObject({ code: 'ENOENT' });
    await (await files.open(path, 'create')).close();
    await expect(files.open(path, 'create')).rejects.toMatchObject({ code: 'EEXIST' });
    await put(files, path, 'content');
    await (await files.open(path, 'write')).close();
    expect(await contentOf(files, path)).toBe('content');
    await (await files.open(path, 'overwrite')).close();
    expect(await contentOf(files, path)).toBe('');
    const reading = await files.open(path, 'read');
    await expect(reading.write([bytesOf('x')], 0)).rejects.toMatchObject({ code: 'EBADF' });
    await reading.close();
  });

  test('writes go to their position, in parts, and leave zeros where nothing was written', async (files, d) => {
    const file = await files.open(join(d, 'a'), 'create');
    await file.write([bytesOf('ab'), new Uint8Array(0), bytesOf('cd')], 3);
    await file.write([bytesOf('X')], 4);
    await file.write([], 100);
    expect(await file.length()).toBe(7);
    const target = new Uint8Array(10).fill(0xff);
    expect(await file.read(target, 0)).toBe(7);
    expect(Buffer.from(target).toString('latin1')).toBe('\0\0\0aXcd\xff\xff\xff');
    expect(await file.read(target, 7)).toBe(0);
    expect(await file.read(target.subarray(0, 2), 3)).toBe(2);
    await file.close();
  });

  test('truncate cuts and extends; what comes back is zeros', async (files, d) => {
    const file = await files.open(join(d, 'a'), 'create');
    await file.write([bytesOf('abcdef')], 0);
    await file.truncate(2);
    await file.truncate(4);
    await file.sync();
    expect(await contentOf(files, join(d, 'a'))).toBe('ab\0\0');
    await file.close();
  });

  test('a file that was removed or renamed stays open', async (files, d) => {
    const file = await files.open(join(d, 'a'), 'create');
    await files.rename(join(d, 'a'), join(d, 'b'));
    await file.write([bytesOf('after')], 0);
    expect(await contentOf(files, join(d, 'b'))).toBe('after');
    await files.remove(join(d, 'b'));
    const target = new Uint8Array(5);
    expect(await file.read(target, 0)).toBe(5);
    await file.close();
    await expect(files.open(join(d, 'b'), 'read')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a closed handle does nothing more', async (files, d) => {
    const file: DiskFile = await files.open(join(d, 'a'), 'create');
    await file.close();
    await expect(file.write([bytesOf('x')], 0)).rejects.toThrow();
    await expect(file.length()).rejects.toThrow();
  });
}

function directoryTests(test: Test): void {
  test('making a directory makes its parents, and is no error twice', async (files, d) => {
    const deep = join(d, 'x', 'y', 'z');
    await files.makeDirectory(deep);
    await files.makeDirectory(deep);
    expect(await files.stat(deep)).toMatchObject({ kind: 'directory' });
    await put(files, join(d, 'file'), '');
    await expect(files.makeDirectory(join(d, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
  });

  test('listing is by name, with kinds', async (files, d) => {
    for (const name of ['b', 'a', 'Z', '10']) await put(files, join(d, name), name);
    await files.makeDirectory(join(d, 'c'));
    expect((await files.list(d)).map(({ name, kind }) => `${name} ${kind}`)).toEqual([
      '10 file',
      'Z file',
      'a file',
      'b file',
      'c directory',
    ]);
    await expect(files.list(join(d, 'missing'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('stat tells kind and size, and nothing of what is not there', async (files, d) => {
    await put(files, join(d, 'a'), '12345');
    expect(await files.stat(join(d, 'a'))).toEqual({ kind: 'file', size: 5 });
    expect(await files.stat(join(d, 'b'))).toBeUndefined();
  });

  test('renaming replaces a file, and wants one', async (files, d) => {
    await put(files, join(d, 'a'), 'new');
    await put(files, join(d, 'b'), 'old');
    await files.rename(join(d, 'a'), join(d, 'b'));
    await files.syncDirectory(d);
    expect(await contentOf(files, join(d, 'b'))).toBe('new');
    expect((await files.list(d)).length).toBe(1);
    await expect(files.rename(join(d, 'a'), join(d, 'c'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('a directory is renamed with what is in it', async (files, d) => {
    await files.makeDirectory(join(d, 'x'));
    await put(files, join(d, 'x', 'a'), 'inside');
    await files.rename(join(d, 'x'), join(d, 'y'));
    expect(await contentOf(files, join(d, 'y', 'a'))).toBe('inside');
  });

  test('removing what is not there is no error; a directory goes with all that is in it', async (files, d) => {
    await files.remove(join(d, 'missing'));
    await files.removeDirectory(join(d, 'missing'));
    await files.makeDirectory(join(d, 'x', 'y'));
    await put(files, join(d, 'x', 'y', 'a'), '');
    await files.removeDirectory(join(d, 'x'));
    expect(await files.list(d)).toEqual([]);
  });

  test('free room is a number of bytes', async (files, d) => {
    expect(await files.freeBytes(d)).toBeGreaterThan(0);
  });

  test('a directory is locked once, until it is released', async (files, d) => {
    const lock = await files.lockDirectory(d, 'it');
    const second = await files.lockDirectory(d, 'it').catch((error: unknown) => error);
    expect(isFreshetError(second, 'STORE_LOCKED')).toBe(true);
    await lock.release();
    await (await files.lockDirectory(d, 'it')).release();
  });
}
