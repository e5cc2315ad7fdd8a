/**
 * What a failed call of the file system, or of LevelDB above it, means to whoever runs the process: one code and one
 * remedy per state of a disk, whatever names the state goes by.
 *
 * Owns the translation. Does not own what a service does about it.
 */
import type { ErrorCode } from './error-codes.ts';
import { FreshetError } from './errors.ts';

interface DiskState {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string;
  /** Error numbers of node:fs. */
  readonly errno: readonly string[];
  /** What the C library says, which is all that LevelDB passes on. */
  readonly text: RegExp;
}

const STATES: readonly DiskState[] = [
  {
    code: 'DISK_FULL',
    message: 'the disk is full',
    remedy: 'free some room on it; work goes on by itself',
    errno: ['ENOSPC', 'EDQUOT'],
    text: /No space left on device|Disk quota exceeded/i,
  },
  {
    code: 'DISK_READ_ONLY',
    message: 'the disk is read-only',
    remedy: 'mount it for writing (a disk that failed is often mounted read-only: look at the kernel log first)',
    errno: ['EROFS'],
    text: /Read-only file system/i,
  },
  {
    code: 'TOO_MANY_OPEN_FILES',
    message: 'no more files can be opened',
    remedy: 'raise the limit of open files (ulimit -n) for this process',
    errno: ['EMFILE', 'ENFILE'],
    text: /Too many open files/i,
  },
  {
    code: 'DISK_FAILED',
    message: 'the disk reports an error',
    remedy: 'look at the kernel log, and move the data directory to a disk that works',
    errno: ['EIO'],
    text: /Input\/output error/i,
  },
  {
    code: 'INVALID_CONFIG',
    message: 'there is no permission',
    remedy: 'give the user that runs the process read and write access to the data directory',
    errno: ['EACCES', 'EPERM'],
    text: /Permission denied|Operation not permitted/i,
  },
];

/** The error as a state of the disk; undefined when it tells of none. */
export function diskError(error: unknown, place: string): FreshetError | undefined {
  if (error instanceof FreshetError) return undefined;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const { message } = cause;
    const state = STATES.find(({ errno, text }) => (code !== undefined && errno.includes(code)) || text.test(message));
    if (state !== undefined) {
      return new FreshetError(state.code, state.message, { place, remedy: state.remedy, cause: error });
    }
  }
  return undefined;
}
