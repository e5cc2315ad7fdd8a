/** A node's name, which stays the same over restarts: made once and kept in the data directory. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from './disk-errors.ts';

/** Reads the node's id, or makes it: "<role>-<8 hex digits>". Throws what the disk says (DISK_FULL) when it cannot. */
export async function loadNodeId(dataDirectory: string, role: string): Promise<string> {
  const path = join(dataDirectory, 'node-id');
  try {
    const text = (await readFile(path, 'utf8')).trim();
    if (text !== '') return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw diskError(error, path) ?? error;
  }
  const id = `${role}-${randomBytes(4).toString('hex')}`;
  try {
    await mkdir(dataDirectory, { recursive: true });
    await writeFile(`${path}.new`, `${id}\n`);
    await rename(`${path}.new`, path);
  } catch (error) {
    throw diskError(error, path) ?? error;
  }
  return id;
}
