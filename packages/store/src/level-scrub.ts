/**
 * Looks through the files of a LevelDB directory for what its own checksums show.
 *
 * Owns the order and the pace. Does not own the formats (level-files.ts). May run beside an open database: tables never
 * change once written, and one that a compaction has removed meanwhile is no loss. Logs are only looked at while the
 * database is closed, because the newest is being written.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { logFault, tableFault } from './level-files.ts';

/** A table is 2 MiB, a log as long as the write buffer: what is read whole stays small. */
const FILE_BYTES_MAX = 256 * 1024 * 1024;

export interface ScrubResult {
  readonly bytes: number;
  /** The file and what is wrong with it; undefined: nothing is. */
  readonly fault: { readonly file: string; readonly what: string } | undefined;
}

/** Looks through the directory; stops at the first fault. Throws DISK_FAILED and its like. */
export async function scrubDirectory(
  directory: string,
  options: { readonly isOpen: boolean; readonly pause: (bytes: number) => Promise<void> },
): Promise<ScrubResult> {
  let bytes = 0;
  for (const file of await listed(directory)) {
    const check = checkFor(file, options.isOpen);
    if (check === undefined) continue;
    const content = await read(join(directory, file));
    if (content === undefined) continue;
    const what = content.length > FILE_BYTES_MAX ? 'the file is longer than LevelDB makes any' : check(content);
    bytes += content.length;
    if (what !== undefined) return { bytes, fault: { file, what } };
    await options.pause(content.length);
  }
  return { bytes, fault: undefined };
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
