/**
 * partition.json: where a partition begins, and the newest segment that it is known to have.
 *
 * Made with the log, before log.json; replaced when a segment was made (after its file is durable) and when segments are
 * to be removed (before the first of them is). So of the segments on the disk
 *
 *     those below `start`       were being removed when the process ended: they are removed when the log is opened
 *     the one of `start`        must be there, else the oldest records are lost (L1), and the start never goes back
 *     the one of `newest`       must be there; one more may be, and is empty: no record is written to a segment that
 *                               is not noted here
 */
import { join } from 'node:path';
import type { FileSystem } from './file-system.ts';
import { damaged } from './follow.ts';
import { openSealedJson, readIfThere, replaceFile, sealJson } from './whole-file.ts';

const NAME = 'partition.json';

export interface PartitionExtent {
  /** The first offset that the partition holds: the first segment's. */
  readonly start: number;
  /** The first offset of the newest segment; undefined as long as there never was one. */
  readonly newest: number | undefined;
}

/** Reads it. Throws DATA_DAMAGED when it is not there or not whole. */
export async function readExtent(files: FileSystem, directory: string): Promise<PartitionExtent> {
  const path = join(directory, NAME);
  const remedy =
    'put it back from a copy that is not older than the last trim; it is small, and written anew with each segment';
  const bytes = await readIfThere(files, path);
  if (bytes === undefined) throw damaged(path, 'the file that says where the partition begins is missing', remedy);
  const { start, newest } = openSealedJson(bytes, path, remedy);
  if (!isOffset(start) || (newest !== null && !isOffset(newest))) {
    throw damaged(path, 'it does not say where the partition begins', remedy);
  }
  return { start, newest: newest ?? undefined };
}

/** Replaces it, durably. */
export async function writeExtent(files: FileSystem, directory: string, extent: PartitionExtent): Promise<void> {
  const { start, newest } = extent;
  await replaceFile(files, join(directory, NAME), sealJson({ start, newest: newest ?? null }));
}

/** The file of an open partition, which its writer and its trimmer both change: one change after the other. */
export class ExtentFile {
  readonly #files: FileSystem;
  readonly #directory: string;
  #current: PartitionExtent;
  #changes: Promise<unknown> = Promise.resolve();

  constructor(files: FileSystem, directory: string, current: PartitionExtent) {
    this.#files = files;
    this.#directory = directory;
    this.#current = current;
  }

  /** What is durable. */
  get current(): PartitionExtent {
    return this.#current;
  }

  /** Changes it; resolves when that is durable. Throws what the disk throws; the change may then be there or not. */
  change(change: Partial<PartitionExtent>): Promise<void> {
    const changed = this.#changes.then(async () => {
      const next = { ...this.#current, ...change };
      await writeExtent(this.#files, this.#directory, next);
      this.#current = next;
    });
    this.#changes = changed.catch(() => undefined);
    return changed;
  }
}

function isOffset(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
