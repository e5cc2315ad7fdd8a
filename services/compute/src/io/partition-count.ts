/**
 * How many partitions the log has, kept so that a node that is told to fold all of them serves what it has before the
 * log can be reached.
 */
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const NAME = 'partitions';

/** The number as last heard; undefined when it never was. */
export async function loadPartitionCount(dataDirectory: string): Promise<number | undefined> {
  try {
    const count = Number((await readFile(join(dataDirectory, NAME), 'utf8')).trim());
    return Number.isSafeInteger(count) && count > 0 ? count : undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export async function savePartitionCount(dataDirectory: string, count: number): Promise<void> {
  await mkdir(dataDirectory, { recursive: true });
  const path = join(dataDirectory, NAME);
  await writeFile(`${path}.new`, `${count}\n`);
  await rename(`${path}.new`, path);
}
