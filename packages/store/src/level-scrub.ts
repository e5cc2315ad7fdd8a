/**
 * Looks through the files of a LevelDB directory for what its own checksums show.
 *
 * Owns the order and the pace. Does not own the formats (level-files.ts). May run beside an open database: tables that it
 * names never change, one that a compaction has removed meanwhile is no loss, and others are not looked at. Logs are only
 * looked at while the database is closed, because the newest is being written; then a table that is named and not there is
 * damage too.
 *
 * R4: a table is read whole, logs and the manifest a piece at a time: LevelDB begins a new manifest only when it opens, so
 * that of a database that is open for long has no length that could be called too much.
 */
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { diskError } from '@freshet/kit/disk-errors.ts';
import { LOG_BLOCK_BYTES, LogScan, NamedTables, tableFault } from './level-files.ts';

/** A table is 2 MiB, or as long as the write buffer. */
const TABLE_BYTES_MAX = 256 * 1024 * 1024;
const PIECE_BYTES = 32 * LOG_BLOCK_BYTES;

const TABLE = /^\d+\.(ldb|sst)$/;
const LOG = /^(\d+\.log|MANIFEST-\d+)$/;

/** A file and what is wrong with it. */
export interface FileFault {
  readonly file: string;
  readonly what: string;
}

export interface ScrubResult {
  readonly bytes: number;
  readonly faults: readonly FileFault[];
}

type Pause = (bytes: number) => Promise<void>;

/** Looks through all files of the directory. Throws DISK_FAILED and its like. */
export async function scrubDirectory(
  directory: string,
  options: { readonly isOpen: boolean; readonly pause: Pause },
): Promise<ScrubResult> {
  let bytes = 0;
  const pause = (read: number): Promise<void> => {
    bytes += read;
    return options.pause(read);
  };
  const faults: FileFault[] = [];
  const named = await tablesInForce(directory);
  const files = await listed(directory);
  for (const file of files) {
    const path = join(directory, file);
    let what: string | undefined;
    if (TABLE.test(file) && named?.has(numberOf(file)) !== false) what = await checkTable(path, pause);
    else if (LOG.test(file) && !options.isOpen) what = await checkLog(path, pause);
    if (what !== undefined) faults.push({ file, what });
  }
  if (!options.isOpen) faults.push(...missingTables(files, named));
  return { bytes, faults };
}

async function checkTable(path: string, pause: Pause): Promise<string | undefined> {
  const content = await reading(path, async (file) => {
    const { size } = await file.stat();
    return size > TABLE_BYTES_MAX ? size : await file.readFile();
  });
  if (content === undefined) return undefined;
  if (typeof content === 'number') return 'the table is longer than LevelDB makes any';
  const what = tableFault(content);
  await pause(content.length);
  return what;
}

async function checkLog(path: string, pause: Pause): Promise<string | undefined> {
  const scan = new LogScan();
  await readLog(path, scan, pause);
  return scan.fault;
}

/** The numbers of the tables that the database is made of; undefined when its files do not tell. */
async function tablesInForce(directory: string): Promise<ReadonlySet<number> | undefined> {
  const current = await reading(join(directory, 'CURRENT'), (file) => file.readFile('latin1'));
  const name = current?.trimEnd() ?? '';
  if (!/^MANIFEST-\d+$/.test(name)) return undefined;
  const named = new NamedTables();
  const isThere = await readLog(join(directory, name), new LogScan((record) => named.take(record)), () =>
    Promise.resolve(),
  );
  return isThere ? named.numbers : undefined;
}

/** Tables that are named and not there; of an open database they may be those that a compaction has just removed. */
function missingTables(files: readonly string[], named: ReadonlySet<number> | undefined): FileFault[] {
  const there = new Set(files.filter((file) => TABLE.test(file)).map(numberOf));
  return [...(named ?? [])]
    .filter((number) => !there.has(number))
    .map((number) => ({ file: `${String(number).padStart(6, '0')}.ldb`, what: 'it is gone' }));
}

function numberOf(file: string): number {
  return Number.parseInt(file, 10);
}

async function listed(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw diskError(error, directory) ?? error;
  }
}

/** Gives the scan the file, a piece at a time; whether it was there. */
async function readLog(path: string, scan: LogScan, pause: Pause): Promise<boolean> {
  const read = await reading(path, async (file) => {
    const piece = Buffer.alloc(PIECE_BYTES);
    for (let position = 0; ; ) {
      const length = await fill(file, piece, position);
      if (length > 0) {
        scan.push(piece.subarray(0, length));
        await pause(length);
      }
      if (length < piece.length) return true;
      position += length;
    }
  });
  return read ?? false;
}

/** Reads until the buffer is full or the file ends; returns how much there was. */
async function fill(file: FileHandle, target: Buffer, position: number): Promise<number> {
  let done = 0;
  while (done < target.length) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
}

/** Runs work on an open file; undefined when it is not there. */
async function reading<T>(path: string, work: (file: FileHandle) => Promise<T>): Promise<T | undefined> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    return await work(file);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw diskError(error, path) ?? error;
  } finally {
    await file?.close();
  }
}
