/** What lies beside a replica's store that was put out of the way because it was damaged: see packages/store/src/aside.ts. */
import { join } from 'node:path';
import { type FileSystem, removeDurably } from '@freshet/log/file-system.ts';

/** Paths of stores set aside in a replica's directory, and of tables that a salvage took out of its store. */
async function asidesOf(files: FileSystem, directory: string): Promise<string[]> {
  if ((await files.stat(directory))?.kind !== 'directory') return [];
  const found = (await files.list(directory))
    .map(({ name }) => name)
    .filter((name) => name.startsWith('replica.aside-'));
  const lost = join(directory, 'replica', 'lost');
  return [...found.map((name) => join(directory, name)), ...((await files.stat(lost)) === undefined ? [] : [lost])];
}

/** Those of a replica's directory. */
export function asidesIn(
  files: FileSystem,
  directory: string,
): { list(): Promise<string[]>; remove(path: string): Promise<void> } {
  return { list: () => asidesOf(files, directory), remove: (path) => removeDurably(files, path) };
}
