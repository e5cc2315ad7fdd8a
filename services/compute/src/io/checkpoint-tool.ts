/**
 * Checkpoints of a data directory, for the hand of an operator: list, verify, restore, with no compute running.
 *
 * Owns what each does with the directory. Does not own the files (checkpoint-file.ts) or how it is called and shown
 * (../checkpoints.ts, the `freshet` command). Says what it finds piece by piece, because reading takes its time.
 */
import { join } from 'node:path';
import { FreshetError, isFreshetError } from '@freshet/kit/errors.ts';
import type { CheckpointInfo } from '../core/checkpoint.ts';
import { CheckpointDirectory, infoOf, listCheckpoints } from './checkpoint-directory.ts';
import { onDisk, verifyCheckpoint } from './checkpoint-file.ts';
import { checkpointDirectory, checkpointOptions, type NodeStorageOptions, nodeStorage } from './node-storage.ts';

/** What is found or done. */
export type CheckpointNews =
  | { readonly kind: 'found' | 'verified' | 'restored'; readonly path: string; readonly info: CheckpointInfo }
  | { readonly kind: 'damaged'; readonly path: string; readonly error: FreshetError }
  | { readonly kind: 'progress'; readonly path: string; readonly bytes: number; readonly of: number }
  | { readonly kind: 'aside'; readonly path: string };

type Tell = (news: CheckpointNews) => void;

/** Progress is told each time so many bytes were read. */
const PROGRESS_BYTES = 16 * 1024 * 1024;

/** Tells the checkpoints of some shards, or of all, newest first, by what they say of themselves. */
export async function listAll(
  options: NodeStorageOptions,
  shards: readonly number[] | undefined,
  tell: Tell,
): Promise<void> {
  for (const shard of await shardsOf(options, shards)) {
    const directory = checkpointDirectory(options.dataDir, shard);
    const damaged = (name: string, error: FreshetError): void =>
      tell({ kind: 'damaged', path: join(directory, name), error });
    for (const info of await listCheckpoints(options.files, directory, damaged)) {
      tell({ kind: 'found', path: join(directory, info.file), info });
    }
  }
}

/** Reads all of each checkpoint and tells whether it is right. */
export async function verifyAll(
  options: NodeStorageOptions,
  shards: readonly number[] | undefined,
  tell: Tell,
): Promise<void> {
  const found: { path: string; info: CheckpointInfo }[] = [];
  await listAll(options, shards, (news) => {
    if (news.kind === 'found') found.push(news);
    else tell(news);
  });
  for (const { path, info } of found) {
    try {
      const content = await verifyCheckpoint(options.files, path, options.format, progress(path, info, options, tell));
      tell({ kind: 'verified', path, info: infoOf(content, info.file) });
    } catch (error) {
      if (!isFreshetError(error)) throw error;
      tell({ kind: 'damaged', path, error });
    }
  }
}

/**
 * Puts a shard's store aside and fills a new one with a checkpoint: the one named, else the newest. Throws STORE_LOCKED
 * while compute has the directory, DATA_DAMAGED when the checkpoint is not right (the store that was put aside stays
 * there: compute then restores another checkpoint, or folds from the log's beginning).
 */
export async function restoreOne(
  options: NodeStorageOptions,
  shard: number,
  file: string | undefined,
  signal: AbortSignal,
  tell: Tell,
): Promise<void> {
  const { files, dataDir } = options;
  const lock = await onDisk(dataDir, () => files.lockDirectory(dataDir, 'the state of compute'));
  try {
    const settings = checkpointOptions(options, shard);
    const checkpoints = await CheckpointDirectory.open(settings);
    const info = checkpoints.list.find((one) => file === undefined || one.file === file);
    if (info === undefined) {
      throw new FreshetError('INVALID_REQUEST', file === undefined ? 'there is no checkpoint' : `there is no ${file}`, {
        place: settings.directory,
        remedy: 'see what there is with: freshet checkpoint list',
      });
    }
    const path = join(settings.directory, info.file);
    // Nothing is put aside for a checkpoint that cannot take its place.
    await verifyCheckpoint(files, path, options.format, progress(path, info, options, tell));
    const { openStorage, setAside } = nodeStorage(options);
    if (await hasState(openStorage, shard)) tell({ kind: 'aside', path: await setAside(shard) });
    await checkpoints.restore(info, signal);
    tell({ kind: 'restored', path, info });
  } finally {
    await lock.release();
  }
}

/** Whether there is a store that holds anything, be it damaged. */
async function hasState(open: ReturnType<typeof nodeStorage>['openStorage'], shard: number): Promise<boolean> {
  try {
    const store = await open(shard);
    await store.close();
    return store.committed !== undefined;
  } catch (error) {
    if (isFreshetError(error, 'DATA_DAMAGED')) return true;
    throw error;
  }
}

function progress(
  path: string,
  { bytes: of }: CheckpointInfo,
  { yieldNow }: NodeStorageOptions,
  tell: Tell,
): (bytes: number) => Promise<void> {
  let done = 0;
  let told = 0;
  return async (bytes) => {
    done += bytes;
    if (done - told >= PROGRESS_BYTES) {
      told = done;
      tell({ kind: 'progress', path, bytes: done, of });
    }
    await yieldNow();
  };
}

async function shardsOf(
  { files, dataDir }: NodeStorageOptions,
  shards: readonly number[] | undefined,
): Promise<readonly number[]> {
  const parent = join(dataDir, 'checkpoints');
  if ((await onDisk(parent, () => files.stat(parent))) === undefined) {
    if ((await onDisk(dataDir, () => files.stat(dataDir))) !== undefined) return [];
    throw new FreshetError('INVALID_CONFIG', 'there is no such directory', {
      place: dataDir,
      remedy: "give compute's data directory with --data-dir; below `freshet up` it is <data_dir>/compute",
    });
  }
  const found: number[] = [];
  for (const { name } of await onDisk(parent, () => files.list(parent))) {
    const match = /^shard-(\d+)$/.exec(name);
    if (match !== null) found.push(Number(match[1]));
  }
  return found.filter((shard) => shards === undefined || shards.includes(shard)).sort((a, b) => a - b);
}
