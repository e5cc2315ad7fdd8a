/** A node's name, which stays the same over restarts: made once and kept in the data directory. */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from './disk-errors.ts';

/**
 * Reads the node's id, or makes it: "<role>-<8 hex digits>". Durably: what others keep of a node is under its id, and a file of
 * zeros, as a power cut may leave one, would be the id of every node that met with that. Throws what the disk says (DISK_FULL)
 * when it cannot.
 */
export async function loadNodeId(dataDirectory: string, role: string): Promise<string> {
  const path = join(dataDirectory, 'node-id');
  try {
    const text = (await readFile(path, 'utf8')).trim();
    if (text !== '' && !text.includes('\0')) return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw diskError(error, path) ?? error;
  }
  const id = `${role}-${randomBytes(4).toString('hex')}`;
  try {
    await mkdir(dataDirectory, { recursive: true });
    await synced(`${path}.new`, 'w', `${id}\n`);
    await rename(`${path}.new`, path);
    await synced(dataDirectory, 'r');
  } catch (error) {
    throw diskError(error, path) ?? error;
  }
  return id;
}

/** Makes a file, or a directory's names, durable. */
async function synced(path: string, flags: string, content?: string): Promise<void> {
  const handle = await open(path, flags);
  try {
    if (content !== undefined) await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
