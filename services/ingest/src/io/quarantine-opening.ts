/** What the quarantine's file (quarantine-file.ts) is opened with, and how much it may take. Opens nothing. */
import type { FileSystem } from '@freshet/log/file-system.ts';
import { QuarantineIndex } from './quarantine-index.ts';

/** The most that the file may take. Millions of rows: whoever has as many has something else to mend first. */
const QUARANTINE_BYTES_MAX = 1024 ** 3;
/** The index is written anew when so much came since: what a start may have to read. */
const INDEX_EVERY_BYTES = 4 * 1024 * 1024;

export interface QuarantineLimits {
  /** The most that the file may take. */
  readonly bytesMax?: number | undefined;
  /** How much comes until the index is written anew. */
  readonly indexEveryBytes?: number | undefined;
}

/** What a file is opened with. */
export interface Opening {
  readonly files: FileSystem;
  readonly path: string;
  readonly index: QuarantineIndex;
  readonly bytesMax: number;
  readonly indexEveryBytes: number;
}

/** The same with the defaults for what is not given. */
export function openingOf(files: FileSystem, path: string, limits: QuarantineLimits): Opening {
  const { bytesMax = QUARANTINE_BYTES_MAX, indexEveryBytes = INDEX_EVERY_BYTES } = limits;
  return { files, path, index: new QuarantineIndex(files, path), bytesMax, indexEveryBytes };
}
