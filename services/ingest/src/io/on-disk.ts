/** Says what a failing disk means: every file of ingest is written through here, so that a full disk is never a bare ENOSPC. */
import { diskError } from '@freshet/kit/disk-errors.ts';

/** Runs work on files; what the disk refuses comes as FreshetError: DISK_FULL, DISK_READ_ONLY, TOO_MANY_OPEN_FILES … */
export async function onDisk<T>(place: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw diskError(error, place) ?? error;
  }
}
