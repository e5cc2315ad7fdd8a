/**
 * A stage: the rows of some tables under one snapshot, on disk as COPY wrote them. It exists so that an interrupted
 * append can be done again with the same rows under the same numbers: shards skip what they have.
 *
 *     stages/<name>/0.copy 1.copy …     rows, one line each
 *     stages/<name>/manifest.json       written last: a stage without it is not whole and is removed
 *
 * Owns those files. Not how rows become records (snapshot-rows.ts).
 */
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '@freshet/kit/assert.ts';
import { FreshetError } from '@freshet/kit/errors.ts';
import { formatLsn, parseLsn } from '../core/lsn.ts';
import type { StageFacts } from '../core/source-state.ts';
import { quoteIdentifier } from '../core/sql.ts';
import { LineSplitter, parseCopyLine } from '../core/types/copy-text.ts';
import { readIfThere, replaceFile, syncDirectory } from './durable-file.ts';
import type { PgConnection } from './pg/pg-connection.ts';
import { type PublishedTable, tableReference } from './publications.ts';

/** Lines are parsed a piece at a time, so that a piece's work does not hold up everything else for long. */
const READ_BYTES = 128 * 1024;

export interface StagedTable {
  readonly schema: string;
  readonly table: string;
  /** In the order in which a line has them. */
  readonly columns: readonly string[];
  /** The types of the columns, in the same order. */
  readonly typeOids: readonly number[];
  readonly file: string;
}

export interface Stage {
  readonly name: string;
  /** The consistent point of the snapshot. */
  readonly fromLsn: bigint;
  readonly tables: readonly StagedTable[];
}

export interface TableToStage extends PublishedTable {
  readonly columns: readonly string[];
  /** The types of the columns, in the same order. */
  readonly typeOids: readonly number[];
}

export class StageStore {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The whole stages by name; what is not whole is removed. */
  async load(): Promise<Map<string, Stage>> {
    const stages = new Map<string, Stage>();
    await mkdir(this.#directory, { recursive: true });
    for (const name of await readdir(this.#directory)) {
      const manifest = await readIfThere(join(this.#directory, name, 'manifest.json'));
      if (manifest === undefined) await this.remove(name);
      else stages.set(name, parseManifest(name, manifest.toString('utf8')));
    }
    return stages;
  }

  /** Copies the tables' rows as the connection's transaction sees them; resolves when the stage is durable and whole. */
  async write(
    name: string,
    fromLsn: bigint,
    tables: readonly TableToStage[],
    connection: PgConnection,
  ): Promise<Stage> {
    const directory = join(this.#directory, name);
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory, { recursive: true });
    const staged: StagedTable[] = [];
    for (const table of tables) {
      const file = `${staged.length}.copy`;
      await copyTable(connection, table, join(directory, file));
      staged.push({ schema: table.schema, table: table.table, columns: table.columns, typeOids: table.typeOids, file });
    }
    await syncDirectory(directory);
    await replaceFile(
      join(directory, 'manifest.json'),
      JSON.stringify({ version: 1, fromLsn: formatLsn(fromLsn), tables: staged }, undefined, 2),
    );
    await syncDirectory(this.#directory);
    return { name, fromLsn, tables: staged };
  }

  /** The rows of a staged table, some at a time, in the order in which they are numbered. */
  async *rows(stage: Stage, table: StagedTable): AsyncGenerator<(string | null)[][]> {
    const lines = new LineSplitter();
    for await (const bytes of createReadStream(join(this.#directory, stage.name, table.file), {
      highWaterMark: READ_BYTES,
    })) {
      const rows = lines.push(bytes as Buffer).map((line) => (table.columns.length === 0 ? [] : parseCopyLine(line)));
      const wrong = rows.find((row) => row.length !== table.columns.length);
      if (wrong !== undefined)
        throw damaged(stage.name, `a row of ${wrong.length} columns where ${table.columns.length} are`);
      yield rows;
    }
    if (lines.unfinishedBytes > 0) throw damaged(stage.name, 'its last row is cut off');
  }

  async remove(name: string): Promise<void> {
    // The manifest first: a stage that is half removed must not count as whole.
    await rm(join(this.#directory, name, 'manifest.json'), { force: true });
    await rm(join(this.#directory, name), { recursive: true, force: true });
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

async function copyTable(connection: PgConnection, table: TableToStage, path: string): Promise<void> {
  const columns = table.columns.map(quoteIdentifier).join(', ');
  const file = await open(path, 'w', 0o600);
  try {
    for await (const bytes of connection.copyOut(`COPY (SELECT ${columns} FROM ${tableReference(table)}) TO STDOUT`)) {
      await file.writeFile(bytes);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

function parseManifest(name: string, text: string): Stage {
  try {
    const json = JSON.parse(text) as { fromLsn: string; tables: StagedTable[] };
    return { name, fromLsn: must(parseLsn(json.fromLsn)), tables: json.tables };
  } catch (cause) {
    throw damaged(name, 'its manifest cannot be read', cause);
  }
}

function damaged(name: string, reason: string, cause?: unknown): FreshetError {
  return new FreshetError('DATA_DAMAGED', `the staged snapshot ${name} is damaged: ${reason}`, {
    remedy: 'Remove its directory under stages/: the snapshot is then taken anew, as a new generation.',
    place: name,
    cause,
  });
}
