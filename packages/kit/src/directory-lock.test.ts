/**
 * Goal: of any number that claim a directory at once one gets it, whatever a process that is gone left there.
 * Method: many claims at the same moment, in this process, over many kinds of stale locks.
 */
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lockDirectory, lockHolder } from './directory-lock.ts';

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-lock-'));
});
afterEach(() => rm(directory, { recursive: true, force: true }));

it('names the holder, and lets go', async () => {
  const lock = await lockDirectory(directory, 'the log');
  await expect(lockDirectory(directory, 'the log')).rejects.toMatchObject({
    code: 'STORE_LOCKED',
    message: `another process has the log open (pid ${process.pid})`,
    place: directory,
  });
  await lock.release();
  expect(await readdir(directory)).toEqual([]);
  await (await lockDirectory(directory, 'the log')).release();
});

it('two claims at once never both win, over no lock and over one of a process that is gone', async () => {
  for (const stale of [undefined, `{"pid":${process.pid},"started":"1"}`, '{"pid":4194303}', 'garbage', '']) {
    for (let round = 0; round < 20; round++) {
      if (stale !== undefined) await writeFile(join(directory, 'LOCK'), stale);
      const tries = await Promise.allSettled([0, 1, 2, 3, 4].map(() => lockDirectory(directory, 'the mesh')));
      const won = tries.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(won.length).toBe(1);
      await won[0]?.release();
      expect(await readdir(directory)).toEqual([]);
    }
  }
});

it('a takeover that a crash cut off keeps nobody away, and neither do two', async () => {
  const names = async (): Promise<string[]> => (await readdir(directory)).filter((name) => name !== 'LOCK');
  const stale = '{"pid":4194303,"nonce":"a"}';
  const path = join(directory, 'LOCK');
  // What somebody leaves who dies with the guard in his hand, and somebody who dies while he takes over from him.
  const guardOf = (text: string): string =>
    `${path}.takeover-${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;
  const dead = ['{"pid":4194303,"nonce":"b"}', '{"pid":4194303,"nonce":"c"}'];
  for (let crashes = 1; crashes <= dead.length; crashes++) {
    for (let round = 0; round < 20; round++) {
      await writeFile(path, stale);
      for (let i = 0; i < crashes; i++) await writeFile(guardOf([stale, ...dead][i]!), dead[i]!);
      const tries = await Promise.allSettled([0, 1, 2, 3, 4].map(() => lockDirectory(directory, 'the mesh')));
      const won = tries.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(won.length).toBe(1);
      expect(await names()).toEqual([]);
      await won[0]?.release();
    }
  }
});

it('who holds it can be asked without touching it', async () => {
  expect(await lockHolder(directory)).toBeUndefined();
  await writeFile(join(directory, 'LOCK'), '{"pid":4194303}');
  expect(await lockHolder(directory)).toBeUndefined();
  expect(await readdir(directory)).toEqual(['LOCK']);
  const lock = await lockDirectory(directory, 'the log');
  expect(await lockHolder(directory)).toBe(process.pid);
  await lock.release();
});

it.skipIf(process.platform !== 'linux')('a directory that takes no writes is told as such', async () => {
  // Nobody, root included, makes files there.
  await expect(lockDirectory('/sys', 'the log')).rejects.toMatchObject({
    code: expect.stringMatching(/^(INVALID_CONFIG|DISK_READ_ONLY)$/),
    place: '/sys',
    remedy: expect.stringMatching(/./),
  });
});
