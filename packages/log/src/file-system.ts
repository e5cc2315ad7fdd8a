/**
 * The disk as this project's own files need it (a log's segments, a node's small state files), as few operations as
 * there are uses, so that tests can put a disk of their own under the production code: one that fails, lies, fills up
 * and loses power (@freshet/testkit/simulation/simulated-disk.ts). Both pass file-system-suite.ts.
 *
 * Owns the interface and the calls to node:fs. Errors carry the system's `code` ("ENOSPC"), as Node's do; what they mean
 * is @freshet/kit/disk-errors.ts. Whole small files: whole-file.ts. LevelDB's files are LevelDB's own.
 *
 * What survives what, which every caller must have in mind:
 *
 *     the process is killed     everything written, renamed and removed before
 *     the machine loses power   file content and length: what was synced before; of the rest any part, in any order
 *                               names (made, renamed, removed): what a syncDirectory() of their directory came after; of
 *                               the rest any, but a rename is wholly there or not at all
 */
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type DirectoryLock, lockDirectory } from '@freshet/kit/directory-lock.ts';

/** An open file. Several operations may be under way at once; close() comes after them. */
export interface DiskFile {
  /** Reads up to target.length bytes from a position; returns how many there were. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all the parts, one after the other, from a position. When it throws, some of it may have been written. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>;
  /**
   * Resolves when content and length are on the disk. When it throws, nothing written since the last one may be counted
   * on, and a second call may succeed though the system dropped what the first was to write: open anew and look.
   */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  length(): Promise<number>;
  close(): Promise<void>;
}

/** To read; to write what is there; to make it (EEXIST when it is there); to make it or to empty what is there. */
export type OpenMode = 'read' | 'write' | 'create' | 'overwrite';

export interface DirectoryEntry {
  readonly name: string;
  readonly kind: 'file' | 'directory';
}

export interface FileStatus {
  readonly kind: 'file' | 'directory';
  /** Bytes; of a directory it means nothing. */
  readonly size: number;
}

export interface FileSystem {
  open(path: string, mode: OpenMode): Promise<DiskFile>;
  /** What is in a directory, by name ascending. ENOENT when it is not there. */
  list(directory: string): Promise<DirectoryEntry[]>;
  /** Undefined when nothing is there. */
  stat(path: string): Promise<FileStatus | undefined>;
  /** Makes a directory and its parents, as far as they are missing, for this user alone, and makes them durable. */
  makeDirectory(path: string): Promise<void>;
  /** Renames a file or directory; a file that has the new name is replaced. Durable with the directory. */
  rename(from: string, to: string): Promise<void>;
  /** Removes a file; nothing happens when it is not there. Durable with its directory. */
  remove(path: string): Promise<void>;
  /** Removes a directory with all that is in it; nothing happens when it is not there. */
  removeDirectory(path: string): Promise<void>;
  /** Makes the entries of a directory durable: files made, renamed or removed in it. */
  syncDirectory(path: string): Promise<void>;
  /** How many bytes this user may still write to the disk that a path lies on. */
  freeBytes(path: string): Promise<number>;
  /** One process per directory: see @freshet/kit/directory-lock.ts. Throws STORE_LOCKED. */
  lockDirectory(path: string, what: string): Promise<DirectoryLock>;
}

const FLAGS: Readonly<Record<OpenMode, number>> = {
  read: constants.O_RDONLY,
  write: constants.O_RDWR,
  create: constants.O_RDWR | constants.O_CREAT | constants.O_EXCL,
  overwrite: constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC,
};

/** Whether an error of a file system has one of the codes. */
export function isErrno(error: unknown, ...codes: readonly string[]): boolean {
  return error instanceof Error && codes.includes((error as NodeJS.ErrnoException).code ?? '');
}

/** The disk of this machine. */
export const nodeFileSystem: FileSystem = {
  open: async (path, mode) => new NodeFile(await open(path, FLAGS[mode], 0o600)),
  list: async (directory) => {
    const entries = await readdir(directory, { withFileTypes: true });
    const found = entries.map(
      (entry): DirectoryEntry => ({
        name: entry.name,
        kind: entry.isDirectory() ? 'directory' : 'file',
      }),
    );
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  },
  stat: async (path) => {
    try {
      const found = await stat(path);
      return { kind: found.isDirectory() ? 'directory' : 'file', size: found.size };
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return undefined;
      throw error;
    }
  },
  makeDirectory: async (path) => {
    const first = await mkdir(path, { recursive: true, mode: 0o700 });
    // A directory that was there may be left by a process that was killed before it could sync it.
    for (let made = path; ; made = dirname(made)) {
      await syncParent(made, first !== undefined);
      if (first === undefined || made === first || made === dirname(made)) return;
    }
  },
  rename,
  remove: (path) => rm(path, { force: true }),
  removeDirectory: (path) => rm(path, { recursive: true, force: true }),
  syncDirectory: async (path) => {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  freeBytes: async (path) => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  },
  lockDirectory,
};

/** Removes a file, or a directory with all that is in it, so that no power cut brings it back. */
export async function removeDurably(files: FileSystem, path: string): Promise<void> {
  await files.removeDirectory(path);
  await files.syncDirectory(dirname(path));
}

/** Of a directory that we did not make, the parent may be none of our business: a volume mounted for us alone. */
async function syncParent(path: string, ours: boolean): Promise<void> {
  try {
    await nodeFileSystem.syncDirectory(join(path, '..'));
  } catch (error) {
    if (ours || !isErrno(error, 'EACCES', 'EPERM', 'EROFS', 'EINVAL')) throw error;
  }
}

class NodeFile implements DiskFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async read(target: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < target.length) {
      const { bytesRead } = await this.#handle.read(target, done, target.length - done, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  async write(parts: readonly Uint8Array[], position: number): Promise<void> {
    let rest = parts.filter((part) => part.length > 0);
    let at = position;
    while (rest.length > 0) {
      const { bytesWritten } = await this.#handle.writev(rest, at);
      at += bytesWritten;
      rest = without(rest, bytesWritten);
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(length: number): Promise<void> {
    return this.#handle.truncate(length);
  }

  async length(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  close(): Promise<void> {
    return this.#handle.close();
  }
}

/** What remains of the parts after their first bytes were written; a system call may write less than it was given. */
function without(parts: readonly Uint8Array[], written: number): Uint8Array[] {
  let left = written;
  const rest: Uint8Array[] = [];
  for (const part of parts) {
    if (left >= part.length) left -= part.length;
    else {
      rest.push(left === 0 ? part : part.subarray(left));
      left = 0;
    }
  }
  return rest;
}
