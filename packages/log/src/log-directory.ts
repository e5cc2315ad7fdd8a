/**
 * What lies in a log's directory:
 *
 *     log.json                  which log this is: format, log id, partitions; written once, after the partitions
 *     clean.json                where each partition ended; there only while the log is closed, after a clean close
 *     LOCK                      who has it open (@freshet/kit/directory-lock.ts)
 *     partition-0000/           a partition
 *         partition.json        where it begins, and its newest segment (partition-file.ts)
 *         00000000000000000000.log    segments by their first offset: a head (segment-header.ts), then frames (frame.ts)
 *
 * Owns log.json and clean.json. Both are sealed, and whole or absent (whole-file.ts).
 * Invariants: L1 (after a clean close nothing may be missing: a shorter log is damaged, not torn). A log id is made
 * once; a directory that has segments but no log.json is refused rather than given a new id (R3).
 */
import { join } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { FileSystem } from './file-system.ts';
import { damaged } from './follow.ts';
import { PARTITIONS_MAX } from './limits.ts';
import { writeExtent } from './partition-file.ts';
import { openSealedJson, readIfThere, replaceFile, sealJson } from './whole-file.ts';

/** Raised when segments or these files change so that older programs would misread them. */
const FORMAT = 2;

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

/** What is needed to find or make a log. */
export interface IdentityOptions {
  readonly files: FileSystem;
  readonly directory: string;
  readonly partitions: number;
  /** 16 random bytes in hex, for a log that is made. */
  readonly makeLogId: () => string;
}

/**
 * Which log the directory holds; a new one is made when it holds none. Throws INVALID_CONFIG when it has another number
 * of partitions or another format, DATA_DAMAGED when it lost its log.json.
 */
export async function openIdentity(options: IdentityOptions): Promise<LogIdentity> {
  const { files, directory, partitions } = options;
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX) {
    throw new FreshetError('INVALID_CONFIG', `a log of ${partitions} partitions; 1 to ${PARTITIONS_MAX} are possible`);
  }
  const path = join(directory, 'log.json');
  const bytes = await readIfThere(files, path);
  return bytes === undefined ? makeIdentity(options, path) : readIdentity(bytes, path, partitions);
}

async function makeIdentity(options: IdentityOptions, path: string): Promise<LogIdentity> {
  const { files, directory, partitions } = options;
  if (await hasSegments(files, directory)) {
    throw damaged(
      path,
      'segments are there, but the file that says which log they belong to is not',
      'put log.json back; it is written once and never changes',
    );
  }
  for (let partition = 0; partition < partitions; partition++) {
    const made = partitionDirectory(directory, partition);
    await files.makeDirectory(made);
    await writeExtent(files, made, { start: 0, newest: undefined });
  }
  const logId = options.makeLogId();
  await replaceFile(files, path, sealJson({ format: FORMAT, logId, partitions }));
  return { logId, partitions };
}

async function hasSegments(files: FileSystem, directory: string): Promise<boolean> {
  for (const { name, kind } of await files.list(directory)) {
    if (kind !== 'directory') continue;
    const inside = await files.list(join(directory, name));
    if (inside.some((entry) => entry.name.endsWith('.log'))) return true;
  }
  return false;
}

function readIdentity(bytes: Uint8Array, path: string, partitions: number): LogIdentity {
  const remedy = 'put log.json back; it is written once and never changes';
  const { format, logId, partitions: found } = openSealedJson(bytes, path, remedy);
  if (typeof format === 'number' && format !== FORMAT) {
    throw new FreshetError('INVALID_CONFIG', `the log has format ${format}; this program reads ${FORMAT}`, {
      place: path,
      remedy: 'run the version of Freshet that wrote it',
    });
  }
  if (typeof logId !== 'string' || !/^[0-9a-f]{32}$/.test(logId) || typeof found !== 'number') {
    throw damaged(path, 'it does not say which log this is', remedy);
  }
  if (found !== partitions) {
    throw new FreshetError('INVALID_CONFIG', `the log has ${found} partitions, not ${partitions}`, {
      place: path,
      remedy: `set partitions to ${found}; the number is fixed for the life of a log`,
    });
  }
  return { logId, partitions };
}

/** Where each partition ended, if the log was closed cleanly. Throws DATA_DAMAGED. */
export async function readCleanEnds(files: FileSystem, directory: string): Promise<readonly CleanEnd[] | undefined> {
  const path = join(directory, 'clean.json');
  const bytes = await readIfThere(files, path);
  if (bytes === undefined) return undefined;
  // Without it the log still opens, but a record that is missing at its end would not be noticed.
  const remedy =
    'put it back from a copy. Without one, remove it: the log then opens as after a crash, and whatever of its newest ' +
    'records is not whole counts as never written';
  const { ends } = openSealedJson(bytes, path, remedy);
  if (!Array.isArray(ends)) throw damaged(path, 'it does not say where the log ended', remedy);
  return ends as readonly CleanEnd[];
}

/** Says that the log is closed and complete. */
export async function writeCleanEnds(files: FileSystem, directory: string, ends: readonly CleanEnd[]): Promise<void> {
  await replaceFile(files, join(directory, 'clean.json'), sealJson({ ends }));
}

/** Must come before the first append: from then on the log may end anywhere later. */
export async function removeCleanEnds(files: FileSystem, directory: string): Promise<void> {
  await files.remove(join(directory, 'clean.json'));
  await files.syncDirectory(directory);
}
