/**
 * What lies in a log's directory:
 *
 *     log.json                  which log this is: format, log id, partitions; written once
 *     clean.json                where each partition ended; there only while the log is closed, after a clean close
 *     LOCK                      who has it open (@freshet/kit/directory-lock.ts)
 *     partition-0000/           a partition; segments by their first offset
 *         00000000000000000000.log
 *
 * Owns log.json and clean.json. Both are written beside and renamed, so that they are whole or absent.
 * Invariants: L1 (after a clean close nothing may be missing: a shorter log is damaged, not torn). A log id is made
 * once; a directory that has segments but no log.json is refused rather than given a new id (R3).
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import { syncDirectory } from './file-system.ts';
import { damaged } from './follow.ts';
import { PARTITIONS_MAX } from './limits.ts';

/** Raised when segments or these files change so that older programs would misread them. */
const FORMAT = 1;

export interface LogIdentity {
  /** 16 bytes in hex. */
  readonly logId: string;
  readonly partitions: number;
}

/** Where a partition ended when the log was closed. */
export interface CleanEnd {
  readonly end: number;
  /** The last record's checksum; absent in an empty partition. */
  readonly crc?: number | undefined;
}

export function partitionDirectory(directory: string, partition: number): string {
  return join(directory, `partition-${String(partition).padStart(4, '0')}`);
}

/**
 * Which log the directory holds; a new one is made when it holds none. Throws INVALID_CONFIG when it has another number
 * of partitions or a newer format, DATA_DAMAGED when it lost its log.json.
 */
export async function openIdentity(directory: string, partitions: number): Promise<LogIdentity> {
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX) {
    throw new FreshetError('INVALID_CONFIG', `a log of ${partitions} partitions; 1 to ${PARTITIONS_MAX} are possible`);
  }
  const text = await readIfThere(join(directory, 'log.json'));
  return text === undefined ? makeIdentity(directory, partitions) : readIdentity(directory, text, partitions);
}

async function makeIdentity(directory: string, partitions: number): Promise<LogIdentity> {
  for (const entry of await readdir(directory, { recursive: true })) {
    if (!entry.endsWith('.log')) continue;
    throw damaged(
      join(directory, 'log.json'),
      'segments are there, but the file that says which log they belong to is not',
      'put log.json back; it is written once and never changes',
    );
  }
  for (let partition = 0; partition < partitions; partition++) {
    await mkdir(partitionDirectory(directory, partition), { recursive: true, mode: 0o700 });
  }
  const logId = randomBytes(16).toString('hex');
  await replaceFile(directory, 'log.json', JSON.stringify({ format: FORMAT, logId, partitions }));
  return { logId, partitions };
}

function readIdentity(directory: string, text: string, partitions: number): LogIdentity {
  const path = join(directory, 'log.json');
  const { format, logId, partitions: found } = parseObject(text, path);
  if (typeof format === 'number' && format > FORMAT) {
    throw new FreshetError('INVALID_CONFIG', `the log has format ${format}; this program reads up to ${FORMAT}`, {
      place: path,
      remedy: 'run the version of Freshet that wrote it, or a later one',
    });
  }
  if (typeof logId !== 'string' || !/^[0-9a-f]{32}$/.test(logId) || typeof found !== 'number') {
    throw damaged(path, 'it does not say which log this is');
  }
  if (found !== partitions) {
    throw new FreshetError('INVALID_CONFIG', `the log has ${found} partitions, not ${partitions}`, {
      place: path,
      remedy: `set partitions to ${found}; the number is fixed for the life of a log`,
    });
  }
  return { logId, partitions };
}

/** Where each partition ended, if the log was closed cleanly. */
export async function readCleanEnds(directory: string): Promise<readonly CleanEnd[] | undefined> {
  const path = join(directory, 'clean.json');
  const text = await readIfThere(path);
  if (text === undefined) return undefined;
  const { ends } = parseObject(text, path);
  if (!Array.isArray(ends)) throw damaged(path, 'it does not say where the log ended');
  return ends as readonly CleanEnd[];
}

/** Says that the log is closed and complete. */
export async function writeCleanEnds(directory: string, ends: readonly CleanEnd[]): Promise<void> {
  await replaceFile(directory, 'clean.json', JSON.stringify({ ends }));
}

/** Must come before the first append: from then on the log may end anywhere later. */
export async function removeCleanEnds(directory: string): Promise<void> {
  await rm(join(directory, 'clean.json'), { force: true });
  await syncDirectory(directory);
}

async function replaceFile(directory: string, name: string, text: string): Promise<void> {
  const draft = join(directory, `${name}.new`);
  const handle = await open(draft, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, join(directory, name));
  await syncDirectory(directory);
}

function parseObject(text: string, path: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Falls through: not JSON is as bad as not an object.
  }
  throw damaged(path, 'it is not JSON');
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
