/** Takes a damaged file out of the way without losing it. */
import { basename, dirname } from 'node:path';
import type { FileSystem } from '@freshet/log/file-system.ts';

/** Renames it to the first free "<name>.damaged-<n>", durably; resolves with the new path. */
export async function setAside(files: FileSystem, path: string): Promise<string> {
  const to = await asidePath(files, path);
  await files.rename(path, to);
  await files.syncDirectory(dirname(path));
  return to;
}

/** The first path "<name>.damaged-<n>" that is free. */
export async function asidePath(files: FileSystem, path: string): Promise<string> {
  const taken = new Set((await files.list(dirname(path))).map(({ name }) => name));
  for (let n = 1; ; n++) if (!taken.has(`${basename(path)}.damaged-${n}`)) return `${path}.damaged-${n}`;
}
