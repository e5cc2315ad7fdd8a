/**
 * Requests to start over, each named by a word and carried out once, however often the process starts with it: a
 * supervisor repeats the command line that it was given.
 *
 * The word is saved in the source's state, in one write with the state that begins anew. It is also kept beside it,
 * because the state may be what is damaged: a word of long ago, still on the command line, must not then decide that
 * everything is read anew. It is acted upon only where the state is damaged, and a power cut that takes it back then costs a
 * second reading, which is told.
 */
import { dirname } from 'node:path';
import { isFreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readIfThere, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { lostState, type SourceState } from '../core/source-state.ts';
import { onDisk } from './on-disk.ts';
import type { StateFile } from './state-file.ts';

/** The word of the newest request that was carried out, in a file of its own. */
export class ResyncMark {
  readonly #files: FileSystem;
  readonly #path: string;

  constructor(files: FileSystem, path: string) {
    this.#files = files;
    this.#path = path;
  }

  /** The word; undefined: there is none, or it cannot be read. */
  load(): Promise<string | undefined> {
    return onDisk(this.#path, async () => {
      const bytes = await readIfThere(this.#files, this.#path);
      if (bytes === undefined) return undefined;
      try {
        return String(openSealedJson(bytes, this.#path)['resync']);
      } catch {
        return undefined;
      }
    });
  }

  save(resync: string): Promise<void> {
    return onDisk(this.#path, async () => {
      await this.#files.makeDirectory(dirname(this.#path));
      await replaceFile(this.#files, this.#path, sealJson({ resync }));
    });
  }
}

/** The saved state; a damaged one gives way to a request that was not carried out yet. Throws DATA_DAMAGED. */
export async function loadState(options: {
  readonly file: StateFile;
  readonly mark: ResyncMark;
  readonly resync: string | undefined;
  readonly nowUs: number;
  readonly logger: Logger;
}): Promise<SourceState> {
  const { file, mark, resync, nowUs, logger } = options;
  try {
    return await file.load();
  } catch (error) {
    if (!isFreshetError(error, 'DATA_DAMAGED') || resync === undefined || resync === (await mark.load())) throw error;
    // A copy, so that at no time there is no state: one without a floor would use generations a second time.
    const keptAt = await file.keepCopy();
    const state = lostState(nowUs);
    await file.save(state);
    logger.warn('the state of a source is damaged; a copy is kept, and it starts over', { keptAt, resync });
    return state;
  }
}
