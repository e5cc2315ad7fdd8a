/**
 * Goal: the checkpoint commands show what is there, say what is wrong with its remedy, and exit accordingly.
 * Method: the command in this process, with the process that it starts for real, on directories made by hand.
 */
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { runFreshet as freshet } from '../testing/fake-mesh.ts';

let dataDir: string;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'freshet-checkpoint-'));
});

afterEach(async () => {
  await rm(dataDir, { recursive: true, force: true });
});

describe('checkpoint', () => {
  it('says that there are none, and that there is no such directory', async () => {
    expect(await freshet(['checkpoint', 'list', '--data-dir', dataDir])).toMatchObject({
      code: 0,
      out: 'no checkpoints\n',
    });
    const missing = await freshet(['checkpoint', 'verify', '--data-dir', join(dataDir, 'nowhere')]);
    expect(missing.code).toBe(78);
    expect(missing.err).toContain('there is no such directory');
    expect(missing.err).toContain('--data-dir');
  });

  it('tells a damaged file with its path, in words and as JSON, and exits with 1', async () => {
    const directory = join(dataDir, 'checkpoints', 'shard-3');
    await mkdir(directory, { recursive: true });
    const file = join(directory, '0000000000000012-00112233445566aa.ckpt');
    await writeFile(file, 'not a checkpoint at all');
    const text = await freshet(['checkpoint', 'verify', '--data-dir', dataDir]);
    expect(text.code).toBe(1);
    expect(text.err).toContain('DATA_DAMAGED');
    expect(text.err).toContain(file);
    const { code, out } = await freshet(['checkpoint', 'list', '--data-dir', dataDir, '--json']);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      checkpoints: [],
      damaged: [{ path: file, error: { code: 'DATA_DAMAGED' } }],
    });
  });

  it('ends as interrupted by Ctrl-C, whatever of a line had come', async () => {
    const stop = new AbortController();
    const running = freshet(['checkpoint', 'list', '--data-dir', dataDir], { signal: stop.signal });
    stop.abort(new DOMException('interrupted', 'AbortError'));
    expect(await running).toEqual({ code: 130, out: '', err: '' });
  });

  it('restores nothing where there is nothing, and wants to know which shard', async () => {
    const none = await freshet(['checkpoint', 'restore', '--data-dir', dataDir, '--shard', '3']);
    expect(none.code).toBe(1);
    expect(none.err).toContain('there is no checkpoint');
    expect((await freshet(['checkpoint', 'restore', '--data-dir', dataDir])).code).toBe(2);
  });
});
