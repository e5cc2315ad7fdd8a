/** Goal: the disk of this machine keeps the contract of a FileSystem. Method: the suite, in temporary directories. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeFileSystem } from './file-system.ts';
import { runFileSystemSuite } from './file-system-suite.ts';

runFileSystemSuite('the disk of this machine', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-files-'));
  return { files: nodeFileSystem, directory, close: () => rm(directory, { recursive: true }) };
});
