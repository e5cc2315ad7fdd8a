/**
 * Looks through the files of a LevelDB directory for what its own checksums show.
 *
 * Owns the order and the pace. Does not own the formats (level-files.ts). May run beside an open database: tables that it
 * names never change, one that a compaction has removed meanwhile is no loss, and others are not looked at. Logs are only looked at while the
 * database is closed, because the newest is being written.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { logFault, namedTables, tableFault } from './level-files.ts';

/** A table is 2 MiB, a log as long as the write buffer: what is read whole stays small. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;

/** A file and what is wrong with it. */
export interface FileFault {
  readonly file: string;
  readonly what: string;
}

export interface ScrubResult {
  readonly bytes: number;
  readonly faults: readonly FileFault[];
}

/** Looks through all files of the directory. Throws DISK_FAILED and its like. */
export async function scrubDirectory(
  directory: string,
  options: { readonly isOpen: boolean; readonly pause: (bytes: number) => Promise<void> },
): Promise<ScrubResult> {
  let bytes = 0;
  const faults: FileFault[] = [];
  const named = await tablesInForce(directory);
  for (const file of await listed(directory)) {
    const check = checkFor(file, options.isOpen);
    if (check === undefined || (check === tableFault && named?.has(Number.parseInt(file, 10)) === false)) continue;
    const content = await read(join(directory, file));
    if (content === undefined) continue;
    const what = content.length > FILE_BYTES_MAX ? 'the file is longer than LevelDB makes any' : check(content);
    bytes += content.length;
    if (what !== undefined) faults.push({ file, what });
    await options.pause(content.length);
  }
  return { bytes, faults };
}

/** The numbers of the tables that the database is made of; undefined when its files do not tell. */
async function tablesInForce(directory: string): Promise<ReadonlySet<number> | undefined> {
  const current = await read(join(directory, 'CURRENT'));
  const name = current?.toString('latin1').trimEnd() ?? '';
  const manifest = /^MANIFEST-\d+$/.test(name) ? await read(join(directory, name)) : undefined;
  return manifest === undefined ? undefined : namedTables(manifest);
}

function checkFor(file: string, isOpen: boolean): ((content: Buffer) => string | undefined) | undefined {
  if (/^\d+\.(ldb|sst)$/.test(file)) return tableFault;
  if (!isOpen && /^(\d+\.log|MANIFEST-\d+)$/.test(file)) return logFault;
  return undefined;
}

async function listed(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw diskError(error, directory) ?? error;
  }
}

async function read(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(error, path) ?? error;
  }
}
