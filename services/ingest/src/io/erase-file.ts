/**
 * What is known of erases: a sealed file each, `erasures/<id>.json`.
 *
 * Owns the files; what was loaded stays, whatever ended the process that saved it. While an erase is not complete its file
 * holds the key, because it is needed to complete it; afterwards only a salted hash. A damaged file is refused: putting it aside would leave an erase half done without a word.
 */
import { dirname, join } from 'node:path';
import { fromJson, type JsonObject, toJson } from '@bufbuild/protobuf';
import { type EraseState, EraseStateSchema } from '@freshet/gen/freshet/ingest/v1/ingest_pb.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readToActOn, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { onDisk } from './on-disk.ts';

const REMEDY = 'remove the file and ask for the erase again, with another id: it is done from the beginning';

/** An erase, and what of it only this file knows. */
export interface StoredErase {
  readonly state: EraseState;
  /** Where the partition ended when the Erase record was about to be appended; undefined once its offset is known. */
  readonly appendFrom: number | undefined;
  /** Where the partition ended when the entity's records were out of it, the first time; undefined before. */
  readonly rowsGoneAt?: number | undefined;
  /** Every place was done, and the Erase record is going, or gone: nobody is to be asked for anything any more. */
  readonly isEnding?: boolean | undefined;
}

export class EraseFiles {
  readonly #files: FileSystem;
  readonly #directory: string;

  /** @param directory made with the first erase */
  constructor(files: FileSystem, directory: string) {
    this.#files = files;
    this.#directory = directory;
  }

  /** Undefined when there is none. Throws DATA_DAMAGED. */
  load(eraseId: string): Promise<StoredErase | undefined> {
    const path = this.#path(eraseId);
    return onDisk(path, async () => {
      const bytes = await readToActOn(this.#files, path);
      if (bytes === undefined) return undefined;
      const json = openSealedJson(bytes, path, REMEDY) as {
        appendFrom?: number;
        rowsGoneAt?: number;
        isEnding?: boolean;
        erase: JsonObject;
      };
      const { appendFrom, rowsGoneAt, isEnding } = json;
      return { state: fromJson(EraseStateSchema, json.erase), appendFrom, rowsGoneAt, isEnding };
    });
  }

  /** Resolves when it is durable. */
  save({ state, ...own }: StoredErase): Promise<void> {
    const path = this.#path(state.eraseId);
    const json = { ...own, erase: toJson(EraseStateSchema, state) };
    return onDisk(path, async () => {
      await this.#files.makeDirectory(dirname(path));
      await replaceFile(this.#files, path, sealJson(json));
    });
  }

  #path(eraseId: string): string {
    return join(this.#directory, `${eraseId}.json`);
  }
}
