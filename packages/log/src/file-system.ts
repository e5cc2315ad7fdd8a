/**
 * The files under a log, as few operations as it needs, so that tests can make each of them fail.
 *
 * Owns the calls to node:fs of segment files. A write is complete or throws; what a crash leaves of it is judged by
 * segment-recovery.ts.
 */
import { type FileHandle, open } from 'node:fs/promises';

export interface LogFile {
  /** Reads up to target.length bytes from a position; returns how many there were. */
  read(target: Uint8Array, position: number): Promise<number>;
  /** Writes all the parts, one after the other, from a position. */
  write(parts: readonly Uint8Array[], position: number): Promise<void>;
  /** Resolves when content and length are on the disk. */
  sync(): Promise<void>;
  truncate(length: number): Promise<void>;
  length(): Promise<number>;
  close(): Promise<void>;
}

/** Opens a file: to read, to write what is there, or to make it (it must not be there). */
export type OpenFile = (path: string, mode: 'read' | 'write' | 'create') => Promise<LogFile>;

const FLAGS = { read: 'r', write: 'r+', create: 'wx+' } as const;

export const openNodeFile: OpenFile = async (path, mode) => new NodeFile(await open(path, FLAGS[mode], 0o600));

/** Makes the entries of a directory durable: files made, renamed or removed in it. */
export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

class NodeFile implements LogFile {
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
    let rest = [...parts];
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
