/**
 * A stage: the rows of some tables under one snapshot, on disk as COPY wrote them. It exists so that an interrupted
 * append can be done again with the same rows under the same numbers: shards skip what they have.
 *
 *     stages/<name>/0.copy 1.copy …     pieces of a table's rows, each with its CRC32C (stage-pieces.ts)
 *     stages/<name>/manifest.json       sealed, written last: a stage without it is not whole and is removed
 *
 * Owns those files. Not how rows become records (snapshot-rows.ts). A damaged stage is told of (DATA_DAMAGED) before a row
 * of the damaged piece is given; nothing is lost with it: the snapshot is taken anew, as a new generation.
 */
import { join } from 'node:path';
import { FreshetError } from '@freshet/kit/errors.ts';
import type { Logger } from '@freshet/kit/logger.ts';
import type { FileSystem } from '@freshet/log/file-system.ts';
import { openSealedJson, readIfThere, replaceFile, sealJson } from '@freshet/log/whole-file.ts';
import { formatLsn, parseLsn } from '../core/lsn.ts';
import type { SnapshotReader, TableToStage } from '../core/source-database.ts';
import type { StageFacts } from '../core/source-state.ts';
import { LineSplitter, parseCopyLine } from '../core/types/copy-text.ts';
import { onDisk } from './on-disk.ts';
import { readPieces, writePieces } from './stage-pieces.ts';

const LINE_FEED = 0x0a;

export interface StagedTable {
  readonly schema: string;
  readonly table: string;
  /** In the order in which a line has them. */
  readonly columns: readonly string[];
  /** The types of the columns, in the same order. */
  readonly typeOids: readonly number[];
  readonly file: string;
  /** How many pieces the file has. */
  readonly pieces: number;
  /** How many rows; undefined in a stage that an older version wrote. */
  readonly rows?: number | undefined;
}

export interface Stage {
  readonly name: string;
  /** The consistent point of the snapshot. */
  readonly fromLsn: bigint;
  readonly tables: readonly StagedTable[];
}

export class StageStore {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #logger: Logger;

  constructor(files: FileSystem, directory: string, logger: Logger) {
    this.#files = files;
    this.#directory = directory;
    this.#logger = logger;
  }

  /** The whole stages by name; what is not whole, or has a damaged manifest, is removed. */
  load(): Promise<Map<string, Stage>> {
    return onDisk(this.#directory, async () => {
      const stages = new Map<string, Stage>();
      await this.#files.makeDirectory(this.#directory);
      for (const { name } of await this.#files.list(this.#directory)) {
        const stage = await this.#load(name);
        if (stage === undefined) await this.remove(name);
        else stages.set(name, stage);
      }
      return stages;
    });
  }

  async #load(name: string): Promise<Stage | undefined> {
    const path = join(this.#directory, name, 'manifest.json');
    const bytes = await readIfThere(this.#files, path);
    if (bytes === undefined) return undefined;
    try {
      const json = openSealedJson(bytes, path) as { fromLsn?: string; tables?: StagedTable[] };
      const fromLsn = parseLsn(json.fromLsn ?? '');
      if (fromLsn === undefined || json.tables === undefined) throw damaged(path, 'its manifest is not complete');
      return { name, fromLsn, tables: json.tables };
    } catch (error) {
      this.#logger.warn('a staged snapshot cannot be read; it is removed, and taken anew', { stage: name, error });
      return undefined;
    }
  }

  /**
   * Copies the tables' rows as the reader sees them; resolves when the stage is durable and whole. `onRows` is told how
   * many more there are, as they come.
   */
  async write(
    name: string,
    fromLsn: bigint,
    tables: readonly TableToStage[],
    reader: Pick<SnapshotReader, 'copy'>,
    onRows: (rows: number) => void = () => {},
  ): Promise<Stage> {
    const directory = join(this.#directory, name);
    try {
      return await onDisk(directory, async () => {
        await this.#files.removeDirectory(directory);
        await this.#files.makeDirectory(directory);
        const staged: StagedTable[] = [];
        for (const table of tables) {
          const { schema, table: tableName, columns, typeOids } = table;
          const file = `${staged.length}.copy`;
          let rows = 0;
          const counted = countingRows(reader.copy(table), (more) => {
            rows += more;
            onRows(more);
          });
          const pieces = await writePieces(this.#files, join(directory, file), counted);
          staged.push({ schema, table: tableName, columns, typeOids, file, pieces, rows });
        }
        await this.#files.syncDirectory(directory);
        const manifest = sealJson({ version: 2, fromLsn: formatLsn(fromLsn), tables: staged });
        await replaceFile(this.#files, join(directory, 'manifest.json'), manifest);
        await this.#files.syncDirectory(this.#directory);
        return { name, fromLsn, tables: staged };
      });
    } catch (error) {
      // On a full disk, half a stage would keep it full.
      await this.#files.removeDirectory(directory).catch(() => undefined);
      throw error;
    }
  }

  /** The rows of a staged table, some at a time, in the order in which they are numbered. Throws DATA_DAMAGED. */
  async *rows(stage: Stage, table: StagedTable): AsyncGenerator<(string | null)[][]> {
    const path = join(this.#directory, stage.name, table.file);
    const lines = new LineSplitter();
    for await (const bytes of readPieces(this.#files, path, table.pieces)) {
      const rows = lines.push(bytes).map((line) => (table.columns.length === 0 ? [] : parseCopyLine(line)));
      const wrong = rows.find((row) => row.length !== table.columns.length);
      if (wrong !== undefined)
        throw damaged(path, `a row of ${wrong.length} columns where ${table.columns.length} are`);
      yield rows;
    }
    if (lines.unfinishedBytes > 0) throw damaged(path, 'its last row is cut off');
  }

  /** Removes a stage, or what there is of it. */
  remove(name: string): Promise<void> {
    const directory = join(this.#directory, name);
    return onDisk(directory, async () => {
      // The manifest first: a stage that is half removed must not count as whole.
      if ((await this.#files.stat(directory))?.kind === 'directory') {
        await this.#files.remove(join(directory, 'manifest.json'));
        await this.#files.syncDirectory(directory);
      }
      await this.#files.removeDirectory(directory);
    });
  }
}

/** Counts rows as they pass: each ends with a line feed, and has none in it that is not escaped. */
async function* countingRows(
  bytes: AsyncIterable<Uint8Array>,
  onRows: (rows: number) => void,
): AsyncGenerator<Uint8Array> {
  for await (const some of bytes) {
    let rows = 0;
    for (let at = some.indexOf(LINE_FEED); at >= 0; at = some.indexOf(LINE_FEED, at + 1)) rows += 1;
    onRows(rows);
    yield some;
  }
}

/** What the state machine needs to know of stages. */
export function stageFacts(stages: ReadonlyMap<string, Stage>): Map<string, StageFacts> {
  return new Map(
    [...stages].map(([name, { tables }]) => [
      name,
      { columns: new Map(tables.map(({ schema, table, columns }) => [`${schema}.${table}`, columns])) },
    ]),
  );
}

function damaged(path: string, reason: string): FreshetError {
  return new FreshetError('DATA_DAMAGED', `a staged snapshot is damaged: ${reason}`, {
    remedy: 'Nothing: the snapshot is taken anew, as a new generation. If it recurs, look at the disk.',
    place: path,
  });
}
