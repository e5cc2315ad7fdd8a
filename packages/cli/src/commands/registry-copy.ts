/**
 * freshet registry export and import: one of the registry's two stores (definitions, or with --schemas what the Schema
 * Registry API holds) as lines with checksums. The registry must not run: its stores are locked while it does.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { FreshetError } from '@freshet/kit/errors.ts';
import { dumpStore, isEmpty, readDump, restoreDump, verifyDump } from '@freshet/store/dump.ts';
import { levelStores } from '@freshet/store/level-store.ts';
import type { Terminal } from '../output/terminal.ts';

const SCHEMAS_KEYS = /^(?:r\/|ledger$|written$)/;
const DEFINITIONS_KEYS = /^(?!r\/|ledger$|written$)/;
const OPTIONS = { what: "the registry's store", remedy: 'restore the directory from a copy' };

export interface RegistryCopyOptions {
  readonly dataDir: string;
  /** The Schema Registry's store, not that of definitions. */
  readonly schemas?: boolean;
  /** Import although something is there: that is set aside first. */
  readonly force?: boolean;
}

function directoryOf({ dataDir, schemas }: RegistryCopyOptions): string {
  return join(dataDir, schemas === true ? 'schemas' : 'definitions');
}

/** Reads all of it. Keys of the one store mean nothing in the other: a copy goes back to where it came from. */
async function checkKind(file: string, schemas: boolean): Promise<void> {
  const keys = schemas ? SCHEMAS_KEYS : DEFINITIONS_KEYS;
  for await (const [key] of readDump(linesOf(file), file)) {
    if (keys.test(key.toString())) continue;
    const [is, option] = schemas ? ['definitions', 'leave --schemas out'] : ['schemas', 'give --schemas'];
    throw new FreshetError('INVALID_REQUEST', `${file} is no copy of that store, but of ${is}`, {
      remedy: `${option}, or name the other file`,
      place: file,
    });
  }
}

export async function exportCommand(terminal: Terminal, file: string, options: RegistryCopyOptions): Promise<void> {
  const store = await levelStores.open(directoryOf(options), OPTIONS);
  try {
    // Never over a file that is there: it may be the only copy.
    await pipeline(
      Readable.from(dumpStore(store)),
      createWriteStream(file, { flags: 'wx', mode: 0o600, flush: true }),
      {
        signal: terminal.signal,
      },
    );
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    throw new FreshetError('INVALID_REQUEST', `${file} is there already`, { remedy: 'name a new file', place: file });
  } finally {
    await store.close();
  }
  const count = await verifyDump(linesOf(file), file);
  terminal.out(`${file}: ${count} entries, verified\n`);
  if (options.schemas !== true) terminal.err('schemas are not in it: freshet registry export --schemas copies them\n');
}

export async function importCommand(terminal: Terminal, file: string, options: RegistryCopyOptions): Promise<void> {
  // Read whole before anything is written: what is there stays when the copy is not right.
  await checkKind(file, options.schemas === true);
  const directory = directoryOf(options);
  let store = await levelStores.open(directory, OPTIONS);
  try {
    if (!(await isEmpty(store))) {
      if (options.force !== true) {
        throw new FreshetError('INVALID_REQUEST', `the registry in ${options.dataDir} is not empty`, {
          remedy: 'name an empty data directory, or give --force, which puts what is there aside',
          place: directory,
        });
      }
      await store.close();
      terminal.err(`what was there is at ${await levelStores.setAside(directory)}\n`);
      store = await levelStores.open(directory, OPTIONS);
    }
    const count = await restoreDump(store, linesOf(file), file);
    terminal.out(`${directory}: ${count} entries\n`);
  } finally {
    await store.close();
  }
}

function linesOf(file: string): AsyncIterable<string> {
  return createInterface({ input: createReadStream(file, 'utf8'), crlfDelay: Infinity });
}
