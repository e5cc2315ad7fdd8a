/** A node's name, which stays the same over restarts: made once and kept in the data directory. */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Reads the node's id, or makes it: "<role>-<8 hex digits>". */
export async function loadNodeId(dataDirectory: string, role: string): Promise<string> {
  const path = join(dataDirectory, 'node-id');
  try {
    const text = (await readFile(path, 'utf8')).trim();
    if (text !== '') return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
  const id = `${role}-${randomBytes(4).toString('hex')}`;
  await mkdir(dataDirectory, { recursive: true });
  await writeFile(`${path}.new`, `${id}\n`);
  await rename(`${path}.new`, path);
  return id;
}
